"""The kinds of files that hold arrays: Zarr stores, HDF5 files, and folders of npy files (Dask's npy stacks)."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np

from ..errors import InputFileError
from ..files import without_locks
from ..windowed_array import StackedArray, Window, WindowedArray, contiguous

HDF5 = (".h5", ".hdf5")
INFO = "info"


def zarr_array(path: Path, name: str | None) -> Any:
    """The array of a Zarr store, for reading."""
    zarr = _zarr()
    try:
        found = zarr.open(str(path), mode="r")
    except Exception as error:
        raise InputFileError(f"{path} cannot be opened as Zarr.", f"{type(error).__name__}: {error}") from None
    if hasattr(found, "shape"):
        if name is not None:
            raise InputFileError(f"{path} is one array and has no {name!r}.", "", f"open_array({str(path)!r})")
        return found
    members = found.members(max_depth=None) if hasattr(found, "members") else found.arrays(recurse=True)
    names = sorted(item.path for _, item in members if hasattr(item, "shape"))
    if name is None and len(names) == 1:
        return found[names[0]]
    if name is None or name not in found or not hasattr(found[name], "shape"):
        wanted = f"no array {name!r}" if name else f"{len(names)} arrays"
        raise InputFileError(
            f"{path} has {wanted}.", f"its arrays: {', '.join(names) or 'none'}", "give the name of one"
        )
    return found[name]


def save_zarr(array: da.Array, path: Path, name: str | None, client: Any) -> None:
    """Each chunk is written by the worker that has it."""
    _zarr()
    regular = array.rechunk(tuple(max(sizes) for sizes in array.chunks))
    regular.to_zarr(str(path), component=name, compute=False).compute(scheduler=client)


def _zarr() -> Any:
    try:
        import zarr
    except ModuleNotFoundError:
        raise InputFileError("Zarr stores need zarr.", "it is not installed", "pip install 'daskhpc[files]'") from None
    return zarr


class HDF5Dataset(WindowedArray):
    """A dataset of an HDF5 file. A read opens the file and closes it, so that any number of processes may read.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        The dataset; not needed if there is only one.
    """

    def __init__(self, path: Path, name: str | None) -> None:
        self.path = str(path)
        with opened_hdf5(self.path) as file:
            self.name = name or _only(file, path)
            found = file.get(self.name)
            if not hasattr(found, "shape"):
                names = ", ".join(_datasets(file)) or "none"
                raise InputFileError(f"{path} has no dataset {self.name!r}.", f"its datasets: {names}")
            self.blocks = found.chunks
            super().__init__(found.shape, found.dtype)
        status = os.stat(self.path)
        self.version = status.st_mtime_ns, status.st_size

    def read(self, window: Window) -> Any:
        whole, steps = contiguous(window)
        with opened_hdf5(self.path) as file:
            return file[self.name][whole][steps]


class HDF5Target:
    """What `dask.array.store` writes to. The file is open only while a block is written, since HDF5 lets in one writer
    at a time, and the next block may be with another process."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name

    def __setitem__(self, index: Any, block: Any) -> None:
        with opened_hdf5(self.path, "r+") as file:
            file[self.name][index] = block


def save_hdf5(array: da.Array, path: Path, name: str | None, client: Any) -> None:
    """Write all blocks in turn: a lock of the cluster lets one process at a time into the file."""
    with opened_hdf5(str(path), "w") as file:
        file.create_dataset(name or "data", array.shape, array.dtype)
    da.store(array, HDF5Target(str(path), name or "data"), lock=True, scheduler=client)


@contextmanager
def opened_hdf5(path: str, mode: str = "r") -> Iterator[Any]:
    """An open file; without HDF5's file locks if the file system has none."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise InputFileError("HDF5 files need h5py.", "it is not installed", "pip install 'daskhpc[files]'") from None
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        if not without_locks(error):
            raise InputFileError(f"{path} cannot be opened as HDF5.", str(error)) from None
        file = h5py.File(path, mode, locking=False)
    with file:
        yield file


def _only(file: Any, path: Path) -> str:
    names = _datasets(file)
    if len(names) != 1:
        raise InputFileError(
            f"{path} has {len(names)} datasets.",
            ", ".join(names) or "none",
            f"open_array({str(path)!r}, name={names[0]!r})" if names else "",
        )
    return names[0]


def _datasets(file: Any) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


class NpyStack(StackedArray):
    """The arrays of a folder's npy files, one after the other; each read maps the files that it needs.

    Parameters
    ----------
    folder : Path
        It has ``0.npy``, ``1.npy``, ... and ``info``, a pickle in which Dask keeps chunks, dtype and axis.
    """

    def __init__(self, folder: Path) -> None:
        try:
            info = _InfoUnpickler(io.BytesIO((folder / INFO).read_bytes())).load()
            lengths = info["chunks"][info["axis"]]
            super().__init__([sum(sizes) for sizes in info["chunks"]], info["dtype"], info["axis"], lengths)
        except Exception as error:  # a broken pickle raises nearly anything
            raise InputFileError(
                f"{folder} is no npy stack.",
                f"its file {INFO!r} cannot be read: {error}",
                "a folder made by save_array",
            ) from None
        self.folder = str(folder)
        missing = [f"{i}.npy" for i in range(len(lengths)) if not (folder / f"{i}.npy").is_file()]
        if missing:
            raise InputFileError(f"{folder} lacks {len(missing)} of its {len(lengths)} files.", ", ".join(missing[:5]))
        status = (folder / INFO).stat()
        self.version = status.st_mtime_ns, status.st_size
        # The shape of a file's array, if all files but the last have the same; chunks are multiples of it.
        same = len(set(lengths[:-1])) <= 1
        self.blocks = (
            tuple(max(1, lengths[0]) if axis == self.axis else 1 for axis in range(self.ndim)) if same else None
        )

    def read_piece(self, piece: int, window: Window) -> Any:
        return np.load(Path(self.folder, f"{piece}.npy"), mmap_mode="r")[window]


class _InfoUnpickler(pickle.Unpickler):
    """Reads ``info``, which holds numbers and a dtype. A pickle may name any function to be called, so that a file of
    another user could run code; this one calls nothing but `numpy.dtype`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != ("numpy", "dtype"):
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no npy stack needs")
        return np.dtype


def save_npy_stack(array: da.Array, path: Path, client: Any) -> None:
    """A file per chunk along the first axis; chunks along the others are put together."""
    if not array.ndim:
        raise InputFileError("An npy stack needs an axis.", "an array of no dimensions", "a path that ends with .zarr")
    with dask.config.set({} if client is None else {"scheduler": client}):
        da.to_npy_stack(str(path), array, axis=0)
