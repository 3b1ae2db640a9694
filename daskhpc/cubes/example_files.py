"""NetCDF files of something like air temperature, for examples and tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from ..atomic import replacing
from ..errors import InputFileError, SettingsError
from .engines import READING

KELVIN = 303.0
BATCH = 25


def make_air_temperature(
    folder: str | os.PathLike[str],
    years: Sequence[int] = (2000, 2001),
    files_per_year: int = 12,
    resolution: float = 2.5,
    *,
    hours: int = 6,
    seed: int = 0,
    client: Any = None,
) -> list[Path]:
    """Write NetCDF files of made-up air temperatures over the whole globe; the cluster writes many at a time.

    Parameters
    ----------
    folder : path
        Where; it is made if it is not there. Files of the same names are replaced.
    years : sequence of int
        Which years, such as ``range(1990, 2000)``.
    files_per_year : int
        Files that a year is cut into, of whole days.
    resolution : float
        Degrees between the points of the grid.
    hours : int
        Hours between two times.
    seed : int
        Other seeds give other weather.
    client : distributed.Client, optional
        The cluster; the current client by default.

    Returns
    -------
    list of Path
        The files in order, ``air-2000-01.nc`` and so on.

    Raises
    ------
    SettingsError
        If there can be no such files.
    InputFileError
        If no package that writes NetCDF is installed.

    Notes
    -----
    ``air(time, lat, lon)`` in K, float32: a mean that falls towards the poles, seasons that are opposite in the two
    hemispheres, a warm afternoon, 0.02 K of warming per year, and noise of 2 K. The same arguments give the same
    values on any cluster. A file has its name only when it is complete.

    Examples
    --------
    >>> paths = make_air_temperature("weather", years=[2000], files_per_year=4, resolution=30)
    >>> [path.name for path in paths]
    ['air-2000-01.nc', 'air-2000-02.nc', 'air-2000-03.nc', 'air-2000-04.nc']
    """
    if not 1 <= files_per_year <= 365 or hours < 1 or 24 % hours or resolution <= 0:
        raise SettingsError(
            "There are no such files.",
            f"files_per_year={files_per_year}, hours={hours}, resolution={resolution}",
            "1 to 365 files per year, hours that divide 24, a resolution above 0",
        )
    engine = next(
        (name for name, package in (("netcdf4", "netCDF4"), ("h5netcdf", "h5netcdf")) if find_spec(package)), None
    )
    if engine is None:
        raise InputFileError("NetCDF files need h5netcdf or netCDF4.", "not installed", "pip install 'daskhpc[files]'")
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for year in years for part in _parts(folder, year, files_per_year)]
    write = dask.delayed(_write_all, pure=False, traverse=False)
    tasks = [
        write(parts[start : start + BATCH], resolution, hours, seed, engine) for start in range(0, len(parts), BATCH)
    ]
    dask.compute(*tasks, scheduler=client)
    return [path for path, _ in parts]


def _parts(folder: Path, year: int, files: int) -> list[tuple[Path, Any]]:
    """The files of a year, each with its days."""
    days = np.arange(f"{year}-01-01", f"{year + 1}-01-01", dtype="datetime64[D]")
    digits = max(2, len(str(files)))
    return [(folder / f"air-{year}-{i + 1:0{digits}}.nc", part) for i, part in enumerate(np.array_split(days, files))]


def _write_all(parts: list[tuple[Path, Any]], resolution: float, hours: int, seed: int, engine: str) -> None:
    for path, days in parts:
        dataset = air_temperature(days, resolution, hours, seed)
        chunks = (min(31, dataset.sizes["time"]), dataset.sizes["lat"], dataset.sizes["lon"])
        encoding = {
            "air": {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": chunks},
            "time": {"units": f"hours since {days[0]}", "dtype": "int32"},
        }
        # Within a task xarray would ask the cluster for a lock for every file; this process is the only writer.
        with replacing(path) as draft, READING, dask.config.set(scheduler="synchronous"):
            dataset.to_netcdf(draft, engine=engine, encoding=encoding, unlimited_dims=["time"])


def air_temperature(days: Any, resolution: float, hours: int, seed: int) -> xr.Dataset:
    """The temperatures of some days.

    Parameters
    ----------
    days : numpy.ndarray
        Days, ``datetime64[D]``.
    resolution : float
        Degrees between the points of the grid.
    hours : int
        Hours between two times.
    seed : int
        Of the noise, which depends on the first day as well.
    """
    times = (days[:, None] + np.arange(0, 24, hours).astype("timedelta64[h]")).ravel()
    lat = np.linspace(90, -90, round(180 / resolution) + 1)
    lon = np.arange(round(360 / resolution)) * resolution
    since = (times - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")
    day, north, east = np.meshgrid(since, np.deg2rad(lat), np.deg2rad(lon), indexing="ij", sparse=True)
    seasons = -15 * np.sin(north) * np.cos(2 * np.pi * (day - 20) / 365.25)
    afternoon = 3 * np.cos(north) * np.cos(2 * np.pi * (day - 14 / 24) + east)
    waves = 4 * np.cos(north) * np.cos(2 * east)
    mean = KELVIN - 50 * np.sin(north) ** 2 + 0.02 * day / 365.25
    first = int((days[0] - np.datetime64("0001-01-01")).astype(int))
    noise = np.random.default_rng([seed, first]).normal(scale=2, size=(len(times), len(lat), len(lon)))
    air = (mean + waves + seasons + afternoon + noise).astype("float32")
    attrs = {"units": "K", "long_name": "air temperature", "standard_name": "air_temperature"}
    coords = {
        "time": times.astype("datetime64[ns]"),
        "lat": ("lat", lat.astype("float32"), {"units": "degrees_north"}),
        "lon": ("lon", lon.astype("float32"), {"units": "degrees_east"}),
    }
    return xr.Dataset({"air": (("time", "lat", "lon"), air, attrs)}, coords, {"title": "made-up air temperature"})
