"""Folders of npy files, Dask's npy stacks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np

from ..errors import InputFileError
from .lazy import Lazy, Window

INFO = "info"


class Stack(Lazy):
    """The arrays of a folder's npy files, one after the other; each read maps the files that it needs.

    Parameters
    ----------
    folder : Path
        It has ``0.npy``, ``1.npy``, ... and ``info``, a pickle in which Dask keeps the axis.
    """

    def __init__(self, folder: Path) -> None:
        try:
            info = pickle.loads((folder / INFO).read_bytes())
            sizes = tuple(info["chunks"][info["axis"]])
        except (OSError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise InputFileError(
                f"{folder} is no npy stack.",
                f"its file {INFO!r} cannot be read: {error}",
                "a folder made by save_array",
            ) from None
        self.folder = str(folder)
        self.axis = info["axis"]
        self.sizes = sizes
        super().__init__(tuple(sum(c) for c in info["chunks"]), info["dtype"])
        missing = [f"{i}.npy" for i in range(len(sizes)) if not (folder / f"{i}.npy").is_file()]
        if missing:
            raise InputFileError(f"{folder} lacks {len(missing)} of its {len(sizes)} files.", ", ".join(missing[:5]))
        status = (folder / INFO).stat()
        self.version = status.st_mtime_ns, status.st_size

    @property
    def blocks(self) -> tuple[int, ...] | None:
        """The shape of a file's array where all have the same."""
        if len(set(self.sizes[:-1])) > 1 or not self.sizes:
            return None
        return tuple(1 if axis != self.axis else max(1, self.sizes[0]) for axis in range(self.ndim))

    def read(self, window: Window) -> Any:
        out = np.empty([part.stop - part.start for part in window], self.dtype)
        wanted, start = window[self.axis], 0
        for i, size in enumerate(self.sizes):
            first, last = max(wanted.start, start), min(wanted.stop, start + size)
            if first < last:
                part = np.load(Path(self.folder, f"{i}.npy"), mmap_mode="r")
                source = (*window[: self.axis], slice(first - start, last - start), *window[self.axis + 1 :])
                target = slice(first - wanted.start, last - wanted.start)
                out[(slice(None),) * self.axis + (target,)] = part[source]
            start += size
        return out


def save(array: da.Array, path: Path, client: Any) -> None:
    """A file per chunk along the first axis; chunks along the others are put together."""
    if not array.ndim:
        raise InputFileError("An npy stack needs an axis.", "an array of no dimensions", "a path that ends with .zarr")
    with dask.config.set(scheduler=client) if client is not None else dask.config.set():
        da.to_npy_stack(str(path), array, axis=0)
