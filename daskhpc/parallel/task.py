"""A task as it travels: what the client sends to a worker, what the worker hands on to a child, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .memory_segment import Layout
from .parcel import Position


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


@dataclass(frozen=True, slots=True)
class CallBatch:
    """A few calls, which one child makes one after the other.

    Attributes
    ----------
    templates : dict[int, tuple]
        Per template: its plain values, its parcels' numbers, the order of both, how many arguments are positional, what
        it is to `fitting`.
    once : dict[int, bytes]
        Parcels that only one call needs; they are not kept.
    calls : list[tuple[int, dict]]
        Template and differences of each call.
    seconds : float
        After which the calls that have not begun are given back.
    world : int
        Number of the parcel with the program's `ProgramWorld`.
    mode : str or None
        joblib's ``mmap_mode``.
    threads : int
        Threads that a Parallel inside a call may use.
    inner_threads : int or None
        joblib's ``inner_max_num_threads``.
    callbacks : bool
        Whether scikit-learn's callbacks watch the calls.
    """

    templates: dict[int, tuple[dict[Position, Any], dict[Position, int], tuple[Position, ...], int, int]]
    once: dict[int, bytes]
    calls: list[tuple[int, dict[Position, Any]]]
    seconds: float
    world: int
    mode: str | None = "r"
    threads: int = 1
    inner_threads: int | None = None
    callbacks: bool = False


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A batch on its way to a worker.

    Attributes
    ----------
    run, name : str
    batch : bytes
        The pickled `CallBatch`, which only the child opens.
    needed : frozenset[int]
        Parcels that the batch needs.
    blobs : dict[int, bytes]
        Small ones among them that this worker is not known to have.
    tickets : dict[int, Ticket]
        Large ones, which lie in the node's memory.
    modules : tuple[str, ...]
        What the program has imported of the packages that calls use most; children have it before they start.
    slot : int or None
        The slot whose child is to make the calls, because of what it has fitted before; None is any.
    fresh : bool
        Whether a child is to make them that has made no other.
    """

    run: str
    name: str
    batch: bytes
    needed: frozenset[int]
    blobs: dict[int, bytes]
    tickets: dict[int, Ticket]
    modules: tuple[str, ...] = ()
    slot: int | None = None
    fresh: bool = False


Stream = bytes | bytearray | memoryview
"""A pickle as it comes out of a file, or from the network."""


@dataclass(slots=True)
class TaskResult:
    """What became of a task.

    Attributes
    ----------
    records : list[Stream]
        Of the calls that were made, in order: a pickled `CallRecord` each.
    opened : dict[int, int]
        File descriptors of the large parcels that the worker has opened now.
    kept : list[int]
        Small parcels that it keeps.
    absent : list[int]
        Parcels that it does not have: nothing was done.
    messages : bytes
        What scikit-learn's callbacks sent meanwhile, pickled; empty if they sent nothing.
    died : str
        How the child ended while it made the call after the last record; empty if it did not.
    """

    records: list[Stream] = field(default_factory=list)
    opened: dict[int, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    messages: bytes = b""
    died: str = ""


class CallRecord(NamedTuple):
    """What became of one call.

    Attributes
    ----------
    ok : bool
    value : Any
        What it returned, or raised.
    traceback : str
        Of what it raised.
    seconds, saved : float
        What it took, and what it would have taken more without prefixes that were fitted before.
    """

    ok: bool
    value: Any
    traceback: str = ""
    seconds: float = 0.0
    saved: float = 0.0


SECEDE = b"secede"
"""What a child sends whose call has made a client: it may wait for tasks, which need the thread that waits for it."""


class ChildOrder(NamedTuple):
    """What a worker sends to a child: calls to make.

    Attributes
    ----------
    run : str
    batch : bytes
        The pickled `CallBatch`.
    blobs : dict[int, bytes]
        Small parcels that this child does not have.
    places : dict[int, tuple[int, int, Layout]]
        Large ones: the process id and file descriptor that have it open, and its layout.
    prefix_bytes : int
        What fitted prefixes may take in this child.
    scheduler : str
        Address of the cluster's scheduler, for ``distributed.get_client()`` in a call.
    """

    run: str
    batch: bytes
    blobs: dict[int, bytes]
    places: dict[int, tuple[int, int, Layout]]
    prefix_bytes: int
    scheduler: str
