"""What becomes of calls: results, errors with their remote traceback, and calls that took their worker down."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from dask.utils import funcname

from ..compat.sklearn import failed_fit, fit_arguments
from ..errors import DaskhpcError, WorkerDiedError
from .call_queue import Call
from .measured import Measured, Outcome
from .task import CallRecord, Stream


class RemoteTracebackError(Exception):
    """Carries the traceback of an error in a worker, as the cause of that error."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Batch:
    """The results of a batch of calls that joblib made together.

    Parameters
    ----------
    count : int
    callback : callable
        Called with the batch when all its calls have ended, or one has failed.
    """

    def __init__(self, count: int, callback: Callable[[Any], None]) -> None:
        self.results: list[Any] = [None] * count
        self.error: BaseException | None = None
        self._left = count
        self._callback = callback

    def put(self, index: int, ok: bool, value: Any) -> bool:
        """Note one call's end; True when there is something to deliver."""
        if self._left <= 0:
            return False
        if not ok:
            self.error, self._left = value, 0
            return True
        self.results[index] = value
        self._left -= 1
        return self._left == 0

    def deliver(self) -> None:
        """Tell joblib."""
        self._callback(self)

    def get(self, timeout: float | None = None) -> list[Any]:
        """The results, or the error."""
        if self.error is not None:
            raise self.error
        return self.results


def read(record: Stream) -> CallRecord:
    """A call's record as it came; if it cannot be read, the error of reading it."""
    try:
        found: CallRecord = pickle.loads(record)
        if not found.ok:
            found.value.__cause__ = RemoteTracebackError(found.traceback)
    except Exception as error:
        return CallRecord(False, error)
    return found


def failed_alone(call: Call, host: str, cause: str) -> tuple[bool, Any]:
    """What a call becomes that ended its process twice, the second time with nothing else in its worker.

    Returns
    -------
    bool, Any
        A failed fit for scikit-learn's searches, by their ``error_score``; the error elsewhere.
    """
    name = funcname(getattr(call.function, "function", call.function))
    error = WorkerDiedError(
        f"A call of {name} ended its process twice, the second time when it ran alone.",
        f"{cause or 'the process was killed or crashed'} on {host}",
        "less data or memory per call, fewer processes per node (--processes), or more memory (--mem)",
    )
    if call.template is not None and call.template.fit:
        arguments = fit_arguments(call.args, call.kwargs)
        result = failed_fit(arguments, f"{type(error).__name__}: {error.happened} {error.found}")
        if result is not None:
            return True, result
    if isinstance(call.function, Measured) and call.function.record:
        return True, Outcome(None, f"{type(error).__name__}: {error.happened} {error.found}", 0.0, host)
    return False, error


def deserted(happened: str, found: str) -> DaskhpcError:
    """The cluster went away under a call."""
    return DaskhpcError(happened, found, "look at the workers' logs, and start the cluster again")


def unpicklable(call: Call, error: Exception) -> Exception:
    """What a call fails with whose arguments cannot be pickled."""
    name = funcname(getattr(call.function, "function", call.function))
    problem = pickle.PicklingError(f"Could not pickle the task to send to the workers, a call of {name}: {error}")
    problem.__cause__ = error
    return problem
