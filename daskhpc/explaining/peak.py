"""A bound of the memory that one worker process needs above what it takes when idle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graph import Graph, key_name
from .sizes import TaskSize

ARRAY_COPIES = 2
"""Pieces that a thread holds at once in work on arrays: one that it takes, and one that it makes."""

FRAME_COPIES = 4
"""The same of dataframes: pandas copies columns, and holds what it filters, joins or reads beside the result."""

P2P_BUFFERS = 200 * 2**20
"""Bytes of rows or cells on their way through a worker: those to be sent, and those to be written (100 MiB each)."""

ARROW_POOL = 64 * 2**20
"""Bytes that pyarrow keeps after it has read Parquet; measured."""


def peak_memory(graph: Graph, sizes: Mapping[Any, TaskSize], workers: int, threads: int) -> float | None:
    """Bytes that the worker process which takes most needs, above what it takes before; None if too little is known.

    Parameters
    ----------
    graph : Graph
    sizes : mapping of key to TaskSize
    workers : int
        Worker processes.
    threads : int
        Of each one.

    Notes
    -----
    The formula::

        peak = max(2 * held / workers, task, copies * pieces) + p2p buffers + what pyarrow keeps

    ``held`` is the most bytes of results that exist at once if the tasks run one after another in Dask's order, each
    result dropped after its last use; a worker gets up to twice its even share of them, one worker all. ``task`` is
    the most that a single task takes and gives: the whole result, for one, is put together on one worker. ``pieces``
    is the largest chunk or partition that tasks of a kind make, times the threads of a worker that can be in such
    tasks at once; of all kinds the one with most. ``copies`` is 2, and 4 for dataframes. The buffers are twice a
    worker's share of what is moved by p2p, at most 200 MiB.
    """
    if 2 * sum(sizes[key].piece is None for key in graph.tasks) > len(graph.tasks):
        return None
    held, task = _held_and_largest_task(graph, {key: size.nbytes or 0.0 for key, size in sizes.items()})
    copies = FRAME_COPIES if graph.expressions else ARRAY_COPIES
    moved = sum(
        sizes[needed].nbytes or 0.0
        for key, node in graph.tasks.items()
        if "-transfer" in key_name(key)
        for needed in node.dependencies
    )
    arrow = ARROW_POOL if any("parquet" in key_name(key) for key in graph.tasks) else 0
    share = held * min(1.0, 2 / workers)
    pieces = _pieces_at_once(graph, sizes, workers, threads)
    return max(share, task, copies * pieces) + min(2 * moved / workers, P2P_BUFFERS) + arrow


def _pieces_at_once(graph: Graph, sizes: Mapping[Any, TaskSize], workers: int, threads: int) -> float:
    """The most bytes of pieces that all threads of a worker make at once, in tasks of one kind."""
    counts: dict[str, int] = {}
    largest: dict[str, float] = {}
    for key in graph.tasks:
        kind = key_name(key)
        counts[kind] = counts.get(kind, 0) + 1
        largest[kind] = max(largest.get(kind, 0.0), sizes[key].piece or 0.0)
    return max((min(threads, -(-counts[kind] // workers)) * largest[kind] for kind in counts), default=0.0)


def _held_and_largest_task(graph: Graph, nbytes: Mapping[Any, float]) -> tuple[float, float]:
    """The most bytes of results at once, task after task in Dask's order; the most that one task takes and gives."""
    from dask.order import order

    uses: dict[Any, int] = {}
    for node in graph.tasks.values():
        for needed in node.dependencies:
            uses[needed] = uses.get(needed, 0) + 1
    ranks = order(graph.tasks)
    held = most = largest_task = 0.0
    for key in sorted(graph.tasks, key=ranks.__getitem__):
        needs = graph.tasks[key].dependencies
        held += nbytes[key]
        most = max(most, held)
        largest_task = max(largest_task, nbytes[key] + sum(nbytes[needed] for needed in needs))
        for needed in needs:
            uses[needed] -= 1
            if not uses[needed] and needed not in graph.outputs and needed not in graph.held:
                held -= nbytes[needed]
    return most, largest_task
