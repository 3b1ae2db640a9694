"""Many files as one dataset."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.array.core import normalize_chunks
from dask.base import tokenize
from xarray.core import indexing

from ..chunk_size import Resources, array_chunk_size, piece_size, resources
from ..clients import current_client
from ..errors import InputFileError, SettingsError, one_line
from .engines import engine_for
from .heads import Layer, Piece, Source, read_pieces, read_source
from .order import checked, ordered
from .plan import plan
from .stack import FileStack

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
        By default chunks that suit the cluster and do not cut the files' own. A mapping says it for some dimensions:
        ``{"lat": 50, "time": -1}``.
    engine : str, optional
        xarray's engine; by default after the first bytes of the first file.
    along : str
        The dimension along which the files follow each other.
    client : distributed.Client, optional
        The cluster that looks into the files; the current client by default. Without any, this process does.
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
        It names files that are missing, broken, or not like the first one in variables, units, grid or types; that
        are not in order, or overlap.
    SettingsError
        For chunks that are neither, or of a dimension that there is not.

    Notes
    -----
    `xarray.open_mfdataset` makes a dataset of each file and merges them; this opens the files in batches on the
    workers, compares each with the first there, and makes one dataset. A task opens a file, reads its part and closes
    it; HDF5 is entered by one thread of a process at a time.
    """
    if chunks != "auto" and not isinstance(chunks, Mapping):
        raise SettingsError("chunks is a mapping of dimensions, or 'auto'.", repr(chunks), 'chunks={"time": 100}')
    files = expand(paths)
    engine = engine or engine_for(Path(files[0]))
    client = client or current_client()
    there = resources(client)
    source = _first(files[0], engine, along, options)
    if len(files) > 1 and not any(along in layer.dims for layer in source.layers):
        raise InputFileError(
            f"{files[0]} has no variable along {along!r}.",
            f"dimensions {', '.join(map(str, _dimensions(source))) or 'none'}",
            "along=..., the dimension along which the files follow each other",
        )
    pieces = ordered(checked(_read_all(files, source, there, client)), along)
    given = {dim: size for dim, size in chunks.items() if size != "auto"} if isinstance(chunks, Mapping) else {}
    return _build(source, pieces, there, given)


def expand(paths: Paths) -> list[str]:
    """Absolute paths, those of a pattern sorted by name.

    Raises
    ------
    InputFileError
        For files that are not there, and patterns that nothing matches.
    """
    files: list[str] = []
    for one in [paths] if isinstance(paths, str | os.PathLike) else list(paths):
        text = os.path.abspath(os.path.expanduser(one))
        found = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) and not os.path.exists(text) else [text]
        if not found:
            raise InputFileError(f"No file matches {text}.", _nearby(Path(text).parent))
        files.extend(found)
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


def _first(path: str, engine: str, along: str, options: Mapping[str, Any]) -> Source:
    try:
        return read_source(path, engine, along, options)
    except (OSError, RuntimeError) as error:
        raise InputFileError(
            f"{path} cannot be read.", one_line(error), "mend this file, or give other paths"
        ) from None


def _dimensions(source: Source) -> list[Any]:
    return sorted({dim for layer in source.layers for dim in layer.dims} | set(source.fixed.sizes), key=str)


def _read_all(files: list[str], source: Source, there: Resources, client: Any) -> list[Any]:
    """What every file adds, or its fault, found by the workers."""
    if len(files) == 1:
        return read_pieces(files, source)
    batch = max(1, len(files) // (there.threads * BATCHES_PER_THREAD))
    shared = dask.delayed(source, pure=False, traverse=False)
    read = dask.delayed(read_pieces, pure=False, traverse=False)
    tasks = [read(files[start : start + batch], shared) for start in range(0, len(files), batch)]
    return [piece for part in dask.compute(*tasks, scheduler=client) for piece in part]


def _build(source: Source, pieces: list[Piece], there: Resources, given: Mapping[Any, Any]) -> xr.Dataset:
    """One dataset of what the first file holds and what all add."""
    stacks = {layer.name: FileStack(source, layer, pieces) for layer in source.layers}
    chunks = _chunks(source, stacks, pieces, there, given)
    variables: dict[Any, Any] = {}
    for layer in source.layers:
        variable = xr.Variable(
            layer.dims, indexing.LazilyIndexedArray(stacks[layer.name]), dict(layer.attrs), dict(layer.encoding)
        )
        mine = {dim: chunks[dim] for dim in layer.dims if dim in chunks}
        name = f"open_dataset-{layer.name}-{tokenize(stacks[layer.name], mine)}"
        variables[layer.name] = variable.chunk(mine, from_array_kwargs={"name": name})
    if pieces[0].values is not None:
        values = np.concatenate([piece.values for piece in pieces])
        variables[source.along] = xr.Variable(source.along, values, source.coordinate.attrs, source.coordinate.encoding)
    variables.update(source.fixed.variables)
    data, coords = (
        {n: variables[n] for n in source.names if (n in source.coords) is wanted} for wanted in (False, True)
    )
    dataset = xr.Dataset(data, coords, source.fixed.attrs)
    dataset.encoding = dict(source.fixed.encoding)
    return dataset


def _chunks(
    source: Source, stacks: Mapping[Any, FileStack], pieces: list[Piece], there: Resources, given: Mapping[Any, Any]
) -> dict[Any, tuple[int, ...]]:
    """The chunks of all variables: those of the largest, as they have to agree."""
    if not source.layers:
        return {}
    total = {layer.name: _bytes(stacks[layer.name]) for layer in source.layers}
    largest: Layer = max(source.layers, key=lambda layer: total[layer.name])
    most = piece_size(total[largest.name], there, array_chunk_size.chosen()) // stacks[largest.name].dtype.itemsize
    all_sizes = {dim: n for layer in source.layers for dim, n in zip(layer.dims, stacks[layer.name].shape, strict=True)}
    unknown = sorted(map(str, set(given) - set(all_sizes)))
    if unknown:
        known = ", ".join(map(str, all_sizes))
        raise SettingsError(f"chunks names a dimension {unknown[0]!r} that is not cut.", f"those that may be: {known}")
    sizes = {dim: all_sizes[dim] for dim in largest.dims}
    lengths = [piece.length for piece in pieces]
    others = {dim: normalize_chunks((size,), (all_sizes[dim],))[0] for dim, size in given.items() if dim not in sizes}
    return {**others, **plan(sizes, largest.blocks, source.along, lengths, most, given)}


def _bytes(stack: FileStack) -> int:
    return int(np.prod(stack.shape, dtype=object)) * int(stack.dtype.itemsize)
