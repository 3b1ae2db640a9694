"""A worker process's store: the parcels of running Parallel calls, kept while their client lives."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..compat.dask import isolate_dask_rng
from ..compat.distributed import call_on_scheduler, call_on_worker
from .prefix_cache import PrefixCache
from .segment import Layout, MemorySegment

PIECE_BYTES = 32 << 20
_WATCH_SECONDS = 5.0
_PATIENCE_SECONDS = 3.0
_PREFIX_SHARE = 0.2
_PREFIX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Ticket:
    """How to find a parcel in a node's memory.

    Attributes
    ----------
    layout : Layout
    holders : tuple[tuple[int, int], ...]
        Process id and file descriptor of the processes on the node that have it open.
    """

    layout: Layout
    holders: tuple[tuple[int, int], ...]


class CancelledCallError(BaseException):
    """Interrupts a call whose caller does not wait for it any more."""


@dataclass(slots=True)
class RunState:
    """What one process keeps for one run (one use of Parallel).

    Attributes
    ----------
    tasks : dict[str, tuple[list, list] or None]
        Outcomes and costs so far of each task that has begun; None for those that are over.
    recalled : set[str]
        Tasks of which no further call begins.
    """

    blobs: dict[int, bytes] = field(default_factory=dict)
    segments: dict[int, MemorySegment] = field(default_factory=dict)
    frames: dict[int, list[Any]] = field(default_factory=dict)
    objects: dict[int, Any] = field(default_factory=dict)
    prefixes: PrefixCache | None = None
    received: int = 0
    threads: set[int] = field(default_factory=set)
    tasks: dict[str, tuple[list[Any], list[Any]] | None] = field(default_factory=dict)
    recalled: set[str] = field(default_factory=set)
    cancelled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        """Drop everything; frames that a running call still uses stay until it ends."""
        self.cancelled = True
        for segment in self.segments.values():
            segment.close()
        for kept in (self.blobs, self.segments, self.frames, self.objects):
            kept.clear()
        if self.prefixes is not None:
            self.prefixes.clear()


_states: dict[str, RunState] = {}
_lock = threading.Lock()


def run_state(run: str) -> RunState:
    """What this process keeps for a run, whose name begins with its client's."""
    with _lock:
        return _states.setdefault(run, RunState())


def start_orphan_cleanup(worker: Any) -> None:
    """From now on, drop what clients leave behind that are gone without a word; called with every task."""
    if worker is not None and not getattr(worker, "daskhpc_watch", False):
        worker.daskhpc_watch = True
        isolate_dask_rng()
        worker.loop.add_callback(_watch, worker)


async def _watch(worker: Any) -> None:
    """Ask the scheduler now and then which clients it still has, while something is kept."""
    with contextlib.suppress(Exception):  # the worker closes
        while _states:
            await asyncio.sleep(_WATCH_SECONDS)
            if not _states:
                break
            present = tuple(await call_on_scheduler(worker, _clients))
            for run in [run for run in list(_states) if not run.startswith(present)]:
                free(run)
    worker.daskhpc_watch = False


def _clients(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.clients)


def free(run: str) -> None:
    """Drop what is kept for a run."""
    with _lock:
        gone = _states.pop(run, None)
    if gone is not None:
        gone.clear()


def drop(run: str, numbers: list[int]) -> None:
    """Drop some parcels of a run."""
    state = _states.get(run)
    if state is None:
        return
    with state.lock:
        for number in numbers:
            state.blobs.pop(number, None)
            state.objects.pop(number, None)
            state.frames.pop(number, None)
            segment = state.segments.pop(number, None)
            if segment is not None:
                segment.close()


async def cancel(run: str, dask_worker: Any) -> None:
    """End the calls of a run: none begins any more, and those that run are interrupted where Python code runs.

    A worker process whose call does not heed that, and that has nothing else to do or to keep, is ended after a few
    seconds; its Nanny starts another. Returns when that is decided.
    """
    state = run_state(run)
    state.cancelled = True
    told: set[int] = set()
    end = time.monotonic() + _PATIENCE_SECONDS
    while state.threads and time.monotonic() < end:
        with state.lock:
            for thread in state.threads - told:
                if not _imports(thread):
                    _interrupt(thread, CancelledCallError)
                    told.add(thread)
        await asyncio.sleep(0.05)
    others = dask_worker.data or any(kept.threads for kept in _states.values() if not kept.cancelled)
    alone = dask_worker.state.executing_count <= len(state.threads)
    if state.threads and alone and not others and dask_worker.nanny:
        os._exit(0)


