"""What daskhpc needs of joblib beyond its public names is still there."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from joblib import Parallel, cpu_count, delayed
from joblib.parallel import LokyBackend, ParallelBackendBase, ThreadingBackend, parallel_config
from waiting import until

from daskhpc.compat.joblib import (
    call_of,
    dispatch,
    dispatch_rest,
    has_ended,
    is_aborting,
    is_exhausted,
    keep_one_ahead,
    keep_threads_of_processes,
    raise_early_error,
    threads_of_processes,
)


class Watching(ThreadingBackend):  # type: ignore[misc]
    """Notes what a Parallel is at each of the backend's calls."""

    def __init__(self, one_ahead: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.one_ahead = one_ahead
        self.seen: list[Any] = []

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        self.watched = parallel
        return int(super().configure(n_jobs, parallel, **options))

    def start_call(self) -> None:
        if self.one_ahead:
            keep_one_ahead(self.watched)

    def submit(self, func: Any, callback: Any = None) -> Any:
        self.seen.append(("submit", len(self.drawn)))
        return super().submit(func, callback)

    apply_async = submit

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self.seen.append(("abort", is_aborting(self.watched)))
        super().abort_everything(ensure_ready)

    def terminate(self) -> None:
        self.seen.append(("terminate", has_ended(self.watched)))
        super().terminate()

    drawn: list[int] = []  # noqa: RUF012

    def calls(self, n: int, function: Any = abs) -> Iterator[Any]:
        self.drawn = []
        for i in range(n):
            self.drawn.append(i)
            yield delayed(function)(i)


@pytest.mark.parametrize("one_ahead", [False, True])
def test_each_call_is_given_away_as_soon_as_it_is_made(one_ahead: bool) -> None:
    """If this fails, see how Parallel.dispatch_one_batch decides how many calls it takes from the caller's iterator."""
    backend = Watching(one_ahead)
    with parallel_config(backend=backend, n_jobs=4):
        Parallel(pre_dispatch="all", batch_size=1)(backend.calls(8))
    drawn = [count for name, count in backend.seen if name == "submit"]
    assert (drawn == [1, 2, 3, 4, 5, 6, 7, 8]) is one_ahead


class Ahead(Watching):
    """Lets calls be made before any result comes."""

    def __init__(self, most: float, go: threading.Event) -> None:
        super().__init__(one_ahead=True)
        self.most, self.go = most, go

    def retrieval_context(self) -> Any:
        self.seen.append(("before", is_exhausted(self.watched), len(self.drawn)))
        dispatch(self.watched, self.most)
        self.seen.append(("after", is_exhausted(self.watched), len(self.drawn)))
        self.go.set()
        return super().retrieval_context()


@pytest.mark.parametrize(("most", "drawn"), [(5, 9), (math.inf, 50)])
def test_more_calls_are_made_than_joblib_makes_at_once(most: float, drawn: int) -> None:
    """If this fails, see where Parallel keeps the iterator that it has not used up, and the lock around it."""
    go = threading.Event()
    backend = Ahead(most, go)
    with parallel_config(backend=backend, n_jobs=2):
        results = Parallel(pre_dispatch=4, batch_size=1)(backend.calls(50, lambda i: i if go.wait(100) else -1))
    assert results == [*range(50)]
    assert ("before", False, 4) in backend.seen
    assert ("after", drawn == 50, drawn) in backend.seen


class LastCalls(Watching):
    """Wants batches of ten calls from the second on, and gives away at once what joblib has taken for them."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__(one_ahead=True)
        self.go = go

    def compute_batch_size(self) -> int:
        return 10 if self.seen else 1

    def retrieval_context(self) -> Any:
        until(lambda: len(self.seen) == 2, 100)  # joblib has the first result, and has given the next call away
        before = is_exhausted(self.watched)
        dispatch_rest(self.watched)
        self.seen.append(("rest", before, is_exhausted(self.watched)))
        self.go.set()
        return super().retrieval_context()


def test_the_last_calls_are_given_away_together() -> None:
    """If this fails, see where Parallel keeps the calls that it has taken from the caller's iterator."""
    go = threading.Event()
    backend = LastCalls(go)
    with parallel_config(backend=backend, n_jobs=2):
        results = Parallel(pre_dispatch=1)(backend.calls(8, lambda i: i if not i or go.wait(100) else -1))
    assert results == [*range(8)]
    assert [name for name, *_ in backend.seen] == ["submit"] * 8 + ["rest", "terminate"]
    assert backend.seen[-2] == ("rest", False, True)


def fail(i: int) -> int:
    raise ZeroDivisionError(i)


def test_a_parallel_that_aborts_is_known() -> None:
    backend = Watching()
    with parallel_config(backend=backend, n_jobs=2), pytest.raises(ZeroDivisionError):
        Parallel()(backend.calls(3, fail))
    assert ("abort", True) in backend.seen
    parallel = Parallel(n_jobs=2)
    parallel(backend.calls(1))
    assert not is_aborting(parallel)


class Telling(Watching):
    def start_call(self) -> None:
        self.seen.append(call_of(self.watched))


def test_the_calls_of_a_parallel_are_told_apart() -> None:
    backend = Telling()
    with parallel_config(backend=backend, n_jobs=2), Parallel() as parallel:
        for _ in range(2):
            parallel(backend.calls(3))
            backend.seen.append(call_of(parallel))
    first, still, second, again = (seen for seen in backend.seen if not isinstance(seen, tuple))
    assert None is not first == still != second == again


def test_a_parallel_that_has_ended_is_known() -> None:
    backend = Watching()
    with parallel_config(backend=backend, n_jobs=2):
        with Parallel() as parallel:
            parallel(backend.calls(3))
            assert not has_ended(parallel)
        assert backend.seen[-1] == ("terminate", True)
        parallel = Parallel()
        parallel(backend.calls(3))
    assert backend.seen[-1] == ("terminate", True)
    assert has_ended(parallel)


def broken() -> Iterator[Any]:
    raise LookupError("the caller's own")
    yield


class Raising(Watching):
    def retrieval_context(self) -> Any:
        raise_early_error(self.watched)
        return super().retrieval_context()


def test_an_error_of_the_callers_own_iterator_is_raised() -> None:
    """If this passes without raise_early_error, joblib raises it itself, and the function can go."""
    with parallel_config(backend=Raising(), n_jobs=2), pytest.raises(LookupError, match="the caller's own"):
        Parallel(pre_dispatch="all")(broken())


def test_without_these_names_nothing_breaks() -> None:
    class Bare:
        pass

    raise_early_error(Bare())
    dispatch(Bare())
    dispatch_rest(Bare())
    assert is_exhausted(Bare())
    assert is_aborting(Bare())
    assert has_ended(Bare())
    assert threads_of_processes(Bare(), 2) == {}


def test_threads_of_joblibs_own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "40")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    prepare = ParallelBackendBase._prepare_worker_env
    monkeypatch.setattr(ParallelBackendBase, "_prepare_worker_env", getattr(prepare, "__wrapped__", prepare))
    backend = LokyBackend()
    assert backend._prepare_worker_env(1)["OMP_NUM_THREADS"] == "40"
    keep_threads_of_processes(lambda: {"OMP_NUM_THREADS": "40"})
    variables = backend._prepare_worker_env(1)
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == str(cpu_count())
    assert threads_of_processes(LokyBackend(inner_max_num_threads=3), 2)["OMP_NUM_THREADS"] == "3"
    assert LokyBackend(inner_max_num_threads=40)._prepare_worker_env(1)["OMP_NUM_THREADS"] == "40"
