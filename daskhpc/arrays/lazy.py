"""Arrays whose elements are read or made when they are asked for."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

Window = tuple[slice, ...]


class Lazy:
    """What Dask needs of an array: a shape, a dtype and indexing; subclasses say how to read a window of it.

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
        pairs = [_covering(one, n) for one, n in zip(index, self.shape, strict=True)]
        out = np.asarray(self.read(tuple(window for window, _ in pairs)))
        for axis, (_, picked) in enumerate(pairs):
            if not isinstance(picked, int):
                out = out[(slice(None),) * axis + (picked,)]
        return out[tuple(0 if isinstance(picked, int) else slice(None) for _, picked in pairs)]

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, sorted(vars(self).items())

    def to_dask(self, chunks: Any, prefix: str) -> da.Array:
        """This as a Dask array whose tasks are named after `prefix`."""
        name = f"{prefix}-{tokenize(self, chunks)}"
        return da.from_array(self, chunks=chunks, name=name, meta=np.empty((0,) * self.ndim, self.dtype))


def _covering(index: Any, n: int) -> tuple[slice, Any]:
    """The smallest window that has all that an index names, and the index within it."""
    if isinstance(index, int | np.integer):
        at = range(n)[index]
        return slice(at, at + 1), 0
    if isinstance(index, slice):
        picked = range(n)[index]
        if not picked:
            return slice(0, 0), slice(None)
        return slice(min(picked[0], picked[-1]), max(picked[0], picked[-1]) + 1), slice(None, None, picked.step)
    places = np.arange(n)[np.asarray(index)]
    if not places.size:
        return slice(0, 0), places
    return slice(int(places.min()), int(places.max()) + 1), places - places.min()
