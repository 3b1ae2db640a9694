"""What a lazy object is: its kind, shape, type, chunks and bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..compat.dask_expr import empty_frame, is_dataframe, without_eager_steps
from .dataframes import Tables, object_columns
from .model import UNKNOWN, Collection, Size, known


def lazy_parts(obj: Any) -> Iterator[Any]:
    """Every Dask collection of an object; lists, tuples, sets and dicts are looked into."""
    from dask.base import is_dask_collection

    if isinstance(obj, dict):
        for value in obj.values():
            yield from lazy_parts(value)
    elif isinstance(obj, list | tuple | set | frozenset):
        for value in obj:
            yield from lazy_parts(value)
    elif is_dask_collection(obj):
        yield obj


def parts_of(collection: Any, held: Mapping[Any, int]) -> list[Collection]:
    """A part for a collection; one for every lazy variable of an xarray Dataset."""
    from dask.delayed import Delayed

    if isinstance(collection, Delayed):
        return [Collection("Dask delayed", "", (), "", 1, (), UNKNOWN, UNKNOWN, (), collection)]
    if type(collection).__module__.partition(".")[0] == "xarray":
        return [_array(array, "xarray variable", str(name)) for name, array in _variables(collection)]
    if hasattr(collection, "chunks") and hasattr(collection, "dtype"):
        return [_array(collection, "Dask array", "")]
    if is_dataframe(collection):
        return [_frame(collection, held)]
    if hasattr(collection, "npartitions"):
        pieces = int(collection.npartitions)
        return [Collection("Dask bag", "", (None,), "", pieces, (), UNKNOWN, UNKNOWN, (), collection)]
    return [
        Collection(f"Dask {type(collection).__name__.lower()}", "", (), "", 1, (), UNKNOWN, UNKNOWN, (), collection)
    ]


def _variables(obj: Any) -> list[tuple[str, Any]]:
    """The Dask arrays within an xarray object, by the names of their variables."""
    from dask.base import is_dask_collection

    if hasattr(obj, "data_vars"):
        return [(name, each.data) for name, each in obj.variables.items() if is_dask_collection(each.data)]
    found = [(getattr(obj, "name", None) or "", obj.data)] if is_dask_collection(obj.data) else []
    coordinates = getattr(obj, "coords", {}).items()
    return found + [(name, each.data) for name, each in coordinates if is_dask_collection(each.data)]


def _array(array: Any, kind: str, name: str) -> Collection:
    shape = tuple(known(length) for length in array.shape)
    lengths = [max(sizes, default=0) for sizes in array.chunks]
    exact = array.dtype.kind != "O"
    whole = math.prod(array.shape) * array.dtype.itemsize
    piece = math.prod(lengths) * array.dtype.itemsize
    return Collection(
        kind=kind,
        name=name,
        shape=shape,
        dtype=str(array.dtype),
        pieces=math.prod(len(sizes) for sizes in array.chunks),
        piece_shape=() if any(math.isnan(length) for length in lengths) else tuple(int(each) for each in lengths),
        nbytes=UNKNOWN if math.isnan(whole) else Size(int(whole), exact),
        piece=UNKNOWN if math.isnan(piece) else Size(int(piece), exact),
        objects=() if exact else (name or "x",),
        expression=array,
    )


def _frame(frame: Any, held: Mapping[Any, int]) -> Collection:
    expression = without_eager_steps(frame.expr)[0]
    table = Tables(held).of(expression)
    meta = empty_frame(frame)
    pieces = int(expression.npartitions)
    wide: tuple[int, ...]
    if hasattr(meta, "columns"):
        kind, wide = "Dask dataframe", (len(meta.columns),)
        counts: dict[str, int] = {}
        for dtype in map(str, meta.dtypes):
            counts[dtype] = counts.get(dtype, 0) + 1
        dtype = ", ".join(f"{count} {name}" for name, count in counts.items())
    else:
        wide = ()
        kind, dtype = f"Dask {type(frame).__name__.lower()}", str(getattr(meta, "dtype", ""))
    rows = int(table.rows) if table is not None and table.exact else None
    nbytes = UNKNOWN if table is None else Size(int(table.nbytes), table.exact)
    piece = UNKNOWN if table is None else Size(int(table.nbytes / max(1, pieces)), False)
    return Collection(kind, "", (rows, *wide), dtype, pieces, (), nbytes, piece, object_columns(meta), frame)
