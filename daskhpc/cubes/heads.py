"""What is known of each file before its data is read, and whether the files are alike."""

from __future__ import annotations

import os
import socket
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..errors import one_line
from .engines import NO_INDEXES, opened

SMALL = 2**24  # bytes; what is larger and in every file stays in the file
FILE_ENCODING = ("source", "original_shape", "chunks", "preferred_chunks", "shards")
NUMBERS = "biufc"


@dataclass(frozen=True, slots=True)
class Layer:
    """A variable that stays in the files.

    Parameters
    ----------
    name : str
        Its name.
    dims : tuple of str
        Its dimensions.
    shape : tuple of int
        Its sizes in the first file.
    dtype : numpy.dtype
        Its type in the first file, decoded.
    blocks : mapping
        The sizes of the file's own chunks by dimension; empty where it has none.
    attrs, encoding : mapping
        xarray's.
    """

    name: Hashable
    dims: tuple[Hashable, ...]
    shape: tuple[int, ...]
    dtype: Any
    blocks: Mapping[Hashable, int]
    attrs: Mapping[Any, Any]
    encoding: Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """How all files are opened, and what the first one holds.

    Parameters
    ----------
    engine : str
        xarray's engine.
    along : str
        The dimension along which files follow each other.
    options : mapping
        More arguments of `xarray.open_dataset`.
    path : str
        The first file.
    fixed : xarray.Dataset
        Its small variables without that dimension, with the attributes of the file.
    names : tuple of str
        All its variables in the file's order.
    coords : frozenset of str
        Which of them are coordinates.
    coordinate : xarray.Variable or None
        Its coordinate along that dimension.
    layers : tuple of Layer
        Its other variables.
    """

    engine: str
    along: str
    options: Mapping[str, Any]
    path: str
    fixed: xr.Dataset
    names: tuple[Hashable, ...]
    coords: frozenset[Hashable]
    coordinate: Any
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one file adds.

    Parameters
    ----------
    path : str
        The file.
    length : int
        Its size along the dimension that grows.
    values : numpy.ndarray or None
        Its coordinate along that dimension, where it has one.
    dtypes : tuple of numpy.dtype
        The types of its layers.
    version : tuple of int
        When it was last changed (ns), and its bytes.
    """

    path: str
    length: int
    values: Any
    dtypes: tuple[Any, ...]
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that cannot be one of the set, and why."""

    path: str
    why: str
    variable: Hashable = None


def read_source(path: str, engine: str, along: str, options: Mapping[str, Any]) -> Source:
    """Open the first file."""
    with opened(path, engine, options) as dataset:
        lazy = [name for name in dataset.variables if _is_lazy(dataset, name, along)]
        layers = tuple(_layer(name, dataset.variables[name]) for name in lazy)
        fixed = dataset.drop_vars([*lazy, along], errors="ignore").load()
        coordinate = dataset.variables.get(along)
        if coordinate is not None:
            coordinate = coordinate.to_base_variable().load()
    for variable in (*fixed.variables.values(), *([] if coordinate is None else [coordinate])):
        variable.encoding = _kept(variable.encoding)
    fixed.set_close(None)
    fixed.encoding = _kept(fixed.encoding)
    names, coords = tuple(dataset.variables), frozenset(dataset.coords)
    return Source(engine, along, options, path, fixed, names, coords, coordinate, layers)


def read_pieces(paths: list[str], source: Source) -> list[Piece | Fault]:
    """Open files, one after the other, and compare each with the first."""
    return [_read_piece(path, source) for path in paths]


def _read_piece(path: str, source: Source) -> Piece | Fault:
    try:
        status = os.stat(path)
        with opened(path, source.engine, {**source.options, **NO_INDEXES}) as dataset:
            fault = compare(dataset, source)
            if fault is not None:
                return Fault(path, *fault)
            values = dataset.variables[source.along].values if source.along in dataset.variables else None
            dtypes = tuple(dataset.variables[layer.name].dtype for layer in source.layers)
            length = dataset.sizes.get(source.along, 1)
    except FileNotFoundError:
        return Fault(path, f"is not there for {socket.gethostname()}; all workers have to see it")
    except Exception as error:
        return Fault(path, f"cannot be read: {one_line(error)}")
    return Piece(path, length, values, dtypes, (status.st_mtime_ns, status.st_size))


def compare(dataset: xr.Dataset, source: Source) -> tuple[str, Hashable] | None:
    """What makes a file differ from the first one, and the variable in question."""
    known = {*(layer.name for layer in source.layers), *source.fixed.variables}
    if source.coordinate is not None:
        known.add(source.along)
    for name in sorted(map(str, known - set(dataset.variables))):
        return f"has no variable {name!r}", None
    for name in sorted(map(str, set(dataset.variables) - known)):
        return f"has a variable {name!r} that the first file has not", name
    if source.coordinate is not None:
        why = _compare_units(dataset.variables[source.along], source.coordinate)
        if why:
            return f"has another {source.along!r}: {why}", None
    for layer in source.layers:
        why = _compare_layer(dataset.variables[layer.name], layer, source.along)
        if why:
            return f"has another {layer.name!r}: {why}", layer.name
    for name, variable in source.fixed.variables.items():
        why = _compare_fixed(dataset.variables[name], variable)
        if why:
            return f"has another {name!r}: {why}", name
    return None


def _compare_layer(variable: Any, layer: Layer, along: str) -> str:
    if variable.dims != layer.dims:
        return f"dimensions {variable.dims}, not {layer.dims}"
    for dim, size, first in zip(layer.dims, variable.shape, layer.shape, strict=True):
        if dim != along and size != first:
            return f"{size} along {dim}, not {first}"
    if variable.dtype.kind != layer.dtype.kind and not {variable.dtype.kind, layer.dtype.kind} <= set(NUMBERS):
        return f"type {variable.dtype}, not {layer.dtype}"
    return _compare_units(variable, layer)


def _compare_units(variable: Any, first: Any) -> str:
    units, first_units = variable.attrs.get("units"), first.attrs.get("units")
    return "" if units == first_units else f"units {units!r}, not {first_units!r}"


def _compare_fixed(variable: Any, first: Any) -> str:
    if variable.dims != first.dims or variable.shape != first.shape:
        return f"{dict(variable.sizes)}, not {dict(first.sizes)}"
    if variable.equals(first):
        return _compare_units(variable, first)
    here, there = variable.values, first.values
    if here.dtype.kind in NUMBERS and there.dtype.kind in NUMBERS and here.ndim:
        return f"values that differ by up to {np.nanmax(np.abs(here.astype(float) - there.astype(float))):g}"
    return f"{here}, not {there}" if not here.ndim else "other values"


def _is_lazy(dataset: xr.Dataset, name: Hashable, along: str) -> bool:
    variable = dataset.variables[name]
    if name in dataset.indexes:
        return False
    return along in variable.dims or variable.nbytes > SMALL


def _layer(name: Hashable, variable: Any) -> Layer:
    blocks = variable.encoding.get("preferred_chunks") or {}
    encoding = _kept(variable.encoding)
    return Layer(name, variable.dims, variable.shape, variable.dtype, dict(blocks), dict(variable.attrs), encoding)


def _kept(encoding: Mapping[Any, Any]) -> dict[Any, Any]:
    """Without what holds for the file it came from only."""
    return {key: value for key, value in encoding.items() if key not in FILE_ENCODING}
