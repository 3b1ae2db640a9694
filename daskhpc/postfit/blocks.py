"""A method of a fitted model over the blocks of a Dask collection, lazily."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import sklearn
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from ..compat.dask import alias, is_reference
from ..compat.dask_expr import name_of
from .model_transfer import PickledModel


@dataclass(frozen=True, slots=True)
class MethodCall:
    """What is done to each block.

    Attributes
    ----------
    method : str
        The model's method.
    empty : object
        Its output for no rows: an array, a pandas object, or a list of arrays.
    config : dict
        Scikit-learn's settings of the calling process, which worker processes do not have.
    """

    method: str
    empty: Any
    config: dict[str, Any]


def run(block: Any, model: Any, call: MethodCall, start: int | None = None) -> Any:
    """The method's output for one block; for a block without rows, the empty output.

    Parameters
    ----------
    block : object
        Or lists around it, as Dask gives the blocks along an axis that the output lacks.
    model : PickledModel or estimator
        The fitted model.
    call : MethodCall
        What is done.
    start : int, optional
        The place of the block's first row among all rows, which gives a pandas output its index.

    Returns
    -------
    object
        With as many rows as the block.
    """
    while isinstance(block, list):
        block = block[0]
    if block.shape[0] == 0:
        return call.empty
    if isinstance(model, PickledModel):
        model = model.model()
    with sklearn.config_context(**call.config):
        output = getattr(model, call.method)(block)
    return output if start is None else output.set_axis(pd.RangeIndex(start, start + len(output)), axis=0)


def is_frame(X: Any) -> bool:
    """Whether it is a Dask dataframe or series."""
    return isinstance(X, dd.DataFrame | dd.Series)


def whole_rows(X: Any) -> Any:
    """A Dask array with all features of a row in one block.

    The rows stay chunked as they are, unless the blocks would grow over Dask's ``array.chunk-size``.
    """
    if not isinstance(X, da.Array) or all(n == 1 for n in X.numblocks[1:]):
        return X
    merged = dict.fromkeys(range(1, X.ndim), -1)
    rows = max(X.chunks[0])
    widths = [sum(sizes) for sizes in X.chunks[1:]]
    limit = parse_bytes(dask.config.get("array.chunk-size"))
    if np.isnan(rows) or rows * np.prod(widths) * X.dtype.itemsize <= limit:
        return X.rechunk(merged)
    return X.rechunk({0: "auto", **merged})


def over_blocks(X: Any, model: PickledModel | Delayed, call: MethodCall) -> Any:
    """A method's output for all blocks of a Dask array, dataframe or series.

    Returns
    -------
    dask.array.Array, dask.dataframe.DataFrame, dask.dataframe.Series, or a list of arrays
        The lazy form of what the method gives for one block.
    """
    if isinstance(call.empty, list):
        lists = _arrays(X, model, call, np.empty(0, dtype=object))
        return [_picked(lists, place, like) for place, like in enumerate(call.empty)]
    if isinstance(call.empty, pd.DataFrame | pd.Series):
        return _partitions(X, model, call, call.empty) if is_frame(X) else _frame(X, model, call)
    return _arrays(X, model, call, call.empty)


def _arrays(X: Any, model: PickledModel | Delayed, call: MethodCall, like: Any) -> Any:
    if is_frame(X):
        return _array_of_frame(X, model, call, like)
    inner = tuple(f"features{axis}" for axis in range(1, X.ndim))
    outer, widths = _outputs(like)
    return da.blockwise(
        *(run, ("rows", *outer), X, ("rows", *inner), model, None, call, None),
        new_axes=widths,
        align_arrays=False,
        dtype=like.dtype,
        meta=like,
        token=call.method,
    )


def _outputs(like: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names and sizes of the axes of an output beside that of the samples; 0 stands for an unknown size."""
    widths = {f"outputs{axis}": size or np.nan for axis, size in enumerate(like.shape) if axis}
    return tuple(widths), widths


def _picked(lists: Any, place: int, like: Any) -> Any:
    """One array of those that each block's list holds."""
    outer, widths = _outputs(like)
    return da.blockwise(
        *(_item, ("rows", *outer), lists, ("rows",), place, None),
        new_axes=widths,
        align_arrays=False,
        dtype=like.dtype,
        meta=like,
    )


def _item(outputs: list[Any], place: int) -> Any:
    return outputs[place]


def _partitions(X: Any, model: PickledModel | Delayed, call: MethodCall, meta: Any, **options: Any) -> Any:
    if isinstance(model, Delayed) and is_reference(value := model.dask[model.key]):
        # Why the Future itself: Dask's dataframes make a task of a Delayed, whose output would travel again.
        model = value
    return X.map_partitions(run, model, call, meta=meta, **options)


def _array_of_frame(X: Any, model: PickledModel | Delayed, call: MethodCall, like: Any) -> Any:
    """An array of the outputs for a frame's partitions, whose numbers of rows are not known yet.

    Notes
    -----
    Dask's own conversion knows NumPy arrays only, and loses that an output is sparse.
    """
    parts = _partitions(X, model, call, pd.Series(dtype=object), enforce_metadata=False).optimize()
    source = name_of(parts)
    name = f"{call.method}-{source}"
    tail = (0,) * (like.ndim - 1)
    layer = {(name, i, *tail): alias((name, i, *tail), (source, i)) for i in range(parts.npartitions)}
    graph = HighLevelGraph({source: parts.__dask_graph__(), name: layer}, {source: set(), name: {source}})
    chunks = ((np.nan,) * parts.npartitions, *((size or np.nan,) for size in like.shape[1:]))
    return da.Array(graph, name, chunks, dtype=like.dtype, meta=like)


def _frame(X: Any, model: PickledModel | Delayed, call: MethodCall) -> Any:
    """A dataframe of the pandas outputs for an array's blocks; its index counts all rows if their number is known."""
    sizes = X.chunks[0]
    known = not any(np.isnan(size) for size in sizes)
    ends = [int(end) for end in np.cumsum(sizes)] if known else []
    starts = [0, *ends[:-1]] if known else [None] * len(sizes)
    divisions = (*starts, ends[-1] - 1) if known and all(sizes) else None
    part = dask.delayed(run, pure=True)
    parts = [part(block, model, call, start) for block, start in zip(X.to_delayed().ravel(), starts, strict=True)]
    meta = call.empty.set_axis(pd.RangeIndex(0), axis=0)
    return dd.from_delayed(parts, meta=meta, divisions=divisions, verify_meta=False, prefix=call.method)
