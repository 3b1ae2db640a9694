"""A worker's slots: one for each of its threads, each with a child in which one batch of calls runs at a time."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import dask
from distributed import secede
from distributed.protocol import dask_deserialize, dask_serialize

from ..clients import current_worker
from ..cluster.children import Child, children_of, close_children_of
from ..cluster.crash_report import cause_of_exit
from ..cluster.worker_preload import private_memory
from ..compat.distributed import call_on_scheduler
from ..errors import DaskhpcError
from ..text import bytes_text
from .prefix_cache import bytes_for_prefixes
from .record_file import RecordFile
from .task import SECEDE, ChildOrder, Stream, TaskResult, TaskSpec
from .worker_parcels import RunState, forget, register, run_state, runs

_TARGET = "daskhpc.parallel.call_process:main"
_WATCH_SECONDS = 0.1
_ORPHANS_SECONDS = 10.0
_IDLE_SECONDS = 60.0
_STATUS_SECONDS = 5.0
_ENDED = ("closing", "closed", "failed")
_LARGE_BYTES = 1 << 20
_MOST_REQUESTS = 1000


@dataclass(eq=False)
class Slot:
    """A place in which one batch of calls runs at a time.

    Attributes
    ----------
    number : int
    child : Child or None
        Started at the first batch, and ended when it has been idle for long.
    records : RecordFile or None
        What the child has made of its batch so far.
    has : dict[str, set[int]]
        Parcels that the child has, by run.
    task : TaskSpec or None
        What runs in it; None if it is free.
    base : int
        Bytes of memory of its own that the child had when it started.
    cause : str
        Why this process has ended the child.
    """

    number: int
    child: Child | None = None
    records: RecordFile | None = None
    has: dict[str, set[int]] = field(default_factory=dict)
    task: TaskSpec | None = None
    base: int = 0
    cause: str = ""
    used: float = 0.0

    def memory(self) -> int:
        """Bytes of memory that the child took since it started."""
        return max(0, private_memory(self.child.pid) - self.base) if self.child is not None else 0

    def end(self) -> None:
        """End the child, if there is one."""
        if self.child is not None:
            self.child.close()
        if self.records is not None:
            self.records.close()
        self.child = self.records = None
        self.has.clear()


class _DaskThread:
    """The thread of the worker's pool in which a task waits for its calls, or another one that waits for them."""

    def __init__(self) -> None:
        self._released = current_worker() is None

    def release(self) -> None:
        """Let another thread of the pool take the place of this one, if that has not been done."""
        if not self._released:
            self._released = True
            secede()


