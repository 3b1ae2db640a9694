"""Near the time limit a program with a checkpoint ends, unfinished, and keeps what it did; any other is warned."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import pytest
from clusters import start_cluster
from ranks import Done, Ranks
from waiting import until

from daskhpc.cluster import timelimit
from daskhpc.cluster.timelimit import (
    SavedResults,
    TimeLimit,
    exit_code,
    last_message,
    limit_of,
    warning,
    watch_time_limit,
)
from daskhpc.journal.journal import Journal, open_journals
from daskhpc.journal.reader import JournalReader
from daskhpc.runtime.model import Sourced

THREAD = "daskhpc-timelimit"


@pytest.mark.parametrize(
    ("left", "margin", "found"),
    [
        (None, 90, None),
        (-5, 90, None),
        (0, 90, None),
        (3600, 90, 90),
        (91, 90, 90),
        (90, 90, 45),
        (40, 90, 20),
        (0.5, 90, 0.25),
    ],
)
def test_how_long_before_the_end(left: float | None, margin: float, found: float | None) -> None:
    now = 1_800_000_000.0
    limit = limit_of(Sourced(None if left is None else now + left, "x"), margin, now)
    assert (limit and limit.margin) == found


@pytest.mark.parametrize("margin", [0.1, 3.0, 90.0, 3600.0])
def test_what_is_waited_for_ends_within_the_margin(margin: float) -> None:
    limit = TimeLimit(0.0, margin)
    assert 0 < limit.grace <= min(30, limit.patience)
    assert limit.patience + 2 * limit.grace <= margin + 1e-9


def test_a_machine_that_stands_still_does_not_take_the_time_of_the_last_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = list[float]()  # in each of them the results come nearer, however long it is
    client = SimpleNamespace(status="running", asynchronous=False, run=None, sync=lambda *args, **kwargs: None)
    monkeypatch.setattr(timelimit, "open_clients", lambda: [client])
    monkeypatch.setattr(timelimit, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=moments.append))
    timelimit._drain_workers(10)
    assert max(moments) <= 0.1
    assert sum(moments) == pytest.approx(2)


def test_a_task_that_has_seceded_is_waited_for(tmp_path: Path) -> None:
    """As one does whose call has made a client of Dask."""

    def secede_and_wait(folder: Path) -> float:
        distributed.secede()
        (folder / "seceded").touch()
        end = time.monotonic() + 60
        while not (folder / "go on").exists() and time.monotonic() < end:
            time.sleep(0.01)
        return time.time()

    async def pause(dask_worker: Any) -> float:
        await timelimit._pause(60, dask_worker)
        return time.time()

    def status(dask_worker: Any) -> str:
        return str(dask_worker.status.name)

    with start_cluster(1) as cluster, distributed.Client(cluster) as client, ThreadPoolExecutor(1) as pool:
        task = client.submit(secede_and_wait, tmp_path)
        until((tmp_path / "seceded").exists)
        paused = pool.submit(client.run, pause)
        until(lambda: "paused" in client.run(status).values())
        (tmp_path / "go on").touch()
        (ended,) = paused.result(timeout=60).values()
        assert ended >= task.result(timeout=60)


def test_a_run_that_saved_nothing_is_not_to_be_made_again() -> None:
    assert [exit_code(SavedResults(("a",), saved)) for saved in (0, 1, 100)] == [70, 75, 75]


def test_the_last_message() -> None:
    limit = TimeLimit(1_800_000_000.0, 90)
    text = str(last_message(limit, SavedResults(("/a/b", "/c"), 1, 2)))
    assert re.match(r"The time limit is near \(\d\d:\d\d:\d\d\), .*exit code 75\.\n", text)
    assert "saved 1 result in /a/b, /c; 2 more results could not be saved" in text
    assert "submit it again" in text
    text = str(last_message(limit, SavedResults(("/a",), 0)))
    assert "saved nothing new" in text
    assert "--time" in text


def test_the_warning_of_a_program_that_runs_on() -> None:
    limit = TimeLimit(1_800_000_000.0, 90, "squeue")
    text = str(warning(limit, None, limit.end - 89.6))
    assert text.startswith("The time limit comes in 90 s, and nothing of this program is kept.")
    assert "squeue" in text
    assert "daskhpc run --checkpoint DIR" in text
    text = str(warning(limit, SavedResults(("/a",), 7), limit.end - 10))
    assert text.startswith("The time limit comes in 10 s.\n")
    assert "saved 7 results in /a" in text


def test_nothing_watches_where_nobody_tells_the_end() -> None:
    watch_time_limit(Sourced(None, "no scheduler"), 90.0)
    assert THREAD not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(("slept", "end"), [(60.0, 1000.0), (3000.0, 5000.0)])
def test_the_end_is_asked_again_after_a_suspension(slept: float, end: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = [0.0], list[float]()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += slept
        return len(waits) > 1

    monkeypatch.setattr(timelimit.time, "time", lambda: clock[0])
    watcher = object.__new__(timelimit.TimeLimitWatcher)
    watcher.limit, watcher.ask = TimeLimit(1000.0, 90.0, "x"), lambda: Sourced(5000.0, "squeue")
    watcher.over = SimpleNamespace(wait=wait)  # type: ignore[assignment]
    watcher._run()
    assert watcher.limit.end == end
    assert waits == [60.0, 60.0]


def test_the_end_is_asked_again_before_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was put off twice meanwhile, as by ``scontrol update TimeLimit=``; then it holds."""
    clock, ends = [0.0], iter([2000.0, 3000.0, 3000.0])
    said: list[float] = []

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        return False

    monkeypatch.setattr(timelimit.time, "time", lambda: clock[0])
    monkeypatch.setattr(timelimit, "say", lambda _: said.append(clock[0]))
    monkeypatch.setattr(timelimit, "open_journals", lambda: [])  # those of other tests in this process
    watcher = object.__new__(timelimit.TimeLimitWatcher)
    watcher.limit, watcher.ask = TimeLimit(1000.0, 90.0, "x"), lambda: Sourced(next(ends), "squeue")
    watcher.over = SimpleNamespace(wait=wait)  # type: ignore[assignment]
    watcher._run()
    assert said == [3000.0 - 90.0]


