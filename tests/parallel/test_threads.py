"""The threads of a worker process: never more at once than it has, and all of them back afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
import threadpoolctl
from joblib import Parallel, delayed, parallel_config

from daskhpc.parallel.threads import NestedBackend, WorkerThreads, threads_of

SECONDS = 30


class Worker:
    """As much of a Dask worker as is looked at."""

    def __init__(self, nthreads: int) -> None:
        self.state = SimpleNamespace(nthreads=nthreads)


class Gauge:
    """Counts what runs at once."""

    def __init__(self) -> None:
        self.now = self.most = self.total = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def together(*functions: Callable[[], object]) -> list[BaseException]:
    """Run functions in threads of their own; what they raised."""
    raised: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    return raised


def of(worker: Any) -> WorkerThreads:
    """What a worker has, from within one of its tasks."""
    backend, _ = joblib.parallel.get_active_backend()
    assert isinstance(backend, NestedBackend)
    return backend.threads


def test_taking_and_giving() -> None:
    threads = WorkerThreads(4)
    threads.one()
    assert threads.free == 3
    assert threads.more(2) == 2
    assert threads.more(5) == 1
    assert threads.more(5) == 0
    assert threads.more(-1) == 0
    threads.give(4)
    assert threads.free == 4


def test_one_waits_for_what_nested_calls_have() -> None:
    threads = WorkerThreads(2)
    threads.one()
    threads.more(1)
    got = threading.Event()

    def wait() -> None:
        threads.one()
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.05)
    threads.give(1)
    assert got.wait(SECONDS)
    thread.join(SECONDS)
    assert threads.free == 0


@pytest.mark.parametrize("seed", range(4))
def test_never_more_than_there_are(seed: int) -> None:
    """Tasks with nested calls, some of which fail, at random."""
    count = 4
    worker, gauge = Worker(count), Gauge()
    seen: list[WorkerThreads] = []

    def leaf(fails: bool) -> None:
        with gauge:
            time.sleep(0.0005)
            if fails:
                raise ValueError("planned")

    def tasks(start: int) -> None:
        choose = random.Random(start)
        for _ in range(12):
            with threads_of(worker):
                seen.append(of(worker))
                leaf(False)
                n_jobs, fail = choose.choice([-1, 1, 2, 3, 8, -2]), choose.random() < 0.3
                try:
                    Parallel(n_jobs=n_jobs)(delayed(leaf)(fail and i == 3) for i in range(6))
                except ValueError:
                    assert fail

    assert together(*(lambda i=i: tasks(seed * 100 + i) for i in range(count))) == []
    assert 1 < gauge.most <= count
    assert len({id(threads) for threads in seen}) == 1
    assert seen[0].free == count


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_gives_the_thread_back(error: type[BaseException]) -> None:
    worker, seen = Worker(2), []

    def task() -> None:
        with threads_of(worker):
            seen.append(of(worker))
            assert seen[0].free == 1
            raise error

    with pytest.raises(error):
        task()
    assert seen[0].free == 2


def test_an_error_on_the_way_in_gives_the_thread_back() -> None:
    worker = Worker(2)
    with threads_of(worker):
        threads = of(worker)
    with pytest.raises((TypeError, ValueError)), threads_of(worker, inner="many"):  # type: ignore[arg-type]
        pass
    assert threads.free == 2


def test_a_task_of_no_worker_has_one_thread() -> None:
    with threads_of(None):
        assert joblib.effective_n_jobs(-1) == 1
        assert Parallel(n_jobs=-1)(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("n_jobs", "threads"), [(None, 1), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4), (-1, 4), (-2, 3), (-9, 1)]
)
def test_n_jobs(n_jobs: int | None, threads: int) -> None:
    with threads_of(Worker(4)):
        assert joblib.effective_n_jobs(n_jobs) == threads
        names = Parallel(n_jobs=n_jobs)(delayed(_name)() for _ in range(40))
        assert 1 <= len(set(names)) <= threads
        assert of(None).free == 3


def _name() -> str:
    time.sleep(0.001)
    return threading.current_thread().name


def test_n_jobs_zero() -> None:
    with threads_of(Worker(4)), pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(abs)(i) for i in range(3))


def test_nested_calls_run_at_once() -> None:
    barrier = threading.Barrier(3)
    with threads_of(Worker(3)):
        assert sorted(Parallel(n_jobs=-1)(delayed(barrier.wait)(SECONDS) for _ in range(3))) == [0, 1, 2]


def test_deeper_calls_run_in_sequence() -> None:
    def deeper() -> set[str]:
        return set(Parallel(n_jobs=-1)(delayed(_name)() for _ in range(3)))

    with threads_of(Worker(4)):
        found = Parallel(n_jobs=2)(delayed(deeper)() for _ in range(4))
    assert all(len(names) == 1 for names in found)


@pytest.mark.parametrize(
    ("prefer", "require"),
    [("threads", None), ("processes", None), (None, None), ("threads", "sharedmem"), (None, "sharedmem")],
)
def test_preferences_stay_in_the_process(prefer: str | None, require: str | None) -> None:
    worker, box = Worker(3), list[int]()
    with threads_of(worker):
        Parallel(n_jobs=-1, prefer=prefer, require=require)(delayed(box.append)(i) for i in range(9))
        assert of(worker).free == 2
    assert sorted(box) == list(range(9))


def test_a_managed_parallel() -> None:
    worker = Worker(4)
    with threads_of(worker):
        threads = of(worker)
        with Parallel(n_jobs=3) as parallel:
            for _ in range(3):
                assert parallel(delayed(abs)(i) for i in range(5)) == list(range(5))
                assert threads.free == 1
        assert threads.free == 3


def test_a_managed_parallel_whose_call_fails() -> None:
    worker = Worker(4)
    with threads_of(worker):
        threads = of(worker)
        with Parallel(n_jobs=3) as parallel:
            with pytest.raises(ZeroDivisionError):
                parallel(delayed(divmod)(1, i) for i in range(5))
            assert parallel(delayed(abs)(i) for i in range(5)) == list(range(5))
            assert threads.free == 1
        assert threads.free == 3


def test_two_parallels_of_one_task() -> None:
    """What the inner one gives back is its own, not the outer one's."""
    worker = Worker(4)
    with threads_of(worker):
        threads = of(worker)
        with Parallel(n_jobs=2) as outer:
            outer(delayed(abs)(i) for i in range(3))
            assert threads.free == 2
            with Parallel(n_jobs=2) as inner:
                inner(delayed(abs)(i) for i in range(3))
                assert threads.free == 1
            assert threads.free == 2
            assert outer(delayed(abs)(i) for i in range(5)) == list(range(5))
        assert threads.free == 3


