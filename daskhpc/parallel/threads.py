"""The threads of a worker process, shared between its tasks and the Parallel calls inside them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import joblib
import threadpoolctl
from joblib.parallel import FallbackToBackend, SequentialBackend, ThreadingBackend


class WorkerThreads:
    """Counts who runs: every task holds one thread, a nested Parallel takes those that nobody uses.

    Parameters
    ----------
    count : int
        Threads of the process.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._changed = threading.Condition()
        self._capping = 0
        self._caps: Any = None

    def one(self) -> None:
        """Take one; waits while nested calls of other tasks use all."""
        with self._changed:
            self._changed.wait_for(lambda: self.free > 0)
            self.free -= 1

    def more(self, wanted: int) -> int:
        """Take up to `wanted` that are free now; returns how many."""
        with self._changed:
            taken = max(0, min(wanted, self.free))
            self.free -= taken
            return taken

    @contextlib.contextmanager
    def capped(self, limit: int | None) -> Iterator[None]:
        """Within: BLAS and OpenMP libraries of this process use at most so many threads; the first task sets it."""
        if limit is None:
            yield
            return
        with self._changed:
            self._capping += 1
            if self._capping == 1:
                self._caps = threadpoolctl.threadpool_limits(limit)
        try:
            yield
        finally:
            with self._changed:
                self._capping -= 1
                if self._capping == 0:
                    self._caps.restore_original_limits()

    def give(self, count: int) -> None:
        """Give back."""
        with self._changed:
            self.free += count
            self._changed.notify_all()


class NestedBackend(ThreadingBackend):  # type: ignore[misc]
    """Runs a Parallel inside a task in the threads that its worker process has left, in sequence where it has none."""

    def __init__(self, threads: WorkerThreads, **options: Any) -> None:
        super().__init__(**options)
        self.threads = threads
        self._taken: list[int] = []

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Take threads for one Parallel, the task's own among them."""
        wanted = self.effective_n_jobs(n_jobs)
        extra = self.threads.more(wanted - 1)
        if extra == 0:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self._taken.append(extra)
        return int(super().configure(extra + 1, parallel, **options))

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """At most this process's threads."""
        if n_jobs is None:
            return 1
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        most = self.threads.free + sum(self._taken) + 1
        return max(1, min(n_jobs, most) if n_jobs > 0 else most + 1 + n_jobs)

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Deeper ones run in sequence."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def terminate(self) -> None:
        """Give the threads of the innermost Parallel back."""
        super().terminate()
        if self._taken:
            self.threads.give(self._taken.pop())


_lock = threading.Lock()


@contextlib.contextmanager
def threads_of(worker: Any, inner: int | None = None) -> Iterator[None]:
    """Within: one thread of the worker is this task's, and Parallel calls use what is left of them.

    Parameters
    ----------
    worker : distributed.Worker or None
        None stands for one thread.
    inner : int, optional
        Threads of BLAS and OpenMP libraries within, joblib's ``inner_max_num_threads``.
    """
    with _lock:
        threads = getattr(worker, "daskhpc_threads", None) or WorkerThreads(worker.state.nthreads if worker else 1)
        if worker is not None:
            worker.daskhpc_threads = threads
    threads.one()
    try:
        with threads.capped(inner), joblib.parallel_config(backend=NestedBackend(threads, nesting_level=1)):
            yield
    finally:
        threads.give(1)
