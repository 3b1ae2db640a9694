"""Arrays from files and into files, by the suffix of the path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array
from dask.base import tokenize

from ..atomic import replacing
from ..clients import current_client
from ..errors import InputFileError
from .chunks import auto_chunks
from .formats import HDF5, HDF5Dataset, NpyStack, save_hdf5, save_npy_stack, save_zarr, zarr_array

KINDS = ".zarr, .h5, .hdf5, or a folder of npy files (no suffix)"


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
        The array within a Zarr store or an HDF5 file; not needed if there is only one.
    chunks : "auto" or chunks
        By default multiples of the file's own blocks that suit the cluster; otherwise as Dask takes them.
    client : distributed.Client, optional
        The cluster that the chunks suit; the current client by default.

    Returns
    -------
    dask.array.Array
        With the shape and dtype of the array in the files.

    Raises
    ------
    InputFileError
        If the path is not there or is none of these, or if the array is not in it.

    Notes
    -----
    A task opens an HDF5 file, reads its part and closes it, so that any number of processes may read, and files can
    be replaced in between.

    Examples
    --------
    >>> import dask.array as da
    >>> save_array(da.arange(6, chunks=2), "numbers")
    >>> open_array("numbers").sum().compute().item()
    15
    """
    path = Path(path).absolute()
    if not path.exists():
        raise InputFileError(f"{path} is not there.")
    if path.suffix == ".zarr":
        array = zarr_array(path, name)
        if chunks == "auto":
            blocks = getattr(array, "shards", None) or array.chunks  # what is read or written as one
            chunks = auto_chunks(array.shape, array.dtype, previous=blocks, client=client)
        # Dask's name is that of the path: what replaced a store would be taken for what was there before.
        changed = os.stat(path / array.path).st_mtime_ns
        return da.from_zarr(array, chunks=chunks, name=f"from-zarr-{tokenize(array, changed, chunks)}")
    if path.suffix in HDF5:
        source: HDF5Dataset | NpyStack = HDF5Dataset(path, name)
    elif path.is_dir():
        source = NpyStack(path)
    else:
        raise InputFileError(f"{path} is of no known kind.", "", KINDS)
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
        Whether what stands at `path` is replaced, with all arrays that it has.
    client : distributed.Client, optional
        The cluster; the current client by default.

    Raises
    ------
    InputFileError
        If the path is taken or of no known kind, the array is of Python objects, is masked or sparse, or the sizes of
        its chunks are not known. If a chunk is of another type than the array, and its values would change.
    Exception
        That of the task that failed; what was at `path` stays.

    Notes
    -----
    It is written beside `path` under a temporary name and renamed at the end. What a killed job leaves is called
    ``.<16 digits>.tmp`` and can be removed.

    Examples
    --------
    >>> import dask.array as da
    >>> save_array(da.ones((4, 3)), "ones")
    >>> save_array(da.zeros((4, 3)), "ones", overwrite=True)
    >>> open_array("ones").compute().max().item()
    0.0
    """
    path = Path(path).absolute()
    client = client or current_client()
    if path.exists() and not overwrite:
        todo = "another path; or save_array(..., overwrite=True), which replaces all that is there"
        raise InputFileError(f"{path} is there already.", "", todo)
    if path.suffix not in (".zarr", *HDF5, ""):
        raise InputFileError(f"{path} is of no known kind.", "", KINDS)
    if np.isnan(array.shape).any():
        raise InputFileError("The sizes of the array's chunks are not known.", "", "array.compute_chunk_sizes() before")
    if array.dtype.hasobject:
        raise InputFileError(
            "Python objects in an array cannot be saved so that they can be read again.",
            f"an array of dtype {array.dtype}",
            "array.astype('U10') for texts, or of another type; frames for columns of several types",
        )
    meta = meta_from_array(array)
    if isinstance(meta, np.ma.MaskedArray) or not isinstance(meta, np.ndarray):
        raise InputFileError(
            "Only arrays of plain NumPy chunks can be saved: a mask would be lost.",
            f"chunks of type {type(meta).__name__}",
            "da.ma.filled(array, value) of a masked array, array.map_blocks(lambda x: x.todense()) of a sparse one",
        )
    # Dask's type may be a guess from an array of no elements: texts would be cut, and numbers rounded.
    array = array.map_blocks(_of_type, array.dtype, dtype=array.dtype, meta=meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        if path.suffix == ".zarr":
            save_zarr(array, draft, name, client)
        elif path.suffix:
            save_hdf5(array, draft, name, client)
        else:
            save_npy_stack(array, draft, client)


def _of_type(block: Any, dtype: Any) -> Any:
    """A chunk in the array's type; digits beyond those of a shorter float are not kept, all else is."""
    block = np.asanyarray(block)
    if block.dtype == dtype:
        return block
    with np.errstate(all="ignore"):
        stored = block.astype(dtype)
    again = stored.astype(block.dtype)
    shorter = block.dtype.kind in "fc" and np.can_cast(block.dtype, dtype, "same_kind")
    if shorter or np.all((again == block) | ((again != again) & (block != block))):
        return stored
    raise InputFileError(
        "The array is not of the type that it has for Dask: values would change.",
        f"a chunk of dtype {block.dtype} in an array of dtype {stored.dtype}",
        f'map_blocks(..., dtype="{block.dtype.str}"), or a longer type, when the array is made',
    )
