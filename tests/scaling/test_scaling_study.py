"""Scaling studies on two real worker processes: who computes, what is kept, what the command writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import joblib
import pandas as pd
import pytest
from waiting import until

import daskhpc
from daskhpc.errors import DaskhpcError, SettingsError
from daskhpc.scaling_study import measuring
from daskhpc.scaling_study.__main__ import function_of, load, numbers
from daskhpc.scaling_study.kept_times import KeptTimes
from daskhpc.scaling_study.laws import Timing
from daskhpc.scaling_study.measuring import Bench
from daskhpc.scaling_study.plan import PLAIN, Turn
from daskhpc.scaling_study.result import ScalingStudy


def sleeping(count: int = 8) -> list[int]:
    """Calls that need no CPU, so that two workers are twice as fast on any machine."""
    return joblib.Parallel(n_jobs=-1, backend="daskhpc")(joblib.delayed(sleep)(i) for i in range(count))


def sleep(number: int) -> int:
    time.sleep(0.1)
    return number


def place(_: int) -> int:
    """The worker process that computes: of a joblib call the parent's parent."""
    time.sleep(0.05)
    return os.getpid()


def by_map() -> set[str]:
    from distributed import get_client

    return places(get_client())


def places(client: Any) -> set[str]:
    from distributed import get_worker

    return set(client.gather(client.map(lambda _: time.sleep(0.02) or get_worker().address, range(20), pure=False)))


def by_collection() -> set[str]:
    from distributed import get_worker

    one = dask.delayed(lambda _: time.sleep(0.02) or get_worker().address, pure=False)
    return set(dask.compute([one(i) for i in range(20)])[0])


def nested() -> set[str]:
    from distributed import get_client, worker_client

    def task() -> set[str]:
        with worker_client() as client:
            return places(client)

    return get_client().submit(task, pure=False).result()


def by_parallel() -> set[int]:
    found = joblib.Parallel(n_jobs=-1, backend="daskhpc")(joblib.delayed(place)(i) for i in range(20))
    return set(found) - {os.getpid()}  # the client may begin with the first ones itself


@pytest.mark.parametrize("work", [by_map, by_collection, nested, by_parallel])
def test_only_those_that_take_part_compute(client: Any, work: Callable[[], set[Any]]) -> None:
    until(lambda: len(work()) == 2, 100)  # both workers have a process for calls, which starts for about a second
    bench = Bench(client, "compact")
    with bench.open():
        first = bench.time(1, work)[1]
        # A worker that stands still for a moment has no task before the other one has made them all.
        until(lambda: len(bench.time(2, work)[1]) == 2, 100)
        found = bench.time(1, work)[1]
    until(lambda: len(work()) == 2, 100)
    assert (len(first), len(found)) == (1, 1)
    if work is not by_parallel:
        assert first == found == {bench.workers()[0].address}


def test_all_workers_work_again_after_an_error(client: Any) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        daskhpc.scaling(fails, [1], scheduler=client, plain=False)
    until(lambda: len(by_map()) == 2, 100)


def test_a_study(client: Any, tmp_path: Path) -> None:
    told: list[str] = []
    study = daskhpc.scaling(sleeping, repeats=2, plain=lambda: list(range(8)), on_time=told.append)
    assert len(told) == 6
    first, second = study.rows
    assert (first.workers, second.workers) == (1, 2)
    assert first.lowest > 0.8
    assert second.lowest > 0.4  # eight calls of 0.1 s: never more than two at once
    assert study.equal_results
    assert study.fit is not None
    files = study.save(tmp_path / "made")
    assert [path.name for path in files[:3]] == ["scaling.csv", "scaling.json", "scaling.txt"]
    table = pd.read_csv(files[0])
    assert list(table.workers) == [0, 1, 2]
    assert table.seconds[1] == pytest.approx(first.seconds)
    raw = json.loads(files[1].read_text())
    assert [len(point["timings"]) for point in raw["points"]] == [2, 2]
    assert files[2].read_text() == f"{study}\n"
    assert {path.suffix for path in files[3:]} == {".png", ".svg"}


def test_a_time_is_never_measured_twice(client: Any, tmp_path: Path) -> None:
    made = Counter[str]()
    where = {"folder": tmp_path / "kept"}

    class Stop(Exception):
        pass

    def stop_after_three(text: str) -> None:
        made["times"] += 1
        if made["times"] == 3:
            raise Stop

    with pytest.raises(Stop):
        daskhpc.scaling(
            sleep_once, [1, 2], repeats=2, plain=False, checkpoint=where["folder"], on_time=stop_after_three
        )
    study = daskhpc.scaling(
        sleep_once, [1, 2], repeats=2, plain=False, checkpoint=where["folder"], on_time=stop_after_three
    )
    assert made["times"] == 4
    assert [len(point.timings) for point in study.points] == [2, 2]
    again = daskhpc.scaling(
        sleep_once, [1, 2], repeats=2, plain=False, checkpoint=where["folder"], on_time=stop_after_three
    )
    assert made["times"] == 4
    assert again.points == study.points
    with pytest.raises(DaskhpcError, match="is of other work"):
        daskhpc.scaling(by_map, [1, 2], repeats=2, plain=False, checkpoint=where["folder"])


