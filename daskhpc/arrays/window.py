"""Arrays of which one window is read or made at a time."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

Window = tuple[slice, ...]


class WindowedArray:
    """What Dask needs of an array (a shape, a dtype, indexing); a subclass says how to read a window of it.

    Parameters
    ----------
    shape : tuple of int
        The shape.
    dtype : dtype
        The type of an element.
    """

    from_files = True
    """Whether reading a window reads a file; `daskhpc.explain` asks."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.ndim = len(shape)

    def read(self, window: Window) -> Any:
        """The elements of a window: per axis a slice with start and stop, of step 1."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> Any:
        index = index if isinstance(index, tuple) else (index,)
        pairs = [_covering(part, n) for part, n in zip(index, self.shape, strict=True)]
        out = np.asarray(self.read(tuple(window for window, _ in pairs)))
        # One axis after the other: lists along two axes would else be taken as pairs.
        for axis, (_, inner) in enumerate(pairs):
            if not isinstance(inner, int):
                out = out[(slice(None),) * axis + (inner,)]
        return out[tuple(0 if isinstance(inner, int) else slice(None) for _, inner in pairs)]

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, sorted(vars(self).items())

    def to_dask(self, chunks: Any, prefix: str) -> da.Array:
        """This as a Dask array whose tasks are named after `prefix`.

        Dask passes what is asked of a chunk on to `__getitem__`, so that ``x[7:300:9, 3]`` reads no more than it needs.
        """
        name = f"{prefix}-{tokenize(self, chunks)}"
        meta = np.empty((0,) * self.ndim, self.dtype)
        return da.from_array(self, chunks=chunks, name=name, meta=meta)


def _covering(index: Any, n: int) -> tuple[slice, Any]:
    """The smallest window that has all that an index names, and the index within it."""
    if isinstance(index, int | np.integer):
        position = range(n)[index]
        return slice(position, position + 1), 0
    if isinstance(index, slice):
        picked = range(n)[index]
        if not picked:
            return slice(0, 0), slice(None)
        return slice(min(picked[0], picked[-1]), max(picked[0], picked[-1]) + 1), slice(None, None, picked.step)
    positions = np.arange(n)[np.asarray(index)]
    if not positions.size:
        return slice(0, 0), positions
    return slice(int(positions.min()), int(positions.max()) + 1), positions - positions.min()
