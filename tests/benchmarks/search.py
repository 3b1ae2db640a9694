"""Search engines on the same worker processes, beside the serial time: daskhpc, loky, joblib's Dask backend, dask-ml,
ipyparallel and Ray.

Each engine runs in a process of its own, one at a time, and is warmed with a small search; every round goes through all
engines, and measures serial scikit-learn beside each, since the machine drifts. Nothing else may run on the
machine meanwhile. Prints the tables of docs/benchmarks.md, and writes them there with --write:

    make benchmark-search
"""

from __future__ import annotations

import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))  # before NumPy is imported, here and in all that is started

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import queue  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import psutil  # noqa: E402
from engines import ENGINES, orphans_come_here  # noqa: E402
from workloads import CALIBRATED, WORKLOADS, calibrate  # noqa: E402

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- search engines: begin -->", "<!-- search engines: end -->"
VERSIONS = ("scikit-learn", "numpy", "daskhpc", "joblib", "distributed", "dask-ml", "ipyparallel", "ray")
LEAST_MEMORY = 0.08  # of the machine's; an engine that leaves less is ended

Row = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), metavar="ENGINE")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="small work, to see that every engine runs")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one engine on one workload")
    parser.add_argument("--write", action="store_true", help=f"replace the tables in {PAGE.name}")
    given = parser.parse_args()
    if given.quick and given.write:
        parser.error("a quick run is no measurement to write down")
    given.rounds = given.rounds or (1 if given.quick else 3)
    return given


def chosen_samples(workloads: list[str]) -> dict[str, int]:
    """Sizes of the data at which fits take the wanted time on this machine."""
    samples = {}
    for name in workloads:
        if name in CALIBRATED:
            samples[name], taken = calibrate(name)
            say(f"{name}: {samples[name]} samples, {taken:.2f} ms a fit")
    return samples


def rows_of(engine: str, names: list[str], samples: dict[str, int], given: argparse.Namespace) -> Iterator[Row]:
    """Measure an engine; after a workload that it does not survive, it is started again for the next."""
    left = list(names)
    while left:
        task = {
            "engine": engine,
            "workers": WORKLOADS[left[0]].workers,
            "workloads": list(left),
            "samples": samples,
            "quick": given.quick,
        }
        for row in answers(task, given.limit):
            left.remove(row["workload"])
            yield row


def answers(task: dict[str, Any], limit: float) -> Iterator[Row]:
    """The rows that a process gives; the last one says why where it ends before its work does."""
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as folder:
        places = {"TMPDIR": folder, "RAY_TMPDIR": folder, "IPYTHONDIR": folder, "PYTHONPATH": str(HERE)}
        log = Path(folder, "log")
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "engines", json.dumps(task)],
                env={**os.environ, **places, "RAY_USAGE_STATS_ENABLED": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                text=True,
            )
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=pass_lines, args=(process, lines), daemon=True).start()
        left = list(task["workloads"])
        try:
            while left and (line := next_line(lines, limit)):
                yield json.loads(line)
                left.pop(0)
            reason = f"the process ended: {last_line(log)}"
            wait_for_end(process)
        except Ended as error:
            reason = str(error)
        finally:
            end_all()
        if left:
            yield {"engine": task["engine"], "workload": left[0], "reason": reason}


class Ended(Exception):
    """Why an engine is not waited for any longer."""


def next_line(lines: queue.Queue[str], limit: float) -> str:
    """The next line within the limit, as long as the machine has memory left."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            return lines.get(timeout=0.5)
        memory = psutil.virtual_memory()
        if memory.available < LEAST_MEMORY * memory.total:
            raise Ended(f"ended, as it left less than {LEAST_MEMORY:.0%} of {memory.total / 1e9:.0f} GB of memory")
    raise Ended(f"no result within {limit:.0f} s")


def pass_lines(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Pass on what a process prints, and an empty line when it ends."""
    assert process.stdout
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def wait_for_end(process: subprocess.Popen[str]) -> None:
    """Let an engine close by itself, and what it started clean up."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    psutil.wait_procs(psutil.Process().children(recursive=True), timeout=5)


def end_all() -> None:
    """End every process that this one has started, directly or not."""
    left = psutil.Process().children(recursive=True)
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                stop(process)
        psutil.wait_procs(left, timeout=10)
        left = psutil.Process().children(recursive=True)


def last_line(log: Path) -> str:
    """The last line of a log, short enough for a table."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["without a word"]
    return lines[-1].replace("|", "/")[:160]


def tables(rows: list[Row], given: argparse.Namespace) -> str:
    """A section for each workload."""
    parts = [conditions(given)]
    for name in given.workloads:
        mine = [row for row in rows if row["workload"] == name]
        texts = [f"{row['text']}{fit_time(mine)}." for row in mine if "text" in row]
        parts += [f"### {name}", *texts[:1], table(name, mine), *machine(mine)]
    return "\n\n".join(parts)


