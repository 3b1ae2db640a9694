"""A worker process's store: the parcels of running Parallel calls, for its children and for other nodes."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..compat.distributed import call_on_worker
from .memory_segment import Layout, MemorySegment
from .task import Ticket

PIECE_BYTES = 32 << 20


@dataclass(slots=True)
class RunState:
    """What one worker process keeps for one run (one use of Parallel).

    Attributes
    ----------
    segments : dict[int, MemorySegment]
        Large parcels, whole.
    arriving : dict[int, MemorySegment]
        Those of which pieces are still to come. No call may see them.
    recalled : set[str]
        Tasks of which no further call begins.
    over : set[str]
        Tasks whose reply is on its way.
    """

    blobs: dict[int, bytes] = field(default_factory=dict)
    segments: dict[int, MemorySegment] = field(default_factory=dict)
    arriving: dict[int, MemorySegment] = field(default_factory=dict)
    received: int = 0
    recalled: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    freed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        """Drop everything."""
        self.freed = True
        self.drop([*self.blobs, *self.segments, *self.arriving])

    def drop(self, numbers: Iterable[int]) -> None:
        """Drop some parcels."""
        with self.lock:
            for number in numbers:
                self.blobs.pop(number, None)
                for kept in (self.segments, self.arriving):
                    segment = kept.pop(number, None)
                    if segment is not None:
                        segment.close()


_states: dict[str, RunState] = {}
_freed: deque[str] = deque(maxlen=1000)
_lock = threading.Lock()


def run_state(run: str) -> RunState:
    """What this process keeps for a run, whose name begins with its client's; nothing if the run was freed."""
    with _lock:
        if run in _freed:
            return RunState(freed=True)
        return _states.setdefault(run, RunState())


def runs() -> list[str]:
    """The runs for which something is kept."""
    return list(_states)


def forget(run: str) -> None:
    """Drop what is kept for a run, and what comes for it later."""
    with _lock:
        _freed.append(run)
        gone = _states.pop(run, None)
    if gone is not None:
        gone.clear()


def describe(dask_worker: Any) -> tuple[str, int, int]:
    """The node of this worker process, its process id and its threads."""
    return node_name(), os.getpid(), dask_worker.state.nthreads


@functools.cache
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
        File descriptors of the segments that were opened, by the parcel's number; -1 if no holder has it.
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


def receive(run: str, number: int, layout: Layout, dask_worker: Any) -> None:
    """Make room for a parcel on this node."""
    state = run_state(run)
    if state.freed:
        return
    before = state.arriving.pop(number, None)
    if before is not None:
        before.close()
    state.arriving[number] = MemorySegment.create(layout, dask_worker.local_directory)


def write_piece(run: str, number: int, offset: int, piece: bytes) -> None:
    """Take one piece of a parcel that the client sends."""
    state = run_state(run)
    state.arriving[number].write(offset, piece)
    state.received += len(piece)


def read(run: str, number: int, offset: int, length: int) -> bytes:
    """A piece of a parcel, for another node."""
    return run_state(run).segments[number].read(offset, length)


def received(run: str, number: int) -> tuple[int, int]:
    """All pieces of a parcel have come; returns process id and descriptor by which others of this node open it."""
    state = run_state(run)
    with state.lock:
        segment = state.arriving.pop(number)
        if number in state.segments:  # calls may have it open: it stays
            segment.close()
        else:
            segment.finish()
            state.segments[number] = segment
        return os.getpid(), state.segments[number].descriptor


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
