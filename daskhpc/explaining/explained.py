"""`explain`: everything that can be said of a lazy object before it is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from ..chunk_size import resources
from ..clients import current_client
from ..errors import DaskhpcError
from .advice import advice_for
from .describe import lazy_parts, parts_of
from .explanation import Explanation
from .frames import Tables, partitions_of
from .graph import Graph, graph_of, key_name, shuffles_of

from .model import UNKNOWN, Layer, Size, Work, total
from .peak import peak_memory
from .sizes import TaskSizes, chunks_of


def explain(obj: Any, client: Any = None) -> Explanation:
    """What a lazy object is, what computing it takes on this cluster, and what is unwise about it.

    Parameters
    ----------
    obj : Dask array, dataframe, series, bag or delayed; xarray DataArray or Dataset; list, tuple or dict of them
        Several are explained as ``dask.compute(*objects)`` would compute them, together.
    client : distributed.Client, optional
        By default the current one; without one the work is explained for this machine.

    Returns
    -------
    Explanation
        Printed, the text; in a notebook, a table and the chunks' picture; its attributes are the plain figures.

    Raises
    ------
    DaskhpcError
        When nothing within `obj` is lazy.

    Notes
    -----
    Nothing of the user's data is computed. Dask itself reads the footers of a few Parquet files to choose partitions,
    and `explain` reads the first lines of a CSV file to learn how long they are.

    Tasks are counted in the optimized graph, and those whose results are on the workers already are left out. Bytes of
    arrays come from the chunks that every array records with its graph, those of dataframes from the rows of their
    source and the types of their columns, those of anything else from what the tasks take. The peak memory comes
    from acting the work out (see docs/explain.md), plus what an idle worker process takes.
    """
    found = list(lazy_parts(obj))
    if not found:
        raise DaskhpcError(
            "Nothing here is lazy.",
            f"a {type(obj).__name__}",
            "explain(x) of a Dask or xarray object, or a list of them",
        )
    client = client or current_client()
    with _as_current(client):
        held = _held(client)
        place = resources(client)
        parts = tuple(part for each in found for part in parts_of(each, held))
        graph = graph_of(found, held)
        arrays = chunks_of(found)
        tables = Tables(held)
        sizes = TaskSizes(graph, arrays, partitions_of(graph.expressions, tables))
        peak = peak_memory(graph, sizes.tasks, place.workers, place.threads_per_worker)
        whole = total([part.nbytes for part in parts])
        work = replace(work, result=whole) if whole.exact else work
        return Explanation(parts, work, place, tuple(advice_for(parts, work, place, blocks)))


def work_of(
    graph: Graph,
    costs: Mapping[Any, Cost],
    embedded: float,
    table_reads: float,
    peak: Size,
    shuffles: Sequence[str],
) -> Work:
    """The figures of a graph whose costs are known."""
    layers = _layers((key_name(key), costs[key]) for key in graph.tasks)
    sized = [layer for layer in layers if layer.largest.value]
    sources = [key for key, node in graph.tasks.items() if not (node.dependencies & graph.tasks.keys())]
    heavy = [key for key in sources if (size := costs[key].piece.nbytes) is None or size > SMALL]
    source = _layers(("sources", costs[key]) for key in heavy)
    cuts = [layer.tasks for layer in layers if "rechunk-split" in layer.name or "rechunk-merge" in layer.name]
    others = [layer.tasks for layer in layers if "rechunk" not in layer.name]
    file_reads = table_reads or sum(cost.value.reads for cost in costs.values())
    return Work(
        tasks=len(graph.tasks),
        exact=graph.exact,
        before=graph.before,
        in_memory=len(graph.held),
        layers=layers,
        largest=max(sized, key=lambda layer: layer.largest.value or 0, default=None),
        sources=source[0] if source else Layer("sources", 0, UNKNOWN),
        growth=sum(cuts) // max([1, *others]),
        shuffles=tuple(shuffles),
        reads=Size(int(file_reads), file_reads == 0),
        embedded=int(embedded),
        work_memory=peak,
        result=_result(graph, costs),
    )


def _layers(pairs: Iterable[tuple[str, Cost]]) -> tuple[Layer, ...]:
    """Tasks by name, most first, each with the largest piece."""
    counts: dict[str, int] = {}
    largest: dict[str, Size] = {}
    for name, cost in pairs:
        counts[name] = counts.get(name, 0) + 1
        nbytes = cost.piece.nbytes
        size = UNKNOWN if nbytes is None else Size(int(nbytes), cost.piece.exact)
        if name not in largest or (size.value or 0) > (largest[name].value or 0):
            largest[name] = size
    return tuple(Layer(name, counts[name], largest[name]) for name in sorted(counts, key=lambda each: -counts[each]))


def _result(graph: Graph, costs: Mapping[Any, Cost]) -> Size:
    values = [costs[key].value for key in graph.outputs if key in costs]
    held = sum(graph.held.get(key, 0) for key in graph.outputs)
    if any(value.nbytes is None for value in values):
        return UNKNOWN
    return Size(int(sum(value.nbytes or 0 for value in values)) + held, all(value.exact for value in values))


def _peak(graph: Graph, costs: Mapping[Any, Cost], workers: int, threads: int) -> Size:
    unknown = sum(cost.value.nbytes is None for cost in costs.values())
    if 2 * unknown > len(costs):
        return UNKNOWN
    return Size(int(peak_memory(graph, costs, workers, threads)), False)


def _table_reads(graph: Graph, tables: Tables) -> float:
    """Bytes of the Parquet files that a graph reads; those of text files are in its tasks."""
    found = {}
    for top in graph.expressions:
        for node in (top, *(top.exprs if type(top).__name__ == "Fused" else ())):
            table = tables.of(node) if "arquet" in type(node).__name__ else None
            found[node._name] = table.reads if table is not None else 0.0
    return sum(found.values())


def _held(client: Any) -> dict[Any, int]:
    """The results on the workers, with their bytes."""
    if client is None or client.asynchronous:
        return {}
    return {key: int(nbytes) for key, nbytes in client.nbytes(summary=False).items()}


def _as_current(client: Any) -> AbstractContextManager[Any]:
    return nullcontext() if client is None else client.as_current()
