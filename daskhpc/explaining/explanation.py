"""`explain`: everything that can be known of a lazy object before it is computed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from ..chunk_size import Resources, resources
from ..clients import current_client
from ..errors import DaskhpcError
from .advice import advice_for
from .dataframes import Tables
from .describe import lazy_parts, parts_of
from .graph import graph_of, shuffles_of
from .html import as_html
from .model import Advice, Collection, Size, Work, total
from .peak import peak_memory
from .sizes import TaskSizes, chunks_of, is_store
from .text import Row, as_text, rows
from .work import work_of


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """What `explain` found; printing it shows the text, a notebook shows a table and the picture of the chunks.

    Parameters
    ----------
    parts : tuple of Collection
        The lazy objects.
    work : Work
        What computing them together takes.
    resources : Resources
        What there is to compute with.
    advice : tuple of Advice
        What is unwise.
    """

    parts: tuple[Collection, ...]
    work: Work
    resources: Resources
    advice: tuple[Advice, ...]

    @property
    def pieces_per_thread(self) -> float:
        """Chunks or partitions for each thread of the cluster."""
        return sum(part.pieces for part in self.parts) / max(1, self.resources.threads)

    @property
    def nbytes(self) -> Size:
        """Of all parts."""
        return total([part.nbytes for part in self.parts])

    def _rows(self) -> list[Row]:
        return rows(self.parts, self.work, self.resources, self.advice)

    def __str__(self) -> str:
        return as_text(self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self._rows(), self.parts)


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
        If nothing within `obj` is lazy.

    Notes
    -----
    Nothing of the user's data is computed. Dask itself reads the footers of a few Parquet files to choose partitions,
    and `explain` reads the first lines of a CSV file to learn how long they are.

    Tasks are counted in the optimized graph, and those whose results are on the workers already are left out. Bytes of
    arrays come from the chunks that every array records with its graph, those of dataframes from the rows of their
    source and the types of their columns, those of anything else from what the tasks take. The peak memory is a bound
    (its formula is in docs/explain.md), plus what an idle worker process takes.

    Examples
    --------
    >>> import dask.array as da
    >>> found = explain(da.ones((1000, 600), chunks=(100, 300), dtype="float32").sum(axis=0))
    >>> found.work.tasks, str(found.nbytes)
    (29, '2.34 kiB')
    >>> [each.code for each in explain(da.ones((20_000, 1000), chunks=(20_000, 1))).advice]
    ['small-chunks']
    """
    collections = list(lazy_parts(obj))
    if not collections:
        raise DaskhpcError(
            "Nothing here is lazy.",
            f"a {type(obj).__name__}",
            "explain(x) of a Dask or xarray object, or a list of them",
        )
    client = client or current_client()
    with nullcontext() if client is None else client.as_current():
        held = _bytes_on_workers(client)
        available = resources(client)
        parts = tuple(part for each in collections for part in parts_of(each, held))
        graph = graph_of(collections, held)
        arrays, tables = chunks_of(collections), Tables(held)
        sizes = TaskSizes(graph, arrays, tables.partition_bytes(graph.expressions))
        peak = peak_memory(graph, sizes.tasks, available.workers, available.threads_per_worker)
        work = work_of(graph, sizes, tables.reads(graph.expressions), peak, shuffles_of(collections, graph))
        whole = total([part.nbytes for part in parts])
        if whole.exact and not any(is_store(getattr(each, "name", "")) for each in collections):
            work = replace(work, result=whole)
        return Explanation(parts, work, available, tuple(advice_for(parts, work, available, arrays)))


def _bytes_on_workers(client: Any) -> Mapping[Any, int]:
    """Bytes of the results that are on the workers, by key."""
    if client is None or client.asynchronous:
        return {}
    return {key: int(nbytes) for key, nbytes in client.nbytes(summary=False).items()}
