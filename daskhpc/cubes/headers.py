"""The header of each file, read before its data: whether the files are alike, and in which order they come."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from ..errors import InputFileError, one_line
from .encodings import differing, kept
from .engines import NO_INDEXES, opened

SMALL = 2**24  # bytes; what is larger and in every file stays in the file
# Attributes without which numbers are not known; xarray takes them into the encoding, unless options forbid it.
MEANING = re.compile(
    "units|calendar|scale_factor|add_offset|_FillValue|missing_value|_Unsigned|flag_(values|masks|meanings)"
)
NUMBERS = "biufc"
NAMED = 5  # files in a message


@dataclass(frozen=True, slots=True)
class LazyVariable:
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
        The sizes of the file's own chunks by dimension; empty if it has none.
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
class FirstFile:
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
    lazy : tuple of LazyVariable
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
    lazy: tuple[LazyVariable, ...]


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What one file adds.

    Parameters
    ----------
    path : str
        The file.
    length : int
        Its size along the dimension that grows.
    values : numpy.ndarray or None
        Its coordinate along that dimension, if it has one.
    dtypes : tuple of numpy.dtype
        The types of its lazy variables.
    differing : tuple of frozenset
        Of its lazy variables, and at last of that coordinate, the keys of encodings that are others in the first file.
    version : tuple of int
        When it was last changed (ns), and its bytes.
    """

    path: str
    length: int
    values: Any
    dtypes: tuple[Any, ...]
    differing: tuple[frozenset[Hashable], ...]
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file that cannot be one of the set, and why."""

    path: str
    why: str
    variable: Hashable = None


def read_first(path: str, engine: str, along: str, options: Mapping[str, Any]) -> FirstFile:
    """Open the first file."""
    with opened(path, engine, options) as dataset:
        stay = [name for name in dataset.variables if _is_lazy(dataset, name, along)]
        lazy = tuple(_lazy_variable(name, dataset.variables[name]) for name in stay)
        coordinate = dataset.variables.get(along)
        if coordinate is not None:  # a single time, with no dimension, stays with the fixed ones
            coordinate = coordinate.to_base_variable().load() if coordinate.ndim else None
        fixed = dataset.drop_vars(stay if coordinate is None else [*stay, along]).load()
    for variable in (*fixed.variables.values(), *([] if coordinate is None else [coordinate])):
        variable.encoding = kept(variable.encoding)
    fixed.set_close(None)
    fixed.encoding = kept(fixed.encoding)
    names, coords = tuple(dataset.variables), frozenset(dataset.coords)
    return FirstFile(engine, along, options, path, fixed, names, coords, coordinate, lazy)


def read_headers(paths: list[str], first_file: FirstFile) -> list[FileHeader | FileFault]:
    """Open files, one after the other, and compare each with the first."""
    return [_read_header(path, first_file) for path in paths]


def _read_header(path: str, first_file: FirstFile) -> FileHeader | FileFault:
    try:
        status = os.stat(path)
        with opened(path, first_file.engine, {**first_file.options, **NO_INDEXES}) as dataset:
            fault = compare(dataset, first_file)
            if fault is not None:
                return FileFault(path, *fault)
            variables, first = dataset.variables, [(lazy.name, lazy) for lazy in first_file.lazy]
            dtypes = tuple(variables[name].dtype for name, _ in first)
            values = None
            if first_file.coordinate is not None:
                values = variables[first_file.along].values
                first.append((first_file.along, first_file.coordinate))
            others = tuple(differing(variables[name].encoding, expected.encoding) for name, expected in first)
            length = dataset.sizes.get(first_file.along, 1)
    except FileNotFoundError:
        return FileFault(path, f"is not there for {socket.gethostname()}; all workers have to see it")
    except Exception as error:
        return FileFault(path, f"cannot be read: {one_line(error)}")
    return FileHeader(path, length, values, dtypes, others, (status.st_mtime_ns, status.st_size))


def compare(dataset: xr.Dataset, first_file: FirstFile) -> tuple[str, Hashable] | None:
    """What makes a file differ from the first one, and the variable in question."""
    known = {*(lazy.name for lazy in first_file.lazy), *first_file.fixed.variables}
    if first_file.coordinate is not None:
        known.add(first_file.along)
    for name in sorted(map(str, known - set(dataset.variables))):
        return f"has no variable {name!r}", None
    for name in sorted(map(str, set(dataset.variables) - known)):
        return f"has a variable {name!r} that the first file has not", name
    if first_file.coordinate is not None:
        why = _compare_meaning(dataset.variables[first_file.along], first_file.coordinate)
        if why:
            return f"has another {first_file.along!r}: {why}", None
    for lazy in first_file.lazy:
        why = _compare_lazy(dataset.variables[lazy.name], lazy, first_file.along)
        if why:
            return f"has another {lazy.name!r}: {why}", lazy.name
    for name, expected in first_file.fixed.variables.items():
        why = _compare_fixed(dataset.variables[name], expected)
        if why:
            return f"has another {name!r}: {why}", name
    return None


def _compare_lazy(variable: Any, lazy: LazyVariable, along: str) -> str:
    if variable.dims != lazy.dims:
        return f"dimensions {variable.dims}, not {lazy.dims}"
    for dim, size, first in zip(lazy.dims, variable.shape, lazy.shape, strict=True):
        if dim != along and size != first:
            return f"{size} along {dim}, not {first}"
    return _compare_meaning(variable, lazy)


def _compare_meaning(variable: Any, first: Any) -> str:
    """What numbers, or times, are in one file and not in the other."""
    kinds = {variable.dtype.kind, first.dtype.kind}
    inexact = kinds == {"i", "u"} and np.result_type(variable.dtype, first.dtype).kind == "f"
    if len(kinds) > 1 and (inexact or not kinds <= set(NUMBERS)):
        return f"type {variable.dtype}, not {first.dtype}"
    if _calendar(variable) != _calendar(first):
        return f"calendar {_calendar(variable)!r}, not {_calendar(first)!r}"
    attrs, first_attrs = ({str(key): of.attrs[key] for key in of.attrs} for of in (variable, first))
    for key in sorted(map(str, differing(attrs, first_attrs))):
        if MEANING.fullmatch(key):
            return f"{key} {attrs.get(key)!r}, not {first_attrs.get(key)!r}"
    return ""


def _calendar(variable: Any) -> str:
    """The calendar of times that NumPy does not have; they cannot be compared with those of another one."""
    times = variable.dtype.kind == "O" and "since" in variable.encoding.get("units", "")
    calendar = str(variable.encoding.get("calendar", "standard")).lower() if times else ""
    return "standard" if calendar == "gregorian" else calendar


def _compare_fixed(variable: Any, first: Any) -> str:
    if variable.dims != first.dims or variable.shape != first.shape:
        return f"{dict(variable.sizes)}, not {dict(first.sizes)}"
    if variable.equals(first):
        return _compare_meaning(variable, first)
    values, expected = variable.values, first.values
    if values.dtype.kind in NUMBERS and expected.dtype.kind in NUMBERS and values.ndim:
        return f"values that differ by up to {np.nanmax(np.abs(values.astype(float) - expected.astype(float))):g}"
    return f"{values}, not {expected}" if not values.ndim else "other values"


def _is_lazy(dataset: xr.Dataset, name: Hashable, along: str) -> bool:
    variable = dataset.variables[name]
    if name in dataset.indexes:
        return False
    return along in variable.dims or variable.nbytes > SMALL


def _lazy_variable(name: Hashable, variable: Any) -> LazyVariable:
    blocks = variable.encoding.get("preferred_chunks") or {}
    encoding = kept(variable.encoding)
    return LazyVariable(
        name, variable.dims, variable.shape, variable.dtype, dict(blocks), dict(variable.attrs), encoding
    )


def without_faults(found: Sequence[FileHeader | FileFault]) -> list[FileHeader]:
    """The headers, if there is no fault among them.

    Raises
    ------
    InputFileError
        If there is one. It names the first files.
    """
    faults = [header for header in found if isinstance(header, FileFault)]
    if not faults:
        return [header for header in found if isinstance(header, FileHeader)]
    lines = [f"{fault.path} {fault.why}" for fault in faults[:NAMED]]
    if len(faults) > NAMED:
        lines.append(f"and {len(faults) - NAMED} more")
    names = sorted({str(fault.variable) for fault in faults if fault.variable is not None})
    todo = f"give other paths, or drop_variables={names}" if names else "mend these files, or give other paths"
    raise InputFileError(
        f"{len(faults)} of {len(found)} files cannot be opened as one.", "\n         ".join(lines), todo
    )


def ordered(headers: Sequence[FileHeader], along: str) -> list[FileHeader]:
    """The files in the order of what they hold along a dimension; those that hold nothing go, if any holds something.

    Files without a coordinate along it stay in the order in which they came.

    Raises
    ------
    InputFileError
        If a file is not in order itself, or two overlap.
    """
    filled = [header for header in headers if header.length] or list(headers[:1])
    if len(filled) == 1 or any(header.values is None for header in filled):
        return filled
    for header in filled:
        if not np.all(header.values[1:] > header.values[:-1]):
            raise InputFileError(
                f"{header.path} is not in order along {along}.",
                _unordered(header.values, along),
                f"sort it by {along}",
            )
    filled.sort(key=lambda header: header.values[0])
    for before, after in pairwise(filled):
        if not before.values[-1] < after.values[0]:
            raise InputFileError(
                f"Two files overlap along {along}.",
                f"{before.path} has {_span(before.values)}, {after.path} has {_span(after.values)}",
                "leave one of them out",
            )
    return filled


def _unordered(values: Any, along: str) -> str:
    at = int(np.flatnonzero(~(values[1:] > values[:-1]))[0])
    return f"{along}[{at}] is {values[at]}, {along}[{at + 1}] is {values[at + 1]}"


def _span(values: Any) -> str:
    return f"{values[0]} to {values[-1]}"
