"""What a worker does with a task: a few calls, one after the other, each with its own outcome."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from ..clients import current_worker
from ..compat.sklearn import POSITIONAL, READ_ONLY, CallbackMessages, has_callbacks
from . import fitting
from .parcel import FUNCTION, Anew, Position, Ref, plain
from .store import (
    CancelledCallError,
    RunState,
    Ticket,
    calling,
    load,
    prefixes,
    register,
    run_state,
    start_orphan_cleanup,
)
from .threads import threads_of

_ANEW = Anew()


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """The calls of one task, plain enough for pickle alone.

    Attributes
    ----------
    run, name : str
    templates : dict[int, tuple]
        Per template: its plain values, its parcels' numbers, the order of both, how many arguments are positional, what
        it is to `fitting`.
    blobs : dict[int, bytes]
        Small parcels that this worker process is not known to have.
    once : dict[int, bytes]
        Those that only one call needs; they are not kept.
    tickets : dict[int, Ticket]
        Large ones, which lie in the node's memory.
    calls : list[tuple[int, dict]]
        Template and differences of each call.
    seconds : float
        After which the calls that have not begun are given back.
    mode : str or None
        joblib's ``mmap_mode``.
    inner_threads : int or None
        joblib's ``inner_max_num_threads``.
    callbacks : bool
        Whether scikit-learn's callbacks watch the calls.
    """

    run: str
    name: str
    templates: dict[int, tuple[dict[Position, Any], dict[Position, int], tuple[Position, ...], int, int]]
    blobs: dict[int, bytes]
    once: dict[int, bytes]
    tickets: dict[int, Ticket]
    calls: list[tuple[int, dict[Position, Any]]]
    seconds: float
    mode: str | None
    inner_threads: int | None = None
    callbacks: bool = False


@dataclass(slots=True)
class TaskResult:
    """What became of a task.

    Attributes
    ----------
    outcomes : list[tuple or bytes]
        Of the calls that were made, in order: ``(True, value)``, pickled where the value is not plain, or pickled
        ``(False, error, traceback)``.
    costs : list[tuple[float, float]]
        Seconds of each, and those that sharing saved.
    opened : dict[int, int]
        File descriptors of the large parcels that this process has opened now.
    kept : list[int]
        Small parcels that it keeps.
    absent : list[int]
        Parcels that it does not have: nothing was done.
    messages : list
        What scikit-learn's callbacks sent meanwhile.
    """

    pid: int = 0
    outcomes: list[Any] = field(default_factory=list)
    costs: list[tuple[float, float]] = field(default_factory=list)
    opened: dict[int, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)


def run_task(payload: bytes) -> TaskResult:
    """Make the calls of an order."""
    order: TaskSpec = pickle.loads(payload)
    state, worker = run_state(order.run), current_worker()
    start_orphan_cleanup(worker)
    reply = TaskResult(os.getpid(), opened=register(state, order.blobs, order.tickets), kept=list(order.blobs))
    here = state.blobs.keys() | state.segments.keys() | order.once.keys()
    reply.absent = sorted(_wanted(order) - here)
    if reply.absent:
        return reply
    loader = _Loader(state, order)
    state.tasks[order.name] = reply.outcomes, reply.costs
    end = time.perf_counter() + order.seconds
    with (
        contextlib.suppress(CancelledCallError),
        threads_of(worker, order.inner_threads),
        CallbackMessages(order.callbacks) as collected,
        calling(state),
    ):
        for number, differences in order.calls:
            began = time.perf_counter()
            if state.cancelled or order.name in state.recalled or (reply.outcomes and began > end):
                break
            ok, outcome, saved = _call(loader, order.templates[number], differences)
            reply.outcomes.append(outcome)
            reply.costs.append((time.perf_counter() - began, saved))
            if not ok:
                break  # the caller is to know at once
        reply.messages = collected.messages
    state.tasks[order.name] = None
    return reply


def _wanted(order: TaskSpec) -> set[int]:
    numbers: set[int] = set()
    for template, differences in order.calls:
        numbers.update(v.number for v in differences.values() if type(v) is Ref)
        numbers.update(n for at, n in order.templates[template][1].items() if type(differences.get(at, _ANEW)) is Anew)
    return numbers


class _Loader:
    """The objects of a task's calls: shared by the calls of the task, as in any batch of joblib's.

    What scikit-learn's fits never change is shared by all tasks of the process; a fit's estimator by none.
    """

    def __init__(self, state: RunState, order: TaskSpec) -> None:
        self.state, self.mode, self.once = state, order.mode, order.once
        self.objects: dict[int, Any] = {}

    def shared(self, number: int) -> Any:
        if number not in self.objects:
            self.objects[number] = self.fresh(number)
        return self.objects[number]

    def read_only(self, number: int) -> Any:
        if number in self.once:
            return self.fresh(number)
        if number not in self.state.objects:
            self.state.objects[number] = self.fresh(number)
        return self.state.objects[number]

    def fresh(self, number: int) -> Any:
        if number in self.once:
            return pickle.loads(self.once[number])
        return load(self.state, number, self.mode)


def _arguments(
    loader: _Loader, template: tuple[Any, ...], differences: Mapping[Position, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Put one call together again."""
    plain_values, parcels, order, count, is_fit = template
    values: dict[Position, Any] = {}
    for at in order:
        value = differences.get(at, Ref(parcels[at]) if at in parcels else plain_values.get(at))
        if type(value) is Anew:
            value = loader.fresh(parcels[at])
        elif type(value) is Ref:
            name = POSITIONAL[at] if is_fit and isinstance(at, int) and at < len(POSITIONAL) else at
            if not is_fit or at == FUNCTION:
                value = loader.shared(value.number)
            elif name in READ_ONLY:
                value = loader.read_only(value.number)
            else:
                value = loader.fresh(value.number)
        values[at] = value
    args = tuple(values[i] for i in range(count))
    return values[FUNCTION], args, {k: v for k, v in values.items() if isinstance(k, str)}


def _call(loader: _Loader, template: tuple[Any, ...], differences: Mapping[Position, Any]) -> tuple[bool, Any, float]:
    """Make one call; whether it went well, its outcome, the seconds that shared prefixes saved."""
    saved = 0.0
    try:
        function, args, kwargs = _arguments(loader, template, differences)
        if template[4] == fitting.SHARING and not has_callbacks(kwargs):
            value, saved = fitting.fit(function, args, kwargs, prefixes(loader.state, current_worker()))
        else:
            value = function(*args, **kwargs)
    except CancelledCallError:
        raise
    except BaseException as error:
        return False, _failure(error), saved
    try:
        return True, (True, value) if plain(value) else cloudpickle.dumps((True, value), protocol=5), saved
    except Exception as error:
        return False, _failure(error), saved


def _failure(error: BaseException) -> bytes:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = type(error).__name__
    error.__traceback__ = None
    for plainly in (False, True):
        with contextlib.suppress(Exception):
            given = RuntimeError(f"{type(error).__name__}: {error}") if plainly else error
            stream = cloudpickle.dumps((False, given, text), protocol=5)
            if isinstance(pickle.loads(stream)[1], BaseException):
                return bytes(stream)
    return pickle.dumps((False, RuntimeError(type(error).__name__), text))
