"""Computes Dask collections into the memory of this process, if they fit it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

from .compat.dask import compute_in_order
from .errors import DataTooLargeError
from .runtime import spare_memory

JOINING = 2
"""Bytes that bringing a collection takes, over its size: its pieces, and the whole that they are joined to."""


def fits(nbytes: int, available: int) -> bool:
    """Whether a process that may take `available` more bytes can hold collections of `nbytes` together."""
    return nbytes * JOINING <= available


def is_dask(value: Any) -> bool:
    """Whether a value is one of Dask's own collections, or of a class derived from one; without importing Dask."""
    return "dask" in sys.modules and any(kind.__module__.split(".")[0] == "dask" for kind in type(value).__mro__)


def materialize(data: Mapping[str, Any], client: Any, purpose: str, todo: str) -> dict[str, Any]:
    """Data with every Dask collection among them computed, all in one go; what is not Dask's is left as it is.

    Parameters
    ----------
    data : Mapping[str, Any]
        By name: collections, lists of them, or anything else.
    client : distributed.Client or None
        What computes; by default what Dask would use.
    purpose, todo : str
        First and last part of the error: what needs them, and what to type instead.

    Returns
    -------
    dict[str, Any]
        The same names. Columns of text with NA have NaN, as ``pandas.read_csv`` gives them: scikit-learn knows no NA.

    Raises
    ------
    DataTooLargeError
        If they do not fit the memory that this process may still take. If their metadata tell their size, nothing is
        computed; otherwise the workers compute them, and tell how large they are.

    Examples
    --------
    >>> import dask.array as da
    >>> materialize({"X": da.ones(3, chunks=2), "cv": 5}, None, "fit needs all rows", "a sample of them")
    {'X': array([1., 1., 1.]), 'cv': 5}
    """
    names = [name for name, value in data.items() for _ in _collections(value)]
    lazy = [each for value in data.values() for each in _collections(value)]
    if not lazy:
        return dict(data)
    import dask

    with dask.config.set({} if client is None else {"scheduler": client}), warnings.catch_warnings():
        # Dask warns about arrays and frames in one call, which is what computes what they share once
        warnings.filterwarnings("ignore", "Computing mixed collections", UserWarning)
        sizes = [_known_size(value) for value in lazy]
        if None in sizes:
            if client is not None:  # the workers keep them, so that they are computed once
                lazy = compute_in_order(dask.persist, lazy, traverse=False)
            sizes = _measured_sizes(lazy)
        _refuse_too_large(names, [size or 0 for size in sizes], spare_memory(), purpose, todo)
        results = iter(map(_with_nan, compute_in_order(dask.compute, lazy, traverse=False)))
    return {name: _with(value, results) for name, value in data.items()}


def _with_nan(result: Any) -> Any:
    """A pandas frame or series with NaN in place of NA among texts; anything else as it is."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return result
    if isinstance(result, pandas.Series):
        return with_nan(result) if has_na_text(result.dtype) and result.hasnans else result
    if not isinstance(result, pandas.DataFrame) or not result.columns.is_unique:
        return result
    gaps = [name for name, dtype in result.dtypes.items() if has_na_text(dtype) and result[name].hasnans]
    if not gaps:
        return result
    columns = {name: with_nan(column) if name in gaps else column for name, column in result.items()}
    return pandas.DataFrame(columns, index=result.index)


def has_na_text(dtype: Any) -> bool:
    """Whether a dtype is of text whose gaps are NA."""
    import pandas

    return isinstance(dtype, pandas.StringDtype) and dtype.na_value is pandas.NA


def with_nan(texts: Any) -> Any:
    """A series of texts with NaN for gaps, of the dtype that pandas gives to text that it reads."""
    import pandas

    read = pandas.Series(["", None]).dtype
    return (
        texts.astype(read)
        if isinstance(read, pandas.StringDtype)
        else texts.astype(read).where(texts.notna(), float("nan"))
    )


def _collections(value: Any) -> list[Any]:
    """A collection, or those of a list of nothing else; of anything else none."""
    several = value if isinstance(value, list) else [value]
    return several if all(map(is_dask, several)) else []


def _with(value: Any, results: Iterator[Any]) -> Any:
    """A value, with the next results in place of its collections."""
    if not _collections(value):
        return value
    return [next(results) for _ in value] if isinstance(value, list) else next(results)


def _known_size(value: Any) -> int | None:
    """Bytes of a collection; None if its metadata do not tell."""
    nbytes = value.nbytes if hasattr(value, "chunks") else None
    if not isinstance(nbytes, Integral) or value.dtype.hasobject:
        return None
    return int(nbytes)


def _measured_sizes(collections: Sequence[Any]) -> list[int | None]:
    """Bytes of collections, measured by the workers that hold their partitions."""
    import dask
    from dask.delayed import delayed

    measure = delayed(_bytes, pure=True)
    sizes = [[measure(piece) for piece in _pieces(value)] for value in collections]
    return [sum(pieces) for pieces in dask.compute(sizes)[0]]


def _bytes(piece: Any) -> int:
    # A function of its own: Dask's travels with every type that it was ever asked about, and not all of them can.
    from dask.sizeof import sizeof

    return int(sizeof(piece))


def _pieces(value: Any) -> list[Any]:
    """The partitions of a collection, each delayed."""
    from dask.delayed import Delayed

    if isinstance(value, Delayed) or not hasattr(value, "to_delayed"):
        return [value]
    pieces = value.to_delayed()
    if isinstance(pieces, Delayed):  # of a single value, such as a sum
        return [pieces]
    return list(pieces.ravel()) if hasattr(pieces, "ravel") else list(pieces)


def _refuse_too_large(names: Sequence[str], sizes: Sequence[int], available: int, purpose: str, todo: str) -> None:
    if fits(sum(sizes), available):
        return
    from dask.utils import format_bytes

    each = ", ".join(f"{name} {format_bytes(size)}" for name, size in zip(names, sizes, strict=True))
    raise DataTooLargeError(
        purpose,
        f"{each}; bringing them takes {JOINING} times their size, {format_bytes(available)} is available",
        todo,
    )
