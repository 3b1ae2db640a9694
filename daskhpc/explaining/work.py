"""The figures of the work behind lazy objects, out of its graph and the sizes of its tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .graph import Graph, key_name
from .model import UNKNOWN, Layer, Size, Work
from .sizes import UNKNOWN_SIZE, TaskSize, TaskSizes

_NUMBER = 128
"""Bytes of a number or a short tuple; a task that gives no more is no source of data."""


def work_of(graph: Graph, sizes: TaskSizes, table_reads: float, peak: float | None, shuffles: list[str]) -> Work:
    """The figures of a graph.

    Parameters
    ----------
    graph : Graph
    sizes : TaskSizes
    table_reads : float
        Bytes of the Parquet files that are read, which the tasks do not tell.
    peak : float or None
        Bytes that one worker process needs, as of `peak_memory`.
    shuffles : list of str
        What moves rows between partitions.
    """
    layers = _layers((key_name(key), sizes.tasks[key]) for key in graph.tasks)
    sources = [sizes.tasks[key] for key, node in graph.tasks.items() if not node.dependencies & graph.tasks.keys()]
    heavy = [size for size in sources if not size.in_file and (size.piece is None or size.piece > _NUMBER)]
    cuts = [layer.tasks for layer in layers if "rechunk-split" in layer.name or "rechunk-merge" in layer.name]
    others = [layer.tasks for layer in layers if "rechunk" not in layer.name]
    reads = table_reads + sum(sizes.tasks[key].reads for key in graph.tasks)
    return Work(
        tasks=len(graph.tasks),
        exact=graph.exact,
        before=graph.before,
        in_memory=len(graph.held),
        layers=layers,
        largest=max((each for each in layers if _is_piece(each)), key=_largest_bytes, default=None),
        sources=next(iter(_layers(("sources", size) for size in heavy)), Layer("sources", 0, UNKNOWN)),
        growth=sum(cuts) // max([1, *others]),
        shuffles=tuple(shuffles),
        reads=Size(int(reads), reads == 0),
        embedded=int(sizes.embedded),
        work_memory=UNKNOWN if peak is None else Size(int(peak)),
        result=_result([sizes.tasks.get(key, UNKNOWN_SIZE) for key in graph.outputs]),
    )


def _layers(pairs: Iterable[tuple[str, TaskSize]]) -> tuple[Layer, ...]:
    """Tasks by name, most first, each with the largest piece."""
    counts: dict[str, int] = {}
    largest: dict[str, TaskSize] = {}
    for name, size in pairs:
        counts[name] = counts.get(name, 0) + 1
        if (size.piece or 0) >= (largest.get(name, UNKNOWN_SIZE).piece or 0):
            largest[name] = size
    return tuple(
        Layer(name, counts[name], _size(largest[name].piece, largest[name].piece_exact))
        for name in sorted(counts, key=lambda each: -counts[each])
    )


def _is_piece(layer: Layer) -> bool:
    """Whether a layer's bytes are known, and are not the result that one task puts together."""
    return bool(layer.largest.value) and not layer.name.startswith("finalize")


def _largest_bytes(layer: Layer) -> int:
    return layer.largest.value or 0


def _result(outputs: list[TaskSize]) -> Size:
    if any(size.nbytes is None for size in outputs):
        return UNKNOWN
    return Size(int(sum(size.nbytes or 0 for size in outputs)), all(size.exact for size in outputs))


def _size(nbytes: Any, exact: bool) -> Size:
    return UNKNOWN if nbytes is None else Size(int(nbytes), exact)
