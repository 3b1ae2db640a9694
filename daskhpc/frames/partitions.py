"""Partitions of a size that suits the cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import dask
import numpy as np
import pandas
from dask.dataframe.dispatch import make_meta
from dask.delayed import delayed
from dask.utils import parse_bytes

from ..chunk_size import piece_size, resources

EXPANSION = 2
"""Bytes of memory that a byte of text is taken to need when it has been parsed."""


def text_block_bytes(blocksize: int | str | None, paths: Sequence[str]) -> int | None:
    """Bytes of text per partition: what was asked for, or what suits the cluster; None: a partition per file."""
    if blocksize != "auto":
        return None if blocksize is None else int(parse_bytes(blocksize))
    total = EXPANSION * sum(map(os.path.getsize, paths))
    return max(1, piece_size(total, resources()) // EXPANSION)


def fit_partitions(frame: Any, client: Any = None) -> Any:
    """A frame in partitions that suit the cluster: of the bytes that a chunk of an array has, one per thread or more.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame or Series
        It is computed once, to measure its partitions; persist it before if that takes long.
    client : distributed.Client, optional
        By default the current one.

    Returns
    -------
    dask.dataframe.DataFrame or Series
        The same rows in the same order; divisions that are known stay known.

    Notes
    -----
    A partition has at most a sixteenth of a thread's memory, and 128 MiB (`daskhpc.chunk_size`). Dask's own
    ``repartition(partition_size=...)`` forgets the divisions when it cuts a partition.

    Examples
    --------
    >>> import dask.dataframe
    >>> days = pandas.DataFrame({"x": range(1000)}, index=pandas.date_range("2020-01-01", periods=1000))
    >>> fitted = fit_partitions(dask.dataframe.from_pandas(days, npartitions=1000))
    >>> fitted.npartitions < 1000, fitted.known_divisions
    (True, True)
    """
    available = resources(client)
    scheduler = {} if client is None else {"scheduler": client}
    parts = frame.to_delayed()
    sizes = [size for (size,) in dask.compute(*(delayed(_bytes, pure=False)(p) for p in parts), **scheduler)]
    total = sum(sizes)
    target = max(1, min(piece_size(total, available), -(-total // available.threads)))
    pieces = [max(1, -(-size // target)) for size in sizes]
    if not frame.known_divisions:
        return _by_rows(frame, sizes, pieces, target)
    cut = delayed(_cuts, pure=False)
    cuts = dask.compute(*(cut(part, n) for part, n in zip(parts, pieces, strict=True) if n > 1), **scheduler)
    divisions = new_divisions(frame.divisions, sizes, pieces, cuts, target)
    return frame.repartition(divisions=divisions)


def _bytes(part: Any) -> tuple[int]:
    used = part.memory_usage(deep=True)
    return (int(used if isinstance(part, pandas.Series) else used.sum()),)


def _cuts(part: Any, pieces: int) -> list[Any]:
    """Index values that cut a partition into pieces of as many rows."""
    index = part.index.sort_values()
    places = np.linspace(0, len(index), pieces + 1).astype(int)[1:-1]
    return list(index[places].unique())


def new_divisions(
    divisions: Sequence[Any], sizes: Sequence[int], pieces: Sequence[int], cuts: Sequence[Sequence[Any]], target: int
) -> list[Any]:
    """Divisions with partitions of about `target` bytes: small ones joined, large ones cut at `cuts`."""
    inner = iter(cuts)
    bounds = [divisions[0]]
    held = 0
    for i, (size, count) in enumerate(zip(sizes, pieces, strict=True)):
        if held and held + size > target and divisions[i] > bounds[-1]:
            bounds.append(divisions[i])
            held = 0
        new = [cut for cut in next(inner) if bounds[-1] < cut < divisions[i + 1]] if count > 1 else []
        bounds += new
        held = size // count if new else held + size
    return [*bounds, divisions[-1]]


def _by_rows(frame: Any, sizes: Sequence[int], pieces: Sequence[int], target: int) -> Any:
    """The same if nothing is known of the index: large partitions are cut by rows, small neighbours joined."""
    import dask.dataframe
    from dask.dataframe.dispatch import concat

    cut = delayed(_slice, pure=True)
    parts, held = [], target + 1
    joined: list[list[Any]] = []
    for part, size, count in zip(frame.to_delayed(), sizes, pieces, strict=True):
        if count == 1 and held + size <= target:
            joined[-1].append(part)
            held += size
        else:
            joined += [[part]] if count == 1 else [[cut(part, i, count)] for i in range(count)]
            held = size if count == 1 else target + 1
    together = delayed(concat, pure=True)  # pandas' own makes text of categories that differ
    parts = [group[0] if len(group) == 1 else together(group) for group in joined]
    return dask.dataframe.from_delayed(parts, meta=make_meta(frame), verify_meta=False)


def _slice(part: Any, place: int, pieces: int) -> Any:
    rows = np.linspace(0, len(part), pieces + 1).astype(int)
    return part.iloc[rows[place] : rows[place + 1]]