def _imports(thread: int) -> bool:
    """Whether a thread is inside an import: cut short, that would leave broken modules behind in this process."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _interrupt(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in another thread before its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


@contextlib.contextmanager
def calling(state: RunState) -> Iterator[None]:
    """Within: this thread makes calls of a run, and may be interrupted."""
    thread = threading.get_ident()
    state.threads.add(thread)
    try:
        yield
    finally:
        with contextlib.suppress(CancelledCallError), state.lock:
            state.threads.discard(thread)
        state.threads.discard(thread)
        # What was not raised yet is raised here. To take it back would make Python look for it at every step, forever.
        with contextlib.suppress(CancelledCallError):
            for _ in range(10):
                pass


def recall(run: str, tasks: list[str]) -> dict[str, tuple[list[Any], list[Any]] | None]:
    """Let no further call of some tasks begin.

    Returns
    -------
    dict[str, tuple[list, list] or None]
        Outcomes and costs so far of those that have begun, whose next call may be running; None for those that are
        over, and whose reply is on its way.
    """
    state = run_state(run)
    state.recalled.update(tasks)
    begun = {name: state.tasks[name] for name in tasks if name in state.tasks}
    return {name: got and (list(got[0][: len(got[1])]), list(got[1])) for name, got in begun.items()}


def describe(dask_worker: Any) -> tuple[str, int, int]:
    """The node of this worker process, its process id and its threads."""
    return node_name(), os.getpid(), dask_worker.state.nthreads


def node_name() -> str:
    """A name that two processes share if one can open the other's files through /proc."""
    try:
        system = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {system} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {os.getpid()}"


def register(state: RunState, blobs: Mapping[int, bytes], tickets: Mapping[int, Ticket]) -> dict[int, int]:
    """Take in the parcels that came with a task.

    Returns
    -------
    dict[int, int]
        File descriptors of the segments that were opened, by the parcel's number; -1 for those that no holder has.
    """
    opened = {}
    with state.lock:
        state.blobs.update(blobs)
        for number, ticket in tickets.items():
            if number in state.segments:
                continue
            tries = (MemorySegment.attach(pid, descriptor, ticket.layout) for pid, descriptor in ticket.holders)
            segment = next((found for found in tries if found is not None), None)
            opened[number] = -1 if segment is None else segment.descriptor
            if segment is not None:
                state.segments[number] = segment
    return opened


def load(state: RunState, number: int, mode: str | None) -> Any:
    """A parcel's object, made anew; arrays in it lie in the node's memory."""
    if number in state.blobs:
        return pickle.loads(state.blobs[number])
    with state.lock:
        frames = state.frames.get(number)
        if frames is None:
            frames = state.segments[number].frames(mode)
            if mode in ("r", "r+", "w+"):
                state.frames[number] = frames
    return pickle.loads(frames[0], buffers=frames[1:])


def prefixes(state: RunState, dask_worker: Any) -> PrefixCache:
    """The fitted prefixes of a run in this process, bounded by a share of its memory."""
    with state.lock:
        if state.prefixes is None:
            limit = dask_worker.memory_manager.memory_limit if dask_worker is not None else None
            state.prefixes = PrefixCache(int(min(_PREFIX_BYTES, _PREFIX_SHARE * limit if limit else _PREFIX_BYTES)))
        return state.prefixes


def receive(run: str, number: int, layout: Layout, dask_worker: Any) -> None:
    """Make room for a parcel on this node."""
    state = run_state(run)
    before = state.segments.pop(number, None)
    if before is not None:
        before.close()
    state.segments[number] = MemorySegment.create(layout, dask_worker.local_directory)


def write_piece(run: str, number: int, offset: int, piece: bytes) -> None:
    """Take one piece of a parcel that the client sends."""
    state = run_state(run)
    state.segments[number].write(offset, piece)
    state.received += len(piece)


def read(run: str, number: int, offset: int, length: int) -> bytes:
    """A piece of a parcel, for another node."""
    return run_state(run).segments[number].read(offset, length)


def segment_location(run: str, number: int) -> tuple[int, int]:
    """Process id and descriptor by which other processes of this node open a parcel."""
    return os.getpid(), run_state(run).segments[number].descriptor


def attach(run: str, number: int, ticket: Ticket) -> bool:
    """Open a parcel that another process of this node holds."""
    return register(run_state(run), {}, {number: ticket}).get(number, 0) >= 0


async def fetch_from_peer(run: str, number: int, layout: Layout, source: str, dask_worker: Any) -> None:
    """Fetch a parcel from a worker of another node, piece by piece."""
    receive(run, number, layout, dask_worker)
    for offset in range(0, layout.size, PIECE_BYTES):
        write_piece(
            run, number, offset, await call_on_worker(dask_worker, source, read, run, number, offset, PIECE_BYTES)
        )