class Slots:
    """The slots of one worker."""

    def __init__(self, worker: Any) -> None:
        self._worker = weakref.ref(worker)
        self._changed = threading.Condition()
        self._slots = [Slot(number) for number in range(worker.state.nthreads)]
        self._watching = False
        # Python's own few threads would all wait for calls, and the event loop needs one for each new connection.
        self.requests = ThreadPoolExecutor(_MOST_REQUESTS, "daskhpc-requests")

    def run(self, task: TaskSpec) -> TaskResult:
        """Make the calls of a task in a child; waits for a free slot."""
        state = run_state(task.run)
        result = TaskResult(opened=register(state, task.blobs, task.tickets), kept=list(task.blobs))
        result.absent = sorted(task.needed - state.blobs.keys() - state.segments.keys())
        if state.freed or result.absent:
            return result
        thread = _DaskThread()
        slot = self._take(task, thread)
        try:
            self._run_in(slot, task, state, result, thread)
        finally:
            with self._changed:
                state.over.add(task.name)
                slot.task, slot.used = None, time.monotonic()
                if slot.cause:  # killed, which may take a moment yet
                    slot.end()
                if slot.records is not None:
                    slot.records.clear()
                self._catch_up(slot)
                self._changed.notify_all()
        return result

    def _take(self, task: TaskSpec, thread: _DaskThread) -> Slot:
        """The slot that the task names, or the free slot that was used last, whose child is the warmest."""

        def free() -> list[Slot]:
            wanted = self._slots if task.slot is None else [self._slots[task.slot % len(self._slots)]]
            return [slot for slot in wanted if slot.task is None]

        with self._changed:
            if not free():
                # The call in the slot may wait for a Dask task, which has to get past the tasks that wait here.
                thread.release()
            self._changed.wait_for(free)
            slot = max(free(), key=lambda slot: slot.used)
            slot.task = task
            return slot

    def _run_in(self, slot: Slot, task: TaskSpec, state: RunState, result: TaskResult, thread: _DaskThread) -> None:
        child = self._child(slot, task)
        with self._changed:
            if state.freed or task.name in state.recalled:
                return
            has = slot.has.setdefault(task.run, set())
            new = task.needed - has
            has |= new
        worker = self._worker()
        order = ChildOrder(
            run=task.run,
            batch=task.batch,
            blobs={number: state.blobs[number] for number in new if number in state.blobs},
            places={number: state.segments[number].place_for_others() for number in new if number in state.segments},
            prefix_bytes=bytes_for_prefixes(self._limit(), len(self._slots)),
            scheduler=worker.scheduler.address if worker is not None else "",
        )
        assert slot.records is not None
        try:
            child.send(pickle.dumps(order, protocol=5))
            while (message := child.receive()) == SECEDE:
                thread.release()
            what, reply = pickle.loads(message)
        except (EOFError, OSError):
            result.records = slot.records.read()
            status = child.status(_STATUS_SECONDS)
            result.died = slot.cause or ("its parent ended" if status is None else cause_of_exit(status, None))
            with self._changed:
                slot.end()
            return
        result.records = slot.records.read()
        if what == "error":  # between the calls
            result.records.append(reply)
        else:
            result.messages = reply

    def _child(self, slot: Slot, task: TaskSpec) -> Child:
        """The child of a slot, which only the task in it may change."""
        if slot.child is not None and (slot.child.ended or task.fresh):
            slot.end()  # `ended`: killed from outside while it was idle
        if slot.child is None:
            worker = self._worker()
            try:
                child, records = _start_child(worker, task)
            except (DaskhpcError, RuntimeError):  # killed meanwhile, or the process that forks them
                child, records = _start_child(worker, task)
            with self._changed:
                slot.child, slot.records, slot.cause = child, records, ""
                slot.base = private_memory(child.pid)
            if worker is not None:
                worker.loop.add_callback(self.watch)
        return slot.child

    def recall(self, run: str, tasks: list[str]) -> dict[str, list[Stream] | None]:
        """Let no further call of some tasks begin; the records so far of those that have begun, None if over."""
        state = run_state(run)
        with self._changed:
            state.recalled.update(tasks)
            begun: dict[str, list[Stream] | None] = {name: None for name in tasks if name in state.over}
            for slot in self._slots:
                if slot.task is not None and slot.task.name in tasks and slot.records is not None:
                    slot.records.ask_to_stop()
                    begun[slot.task.name] = slot.records.read()
            return begun

    def free(self, run: str) -> None:
        """End the calls of a run, and let all children forget what they have of it."""
        with self._changed:
            for slot in self._slots:
                if slot.task is not None and slot.task.run == run:
                    slot.cause = "its caller waits no more"
                    if slot.child is not None:
                        slot.child.kill()
                elif run in slot.has:
                    self._tell(slot, run, None)

    def drop(self, run: str, numbers: list[int]) -> None:
        """Let all idle children forget some parcels; busy ones do when their task is over."""
        with self._changed:
            for slot in self._slots:
                if slot.task is None and not slot.has.get(run, set()).isdisjoint(numbers):
                    self._tell(slot, run, numbers)

    def _catch_up(self, slot: Slot) -> None:
        """Let a child that was busy forget what was dropped meanwhile."""
        for run, has in list(slot.has.items()):
            state = run_state(run)
            gone = has - state.blobs.keys() - state.segments.keys()
            if gone:
                self._tell(slot, run, None if state.freed else sorted(gone))

    def _tell(self, slot: Slot, run: str, numbers: list[int] | None) -> None:
        """Let an idle child forget some parcels of a run, or all of them."""
        if numbers is None:
            slot.has.pop(run, None)
        else:
            slot.has[run].difference_update(numbers)
        if slot.child is not None:
            with contextlib.suppress(OSError):
                slot.child.send(pickle.dumps((run, numbers)))

    def _limit(self) -> int:
        """Bytes of memory of the whole worker, 0 if it has no limit."""
        worker = self._worker()
        return int(worker.memory_manager.memory_limit or 0) if worker is not None else 0

    # On the worker's event loop.

    async def watch(self) -> None:
        """While there are children: hold the worker's memory limit, end idle ones, drop what lost clients left."""
        if self._watching:
            return
        self._watching, asked = True, time.monotonic()
        try:
            while (worker := self._worker()) is not None and (self._running() or runs()):
                if worker.status.name in _ENDED:
                    break
                self._hold_memory()
                self._end_idle()
                if runs() and time.monotonic() - asked > _ORPHANS_SECONDS:
                    asked = time.monotonic()
                    with contextlib.suppress(Exception):  # the scheduler closes
                        await _drop_orphans(worker)
                del worker
                await asyncio.sleep(_WATCH_SECONDS)
        finally:
            self._watching = False
            worker = self._worker()
            if worker is not None and worker.status.name in _ENDED:  # or its loop ends, which cancels this
                threading.Thread(target=close_children_of, args=(worker,)).start()

    def _running(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.child is not None]

    def _hold_memory(self) -> None:
        """End the largest call if all of the worker takes more than it may: what Dask's Nanny does, for one call."""
        limit, part = self._limit(), dask.config.get("distributed.worker.memory.terminate", 0.95)
        if not limit or not part:
            return
        with self._changed:
            taken = {slot: slot.memory() for slot in self._running() if not slot.cause}
            total = private_memory() + sum(taken.values())
            if total <= part * limit or not taken:
                return
            for slot in [slot for slot in taken if slot.task is None]:
                total -= taken.pop(slot)
                slot.end()
            if total > part * limit and taken:
                largest = max(taken, key=lambda slot: taken[slot])
                largest.cause = (
                    f"it had {bytes_text(taken[largest])} of memory when its worker had used up its memory limit of "
                    f"{bytes_text(limit)}, of which the share of each of its {len(self._slots)} calls is "
                    f"{bytes_text(limit // len(self._slots))}"
                )
                assert largest.child is not None
                largest.child.kill()

    def _end_idle(self) -> None:
        with self._changed:
            for slot in self._running():
                if slot.task is None and time.monotonic() - slot.used > _IDLE_SECONDS:
                    slot.end()