def conditions(given: argparse.Namespace) -> str:
    """The machine, the versions and the way of measuring."""
    packages = ", ".join(f"{name} {version(name)}" for name in VERSIONS if installed(name))
    rounds = "one round" if given.rounds == 1 else f"the medians of {given.rounds} rounds"
    quick = " **A quick run on small work, no measurement.**" if given.quick else ""
    return (
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {packages}; {rounds}, "
        f"in each of them all engines, beside serial scikit-learn.{quick}"
    )


def installed(name: str) -> bool:
    """Whether a distribution is installed."""
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def fit_time(rows: list[Row]) -> str:
    """The serial time of a fit, from all rounds beside all engines."""
    times = [taken / row["fits"] for row in rows if "serial" in row for taken in row["serial"]]
    return f"; serially {statistics.median(times) * 1000:.3g} ms each"


def table(name: str, rows: list[Row]) -> str:
    """The figures of a workload, a row for each engine."""
    figure = "MB more" if WORKLOADS[name].for_memory else "wall / ideal"
    ideal = "" if WORKLOADS[name].for_memory else " ideal, s |"
    head = f"| engine | wall, s | serial, s |{ideal} {figure} | scores equal |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for row in rows:
        if "reason" in row:
            lines.append(f"| {row['engine']} | {row['reason']} |" + " |" * (head.count("|") - 3))
            continue
        wall, serial = statistics.median(row["wall"]), statistics.median(row["serial"])
        best = statistics.median(row["once"] or row["serial"]) / WORKLOADS[name].workers
        figures = f"{row['bytes'] / 1e6:.0f}" if WORKLOADS[name].for_memory else f"{best:.2f} | {wall / best:.2f}"
        lines.append(f"| {row['engine']} | {wall:.2f} | {serial:.2f} | {figures} | {verdict(row['differs'])} |")
    return "\n".join(lines)


def machine(rows: list[Row]) -> list[str]:
    """What two processes take that share nothing."""
    parts = []
    for row in rows:
        if row.get("apart"):
            apart, best = statistics.median(row["apart"]), statistics.median(row["once"] or row["serial"]) / 2
            parts.append(
                f"Two processes that make half of these fits each, and know nothing of each other: {apart:.2f} s "
                f"beside {row['engine']}'s {statistics.median(row['wall']):.2f} s, {apart / best:.2f} of the ideal."
            )
    return parts


def verdict(differs: dict[str, float]) -> str:
    """Whether the results are scikit-learn's; where not, what differs and by how much."""
    if not differs:
        return "yes"
    shown = [f"`{name}`" + (f" by {size:.1g}" if size == size else "") for name, size in list(differs.items())[:3]]
    return f"no: {', '.join(shown)}" + (f" and {len(differs) - 3} more" if len(differs) > 3 else "")


def around() -> tuple[str, str]:
    """The page up to the tables and from there on."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} must hold {BEGIN} and then {END}")
    return before + begin, end + after


def say(text: str) -> None:
    """Tell how far the run is."""
    print(text, file=sys.stderr, flush=True)


def both(one: Row, other: Row) -> Row:
    """Two rounds of an engine as one row; where one did not survive, that is what there is to say."""
    failed = next((row for row in (one, other) if "reason" in row), None)
    if failed is not None:
        return failed
    lists = {name: one[name] + other[name] for name in one if isinstance(one[name], list)}
    return {**one, **lists, "differs": {**one["differs"], **other["differs"]}}


def told(row: Row) -> str:
    """A row in a line, for the one who waits."""
    if "reason" in row:
        return f"{row['engine']}, {row['workload']}: {row['reason']}"
    times = {
        key: " ".join(f"{taken:.2f}" for taken in row[key]) for key in ("wall", "serial", "once", "apart") if row[key]
    }
    more = f", {row['bytes'] / 1e6:.0f} MB more" if "bytes" in row else ""
    return f"{row['engine']}, {row['workload']}: {', '.join(map(' '.join, times.items()))}{more}"


def main() -> None:
    given = arguments()
    if given.write:
        around()
    orphans_come_here()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    samples = chosen_samples(given.workloads)
    rows: dict[tuple[str, str], Row] = {}
    for _ in range(given.rounds):
        for engine in given.engines:
            for workers in sorted({WORKLOADS[name].workers for name in given.workloads}):
                names = [name for name in given.workloads if WORKLOADS[name].workers == workers]
                for row in rows_of(engine, names, samples, given):
                    place = (row["engine"], row["workload"])
                    rows[place] = both(rows[place], row) if place in rows else row
                    say(told(row))
    text = tables(list(rows.values()), given)
    print(text)
    if given.write:
        PAGE.write_text(f"\n\n{text}\n\n".join(around()))


if __name__ == "__main__":
    main()
