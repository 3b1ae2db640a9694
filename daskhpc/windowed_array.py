"""Arrays of which one window is read or made at a time: those in files, and those of random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

Window = tuple[slice, ...]
"""Per axis a slice that has a start, a stop, and a step of 1 or more."""


class WindowedArray:
    """What Dask needs of an array (a shape, a dtype, indexing); a subclass reads a window of it.

    Parameters
    ----------
    shape : tuple of int
        The shape.
    dtype : dtype
        The type of an element.

    Examples
    --------
    >>> class Squares(WindowedArray):
    ...     def read(self, window):
    ...         print("reads", window)
    ...         return np.arange(window[0].start, window[0].stop, window[0].step) ** 2
    >>> Squares((1000,), int).to_dask(100, "squares")[5:30:10].compute(scheduler="synchronous")
    reads (slice(5, 26, 10),)
    array([ 25, 225, 625])
    """

    from_files = True
    """Whether reading a window reads a file; `daskhpc.explain` asks."""

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)

    def read(self, window: Window) -> Any:
        """The elements of a window."""
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

        Dask passes slices of a chunk on to `__getitem__`, so that ``x[7:300:9, 3]`` reads no more than it needs.
        """
        name = f"{prefix}-{tokenize(self, chunks)}"
        return da.from_array(self, chunks=chunks, name=name, meta=np.empty((0,) * self.ndim, self.dtype))


class StackedArray(WindowedArray):
    """Pieces of an array, one after the other along an axis, such as one in each file.

    Parameters
    ----------
    shape : tuple of int
        The shape of the whole.
    dtype : dtype
        The type of an element.
    axis : int or None
        The axis along which the pieces follow each other; None: there is one piece.
    lengths : sequence of int
        The sizes of the pieces along that axis.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, axis: int | None, lengths: Sequence[int]) -> None:
        super().__init__(shape, dtype)
        self.axis = axis
        self.starts = np.cumsum([0, *lengths])

    def read_piece(self, piece: int, window: Window) -> Any:
        """The elements of a window of one piece."""
        raise NotImplementedError

    def read(self, window: Window) -> Any:
        if self.axis is None:
            return self.read_piece(0, window)
        before, after = window[: self.axis], window[self.axis + 1 :]
        rows = range(self.shape[self.axis])[window[self.axis]]
        out = np.empty([len(range(n)[part]) for n, part in zip(self.shape, window, strict=True)], self.dtype)
        done = 0
        while done < len(rows):  # pieces that a step leaves out are not read
            piece = int(np.searchsorted(self.starts, rows[done], side="right")) - 1
            first, end = int(self.starts[piece]), int(self.starts[piece + 1])
            count = min(-(-(end - rows[done]) // rows.step), len(rows) - done)
            inside = slice(rows[done] - first, rows[done + count - 1] - first + 1, rows.step)
            target = (slice(None),) * self.axis + (slice(done, done + count),)
            out[target] = self.read_piece(piece, (*before, inside, *after))
            done += count
        return out


def contiguous(window: Window) -> tuple[Window, Window]:
    """A window without steps, and the steps within it: for what reads strides slowly or not at all."""
    return tuple(slice(part.start, part.stop, 1) for part in window), tuple(
        slice(None, None, part.step) for part in window
    )


def _covering(index: Any, n: int) -> tuple[slice, Any]:
    """The smallest window that has all that an index names, and the index within it."""
    if isinstance(index, int | np.integer):
        position = range(n)[index]
        return slice(position, position + 1, 1), 0
    if isinstance(index, slice):
        picked = range(n)[index]
        if not picked:
            return slice(0, 0, 1), slice(None)
        if picked.step > 0:
            return slice(picked[0], picked[-1] + 1, picked.step), slice(None)
        return slice(picked[-1], picked[0] + 1, -picked.step), slice(None, None, -1)
    positions = np.arange(n)[np.asarray(index)]
    if not positions.size:
        return slice(0, 0, 1), positions
    return slice(int(positions.min()), int(positions.max()) + 1, 1), positions - positions.min()