def test_the_journals_of_this_process_and_what_it_saved_in_them(tmp_path: Path) -> None:
    before = open_journals()
    with Journal.open(tmp_path / "a", "calls") as journal:
        assert open_journals() == [*before, journal]
        journal.note("call", 1)
        assert (journal.sync(100), journal.results_saved) == (True, 0)
        journal.append("0" * 32, True, 1, 0.1, "here", {})
        assert (journal.sync(100), journal.results_saved) == (True, 1)
        JournalReader(tmp_path / "a")
        assert open_journals() == [*before, journal]
    assert open_journals() == before


# Programs whose time is over soon: by the variables that Slurm sets, by a call, which may come late, by what was saved.
IN_A_JOB = """
    import os, threading, time
    import daskhpc

    os.environ |= {"SLURM_JOB_ID": "77", "SLURM_JOB_END_TIME": str(int(time.time()) + 125)}
    daskhpc.start(workers=1, dashboard=False, time_margin=115)
"""
STARTED = """
    import daskhpc

    daskhpc.start(workers=1, dashboard=False)
"""
WATCH = """
    import threading, time
    from daskhpc.cluster.timelimit import watch_time_limit
    from daskhpc.runtime.model import Sourced

    watch_time_limit(Sourced(time.time() + 19, "a test"), 18)
"""
WATCH_SWEEP = """
    import time
    from daskhpc.cluster.timelimit import TimeLimitWatcher
    from daskhpc.journal.journal import open_journals

    class WhenSaved:
        # The time limit is near as soon as some results are saved.
        margin, patience, grace, source = 18.0, 6.0, 6.0, "a test"

        @property
        def end(self):
            saved = any(journal.results_saved > 2 for journal in open_journals())
            return time.time() // 0.25 * 0.25 + self.margin + (-1 if saved else 0.5)

    TimeLimitWatcher(WhenSaved())
"""
SWEEP = """
    import os, time
    import daskhpc

    def work(seconds, number):
        time.sleep(seconds)
        log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, b".")
        os.close(log)
        return number

    def sweep(seconds):
        daskhpc.sweep(work, {"seconds": [seconds], "number": range(1000)}, checkpoint="kept")
"""
SAVE = """
    import time
    from daskhpc.parallel.checkpoints import opened

    journal = opened("kept", "calls")
    for number in range({count}):
        journal.append(f"{{number:032x}}", True, number, 0.1, "here", {{}})
    journal.sync(30)
"""
JOIN = f"""
    for thread in threading.enumerate():
        if thread.name == "{THREAD}":
            thread.join(120)
    print("done")
"""