def _start_child(worker: Any, task: TaskSpec) -> tuple[Child, RecordFile]:
    """Start a child, and open the file of its records."""
    child = children_of(worker, (_TARGET.partition(":")[0], *task.modules)).start(_TARGET)
    try:
        return child, RecordFile.of_process(child.pid, pickle.loads(child.receive()))
    except (EOFError, OSError) as error:
        child.close()
        cause = cause_of_exit(child.status(_STATUS_SECONDS) or 0, None)
        raise RuntimeError(f"A child process of a worker ended while it started: {cause}.") from error


async def _drop_orphans(worker: Any) -> None:
    """Drop what is kept for clients that the scheduler does not know any more."""
    present = tuple(await call_on_scheduler(worker, _clients))
    for run in [run for run in runs() if not run.startswith(present)]:
        free(run)


def _clients(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.clients)


_slots: weakref.WeakKeyDictionary[Any, Slots] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _to_frames(result: TaskResult) -> tuple[dict[str, Any], list[Any]]:
    """How a result travels: large records as they are, which pickle would copy on each of the machines on the way."""
    small = [b"" if len(record) >= _LARGE_BYTES else record for record in result.records]
    large = {number: record for number, record in enumerate(result.records) if not small[number]}
    return {"large": [*large]}, [pickle.dumps(replace(result, records=small)), *large.values()]


def _from_frames(header: dict[str, Any], frames: list[Any]) -> TaskResult:
    result: TaskResult = pickle.loads(frames[0])
    for number, record in zip(header["large"], frames[1:], strict=True):
        result.records[number] = record
    return result


dask_serialize.register(TaskResult, _to_frames)
dask_deserialize.register(TaskResult, _from_frames)


def slots_of_worker(worker: Any) -> Slots:
    """The slots of a Dask worker."""
    with _lock:
        slots = _slots.get(worker)
        if slots is None:
            slots = _slots[worker] = Slots(worker)
        return slots


# What the client runs on workers: the first as a task, the others by `Client.run`.


def run_task(payload: bytes) -> TaskResult:
    """Make the calls of a task."""
    return slots_of_worker(current_worker()).run(pickle.loads(payload))


async def run_without_dask_task(payload: bytes, dask_worker: Any) -> TaskResult:
    """Make the calls of a task, of which Dask's scheduler knows nothing."""
    slots = slots_of_worker(dask_worker)
    return await asyncio.get_running_loop().run_in_executor(slots.requests, slots.run, pickle.loads(payload))


def recall(run: str, tasks: list[str]) -> dict[str, list[Stream] | None]:
    """Let no further call of some tasks begin, in any worker of this process; as `Slots.recall`."""
    begun: dict[str, list[Stream] | None] = {}
    for slots in list(_slots.values()):
        begun.update(slots.recall(run, tasks))
    return begun


def free(*names: str) -> None:
    """End what still runs of some runs, and drop what is kept for them."""
    for run in names:
        forget(run)
        for slots in list(_slots.values()):
            slots.free(run)


def drop(run: str, numbers: list[int]) -> None:
    """Drop some parcels of a run."""
    run_state(run).drop(numbers)
    for slots in list(_slots.values()):
        slots.drop(run, numbers)
