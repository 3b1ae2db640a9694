"""HDF5 from many processes: each read opens the file for itself; writes take turns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da

from ..errors import InputFileError
from ..files import without_locks
from .lazy import Lazy, Window

SUFFIXES = (".h5", ".hdf5")


class Dataset(Lazy):
    """A dataset of an HDF5 file, which no process keeps open.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        The dataset; may be left out where there is one only.
    """

    def __init__(self, path: Path, name: str | None) -> None:
        self.path = str(path)
        with opened(self.path) as file:
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
        with opened(self.path) as file:
            return file[self.name][window]


class Target:
    """Where `dask.array.store` writes: the file is open only while a block is written."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name

    def __setitem__(self, index: Any, block: Any) -> None:
        with opened(self.path, "r+") as file:
            file[self.name][index] = block


def save(array: da.Array, path: Path, name: str | None, client: Any) -> None:
    """Write all blocks in turn: a lock of the cluster lets one process at a time into the file."""
    with opened(str(path), "w") as file:
        file.create_dataset(name or "data", array.shape, array.dtype)
    da.store(array, Target(str(path), name or "data"), lock=True, scheduler=client)


@contextmanager
def opened(path: str, mode: str = "r") -> Iterator[Any]:
    """An open file; without HDF5's file locks where the file system has none."""
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
