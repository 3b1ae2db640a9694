"""Calls made on the client's own machine: in joblib's processes without a cluster, or in threads beside one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import queue
import socket
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
from joblib.executor import get_memmapping_executor
from joblib.parallel import SequentialBackend, ThreadingBackend

from ..compat.cloudpickle import dumps
from .call_queue import Call
from .checkpoints import ParallelUse
from .outcome import RemoteTracebackError
from .program_modules import as_the_program, program_modules
from .result_delivery import ResultDelivery

_OVERHEAD_SECONDS = 0.5
_BYTES_PER_SECOND = 300e6


class LocalEngine:
    """The engine of one Parallel on this machine.

    Parameters
    ----------
    n_jobs : int
        Processes; 1 is this one.
    delivery : ResultDelivery
    variables : mapping of str to str
        Of the environment of processes.
    initializer, initargs
        joblib's, for processes.
    """

    def __init__(
        self,
        n_jobs: int,
        delivery: ResultDelivery,
        variables: Mapping[str, str],
        initializer: Any = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self.n_jobs = n_jobs
        self.delivery = delivery
        self.closed = False
        self._host = socket.gethostname()
        # An array, because joblib maps a large one into its processes.
        self._modules = np.frombuffer(pickle.dumps(program_modules.to_send()), np.uint8)
        self._executor: Executor = (
            get_memmapping_executor(n_jobs, initializer=initializer, initargs=initargs, env={**variables})
            if n_jobs > 1
            else DaemonThreads(1)
        )

    def add(self, calls: list[Call], call_number: int, part: ParallelUse | None) -> None:
        """Take the calls of a batch, which gets their results as they end."""
        if part is not None:
            calls = self.delivery.replay(calls, part)
        for call in calls:
            self.delivery.expect(call)
        if calls:
            work = [(call.function, call.args, call.kwargs) for call in calls]
            if self.n_jobs > 1:
                # By value if the workers cannot import them, as for functions of the script itself.
                future = self._executor.submit(_unpack_and_make, self._modules, dumps(work))
            else:
                future = self._executor.submit(_make, work)
            future.add_done_callback(lambda done: self._done(calls, done))

    def dispatched(self) -> None:
        """joblib waits for results."""

    @property
    def slots(self) -> int:
        """Calls that run at once."""
        return self.n_jobs

    def seconds_per_call(self) -> float | None:
        """What a call takes on average; not known here."""
        return None

    def close(self, aborted: bool = False) -> None:
        """All is done, or what has not begun is never to run."""
        if self.closed:
            return
        self.closed = True
        self.delivery.close(self.n_jobs)
        if self.n_jobs == 1:
            self._executor.shutdown(wait=False)
        elif aborted:
            self._executor.terminate(kill_workers=True)  # type: ignore[attr-defined]

    def _done(self, calls: Sequence[Call], future: Future[Any]) -> None:
        try:
            outcomes = future.result()
        except BaseException as error:
            outcomes = [(False, error, "", 0.0)] * len(calls)
        for call, (ok, value, text, seconds) in zip(calls, outcomes, strict=False):
            if text:
                value.__cause__ = RemoteTracebackError(text)
            self.delivery.ended(call, ok, value, seconds, self._host)
        self.delivery.show(self.n_jobs)


def _unpack_and_make(modules: npt.NDArray[np.uint8], work: bytes) -> list[tuple[bool, Any, str, float]]:
    as_the_program.use(pickle.loads(modules.data))
    return _make(pickle.loads(work))


def _make(work: Sequence[tuple[Any, Any, Any]]) -> list[tuple[bool, Any, str, float]]:
    """Make calls up to the first that fails: whether each went well, its value or error, a traceback, its seconds."""
    outcomes: list[tuple[bool, Any, str, float]] = []
    with joblib.parallel_config(backend=SequentialBackend(nesting_level=1)):
        for function, args, kwargs in work:
            began = time.perf_counter()
            try:
                value = function(*args, **kwargs)
            except BaseException as error:
                outcomes.append((False, error, traceback.format_exc(), time.perf_counter() - began))
                break
            outcomes.append((True, value, "", time.perf_counter() - began))
    return outcomes


def pays(remaining: float, threads: int, slots: int, nbytes: int) -> bool:
    """Whether the cluster ends what remains sooner than the threads here, the way there included.

    Parameters
    ----------
    remaining : float
        Seconds of work that remain, were it done one call after the other.
    threads, slots : int
        Calls that run at once here, and there.
    nbytes : int
        What would have to be sent.
    """
    return remaining / threads - remaining / slots > _OVERHEAD_SECONDS + nbytes / _BYTES_PER_SECOND


class DaemonThreads(Executor):
    """Threads that no program waits for when it ends or is interrupted, as with joblib's own.

    Python joins those of a ThreadPoolExecutor: after Ctrl-C a program would run on until the calls in them have ended.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=_serve, args=(self._work,), name="daskhpc calls", daemon=True).start()
        self._end = weakref.finalize(self, _end, self._work, threads)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:  # type: ignore[override]
        """Call a function, which raises nothing, as soon as a thread is free."""
        future: Future[Any] = Future()
        self._work.put((future, function, args))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:
        """Begin no further call."""
        self._end()


_Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


def _serve(work: queue.SimpleQueue[_Work | None]) -> None:
    while (item := work.get()) is not None:
        future, function, args = item
        if future.set_running_or_notify_cancel():
            future.set_result(function(*args))
        del item, future, function, args  # or the last call's data would stay until the next


def _end(work: queue.SimpleQueue[_Work | None], threads: int) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            work.get_nowait()
    for _ in range(threads):
        work.put(None)


def threads_here() -> int:
    """Threads that this process was granted."""
    return max(1, len(os.sched_getaffinity(0)))


class GrantedThreads(ThreadingBackend):  # type: ignore[misc]
    """Threads of this process, as many as it was granted."""

    def effective_n_jobs(self, n_jobs: int) -> int:
        """How many of them."""
        return min(int(super().effective_n_jobs(n_jobs)), threads_here())


class LocalThreads:
    """A pool of threads in this process.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.free = threads
        self._executor = DaemonThreads(threads)

    def left_for(self, remaining: float | None, run: ResultDelivery, slots: int, nbytes: Callable[[], int]) -> bool:
        """Whether what remains, as far as it is known, is better done on the cluster."""
        if remaining is None:
            return False
        if not run.exhausted:
            remaining = max(remaining, run.elapsed)  # as much again as there was
        return pays(remaining, self.threads, slots, nbytes())

    async def run(self, call: Call) -> tuple[bool, Any, float]:
        """Make a call, which `free` counts already; whether it went well, its value or its error, its seconds."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _call, call)
        finally:
            self.free += 1


def _call(call: Call) -> tuple[bool, Any, float]:
    began = time.perf_counter()
    try:
        with joblib.parallel_config(backend=SequentialBackend(nesting_level=1)):
            value = call.function(*call.args, **call.kwargs)
    except BaseException as error:
        return False, error, time.perf_counter() - began
    return True, value, time.perf_counter() - began
