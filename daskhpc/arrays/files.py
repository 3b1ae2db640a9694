"""Arrays from files and into files, by the suffix of the path."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from ..clients import current_client
from ..errors import InputFileError
from . import hdf5, stacks, zarrs
from .chunking import auto_chunks

KNOWN = ".zarr, .h5, .hdf5, or a folder of npy files (no suffix)"


def open_array(
    path: str | os.PathLike[str], name: str | None = None, chunks: Any = "auto", *, client: Any = None
) -> da.Array:
    """A Dask array over an array in files; nothing of it is read yet.

    Parameters
    ----------
    path : path
        A Zarr store ``*.zarr``, an HDF5 file ``*.h5`` or ``*.hdf5``, or a folder that `dask.array.to_npy_stack` or
        `save_array` made. All workers have to see it.
    name : str, optional
        The array within a Zarr store or an HDF5 file; not needed where there is one only.
    chunks : "auto" or chunks
        By default multiples of the file's own blocks that suit the cluster; otherwise as Dask takes them.
    client : distributed.Client, optional
        The cluster that the chunks suit; the current client by default.

    Raises
    ------
    InputFileError
        For a path that is not there or is none of these, or an array that is not in it.

    Notes
    -----
    A task opens an HDF5 file, reads its part and closes it, so that any number of processes may read, and files can
    be replaced in between. ``info`` in an npy stack is a pickle: open only stacks from those whom you trust.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise InputFileError(f"{path} is not there.")
    if path.suffix == ".zarr":
        array = zarrs.opened(path, name)
        if chunks == "auto":
            chunks = auto_chunks(array.shape, array.dtype, previous=zarrs.blocks(array), client=client)
        return da.from_zarr(array, chunks=chunks)
    if path.suffix in hdf5.SUFFIXES:
        source: hdf5.Dataset | stacks.Stack = hdf5.Dataset(path, name)
    elif path.is_dir():
        source = stacks.Stack(path)
    else:
        raise InputFileError(f"{path} is of no known kind.", "", KNOWN)
    if chunks == "auto":
        chunks = auto_chunks(source.shape, source.dtype, previous=source.blocks, client=client)
    return source.to_dask(chunks, "open-array")


def save_array(
    array: da.Array,
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    overwrite: bool = False,
    client: Any = None,
) -> None:
    """Compute an array and write it; nothing stands at `path` before all of it is there.

    Parameters
    ----------
    array : dask.array.Array
        What to compute and write.
    path : path
        ``*.zarr``: all workers write at once. ``*.h5``, ``*.hdf5``: workers compute at once and write in turn. No
        suffix: a folder of npy files, one per chunk along the first axis. All workers have to see it.
    name : str, optional
        Of the array within the Zarr store, or the HDF5 file (``"data"`` by default).
    overwrite : bool
        Whether what stands at `path` is replaced.
    client : distributed.Client, optional
        The cluster; the current client by default.

    Raises
    ------
    InputFileError
        For a path that is taken or of no known kind, or an array whose chunk sizes are not known.

    Notes
    -----
    It is written beside `path` under a temporary name and renamed at the end. What a killed job leaves is called
    ``.NAME.partial-...`` and can be removed.
    """
    path = Path(path).absolute()
    client = client or current_client()
    if path.exists() and not overwrite:
        raise InputFileError(f"{path} is there already.", "", "save_array(..., overwrite=True), or another path")
    if path.suffix not in (".zarr", *hdf5.SUFFIXES, ""):
        raise InputFileError(f"{path} is of no known kind.", "", KNOWN)
    if np.isnan(array.shape).any():
        raise InputFileError("The sizes of the array's chunks are not known.", "", "array.compute_chunk_sizes() before")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        _write(array, partial, path.suffix, name, client)
        _put(partial, path)
    finally:
        _remove(partial)


def _write(array: da.Array, path: Path, suffix: str, name: str | None, client: Any) -> None:
    if suffix == ".zarr":
        zarrs.save(array, path, name, client)
    elif suffix:
        hdf5.save(array, path, name, client)
    else:
        stacks.save(array, path, client)


def _put(partial: Path, path: Path) -> None:
    """Give what is complete its name; what had it before goes."""
    if path.exists():
        old = path.with_name(f"{partial.name}-old")
        path.rename(old)
        partial.rename(path)
        _remove(old)
    else:
        partial.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
