"""Draws the pictures of the pages: ``python docs/pictures/draw.py`` writes the SVG files beside this one.

Numbers come from the package (margins, exit codes), from the measured tables of docs/benchmarks.md, and from a real run
(record_search.py).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from svg import Picture

from daskhpc.errors import EXIT_FAILED
from daskhpc.settings import Settings

HERE = Path(__file__).parent


def roles() -> Picture:
    """Who runs on which node."""
    p = Picture(760, 330, "Roles over nodes")
    for x, name in ((10, "node1"), (390, "node2")):
        p.box(x, 30, 360, 290, kind="paper")
        p.text(x + 15, 55, name, "b")
    p.box(30, 70, 320, 62, "rank 0: scheduler\ngives out tasks", "c")
    p.box(410, 70, 320, 62, "rank 1: client\nyour program, runs once", "a")
    for x, rank in ((30, 2), (410, 3)):
        p.box(x, 165, 320, 140, kind="bb")
        p.text(x + 160, 190, f"rank {rank}: worker", "m b")
        for n in range(4):
            p.box(x + 12 + 75 * n, 205, 70, 62, "thread", "paper")
        p.text(x + 160, 290, "one process, 4 threads, 7 GiB", "m s")
    p.arrow((410, 95), (352, 95), text="tasks")
    p.arrow((190, 132), (190, 163))
    p.arrow((350, 120), (400, 163), kind="dash")
    p.text(380, 20, "a job: 2 nodes, 2 workers, 4 ranks", "m b")
    return p


def data_once() -> Picture:
    """Data lie once on each node; the bars have the measured gigabytes."""
    ours, theirs = _measured(r"grow by ([\d.]+) GB\s+\(X once\); with joblib's Dask backend by ([\d.]+) GB")
    p = Picture(760, 350, "Data once per node")
    for x, name in ((10, "node1"), (390, "node2")):
        p.box(x, 10, 360, 190, kind="paper")
        p.text(x + 15, 35, name, "b")
        p.box(x + 20, 130, 320, 50, "X, once in the memory of the node", "c")
        for n in range(4):
            p.box(x + 20 + 82 * n, 50, 74, 40, "process", "bb")
            p.arrow((x + 57 + 82 * n, 130), (x + 57 + 82 * n, 92))
    p.arrow((350, 155), (408, 155), text="once")
    p.text(10, 238, "Memory for an X of 1 GB that eight processes of a node read (measured):", "b")
    for y, name, value in ((255, "daskhpc", ours), (300, "joblib with Dask", theirs)):
        p.text(150, y + 20, name, "e")
        p.box(160, y, 60 * value, 30, kind="bb" if name == "daskhpc" else "d")
        p.text(168 + 60 * value, y + 20, f"{value:g} GB")
    return p


def parallel_call() -> Picture:
    """The life of one call."""
    p = Picture(760, 300, "The life of one Parallel call")
    p.box(10, 10, 230, 280, kind="paper")
    p.text(25, 34, "client", "b")
    p.box(270, 10, 130, 280, kind="paper")
    p.text(285, 34, "scheduler", "b")
    p.box(430, 10, 320, 280, kind="paper")
    p.text(445, 34, "worker", "b")
    p.box(25, 50, 200, 44, "Parallel()(delayed(f)(x))", "a")
    p.box(25, 122, 200, 44, "in the checkpoint?", "c")
    p.box(25, 226, 200, 44, "saved, then given back", "c")
    p.box(285, 122, 100, 44, "one task", "paper")
    p.box(445, 122, 100, 44, "slot", "bb")
    p.box(600, 122, 135, 44, "child process\nf(x)", "bb")
    p.box(445, 50, 290, 44, "X, once in the node's memory", "c")
    p.arrow((125, 94), (125, 120))
    p.arrow((225, 144), (283, 144), text="no")
    p.arrow((385, 144), (443, 144))
    p.arrow((545, 144), (598, 144))
    p.arrow((667, 94), (667, 120))
    p.arrow((110, 166), (110, 224), text="")
    p.text(118, 200, "yes: read it", "s")
    p.arrow((667, 166), (667, 248), (227, 248))
    p.text(540, 240, "result", "s")
    return p


def search_timeline() -> Picture:
    """A search that needed several runs of one job: the numbers of a real one, which record_search.py wrote down."""
    recorded = json.loads((HERE / "search-timeline.json").read_text())
    runs, times = recorded["runs"], recorded["results"]
    margin = Settings.resolve({}, config={}).time_margin
    p = Picture(760, 300, "A search over several runs of a job")
    p.text(
        10, 22, f"A search of {len(times)} fits in a job of three minutes; the margin is {margin:g} s (measured)", "b"
    )
    left, bottom, height = 50, 260, 120
    scale = 690 / runs[-1]["ended"]
    before = 0
    for number, run in enumerate(runs, 1):
        x, end = left + scale * run["began"], left + scale * run["ended"]
        new = sum(run["began"] <= time <= run["ended"] for time in times)
        p.box(x, 40, end - x, 44, f"run {number}: {new} new", "bb")
        p.text((x + end) / 2, 102, f"{before} read" if before else "", "m s")
        p.text((x + end) / 2, 120, f"exit code {run['code']}", "m s")
        p.line(end, 40, end, bottom, "dash")
        before += new
    points = [(left + scale * time, bottom - height * count / len(times)) for count, time in enumerate(times, 1)]
    p.curve((left, bottom), *points)
    p.line(left, bottom, 745, bottom)
    p.line(left, bottom, left, bottom - height)
    p.text(left - 6, bottom - height + 5, f"{len(times)}", "e s")
    p.text(left - 6, bottom, "0", "e s")
    p.text(left + 8, bottom - height + 24, "results in the checkpoint", "s")
    for seconds in range(0, int(runs[-1]["ended"]), 30):
        p.text(left + scale * seconds, bottom + 18, f"{seconds} s", "m s")
    return p


def endings() -> Picture:
    """Who notices a death, and who ends whom."""
    p = Picture(760, 310, "How a job ends")
    p.box(300, 20, 170, 60, "rank 0: scheduler", "c")
    p.box(40, 140, 170, 60, "rank 1: client", "a")
    p.box(300, 140, 170, 60, "rank 2: worker\nkilled", "d")
    p.box(550, 140, 170, 60, "rank 3: worker", "bb")
    p.line(125, 140, 330, 80)
    p.line(385, 140, 385, 80, "dash")
    p.line(635, 140, 440, 80)
    p.text(393, 108, "1. socket", "s b")
    p.text(393, 124, "closes", "s b")
    p.text(480, 45, "2. prints rank, host and cause", "s b")
    p.text(150, 95, "3. ends", "s b")
    p.text(560, 95, "3. ends", "s b")
    p.text(10, 240, f"The whole job ends within 15 seconds, with exit code {EXIT_FAILED} or that of the signal.", "")
    p.text(10, 265, "A worker process (not its rank) that dies is started again, and the job goes on.", "")
    p.text(10, 290, "If rank 0 itself dies, every other rank sees its socket close, and ends itself.", "")
    return p


def threads() -> Picture:
    """Processes, threads and BLAS threads on a node of twelve cores."""
    p = Picture(760, 330, "Processes, threads and BLAS threads on twelve cores")
    rows = ((3, 4, 1, "good"), (1, 12, 1, "good"), (1, 12, 12, "12 threads for each core"))
    for row, (processes, count, blas, word) in enumerate(rows):
        y = 10 + 108 * row
        total = processes * count * blas
        p.text(10, y + 18, f"{processes} x {count} x {blas} = {total} threads: {word}", "b")
        width = 732 / processes
        for n in range(processes):
            p.box(14 + n * width, y + 30, width - 8, 62, kind="bb" if total <= 12 else "d")
            for t in range(count):
                x = 22 + n * width + t * (width - 24) / count
                if blas == 1:
                    p.box(x, y + 42, (width - 24) / count - 6, 38, kind="paper")
                else:
                    for k in range(blas):
                        p.box(x + 4.4 * k, y + 42, 3.6, 38, kind="paper")
    return p


def which_function() -> Picture:
    """Questions that lead to a function."""
    p = Picture(760, 400, "Which function do I need?")
    rows = (
        ("parameters of a scikit-learn estimator?", "GridSearchCV, RandomizedSearchCV"),
        ("a function of mine, many parameters?", "sweep: one table"),
        ("a loop of independent steps?", "Parallel(n_jobs=-1)"),
        ("data larger than the memory of a node?", "arrays, frames, cubes, ParallelPostFit"),
        ("one PyTorch model, many nodes?", "ddp.train"),
    )
    for number, (question, answer) in enumerate(rows):
        y = 10 + 66 * number
        p.box(10, y, 340, 44, question, "a")
        p.box(430, y, 320, 44, answer, "bb")
        p.arrow((350, y + 22), (428, y + 22), text="yes")
        p.arrow((60, y + 44), (60, y + 65))
        p.text(70, y + 62, "no", "s")
    p.box(10, 340, 340, 44, "parts that exchange data in each step: MPI", "c")
    return p


def checkpoint_folder() -> Picture:
    """What lies in a checkpoint folder."""
    p = Picture(760, 290, "A checkpoint folder")
    p.box(10, 10, 740, 270, kind="paper")
    p.text(25, 36, "results/", "b")
    p.box(30, 50, 220, 60, "journal.json\nwhat the work is, seed", "a")
    p.box(30, 140, 220, 120, kind="bb")
    p.text(140, 164, "segments/", "m b")
    p.box(45, 176, 190, 32, "run 1: a line per result", "paper")
    p.box(45, 216, 190, 32, "run 2: a line per result", "paper")
    p.box(300, 140, 200, 60, "payloads/\nlarge values, one file each", "c")
    p.arrow((235, 192), (298, 172))
    p.text(300, 72, "written once; a run with other data is refused", "s")
    p.text(300, 232, "Each process writes one segment. Lines are only added,", "s")
    p.text(300, 252, "each with a checksum. So there are no locks, and a kill", "s")
    p.text(300, 272, "loses at most the line that was being written.", "s")
    return p


def doors() -> Picture:
    """Which connections of a job are closed to others, and which are not."""
    p = Picture(760, 380, "The doors of a run")
    for x, name in ((210, "node1"), (505, "node2")):
        p.box(x, 10, 245, 290, kind="paper")
        p.text(x + 15, 34, name, "b")
    p.box(230, 50, 205, 54, "scheduler\nand dashboard", "c")
    p.box(525, 50, 205, 54, "client\nyour program", "a")
    for x in (230, 525):
        p.box(x, 160, 205, 54, "workers", "bb")
        p.box(x, 242, 205, 44, "folders 0700, files 0600", "c")
    p.arrow((435, 77), (523, 77), text="TLS")
    p.arrow((435, 187), (523, 187), text="TLS")
    p.arrow((332, 104), (332, 158))
    p.text(340, 136, "TLS", "s")
    p.arrow((428, 104), (535, 158))
    p.box(10, 50, 130, 54, "your laptop\nbrowser", "a")
    p.arrow((140, 77), (228, 77), text="ssh")
    p.text(175, 96, "secret", "m s")
    p.box(10, 170, 130, 54, "another user\nof the node", "d")
    p.arrow((140, 187), (206, 187), kind="dash")
    p.arrow((140, 210), (170, 264), (206, 264), kind="dash")
    p.text(75, 246, "no answer,", "m s")
    p.text(75, 263, "no file", "m s")
    p.line(332, 214, 332, 230, "dash")
    p.line(332, 230, 628, 230, "dash")
    p.line(628, 230, 628, 214, "dash")
    p.text(480, 326, "dashed between workers: MPI, NCCL and torch's store, not encrypted", "m s")
    p.text(480, 350, "root of a node and your own other jobs can read everything", "m s")
    return p


def _measured(pattern: str) -> tuple[float, ...]:
    text = (HERE.parent / "benchmarks.md").read_text()
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"docs/benchmarks.md has no measurement {pattern!r}")
    return tuple(float(value) for value in found.groups())


PICTURES = (
    roles,
    data_once,
    parallel_call,
    search_timeline,
    endings,
    threads,
    which_function,
    checkpoint_folder,
    doors,
)


def texts() -> dict[str, str]:
    """The text of each file, by its name."""
    return {f"{draw.__name__.replace('_', '-')}.svg": draw().svg() for draw in PICTURES}


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(text)