def test_a_kept_time_of_plain_python_is_that_of_its_function(tmp_path: Path) -> None:
    """``--plain NAME`` after a study without it, or with another name."""
    for plain, seconds in ((None, 1.0), (sleep_once, 2.0), (by_map, 3.0)):
        with KeptTimes.open(tmp_path, sleeping, False, "compact", {}, plain) as kept:
            assert kept.times == ({} if plain is None else {Turn(1, 0): Timing(1.0)})
            assert kept.calls_per_time(PLAIN, int(seconds)) == seconds
            kept.add(Turn(PLAIN, 0), Timing(seconds), None)
            kept.add(Turn(1, 0), Timing(1.0), None)
    with KeptTimes.open(tmp_path, sleeping, False, "compact", {}, sleep_once) as kept:
        assert kept.times[Turn(PLAIN, 0)].seconds == 2.0
        assert kept.calls_per_time(PLAIN, 7) == 2
    with KeptTimes.open(tmp_path, sleeping, False, "compact", {}) as kept:
        assert kept.times[Turn(PLAIN, 0)].seconds == 1.0


def test_a_kept_time_of_plain_python_counts_only_if_it_is_asked_for(tmp_path: Path) -> None:
    with KeptTimes.open(tmp_path, sleeping, False, "compact", {}) as kept:
        kept.add(Turn(PLAIN, 0), Timing(2.0), None)
        kept.add(Turn(1, 0), Timing(1.0), None)
        for numbers, plain in (([PLAIN, 1], (2.0,)), ([1], ())):
            study = ScalingStudy.of(kept, numbers, 1, False, [], {})
            assert (study.plain, [point.workers for point in study.points]) == (plain, [1])


def sleep_once() -> int:
    time.sleep(0.6)
    return 1


def test_short_calls_are_repeated_and_weak_scaling_gets_the_number(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[int] = []
    # By a clock on which each call takes an eighth of a second, as hardly a call does on a busy machine.
    clock = SimpleNamespace(perf_counter=lambda: len(got) / 8, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(measuring, "time", clock)
    study = daskhpc.scaling(got.append, [1, 2], repeats=1, weak=True, plain=False)
    assert Counter(got) == {1: 5, 2: 5}  # the warm-up, and four for half a second
    assert study.rows[1].efficiency == 1
    assert study.fit is None


def test_plain_python_is_one_thread_without_the_cluster(client: Any) -> None:
    def threads_of_calls() -> int:
        pids = joblib.Parallel(n_jobs=-1)(joblib.delayed(os.getpid)() for _ in range(4))
        pids += dask.compute(*[dask.delayed(threading.get_ident)() for _ in range(2)])
        assert set(pids) <= {os.getpid(), threading.get_ident()}
        return 1

    bench = Bench(client, "compact")
    with bench.open():
        timing, value = bench.time(0, threads_of_calls)
        assert value == 1
        assert timing is not None
        assert bench.time(0, by_map)[0] is None, "it used the cluster itself"


def test_results_that_differ(client: Any) -> None:
    drawn = iter(range(100))
    study = daskhpc.scaling(lambda: time.sleep(0.5) or next(drawn), [1], repeats=2, plain=False)
    assert not study.equal_results
    assert "Give it a seed" in str(study)


def test_what_cannot_be_measured(client: Any) -> None:
    for arguments, words in (
        ({"workers": [3]}, "the cluster has 2"),
        ({"repeats": 0}, "repeats=5"),
        ({"placement": "far"}, "placement='spread'"),
    ):
        with pytest.raises(SettingsError, match=words):
            daskhpc.scaling(sleep_once, **arguments)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="without parentheses"):
        daskhpc.scaling(3)  # type: ignore[arg-type]


PROGRAM = """
import sys, time, joblib
from helper import sleep

def estimate():
    return sum(joblib.Parallel(n_jobs=-1)(joblib.delayed(sleep)(i, float(sys.argv[1])) for i in range(8)))

if __name__ == "__main__":
    raise SystemExit("run, not imported")
"""
HELPER = "import time\n\ndef sleep(i, seconds):\n    time.sleep(seconds)\n    return i\n"


def test_a_function_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_for_scaling.py").write_text("def estimate():\n    return 4\n")
    monkeypatch.setattr(sys, "argv", [])
    module = load(tmp_path / "made_for_scaling.py", ["9"])
    assert sys.argv[1:] == ["9"]
    assert function_of(module, "estimate")() == 4
    with pytest.raises(SettingsError, match=r"daskhpc scaling made_for_scaling.py:estimate"):
        function_of(module, "guess")
    with pytest.raises(SettingsError, match="--counts 1,2,4"):
        numbers("1;2")


def test_the_command(tmp_path: Path) -> None:
    """A file in another folder, with a module beside it; started again, it measures nothing."""
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs/pi.py").write_text(PROGRAM)
    (tmp_path / "programs/helper.py").write_text(HELPER)
    line = [sys.executable, "-m", "daskhpc", "scaling", "-n", "2", "--repeats", "1", "programs/pi.py:estimate", "0.1"]

    def run(*words: str) -> Any:
        return subprocess.run([*words], cwd=tmp_path, capture_output=True, text=True, timeout=200)

    first = run(*line)
    assert first.returncode == 0, first.stderr
    assert re.search("^Use (1 worker|2 workers)", first.stdout, re.MULTILINE), first.stdout
    assert "3 of 3: " in first.stderr
    second = run(*line)
    assert second.stdout == first.stdout
    assert "of 3: " not in second.stderr
    table = pd.read_csv(tmp_path / "scaling-estimate/scaling.csv")
    assert list(table.workers) == [0, 1, 2]
    assert run(*line[:4], "pi.py").returncode == 70
    assert run(*line[:4], "--checkpoint", "kept", line[-2]).returncode == 70
