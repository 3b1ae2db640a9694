"""Many files as one dataset: their headers are read and compared by the workers, their data by the tasks."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.array.core import normalize_chunks

from ..chunk_size import Resources, array_chunk_size, piece_size, resources
from ..clients import current_client
from ..errors import InputFileError, SettingsError, one_line
from ..windowed_array import StackedArray, Window
from .chunks import dataset_chunks
from .encodings import agreed_in_chunks, agreed_in_memory
from .engines import ALL_CFTIME, NO_INDEXES, engine_for, opened
from .headers import FileHeader, FirstFile, LazyVariable, ordered, read_first, read_headers, without_faults

BATCHES_PER_THREAD = 8

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def open_dataset(
    paths: Paths,
    chunks: str | Mapping[Any, Any] = "auto",
    *,
    engine: str | None = None,
    along: str = "time",
    client: Any = None,
    **options: Any,
) -> xr.Dataset:
    """One dataset over one file or thousands; their data is read when it is computed with.

    Parameters
    ----------
    paths : str, path or list of them
        NetCDF or HDF5 files, or Zarr stores; in a text, ``*`` and ``**`` stand for more. All workers have to see them.
    chunks : "auto" or mapping
        By default chunks that suit the cluster and do not cut the files' own. A mapping gives them for some dimensions:
        ``{"lat": 50, "time": -1}``.
    engine : str, optional
        xarray's engine; by default after the first bytes of the first file.
    along : str
        The dimension along which the files follow each other.
    client : distributed.Client, optional
        The cluster that reads the headers; the current client by default. Without a client, this process does.
    **options
        Of `xarray.open_dataset`, such as ``drop_variables`` or ``group``; they hold for every file.

    Returns
    -------
    xarray.Dataset
        Variables as Dask arrays; coordinates, and variables of up to 16 MiB without that dimension, are loaded.
        Attributes are those of the first file.

    Raises
    ------
    InputFileError
        If files are missing, broken, not like the first one in variables, units, grid, calendar or types, not in order,
        or overlap. It names them.
    SettingsError
        If `chunks` is neither "auto" nor a mapping, or names a dimension that no variable in files has.

    Notes
    -----
    `xarray.open_mfdataset` makes a dataset of each file and merges them; this opens the files in batches on the
    workers, compares each with the first there, and makes one dataset. A task opens a file, reads its part and closes
    it; HDF5 is entered by one thread of a process at a time.

    If a variable's scale, offset, fill value, type, units of time or rounding filter are not the same in all files, its
    encoding keeps none of them, so that all values are saved as they are. (xarray takes those of the first file.)

    Examples
    --------
    >>> from daskhpc.cubes import make_air_temperature
    >>> paths = make_air_temperature("data", years=[2000], files_per_year=12, resolution=30)
    >>> data = open_dataset("data/air-*.nc")
    >>> dict(data.sizes)
    {'time': 1464, 'lat': 7, 'lon': 12}
    >>> data.air.isel(time=0).mean().compute().dtype
    dtype('float32')
    """
    if chunks != "auto" and not isinstance(chunks, Mapping):
        raise SettingsError("chunks is a mapping of dimensions, or 'auto'.", repr(chunks), 'chunks={"time": 100}')
    files = expand(paths)
    engine = engine or engine_for(Path(files[0]))
    client = client or current_client()
    available = resources(client)
    first = _first(files[0], engine, along, options)
    if len(files) > 1 and not any(along in lazy.dims for lazy in first.lazy):
        raise InputFileError(
            f"{files[0]} has no variable along {along!r}.",
            f"dimensions {', '.join(map(str, _dimensions(first))) or 'none'}",
            "along=..., the dimension along which the files follow each other",
        )
    headers = ordered(without_faults(_all_headers(files, first, available, client)), along)
    given = {dim: size for dim, size in chunks.items() if size != "auto"} if isinstance(chunks, Mapping) else {}
    return _dataset(first, headers, available, given)


def expand(paths: Paths) -> list[str]:
    """Absolute paths, those of a pattern sorted by name.

    Raises
    ------
    InputFileError
        For files that are not there, and patterns that nothing matches.
    """
    files: list[str] = []
    for path in [paths] if isinstance(paths, str | os.PathLike) else list(paths):
        text = os.path.abspath(os.path.expanduser(path))
        is_pattern = glob.has_magic(text) and not os.path.exists(text)
        matches = sorted(glob.glob(text, recursive=True)) if is_pattern else [text]
        if not matches:
            raise InputFileError(f"No file matches {text}.", _nearby(Path(text).parent))
        files.extend(matches)
    missing = [file for file in files if not os.path.exists(file)]
    if missing:
        raise InputFileError(f"{len(missing)} of {len(files)} files are not there.", ", ".join(missing[:5]))
    if not files:
        raise InputFileError("There is no file to open.", "an empty list")
    return files


def _nearby(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    return f"{folder} has {len(names)} entries{', such as ' if names else ''}{', '.join(names[:3])}"


def _first(path: str, engine: str, along: str, options: Mapping[str, Any]) -> FirstFile:
    try:
        return read_first(path, engine, along, options)
    except (OSError, RuntimeError) as error:
        raise InputFileError(
            f"{path} cannot be read.", one_line(error), "mend this file, or give other paths"
        ) from None


def _dimensions(first: FirstFile) -> list[Any]:
    return sorted({dim for lazy in first.lazy for dim in lazy.dims} | set(first.fixed.sizes), key=str)


def _all_headers(files: list[str], first: FirstFile, available: Resources, client: Any) -> list[Any]:
    """The header of every file, or its fault, found by the workers."""
    if len(files) == 1:
        return read_headers(files, first)
    batch = max(1, len(files) // (available.threads * BATCHES_PER_THREAD))
    shared = dask.delayed(first, pure=False, traverse=False)
    read = dask.delayed(read_headers, pure=False, traverse=False)
    tasks = [read(files[start : start + batch], shared) for start in range(0, len(files), batch)]
    return [header for part in dask.compute(*tasks, scheduler=client) for header in part]


def _dataset(first: FirstFile, headers: list[FileHeader], available: Resources, given: Mapping[Any, Any]) -> xr.Dataset:
    """One dataset of what the first file holds and what all add."""
    arrays = {lazy.name: FileStack(first, lazy, headers) for lazy in first.lazy}
    chunks = _chunks(first, arrays, headers, available, given)
    variables: dict[Any, Any] = {}
    differing = [frozenset().union(*keys) for keys in zip(*(header.differing for header in headers), strict=True)]
    for lazy, others in zip(first.lazy, differing, strict=False):  # the coordinate's come last
        array = arrays[lazy.name]
        sizes = tuple(chunks.get(dim, (n,)) for dim, n in zip(lazy.dims, array.shape, strict=True))
        data = array.to_dask(sizes, f"open_dataset-{lazy.name}")
        encoding = agreed_in_chunks(lazy.encoding, others, array.dtype)
        variables[lazy.name] = xr.Variable(lazy.dims, data, dict(lazy.attrs), encoding)
    if headers[0].values is not None:
        values = np.concatenate([header.values for header in headers])
        coordinate = xr.Variable(first.along, values, first.coordinate.attrs, first.coordinate.encoding)
        coordinate.encoding = agreed_in_memory(coordinate, differing[-1])
        variables[first.along] = coordinate
    variables.update(first.fixed.variables)
    data_vars, coords = (
        {name: variables[name] for name in first.names if (name in first.coords) is wanted} for wanted in (False, True)
    )
    dataset = xr.Dataset(data_vars, coords, first.fixed.attrs)
    dataset.encoding = dict(first.fixed.encoding)
    return dataset


def _chunks(
    first: FirstFile,
    arrays: Mapping[Any, FileStack],
    headers: list[FileHeader],
    available: Resources,
    given: Mapping[Any, Any],
) -> dict[Any, tuple[int, ...]]:
    """The chunks of all variables: those of the largest, as they have to agree."""
    if not first.lazy:
        return {}
    total = {name: math.prod(array.shape) * array.dtype.itemsize for name, array in arrays.items()}
    largest: LazyVariable = max(first.lazy, key=lambda lazy: total[lazy.name])
    most = piece_size(total[largest.name], available, array_chunk_size.chosen()) // arrays[largest.name].dtype.itemsize
    all_sizes = {dim: n for lazy in first.lazy for dim, n in zip(lazy.dims, arrays[lazy.name].shape, strict=True)}
    unknown = sorted(map(str, set(given) - set(all_sizes)))
    if unknown:
        known = ", ".join(map(str, all_sizes))
        raise SettingsError(f"chunks names a dimension {unknown[0]!r} that is not cut.", f"those that may be: {known}")
    sizes = {dim: all_sizes[dim] for dim in largest.dims}
    lengths = [header.length for header in headers]
    others = {dim: normalize_chunks((size,), (all_sizes[dim],))[0] for dim, size in given.items() if dim not in sizes}
    return {**others, **dataset_chunks(sizes, largest.blocks, first.along, lengths, most, given)}


class FileStack(StackedArray):
    """One variable of all files, one file after the other; reading opens the files that it needs and closes them.

    Parameters
    ----------
    first : FirstFile
        How the files are opened.
    lazy : LazyVariable
        The variable.
    headers : list of FileHeader
        The files in order; for a variable that does not grow the first one counts.
    """

    def __init__(self, first: FirstFile, lazy: LazyVariable, headers: list[FileHeader]) -> None:
        position = first.lazy.index(lazy)
        axis = lazy.dims.index(first.along) if first.along in lazy.dims else None
        headers = headers if axis is not None else headers[:1]
        lengths = [header.length for header in headers]
        shape = [sum(lengths) if i == axis else size for i, size in enumerate(lazy.shape)]
        super().__init__(shape, np.result_type(*{header.dtypes[position] for header in headers}), axis, lengths)
        self.name = lazy.name
        self.engine = first.engine
        self.options = {**first.options, **NO_INDEXES, "drop_variables": _others(first, lazy)}
        if lazy.dtype.kind == "O" and "since" in lazy.encoding.get("units", ""):
            self.options = {**self.options, **dict.fromkeys(["use_cftime", "decode_times"]), **ALL_CFTIME}
        self.paths = [header.path for header in headers]
        self.versions = [header.version for header in headers]

    def read_piece(self, piece: int, window: Window) -> Any:
        with opened(self.paths[piece], self.engine, self.options) as dataset:
            return dataset.variables[self.name][window].values


def _others(first: FirstFile, lazy: LazyVariable) -> list[Hashable]:
    """The variables that need not be looked at; times are decoded with the help of those that they belong to."""
    dropped = list(np.atleast_1d(first.options.get("drop_variables") or []))
    if lazy.dtype.kind not in "biufc":
        return dropped
    known = [*(other.name for other in first.lazy), *first.fixed.variables, first.along]
    return [*dropped, *(name for name in known if name != lazy.name)]
