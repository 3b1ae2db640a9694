"""Calls with a checkpoint and without a cluster: in joblib's own processes, or one after the other in this one."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import cloudpickle
import joblib
from joblib.executor import get_memmapping_executor
from joblib.parallel import SequentialBackend

from .keeping import Keeper, Part
from .outcome import Batch, RemoteTracebackError
from .pool import Call
from .progress import Progress
from .tally import Tally


class Here:
    """The engine of one Parallel on this machine.

    Parameters
    ----------
    n_jobs : int
        Processes; 1 is this one.
    progress : Progress
    keeper : Keeper
    """

    def __init__(self, n_jobs: int, progress: Progress, keeper: Keeper) -> None:
        self.n_jobs = n_jobs
        self.tally = Tally(progress, keeper)
        self.closed = False
        self._host = socket.gethostname()
        self._executor: Executor = (
            get_memmapping_executor(n_jobs) if n_jobs > 1 else ThreadPoolExecutor(1, thread_name_prefix="daskhpc here")
        )

    def add(self, items: list[Any], callback: Callable[[Any], None], call_number: int, part: Part | None) -> Batch:
        """Take a batch of calls; `callback` gets the batch when all of them have ended."""
        batch = Batch(len(items), callback)
        calls = self.tally.new_calls(batch, items, part)
        for call in calls:
            self.tally.expect(call)
        if calls:
            work = [(call.function, call.args, call.kwargs) for call in calls]
            if self.n_jobs > 1:
                # By value where the workers cannot import them, which the calls of a script's own functions need.
                future = self._executor.submit(_unpack_and_make, cloudpickle.dumps(work))
            else:
                future = self._executor.submit(_make, work)
            future.add_done_callback(lambda done: self._done(calls, done))
        return batch

    def abort(self) -> None:
        """Stop: what has not begun is never run."""
        self._end(aborted=True)

    def close(self) -> None:
        """All is done."""
        self._end(aborted=False)

    def _end(self, aborted: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self.tally.close(self.n_jobs)
        if self.n_jobs == 1:
            self._executor.shutdown(wait=False, cancel_futures=True)
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
            self.tally.ended(call, ok, value, seconds, self._host)
        self.tally.show(self.n_jobs)


def _unpack_and_make(work: bytes) -> list[tuple[bool, Any, str, float]]:
    return _make(cloudpickle.loads(work))


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