@pytest.fixture
def run(ranks: Ranks) -> Callable[..., Done]:
    """Runs a program of these parts, each of which is dedented."""

    def run(*parts: str) -> Done:
        path = ranks.script("".join(map(textwrap.dedent, parts)))
        return ranks.run([sys.executable, str(path)], timeout=250)

    return run


def check_kept(done: Done, folder: Path) -> int:
    """What it said that it saved is there; how many results that is."""
    told = re.search(r"saved (\d+) results? in (.+)", done.err)
    assert told is not None, done.err
    assert told[2] == str(folder / "kept")
    results = len(JournalReader(folder / "kept"))
    assert 0 < int(told[1]) <= results < 1000
    assert len([m for m in done.messages if "time limit" in m]) == 1
    return results


def test_a_program_with_a_checkpoint_ends_unfinished(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run(
        STARTED, WATCH_SWEEP, SWEEP, "try:\n    sweep(0.02)\nfinally:\n    print('cleaned up')\nprint('not reached')\n"
    )
    assert (done.code, done.out) == (75, "cleaned up\n"), done.err
    assert check_kept(done, tmp_path) == len((tmp_path / "log").read_text()), "computed and not saved"


def test_a_program_that_swallows_its_end_is_ended(run: Callable[..., Done], tmp_path: Path) -> None:
    swallows = "try:\n    sweep(0.02)\nexcept BaseException as error:\n    print(repr(error))\n    time.sleep(600)\n"
    done = run(STARTED, WATCH_SWEEP, SWEEP, swallows)
    assert (done.code, done.out) == (75, "TimeLimitNear(75)\n"), done.err
    check_kept(done, tmp_path)


def test_an_end_that_is_dropped_comes_again(run: Callable[..., Done], tmp_path: Path) -> None:
    drops = "try:\n    time.sleep(600)\nexcept BaseException:\n    pass\ntime.sleep(600)\n"
    done = run(SAVE.format(count=5), WATCH, "import atexit\natexit.register(print, 'in order')\n", drops)
    assert (done.code, done.out) == (75, "in order\n"), done.err
    assert "Traceback" not in done.err
    assert check_kept(done, tmp_path) == 5


def test_a_program_whose_threads_outlive_it_is_ended(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run(SAVE.format(count=5), WATCH, "threading.Thread(target=time.sleep, args=(600,)).start()\n")
    assert done.code == 75, done.err
    assert check_kept(done, tmp_path) == 5


def test_a_program_that_saved_nothing_new_is_not_to_be_run_again(run: Callable[..., Done]) -> None:
    assert run(SAVE.format(count=5)).code == 0
    again = run(SAVE.format(count=0), WATCH, "time.sleep(600)\n")
    assert again.code == 70, again.err
    assert [m for m in again.messages if "saved nothing new" in m] == again.messages


def test_a_program_without_a_checkpoint_is_told_and_runs_on(run: Callable[..., Done]) -> None:
    done = run(IN_A_JOB, JOIN)
    assert (done.code, done.out) == (0, "done\n"), done.err
    (message,) = (m for m in done.messages if "time limit" in m)
    assert re.fullmatch(r"daskhpc: The time limit comes in \d+ s, and nothing of this program is kept\.", message)
    assert "SLURM_JOB_END_TIME" in done.err


def test_a_session_is_told_and_goes_on(run: Callable[..., Done]) -> None:
    done = run("import sys\nsys.ps1 = '>>> '\n", SAVE.format(count=2), WATCH, JOIN)
    assert (done.code, done.out) == (0, "done\n"), done.err
    assert "this session saved 2 results" in done.err


def test_a_limit_on_cpu_time_stays_one(run: Callable[..., Done]) -> None:
    done = run(WATCH, "import signal\nsignal.raise_signal(signal.SIGXCPU)\nprint('not reached')\n")
    assert (done.code, done.out) == (-signal.SIGXCPU, "")


def test_a_handler_of_the_program_is_left_alone(run: Callable[..., Done]) -> None:
    own = "import signal\nsignal.signal(signal.SIGXCPU, print)\n"
    done = run(own, WATCH, "assert signal.getsignal(signal.SIGXCPU) is print\n")
    assert done.code == 0, done.err