def test_generators() -> None:
    worker = Worker(4)
    with threads_of(worker):
        threads = of(worker)
        results = Parallel(n_jobs=3, return_as="generator")(delayed(abs)(i) for i in range(20))
        assert list(results) == list(range(20))
        assert threads.free == 3


def test_nothing_of_it_outside() -> None:
    with parallel_config(backend="threading", n_jobs=3):
        before = joblib.parallel.get_active_backend()
        with threads_of(Worker(2)):
            pass
        assert joblib.parallel.get_active_backend() == before


def test_workers_have_threads_of_their_own() -> None:
    one, two = Worker(2), Worker(3)
    with threads_of(one):
        first = of(one)
        assert together(lambda: _inside(two, lambda: of(two) is not first)) == []
        assert joblib.effective_n_jobs(-1) == 2


def _inside(worker: Any, check: Callable[[], bool]) -> None:
    with threads_of(worker):
        assert check()


def test_a_worker_that_comes_after_another() -> None:
    """Python gives the number of an object that is gone to the next one."""
    for count in (2, 4, 3, 5):
        worker = Worker(count)
        with threads_of(worker):
            assert joblib.effective_n_jobs(-1) == count
        del worker


# BLAS.


def blas() -> int:
    """Threads of NumPy's BLAS."""
    np.ones((2, 2)) @ np.ones((2, 2))
    found = [info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    if not found:
        pytest.skip("no BLAS that can be asked")
    return int(max(found))


def test_blas_threads() -> None:
    with threadpoolctl.threadpool_limits(1):
        with threads_of(Worker(2), inner=2):
            assert blas() == 2
        assert blas() == 1
        with threads_of(Worker(2)):
            assert blas() == 1


def test_blas_threads_while_tasks_come_and_go() -> None:
    """The first of two tasks that overlap ends first: the second keeps its cap."""
    with threadpoolctl.threadpool_limits(1):
        worker = Worker(2)
        first, second = ExitStack(), ExitStack()
        entered, left = threading.Event(), threading.Event()
        seen = []

        def other() -> None:
            second.enter_context(threads_of(worker, inner=2))
            entered.set()
            left.wait(SECONDS)
            seen.append(blas())
            second.close()

        first.enter_context(threads_of(worker, inner=2))
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(SECONDS)
        first.close()
        left.set()
        thread.join(SECONDS)
        assert seen == [2]
