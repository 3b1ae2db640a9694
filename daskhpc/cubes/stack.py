"""A variable over many files, as xarray's lazy arrays."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from .engines import NO_INDEXES, opened
from .heads import Layer, Piece, Source


class FileStack(BackendArray):  # type: ignore[misc]
    """One variable of all files, one file after the other; reading opens the files that it needs and closes them.

    Parameters
    ----------
    source : Source
        How the files are opened.
    layer : Layer
        The variable.
    pieces : sequence of Piece
        The files in order; the first only for a variable that does not grow.
    """

    def __init__(self, source: Source, layer: Layer, pieces: list[Piece]) -> None:
        position = source.layers.index(layer)
        self.axis = layer.dims.index(source.along) if source.along in layer.dims else None
        if self.axis is None:
            pieces = pieces[:1]
        self.name = layer.name
        self.engine = source.engine
        self.options = {**source.options, **NO_INDEXES, "drop_variables": _others(source, layer)}
        self.paths = [piece.path for piece in pieces]
        self.versions = [piece.version for piece in pieces]
        self.starts = np.cumsum([0, *(piece.length for piece in pieces)])
        self.dtype = np.result_type(*{piece.dtypes[position] for piece in pieces})
        self.shape = tuple(int(self.starts[-1]) if axis == self.axis else size for axis, size in enumerate(layer.shape))

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, self.name, self.engine, self.options, self.paths, self.versions

    def _read(self, key: tuple[Any, ...]) -> Any:
        """The part that a key of slices and whole numbers names."""
        if self.axis is None:
            return self._read_file(0, key)
        wanted = key[self.axis]
        if not isinstance(wanted, slice):
            at = int(np.searchsorted(self.starts, wanted, side="right")) - 1
            return self._read_file(at, _with(key, self.axis, wanted - int(self.starts[at])))
        rows = range(self.shape[self.axis])[wanted]
        out = np.empty(_shape(_with(key, self.axis, slice(None)), self.shape, self.axis, len(rows)), self.dtype)
        axis = sum(isinstance(one, slice) for one in key[: self.axis])
        done = 0
        while done < len(rows):
            at = int(np.searchsorted(self.starts, rows[done], side="right")) - 1
            first, end = int(self.starts[at]), int(self.starts[at + 1])
            count = -(-(end - rows[done]) // rows.step)
            count = min(count, len(rows) - done)
            local = slice(rows[done] - first, rows[done + count - 1] - first + 1, rows.step)
            target = (slice(None),) * axis + (slice(done, done + count),)
            out[target] = self._read_file(at, _with(key, self.axis, local))
            done += count
        return out

    def _read_file(self, at: int, key: tuple[Any, ...]) -> Any:
        with opened(self.paths[at], self.engine, self.options) as dataset:
            return dataset.variables[self.name][key].values


def _with(key: tuple[Any, ...], axis: int, value: Any) -> tuple[Any, ...]:
    return (*key[:axis], value, *key[axis + 1 :])


def _shape(key: tuple[Any, ...], shape: tuple[int, ...], along: int, rows: int) -> list[int]:
    """The shape of what such a key names, with so many rows along one axis."""
    sizes = [rows if axis == along else n for axis, n in enumerate(shape)]
    return [len(range(n)[one]) for one, n in zip(key, sizes, strict=True) if isinstance(one, slice)]


def _others(source: Source, layer: Layer) -> list[Hashable]:
    """The variables that need not be looked at; times are decoded with the help of those that they belong to."""
    if layer.dtype.kind not in "biufc":
        return list(np.atleast_1d(source.options.get("drop_variables") or []))
    known = [*(one.name for one in source.layers), *source.fixed.variables, source.along]
    return [*np.atleast_1d(source.options.get("drop_variables") or []), *(name for name in known if name != layer.name)]
