"""From calls to the orders that travel: templates, parcels, and what each worker is known to have."""

from __future__ import annotations

import asyncio
import functools
import pickle
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..compat.cloudpickle import dumps
from ..compat.sklearn import candidate_number, fit_arguments, has_callbacks, is_fit, without_callbacks
from . import fitting, program_world
from .call_queue import SHORTEST_TASK, Call
from .node_memory import NodeMemory
from .parcel import Factory, Parcel, Template, plain, size
from .sent_task import SentTask
from .task import CallBatch, TaskResult, TaskSpec, Ticket
from .worker_set import WorkerProcess

_PATIENCE = 1.5  # times what a task is expected to take
_LARGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of one run.

    Attributes
    ----------
    n_jobs : int
        Calls that may run at once; -1 is one for each thread of the workers, also of workers that come later.
    threshold : int or None
        joblib's ``max_nbytes``: from this size on, arrays are mapped rather than copied.
    mode : str or None
        joblib's ``mmap_mode``.
    inner_threads : int or None
        joblib's ``inner_max_num_threads``.
    initializer : tuple
        joblib's ``initializer`` and ``initargs``; empty for none.
    """

    n_jobs: int
    threshold: int | None = 1 << 20
    mode: str | None = "r"
    inner_threads: int | None = None
    initializer: tuple[Any, ...] = ()


class _WorldParcel(NamedTuple):
    """The pickled world of the program, which travels as a small parcel; numbers of parcels proper begin at 0."""

    number: int
    stream: bytes


_PRELOADED = frozenset({"numpy", "scipy", "pandas", "sklearn"})


@functools.cache
def _is_preloaded(name: str) -> bool:
    """Whether children import a module before they start: it is public, of a package that starts no threads."""
    parts = name.split(".")
    return parts[0] in _PRELOADED and len(parts) <= 2 and not any(part.startswith("_") for part in parts)


class TaskBuilder:
    """Makes the orders of one run.

    Parameters
    ----------
    run : str
    options : Options
    """

    def __init__(self, run: str, options: Options) -> None:
        self.run = run
        self.options = options
        self.factory = Factory()
        self.callbacks = False
        self._call_number: int | None = None
        self._packing: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._has: dict[str, set[int]] = defaultdict(set)
        self._prefixes: dict[int, tuple[str, ...] | None] = {}
        self._splits: dict[int, int] = {}
        self._world = _WorldParcel(-1, b"")
        self._initializer = dumps(options.initializer) if options.initializer else b""
        self._modules: tuple[str, ...] = ()

    # Called by the thread that makes the calls.

    def make(self, call: Call, call_number: int) -> Call:
        """Factor a call."""
        if call_number != self._call_number:
            self._call_number = call_number
            self.factory.new_call()
            self._prefixes.clear()
            self._look_around()
        if is_fit(call.function):
            call.kwargs = without_callbacks(call.kwargs)
            self.callbacks = self.callbacks or has_callbacks(call.kwargs)
        call.template, call.differences, call.parcels = self.factory.factor(
            call.function, call.args, call.kwargs, is_fit
        )
        if call.template.fit:
            self._classify(call, call_number)
        call.nbytes = self._own_bytes(call)
        return call

    def _look_around(self) -> None:
        """The program's world as it is now, and what it has imported, for its calls."""
        stream = program_world.capture(self._initializer)
        if stream != self._world.stream:
            self._world = _WorldParcel(self._world.number - 1, stream)
        self._modules = tuple(name for name in list(sys.modules) if _is_preloaded(name))

    def _classify(self, call: Call, call_number: int) -> None:
        """Note for the queue which calls cost alike, and which share a fitted prefix."""
        arguments = fit_arguments(call.args, call.kwargs)
        call.kind = (call_number, candidate_number(arguments))
        template = call.template.number
        if template not in self._prefixes:
            self._prefixes[template] = fitting.prefix_names(arguments["estimator"])
            call.template.shares = fitting.shares(arguments)
        elif not call.template.shares and not plain(arguments.get("parameters")):
            call.template.shares = True
        names = self._prefixes[template]
        if names is not None:
            split = self._splits.setdefault(id(arguments["train"]), len(self._splits))
            call.group = (split, *fitting.group(names, arguments["parameters"]))

    def _own_bytes(self, call: Call) -> int:
        return sum(size(parcel.value) for parcel in call.parcels if parcel.uses == 1)

    # On the client's event loop.

    async def pack_all(self, calls: Sequence[Call]) -> list[tuple[Call, Exception]]:
        """Pickle what calls need; the calls whose parts cannot be pickled, and why."""
        failed: list[tuple[Call, Exception]] = []
        for call in calls:
            try:
                for parcel in call.parcels:
                    if not parcel.packed:
                        await self.pack(parcel)
            except Exception as error:
                failed.append((call, error))
        return failed

    async def pack(self, parcel: Parcel) -> None:
        """Pickle a parcel, once, and beside the loop if it may be large."""
        async with self._packing[parcel.number]:
            if parcel.packed:
                return
            if 0 < size(parcel.value) < _LARGE_BYTES:
                parcel.pack(self.options.threshold)
            else:
                await asyncio.to_thread(parcel.pack, self.options.threshold)

    async def task(self, task: SentTask, threads: int, member: WorkerProcess, node_memory: NodeMemory) -> TaskSpec:
        """What travels; large parcels are on the member's node when this returns."""
        calls = task.calls
        templates: dict[int, Template] = {call.template.number: call.template for call in calls}
        needed = {parcel.number: parcel for call in calls for parcel in call.parcels}
        has = self._has[member.address]
        once = {n: p.blob for n, p in needed.items() if p.layout is None and p.uses == 1}
        small = {n: p.blob for n, p in needed.items() if p.layout is None and p.uses > 1}
        small[self._world.number] = self._world.stream
        tickets: dict[int, Ticket] = {}
        for number, parcel in needed.items():
            if parcel.layout is not None:
                tickets[number] = await node_memory.ticket(parcel, member)
        batch = CallBatch(
            templates={number: _sent(template) for number, template in templates.items()},
            once=once,
            calls=[(call.template.number, call.differences) for call in calls],
            seconds=max(SHORTEST_TASK, _PATIENCE * task.seconds),
            world=self._world.number,
            mode=self.options.mode,
            threads=threads,
            inner_threads=self.options.inner_threads,
            callbacks=self.callbacks,
        )
        return TaskSpec(
            run=self.run,
            name=task.name,
            batch=pickle.dumps(batch, protocol=5),
            needed=frozenset({*small, *tickets}),
            blobs={number: blob for number, blob in small.items() if number not in has},
            tickets=tickets,
            modules=self._modules,
            slot=task.slot,
            fresh=task.alone,
        )

    def acknowledged(self, member: WorkerProcess, reply: TaskResult) -> None:
        """A worker has answered: note which parcels it has."""
        self._has[member.address].update(reply.kept)
        self._has[member.address].difference_update(reply.absent)

    def lost(self, member: WorkerProcess) -> None:
        """A worker is gone with all that it had."""
        self._has.pop(member.address, None)

    def finished(self, call: Call) -> list[int]:
        """A call has ended; returns the large parcels that no call needs any more."""
        gone = self.factory.finished(call.template, call.parcels)
        return [parcel.number for parcel in gone if parcel.layout is not None]

    def bytes_to_place(self) -> int:
        """Bytes of what calls share, were it all sent."""
        shared = [p.value for t in list(self.factory.templates.values()) for p in t.parcels.values()]
        return sum(map(size, shared))


def _sent(template: Template) -> tuple[Any, ...]:
    """A template as it travels."""
    values = {at: value for at, value in template.values.items() if at not in template.parcels and plain(value)}
    parcels = {at: parcel.number for at, parcel in template.parcels.items()}
    count = sum(isinstance(at, int) and at >= 0 for at in template.values)
    kind = fitting.SHARING if template.shares else fitting.FIT if template.fit else fitting.NO_FIT
    return values, parcels, tuple(template.values), count, kind
