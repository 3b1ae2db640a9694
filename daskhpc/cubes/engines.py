"""Opening one file through xarray, as any number of processes may do at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import xarray as xr

from ..errors import InputFileError
from ..files import without_locks

# Neither HDF5 nor netCDF-C may be entered by two threads of a process; other processes are free.
READING = threading.Lock()

HDF5 = b"\x89HDF\r\n\x1a\n"
# An index for every coordinate of every file takes half of the time that it takes to open a small one.
NO_INDEXES = (
    {"create_default_indexes": False} if "create_default_indexes" in signature(xr.open_dataset).parameters else {}
)
# xarray decodes times of each part that is read as NumPy's if these fit, even if the whole variable does not fit them.
ALL_CFTIME: dict[str, Any] = (
    {"decode_times": xr.coders.CFDatetimeCoder(use_cftime=True)} if hasattr(xr, "coders") else {"use_cftime": True}
)
PACKAGES = {"h5netcdf": "h5netcdf", "netcdf4": "netCDF4", "scipy": "scipy", "zarr": "zarr"}


def engine_for(path: Path) -> str:
    """xarray's engine for a file, by its first bytes; a folder is a Zarr store.

    Raises
    ------
    InputFileError
        For a file of another kind, or if no package that reads it is installed.
    """
    if path.is_dir():
        return _installed(("zarr",), path)
    with path.open("rb") as file:
        start = file.read(8)
    if start == HDF5:
        return _installed(("netcdf4", "h5netcdf"), path)
    if start[:3] == b"CDF":
        return _installed(("netcdf4", "scipy") if start[3:4] in b"\x01\x02" else ("netcdf4",), path)
    raise InputFileError(
        f"{path} is neither NetCDF nor HDF5 nor a Zarr store.",
        f"a file that begins with {start!r}" if start else "an empty file",
        "engine=..., if xarray has one for it",
    )


def _installed(engines: tuple[str, ...], path: Path) -> str:
    for engine in engines:
        if find_spec(PACKAGES[engine]):
            return engine
    needed = " or ".join(PACKAGES[engine] for engine in engines)
    raise InputFileError(f"{path} needs {needed}.", "not installed", "pip install 'daskhpc[files]'")


@contextmanager
def opened(path: str, engine: str, options: Mapping[str, Any]) -> Iterator[xr.Dataset]:
    """A file as a dataset whose variables are read when they are asked for, and not after this.

    Parameters
    ----------
    path : str
        The file or the store.
    engine : str
        xarray's engine.
    options : mapping
        More arguments of `xarray.open_dataset`.
    """
    with nullcontext() if engine == "zarr" else READING:
        dataset = _open(path, engine, options)
        try:
            yield dataset
        finally:
            dataset.close()


def _open(path: str, engine: str, options: Mapping[str, Any]) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine=engine, cache=False, **options)
    except OSError as error:
        reason = _reason(path) if engine in ("netcdf4", "h5netcdf") else None
        if reason is None:
            raise
        if not without_locks(reason):
            raise OSError(str(reason)) from error
    return xr.open_dataset(path, engine="h5netcdf", cache=False, driver_kwds={"locking": False}, **options)


def _reason(path: str) -> OSError | None:
    """HDF5's own message about a file; that of netCDF-C is only that HDF5 failed."""
    try:
        import h5py

        h5py.File(path, "r").close()
    except ModuleNotFoundError:
        return None
    except OSError as error:
        return error
    return None
