"""daskhpc.cubes: climatologies, anomalies and the made-up air temperatures."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client

from daskhpc import cubes
from daskhpc.cubes import climate
from daskhpc.errors import SettingsError

FREQUENCIES = ("month", "season", "dayofyear")


@pytest.fixture(scope="module")
def weather() -> xr.Dataset:
    """Two years of days on a small grid, with gaps, a variable of whole numbers, one without time and one of text."""
    time_ = np.datetime64("2003-03-01", "ns") + np.arange(800) * np.timedelta64(1, "D")
    rng = np.random.default_rng(0)
    air = rng.normal(280, 10, (800, 5, 6)).astype("float32")
    air[rng.random(air.shape) < 0.1] = np.nan
    air[:, 0, 0] = np.nan
    return xr.Dataset(
        {
            "air": (("time", "lat", "lon"), air, {"units": "K"}),
            "rain": (("lat", "time"), rng.integers(0, 9, (5, 800))),
            "height": ("lat", np.arange(5.0)),
            "note": ("time", np.full(800, "dry")),
        },
        {"time": time_, "lat": np.arange(5), "station": ("lon", list("abcdef"))},
        {"title": "weather"},
    )


CHUNKS: list[dict[str, Any]] = [{}, {"time": 31}, {"time": 800, "lat": 2}, {"time": (1, 400, 399), "lon": 4}]


@pytest.mark.parametrize("freq", FREQUENCIES)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_climatology_is_xarrays(weather: xr.Dataset, freq: str, chunks: dict[str, Any]) -> None:
    found = cubes.climatology(weather.chunk(chunks) if chunks else weather, freq)
    assert isinstance(found.air.data, np.ndarray) is (not chunks)
    assert set(found.data_vars) == {"air", "rain", "height"}
    assert found.attrs == weather.attrs
    assert found.air.attrs == weather.air.attrs
    assert found.air.dtype == np.float32
    for name in ("air", "rain"):
        expected = weather[name].groupby(f"time.{freq}").mean("time").transpose(*found[name].dims)
        np.testing.assert_allclose(found[name].values, expected.values, rtol=1e-5 if name == "air" else 1e-12)
        xr.testing.assert_equal(found[name].coords.to_dataset().compute(), expected.coords.to_dataset())
    xr.testing.assert_identical(found.height.compute(), weather.height)


@pytest.mark.parametrize("freq", FREQUENCIES)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_anomalies_are_xarrays(weather: xr.Dataset, freq: str, chunks: dict[str, Any]) -> None:
    data = weather.chunk(chunks) if chunks else weather
    air = weather.air
    groups = air.groupby(f"time.{freq}")
    expected = (groups - groups.mean("time")).transpose(*air.dims).drop_vars(freq)
    for found in (
        cubes.anomalies(data, freq).air,
        cubes.anomalies(data.air, freq, climatology=cubes.climatology(data, freq).compute().air),
    ):
        np.testing.assert_allclose(found.values, expected.values, atol=1e-3)
        assert found.dims == air.dims
        xr.testing.assert_equal(found.coords.to_dataset(), air.coords.to_dataset())


def test_an_array_without_a_name_of_the_other_byte_order(weather: xr.Dataset) -> None:
    air = weather.air.rename(None).astype(">f4")
    found = cubes.climatology(air.chunk(time=31))
    assert found.name is None
    assert found.dtype == found.values.dtype == air.groupby("time.month").mean("time").dtype


@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_climatology_of_another_grid_is_subtracted_by_its_labels(weather: xr.Dataset, chunks: dict[str, Any]) -> None:
    air = weather.air.chunk(chunks) if chunks else weather.air
    mean = cubes.climatology(weather.air)
    for other in (mean.isel(lat=slice(None, None, -1)), mean.isel(lat=[2]), mean.isel(lat=slice(3)).chunk(lat=1)):
        found = cubes.anomalies(air, climatology=other)
        expected = (weather.air.groupby("time.month") - other).drop_vars("month")
        np.testing.assert_allclose(found.values, expected.transpose(*found.dims).values, atol=1e-3)
        xr.testing.assert_equal(found.coords.to_dataset(), expected.coords.to_dataset())
    with xr.set_options(arithmetic_join="exact"), pytest.raises(ValueError, match="lat"):
        cubes.anomalies(air, climatology=mean.isel(lat=[2]))


def test_sums_that_would_be_large_are_cut_across_the_map(weather: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(climate, "MOST_PARTIAL", 366 * 16 * 8)
    found = cubes.climatology(weather.air.chunk(time=400), "dayofyear")
    assert max(found.chunks[1]) * max(found.chunks[2]) <= 8
    expected = weather.air.groupby("time.dayofyear").mean("time")
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)


def test_a_climatology_reads_each_chunk_once(tmp_path: Path, client: Client) -> None:
    import dask.array as da

    log = tmp_path / "reads"

    def read(block: Any) -> Any:
        with log.open("a") as file:
            file.write("x")
        return block

    times = np.datetime64("2001-01-01", "ns") + np.arange(730) * np.timedelta64(1, "D")
    data = da.ones((730, 4), chunks=(73, 4)).map_blocks(read, meta=np.ones((0, 0)))
    array = xr.DataArray(data, {"time": times}, ("time", "x"))
    assert (cubes.climatology(array) == 1).all().compute()
    assert log.read_text() == "x" * 10


def test_what_has_no_climatology_is_refused(weather: xr.Dataset) -> None:
    with pytest.raises(SettingsError, match="one of month, dayofyear, season"):
        cubes.climatology(weather, "year")
    with pytest.raises(SettingsError, match="no times along 'lat'"):
        cubes.climatology(weather, along="lat")
    for data in (weather.note, weather.rain.astype("timedelta64[s]")):
        with pytest.raises(SettingsError, match=r"mean of numbers.\n.*(<U3|timedelta64)"):
            cubes.climatology(data.chunk(time=100))
    with pytest.raises(SettingsError, match="0 times"):
        cubes.climatology(weather.isel(time=slice(0)).chunk())
    with pytest.raises(SettingsError, match="800 times, 1 of them missing"):
        cubes.anomalies(weather.assign_coords(time=weather.time.where(weather.time != weather.time[3])))
    half = cubes.climatology(weather.isel(time=slice(60)))
    with pytest.raises(SettingsError, match="no month 1"):
        cubes.anomalies(weather, climatology=half)


def test_air_temperatures_are_the_same_on_any_cluster(tmp_path: Path, client: Client) -> None:
    paths = cubes.make_air_temperature(tmp_path / "a", [2000, 2001], 4, 15, hours=12)
    assert [path.name for path in paths] == [f"air-{year}-0{i}.nc" for year in (2000, 2001) for i in (1, 2, 3, 4)]
    with dask.config.set(scheduler="synchronous"):
        again = cubes.make_air_temperature(tmp_path / "b", [2000, 2001], 4, 15, hours=12)
    first, second = cubes.open_dataset(paths), cubes.open_dataset(again)
    xr.testing.assert_identical(first.compute(), second.compute())
    assert first.sizes == {"time": 2 * (366 + 365), "lat": 13, "lon": 24}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [path.name for path in paths]
    climate_ = cubes.climatology(first).air.compute()
    july, january = climate_.sel(month=7), climate_.sel(month=1)
    assert 200 < float(climate_.min()) < float(climate_.max()) < 330
    assert (july - january).sel(lat=45).min() > 10
    assert (july - january).sel(lat=-45).max() < -10
    with pytest.raises(SettingsError, match="no such files"):
        cubes.make_air_temperature(tmp_path, hours=7)


def check(folder: Path, years: int, files_per_year: int, resolution: float, compared: int) -> dict[str, float]:
    """Make, open and reduce a set of files, and compare some of it with plain xarray; the seconds that each took."""
    seconds = {}
    began = time.perf_counter()

    def took(name: str) -> None:
        nonlocal began
        seconds[name] = round(time.perf_counter() - began, 2)
        began = time.perf_counter()

    paths = cubes.make_air_temperature(folder, range(1950, 1950 + years), files_per_year, resolution)
    took("make")
    found = cubes.open_dataset(folder / "*.nc")
    took("open")
    mean = cubes.climatology(found).compute()
    took("climatology")
    assert found.sizes["time"] == sum(366 if year % 4 == 0 else 365 for year in range(1950, 1950 + years)) * 4
    some = [str(path) for path in paths[:compared]]
    began = time.perf_counter()
    with xr.open_mfdataset(
        some,
        parallel=True,
        combine="nested",
        concat_dim="time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
    ) as plain:
        took(f"xarray opens {compared}")
        expected = plain.air.isel(lat=slice(0, None, 4)).compute()
        took(f"xarray reads {compared}")
    part = cubes.open_dataset(some)
    took(f"open {compared}")
    xr.testing.assert_identical(part.air.isel(lat=slice(0, None, 4)).compute(), expected)
    by_month = cubes.climatology(part).air.isel(lat=slice(0, None, 4)).compute()
    np.testing.assert_allclose(by_month, expected.groupby("time.month").mean("time"), rtol=1e-5)
    assert mean.air.notnull().all()
    return seconds


# Years, files of a year, degrees, files that are compared with plain xarray.
SETS = {"two hundred": (5, 40, 15, 40)} | (
    {"five thousand": (50, 100, 5, 500)} if os.environ.get("COLLECTIONS") == "all" else {}
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SETS)
def test_many_files(name: str, tmp_path: Path, client: Client) -> None:
    print(check(tmp_path, *SETS[name]))
