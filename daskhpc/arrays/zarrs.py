"""Zarr stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da

from ..errors import InputFileError


def opened(path: Path, name: str | None) -> Any:
    """The array of a store, for reading."""
    zarr = _zarr()
    try:
        found = zarr.open(str(path), mode="r")
    except Exception as error:
        raise InputFileError(f"{path} cannot be opened as Zarr.", f"{type(error).__name__}: {error}") from None
    if hasattr(found, "shape"):
        if name is not None:
            raise InputFileError(f"{path} is one array and has no {name!r}.", "", f"open_array({str(path)!r})")
        return found
    names = sorted(key for key, _ in found.arrays())
    if name is None and len(names) == 1:
        return found[names[0]]
    if name is None or name not in found or not hasattr(found[name], "shape"):
        wanted = f"no array {name!r}" if name else f"{len(names)} arrays"
        raise InputFileError(
            f"{path} has {wanted}.", f"its arrays: {', '.join(names) or 'none'}", "give the name of one"
        )
    return found[name]


def blocks(array: Any) -> tuple[int, ...]:
    """The smallest part of a Zarr array that is read or written as one."""
    return tuple(getattr(array, "shards", None) or array.chunks)


def save(array: da.Array, path: Path, name: str | None, client: Any) -> None:
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
