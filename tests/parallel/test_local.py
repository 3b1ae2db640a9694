"""Threads of the client's own process: when the cluster pays, and what becomes of calls here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import joblib
import pytest

from daskhpc.parallel.backend import DaskhpcBackend, _Use
from daskhpc.parallel.call_queue import Call
from daskhpc.parallel.local import DaemonThreads, LocalThreads, pays
from daskhpc.parallel.progress import Progress
from daskhpc.parallel.result_delivery import ResultDelivery

MB = 10**6


@pytest.mark.parametrize(
    ("remaining", "threads", "slots", "nbytes", "there"),
    [
        (0.0, 1, 100, 0, False),
        (0.3, 1, 100, 0, False),
        (2.0, 1, 100, 0, True),
        (2.0, 8, 100, 0, False),
        (100.0, 8, 16, 0, True),
        (100.0, 8, 16, 1500 * MB, True),
        (100.0, 8, 16, 3000 * MB, False),
        (10_000.0, 8, 16, 3000 * MB, True),
        (10_000.0, 8, 8, 0, False),
        (10_000.0, 16, 8, 0, False),
    ],
)
def test_when_the_cluster_pays(remaining: float, threads: int, slots: int, nbytes: int, there: bool) -> None:
    assert pays(remaining, threads, slots, nbytes) is there


def call(function: Any, *args: Any, **kwargs: Any) -> Call:
    return Call(None, function, args, kwargs)


def outcomes(local: LocalThreads, *calls: Call) -> list[Any]:
    async def make() -> list[Any]:
        local.free -= len(calls)
        return await asyncio.wait_for(asyncio.gather(*map(local.run, calls)), 30)

    return asyncio.run(make())


def test_a_call() -> None:
    local = LocalThreads(2)
    ((ok, value, seconds),) = outcomes(local, call(int, "11", base=2))
    assert (ok, value) == (True, 3)
    assert seconds >= 0
    assert local.free == 2


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(1), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_error_is_an_outcome(error: BaseException) -> None:
    def fail() -> None:
        raise error

    local = LocalThreads(2)
    ((ok, value, _),) = outcomes(local, call(fail))
    assert not ok
    assert value is error
    assert local.free == 2


def test_calls_run_at_once() -> None:
    together = threading.Barrier(3)
    found = outcomes(LocalThreads(3), *(call(together.wait, 30) for _ in range(3)))
    assert sorted(value for _, value, _ in found) == [0, 1, 2]


def test_calls_inside_run_in_sequence() -> None:
    def inside() -> tuple[int, set[str]]:
        names = joblib.Parallel(n_jobs=4)(joblib.delayed(lambda: threading.current_thread().name)() for _ in range(4))
        return joblib.effective_n_jobs(-1), set(names)

    ((ok, value, _),) = outcomes(LocalThreads(1), call(inside))
    assert ok
    assert value[0] == 1
    assert len(value[1]) == 1


@pytest.mark.parametrize("threads", ["LocalEngine(1, None, {})._executor", "LocalThreads(2)._executor"])
def test_no_program_waits_for_its_calls_when_it_ends(threads: str) -> None:
    code = f"""
import threading
from daskhpc.parallel.local import LocalEngine, LocalThreads
begun = threading.Event()
threads = {threads}
threads.submit(lambda: (begun.set(), threading.Event().wait()))
assert begun.wait(60)
print("end")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_what_has_not_begun_when_threads_are_shut_down_never_does() -> None:
    begun, go, ends = threading.Event(), threading.Event(), threading.Event()
    threads = DaemonThreads(1)
    first = threads.submit(lambda: begun.set() or go.wait(30))
    second = threads.submit(ends.set)
    assert begun.wait(30)
    threads.shutdown()
    go.set()
    assert first.result(30)
    assert not second.done()
    assert not ends.is_set()


class AbortedEngine:
    """An engine whose Parallel is aborted, in another thread, while it takes calls."""

    def __init__(self, use: Any) -> None:
        self.use, self.closed, self.delivery = use, False, ResultDelivery(Progress())

    def add(self, *args: Any) -> None:
        self.use.run = None
        raise RuntimeError("the processes were ended")


def test_calls_that_come_while_their_parallel_is_aborted() -> None:
    """joblib's thread makes them, which must go on: it prints what is raised there."""
    backend, told = DaskhpcBackend(), threading.Event()

    def callback(batch: Any) -> None:
        told.set()

    parallel: Any = SimpleNamespace()
    vars(callback)["parallel"] = parallel
    use = backend._uses[id(parallel)] = _Use(parallel, None, {})
    use.run = AbortedEngine(use)  # type: ignore[assignment]
    batch = backend.submit(SimpleNamespace(items=[(abs, (-1,), {})]), callback)
    assert told.wait(60)
    with pytest.raises(RuntimeError, match="were ended"):
        batch.get()
