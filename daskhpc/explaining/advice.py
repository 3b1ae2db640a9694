"""What is unwise about some work on this cluster, and the line to type instead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..chunk_size import PIECES_IN_A_TASK, SMALLEST, Resources, array_chunk_size, piece_size
from ..text import bytes_text, counted
from .model import Advice, Collection, Work
from .sizes import ArrayChunks

MANY_PIECES = 100
"""Pieces up to which their number costs nothing."""

LARGE_IN_GRAPH = 10 * 10**6
"""Bytes of data within the tasks above which Dask itself warns."""

MANY_TASKS = 100_000
"""Tasks above which a scheduler needs minutes for its own work (about a millisecond each)."""

GROWTH = 4
"""Tasks of a rechunk for each chunk above which every new chunk needs many old ones."""

_ITEMS = "larger pieces: several items in a task"
_WORTH_SPREADING = 32 * 2**20
_LINES = {
    "set_index": "df = df.set_index(column, divisions=limits)   # limits that are known: nobody looks for them",
    "sort_values": "df.nlargest(n, column)   # if the first n are enough",
    "merge": "left.merge(right.repartition(npartitions=1), on=column)   # if right fits a worker",
    "groupby.apply": "df.groupby(column).agg({'value': 'mean'})   # Dask's own aggregations move no rows",
    "bag.groupby": "bag.foldby(key, operator)   # folds before it moves anything",
}


def advice_for(
    parts: tuple[Collection, ...], work: Work, available: Resources, arrays: Mapping[str, ArrayChunks]
) -> list[Advice]:
    """Everything that is unwise.

    Parameters
    ----------
    parts : tuple of Collection
    work : Work
    available : Resources
    arrays : mapping of str to ArrayChunks
        The arrays that the work is made of.
    """
    widest = max((each for each in arrays.values() if each.nbytes), key=lambda each: each.nbytes, default=None)
    frame = next((part for part in parts if "frame" in part.kind or "series" in part.kind), None)
    again = _other_pieces(widest, frame, available)
    return [
        *_pieces(work, available, again),
        *_result(work, available, frame is not None),
        *_objects(parts),
        *_rechunk(work),
        *_shuffles(work),
        *_graph(work, again),
    ]


def _pieces(work: Work, available: Resources, again: str) -> Iterator[Advice]:
    sources = work.sources
    size = sources.largest.value
    joined = any(layer.name.startswith("repartition") and layer.tasks > 1 for layer in work.layers)
    if (
        size is not None
        and size < SMALLEST
        and sources.tasks > max(MANY_PIECES, 8 * available.threads)
        and not joined
        and again
    ):
        yield Advice(
            "small-chunks",
            f"{sources.tasks:,} chunks of {bytes_text(size)} each: a task takes about a millisecond of the scheduler, "
            "however small it is",
            again,
        )
    largest = work.largest.largest.value if work.largest else None
    needed = (largest or 0) * available.threads_per_worker * PIECES_IN_A_TASK
    if work.largest and needed > available.memory and again:
        threads = counted(available.threads_per_worker, "thread")
        yield Advice(
            "large-chunks",
            f"{work.largest.name} makes pieces of {bytes_text(largest or 0)}; {threads} "
            f"with {PIECES_IN_A_TASK} each need {bytes_text(needed)}, a worker has {bytes_text(available.memory)}",
            again,
        )
    widest = max((layer.tasks for layer in work.layers), default=0)
    if widest < available.threads and (largest is None or largest > _WORTH_SPREADING) and again not in ("", _ITEMS):
        yield Advice(
            "few-chunks",
            f"at most {counted(widest, 'task')} can run at once, and there are {available.threads} threads",
            again,
        )


def _result(work: Work, available: Resources, frame: bool) -> Iterator[Advice]:
    size = work.result.value or 0
    instead = "df.to_parquet(folder)" if frame else 'x.to_zarr("result.zarr")'
    todo = f"{instead}   # or keep it on the workers: daskhpc.persist(...)"
    if size > available.client_memory:
        yield Advice(
            "large-result",
            f"the result, {work.result}, does not fit this process: {bytes_text(available.client_memory)} are left",
            todo,
        )
    elif 2 * size > available.memory:
        yield Advice(
            "large-result",
            f"the result, {work.result}, is put together on one worker, which has {bytes_text(available.memory)} and "
            "holds it twice meanwhile",
            todo,
        )


def _objects(parts: tuple[Collection, ...]) -> Iterator[Advice]:
    of_frames = [part for part in parts if "frame" in part.kind or "series" in part.kind]
    frames = [name for part in of_frames for name in part.objects]
    arrays = [name for part in parts if part not in of_frames for name in part.objects]
    names = [*frames, *arrays]
    if names:
        kinds = ", ".join(f"'{name}': 'string[pyarrow]'" for name in frames[:3])
        # An array that is changed afterwards is still read and kept as objects until then.
        made = f"dtype=float   # where {', '.join(arrays[:3])} is made, if all values are numbers"
        yield Advice(
            "object-columns",
            f"Python objects in {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}: slow, several times "
            "as large, and one thread at a time",
            f"df = df.astype({{{kinds}}})   # or 'category' if values repeat" if frames else made,
        )


def _rechunk(work: Work) -> Iterator[Advice]:
    if work.growth >= GROWTH:
        yield Advice(
            "rechunk",
            f"a rechunk takes {work.growth:,} tasks for each chunk: every new one needs pieces of many old ones",
            'x.rechunk(chunks, method="p2p")   # or chunks="auto" along one axis where x is made',
        )


def _shuffles(work: Work) -> Iterator[Advice]:
    for name in work.shuffles:
        if name == "set_index" and not work.before:
            continue  # its limits were given
        before = f", after {work.before:,} tasks that look at the column" if work.before else ""
        yield Advice("shuffle", f"{name} moves all rows between the workers{before}", _LINES[name])


def _graph(work: Work, again: str) -> Iterator[Advice]:
    if work.embedded > LARGE_IN_GRAPH:
        yield Advice(
            "data-in-graph",
            f"{bytes_text(work.embedded)} of data are within the tasks, and go through the scheduler with them",
            'x = da.from_zarr("x.zarr")   # the workers read it: from Zarr, Parquet, or dask.delayed(np.load)(path)',
        )
    if work.tasks > MANY_TASKS and again:
        yield Advice(
            "many-tasks",
            f"{work.tasks:,} tasks: the scheduler alone needs about {work.tasks / 60_000:.0f} minutes for them",
            again,
        )


def _other_pieces(widest: ArrayChunks | None, frame: Collection | None, available: Resources) -> str:
    """The line that makes chunks which fit this cluster, by the rule of `piece_size`; "" if these are such chunks."""
    if frame is not None:
        size = frame.nbytes.value or 0
        count = max(2 * available.threads, math.ceil(size / piece_size(size, available)))
        return "" if count == frame.pieces else f"df = df.repartition(npartitions={count})"
    if widest is None:
        return _ITEMS
    chunks = good_chunks(widest, available)
    return "" if chunks == widest.largest else f"chunks={chunks}   # where the array is made"


def good_chunks(array: ArrayChunks, available: Resources) -> tuple[int, ...]:
    """A shape of chunks that fits the cluster."""
    import numpy as np
    from dask.array.core import normalize_chunks

    shape = tuple(int(sum(sizes)) for sizes in array.chunks)
    limit = piece_size(int(array.nbytes), available, array_chunk_size.chosen())
    chunks: Any = normalize_chunks("auto", shape=shape, limit=limit, dtype=np.dtype(f"V{array.itemsize}"))
    return tuple(int(sizes[0]) for sizes in chunks)
