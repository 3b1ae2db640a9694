"""A Parallel inside a call: in threads of the call's process, never more at once than the call may use."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import joblib
import pytest
from joblib import Parallel, delayed, parallel_config
from waiting import until

from daskhpc.parallel.nested import NestedBackend

SECONDS = 60


@contextlib.contextmanager
def call(threads: int) -> Iterator[NestedBackend]:
    """What is set around a call."""
    backend = NestedBackend(threads, nesting_level=1)
    with parallel_config(backend=backend):
        yield backend


class Gauge:
    """Counts what runs at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def _name() -> str:
    time.sleep(0.001)
    return threading.current_thread().name


@pytest.mark.parametrize(
    ("n_jobs", "threads"), [(None, 1), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4), (-1, 4), (-2, 3), (-9, 1)]
)
def test_n_jobs(n_jobs: int | None, threads: int) -> None:
    with call(4):
        assert joblib.effective_n_jobs(n_jobs) == threads
        names = Parallel(n_jobs=n_jobs)(delayed(_name)() for _ in range(40))
    assert 1 <= len(set(names)) <= threads
    assert (set(names) == {threading.current_thread().name}) == (threads == 1)


def test_n_jobs_zero() -> None:
    with call(4), pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(abs)(i) for i in range(3))


@pytest.mark.parametrize("n_jobs", [-1, 1, 8])
def test_a_call_of_one_thread_has_one(n_jobs: int) -> None:
    with call(1):
        assert joblib.effective_n_jobs(n_jobs) == 1
        assert set(Parallel(n_jobs=n_jobs)(delayed(_name)() for _ in range(3))) == {threading.current_thread().name}


def test_nested_calls_run_at_once() -> None:
    barrier = threading.Barrier(3)
    with call(3):
        assert sorted(Parallel(n_jobs=-1)(delayed(barrier.wait)(SECONDS) for _ in range(3))) == [0, 1, 2]


def test_deeper_calls_run_in_sequence() -> None:
    def deeper() -> set[str]:
        return set(Parallel(n_jobs=-1)(delayed(_name)() for _ in range(3)))

    with call(4):
        found = Parallel(n_jobs=2)(delayed(deeper)() for _ in range(4))
    assert all(len(names) == 1 for names in found)


@pytest.mark.parametrize("seed", range(2))
def test_never_more_than_there_are(seed: int) -> None:
    """Nested calls, some of which fail, at random."""
    choose, gauge = random.Random(seed), Gauge()

    def leaf(fails: bool) -> None:
        with gauge:
            time.sleep(0.0005)
            if fails:
                raise ValueError("planned")

    with call(4):
        for _ in range(12):
            n_jobs, fail = choose.choice([-1, 1, 2, 3, 8, -2]), choose.random() < 0.3
            with pytest.raises(ValueError, match="planned") if fail else contextlib.nullcontext():
                Parallel(n_jobs=n_jobs)(delayed(leaf)(fail and i == 3) for i in range(6))
    assert 1 < gauge.most <= 4


@pytest.mark.parametrize(
    ("prefer", "require"),
    [("threads", None), ("processes", None), (None, None), ("threads", "sharedmem"), (None, "sharedmem")],
)
def test_preferences_stay_in_the_process(prefer: str | None, require: str | None) -> None:
    box = list[int]()
    with call(3):
        Parallel(n_jobs=-1, prefer=prefer, require=require)(delayed(box.append)(i) for i in range(9))
    assert sorted(box) == list(range(9))


def test_a_managed_parallel_goes_on_after_an_error() -> None:
    with call(4), Parallel(n_jobs=3) as parallel:
        for _ in range(2):
            assert parallel(delayed(abs)(i) for i in range(5)) == list(range(5))
            with pytest.raises(ZeroDivisionError):
                parallel(delayed(divmod)(1, i) for i in range(5))


def test_two_parallels_of_one_call() -> None:
    with call(4), Parallel(n_jobs=2) as outer:
        outer(delayed(abs)(i) for i in range(3))
        with Parallel(n_jobs=2) as inner:
            assert inner(delayed(abs)(i) for i in range(3)) == list(range(3))
        assert outer(delayed(abs)(i) for i in range(5)) == list(range(5))


def test_generators() -> None:
    with call(4):
        results = Parallel(n_jobs=3, return_as="generator")(delayed(abs)(i) for i in range(20))
        assert list(results) == list(range(20))


def test_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    with call(4):
        for _ in range(5):
            Parallel(n_jobs=-1)(delayed(abs)(i) for i in range(9))

    def of_pools() -> list[threading.Thread]:
        """Those that are new; a cluster of another test may start others."""
        return [t for t in set(threading.enumerate()) - before if "(worker)" in t.name or "(_handle" in t.name]

    until(lambda: not of_pools(), SECONDS)  # joblib does not wait for the threads of a pool that it ends


def test_nothing_of_it_outside() -> None:
    def active() -> Any:
        return joblib.parallel.get_active_backend()

    with parallel_config(backend="threading", n_jobs=3):
        before = active()
        with call(2) as backend:
            assert active()[0] is backend
        assert active() == before
