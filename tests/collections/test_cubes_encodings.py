"""Files that each have an encoding of their own: what is saved and read again is what they hold."""

from __future__ import annotations

import importlib
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from daskhpc import cubes
from daskhpc.errors import InputFileError

DAY = np.timedelta64(86400, "s")


def series(first: str, values: Any, step: Any = DAY) -> xr.Dataset:
    values = np.asarray(values)
    times = np.datetime64(first, "ns") + np.arange(len(values)) * step
    return xr.Dataset({"air": ("time", values)}, {"time": times})


def packed(low: float, high: float, **more: Any) -> dict[str, Any]:
    scale = (high - low) / 60000
    return {"dtype": "int16", "scale_factor": scale, "add_offset": (low + high) / 2, "_FillValue": -32768, **more}


def temperatures(number: int) -> xr.Dataset:
    low, high = [(270, 271), (250, 290), (300, 310)][number]
    values = np.append(np.random.default_rng(number).uniform(low, high, 5), np.nan)
    return series(f"2001-0{number + 1}-01", values, [DAY, DAY / 4, DAY / 24][number])


def write(folder: Path, datasets: list[xr.Dataset], encodings: list[Any], kind: str = "nc", name: str = "air") -> Path:
    for number, (dataset, encoding) in enumerate(zip(datasets, encodings, strict=True)):
        given = {name: encoding} if name in dataset else {}
        target = folder / f"part-{number}.{kind}"
        if kind == "zarr":
            dataset.to_zarr(target, encoding=given, consolidated=False)
        else:
            dataset.to_netcdf(target, encoding=given, engine="h5netcdf")
    return folder / f"part-*.{kind}"


def saved_and_read(dataset: xr.Dataset, target: Path) -> xr.Dataset:
    if target.suffix == ".zarr":
        dataset.to_zarr(target, consolidated=False)
        return xr.open_dataset(target, engine="zarr", consolidated=False).load()
    dataset.to_netcdf(target, engine="h5netcdf")
    return xr.load_dataset(target, engine="h5netcdf")


def same_after_saving(found: xr.Dataset, folder: Path, kind: str = "nc") -> xr.Dataset:
    """The whole, a part, and either when it is computed."""
    part = found.isel(time=slice(2, None, 3))
    for number, dataset in enumerate((found, part, found.compute(), part.compute())):
        again = saved_and_read(dataset, folder / f"saved-{number}.{kind}")
        xr.testing.assert_equal(again, dataset.compute())
    return found.compute()


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_each_file_has_its_own_scale_and_offset(tmp_path: Path, kind: str) -> None:
    datasets = [temperatures(number) for number in range(3)]
    ranges = [packed(270, 271), packed(250, 290), packed(300, 310, dtype="int32")]
    pattern = write(tmp_path, datasets, ranges, kind)
    options = {"consolidated": False} if kind == "zarr" else {}
    found = same_after_saving(cubes.open_dataset(pattern, **options), tmp_path, kind)
    np.testing.assert_allclose(found.air, np.concatenate([dataset.air for dataset in datasets]), atol=4e-4)


def test_files_packed_alike_stay_packed(tmp_path: Path) -> None:
    ranges = [packed(250, 310, zlib=number == 1) for number in range(3)]
    found = cubes.open_dataset(write(tmp_path, [temperatures(number) for number in range(3)], ranges))
    assert found.air.encoding["dtype"] == "int16"
    assert found.air.encoding["scale_factor"] == 1e-3
    assert "zlib" not in found.air.encoding
    same_after_saving(found, tmp_path)


@pytest.mark.parametrize(
    ("values", "encodings"),
    [
        ([[1, 2], [300, 70000]], [{"dtype": "int8"}, {"dtype": "int32"}]),  # 300 would become 44
        ([[1.0, np.nan], [-9999.0, 2.0]], [{"_FillValue": -9999.0}, {"_FillValue": 1e20}]),  # -9999 would be a gap
        ([[1.0, 2.0], [1.0000001, 1e300]], [{"dtype": "float32"}, {}]),
        ([["a", "b"], ["longer", "c"]], [{"dtype": "S1", "char_dim_name": "s"}, {"dtype": "S1", "char_dim_name": "s"}]),
        ([[DAY, DAY * 2], [DAY / 24, DAY / 86400]], [{"units": "days", "dtype": "int32"}, {"units": "seconds"}]),
        ([[True, False], [True, True]], [{"dtype": "int8"}, {}]),
    ],
)
def test_types_fill_values_lengths_and_units(tmp_path: Path, values: Any, encodings: Any) -> None:
    datasets = [series(f"2001-0{number + 1}-01", each) for number, each in enumerate(values)]
    if isinstance(values[0][0], str):
        datasets = [dataset.assign(air=dataset.air.astype("S")) for dataset in datasets]
    for dataset in datasets:  # a second variable whose texts are as long as those of the first file
        dataset["note"] = ("time", np.array([b"x"] * dataset.sizes["time"]))
    options = {"decode_timedelta": True} if isinstance(values[0][0], np.timedelta64) else {}
    found = cubes.open_dataset(write(tmp_path, datasets, encodings), **options)
    expected = np.concatenate([dataset.air.values for dataset in datasets])
    np.testing.assert_array_equal(found.air.values, expected)
    target = tmp_path / "saved.nc"
    found.to_netcdf(target, engine="h5netcdf")
    with xr.open_dataset(target, engine="h5netcdf", **options) as again:
        np.testing.assert_array_equal(again.air.values, expected)


def with_bounds(dataset: xr.Dataset, width: Any) -> xr.Dataset:
    times = dataset.time.values
    dataset["time_bnds"] = (("time", "edge"), np.stack([times, times + width], axis=1))
    dataset.time.attrs["bounds"] = "time_bnds"
    return dataset


@pytest.mark.parametrize("chosen", [["hours since 2001-01-01", "days since 2001-02-01"], ["days since 2001-01-01"] * 2])
def test_times_and_their_bounds(tmp_path: Path, chosen: list[str]) -> None:
    datasets = [with_bounds(series(f"2001-0{i + 1}-01", np.arange(4.0)), DAY * (i + 1)) for i in range(2)]
    if chosen[0] != chosen[1]:
        datasets[1]["time_bnds"] += DAY / 3
    encodings = [{"units": units, "calendar": "standard"} for units in chosen]
    found = cubes.open_dataset(write(tmp_path, datasets, encodings, name="time"))
    assert found.time.encoding["units"] == chosen[0]
    found = same_after_saving(found, tmp_path)
    np.testing.assert_array_equal(found.time_bnds, np.concatenate([dataset.time_bnds for dataset in datasets]))


def test_times_finer_than_those_of_the_first_file(tmp_path: Path) -> None:
    datasets = [series("2001-01-01", [1.0, 2.0, 3.0]), series("2001-02-01", [4.0, 5.0], DAY / 86400)]
    encodings = [{"units": "days since 2001-01-01", "dtype": "int32"}, {"units": "seconds since 2001-02-01"}]
    found = cubes.open_dataset(write(tmp_path, datasets, encodings, name="time"))
    assert "units" not in found.time.encoding
    same_after_saving(found, tmp_path)


def test_times_in_fractions_of_days(tmp_path: Path) -> None:
    datasets = [series(f"2001-0{number + 1}-01", [1.0] * 40, DAY * 10163 // 86400 // 7) for number in range(2)]
    for dataset in datasets:
        dataset["seen"] = ("time", dataset.time.values - DAY * 10163 // 86400)
        dataset["seen"][3] = np.datetime64("NaT", "ns")
        for name in ("time", "seen"):
            dataset[name].encoding = {"units": "days since 1970-01-01", "dtype": "float64"}
    same_after_saving(cubes.open_dataset(write(tmp_path, datasets, [{}, {}])), tmp_path)


def test_a_packed_coordinate(tmp_path: Path) -> None:
    for number, values in enumerate(([0.5, 1.0], [100.25, 1000.75])):
        dataset = xr.Dataset({"air": ("depth", values)}, {"depth": values})
        encoding = {"depth": {"dtype": "int16", "scale_factor": [0.5, 0.25][number], "_FillValue": -1}}
        dataset.to_netcdf(tmp_path / f"part-{number}.nc", encoding=encoding, engine="h5netcdf")
    found = cubes.open_dataset(tmp_path / "part-*.nc", along="depth")
    assert found.depth.values.tolist() == [0.5, 1.0, 100.25, 1000.75]
    xr.testing.assert_equal(saved_and_read(found, tmp_path / "saved.nc"), found.compute())


def test_zarr_filters_that_round(tmp_path: Path) -> None:
    numcodecs = importlib.import_module("numcodecs")  # comes with Zarr
    second = {"zarr_format": 2} if "zarr_format" in signature(xr.Dataset.to_zarr).parameters else {}
    rounding = numcodecs.FixedScaleOffset(offset=0, scale=1, dtype="f8", astype="i2")
    for number, filters in enumerate(([rounding], None)):
        dataset = series(f"2001-0{number + 1}-01", [1.0, 2.0, 3.0 + 0.25 * number])
        encoding = {"air": {"filters": filters}}
        dataset.to_zarr(tmp_path / f"part-{number}.zarr", encoding=encoding, consolidated=False, **second)
    found = cubes.open_dataset(tmp_path / "part-*.zarr", consolidated=False)
    assert found.air.values.tolist() == [1, 2, 3, 1, 2, 3.25]
    found.to_zarr(tmp_path / "saved.zarr", consolidated=False, **second)
    again = xr.open_dataset(tmp_path / "saved.zarr", engine="zarr", consolidated=False)
    xr.testing.assert_equal(again.compute(), found.compute())


def test_numbers_that_are_not_decoded_have_the_attributes_of_the_first_file(tmp_path: Path) -> None:
    pattern = write(tmp_path, [temperatures(number) for number in range(2)], [packed(270, 271), packed(250, 290)])
    with pytest.raises(InputFileError, match=r"another 'air': add_offset .*270[.]0.*, not .*270[.]5"):
        cubes.open_dataset(pattern, mask_and_scale=False)
    alike = write(tmp_path, [temperatures(number) for number in range(2)], [packed(250, 290)] * 2)
    found = cubes.open_dataset(alike, mask_and_scale=False)
    xr.testing.assert_equal(saved_and_read(found, tmp_path / "saved.nc"), cubes.open_dataset(alike).compute())


def test_meanings_that_differ_are_refused(tmp_path: Path) -> None:
    flags = [series(f"2001-0{number + 1}-01", [0, 1]) for number in range(2)]
    for number, words in enumerate(("dry wet", "wet dry")):
        flags[number].air.attrs.update(flag_values=[0, 1], flag_meanings=words)
    with pytest.raises(InputFileError, match="flag_meanings 'wet dry', not 'dry wet'"):
        cubes.open_dataset(write(tmp_path, flags, [{}, {}]))
    ids = [series(f"2001-0{number + 1}-01", np.array([2**60 + 1], kind)) for number, kind in enumerate(("i8", "u8"))]
    with pytest.raises(InputFileError, match="type uint64, not int64"):
        cubes.open_dataset(write(tmp_path, ids, [{}, {}]))


def test_calendars_that_differ_are_refused(tmp_path: Path) -> None:
    for number, calendar in enumerate(("noleap", "360_day")):
        times = xr.date_range(f"200{number}-01-01", periods=3, calendar=calendar, use_cftime=True)
        dataset = xr.Dataset({"air": ("time", [1.0, 2.0, 3.0])}, {"time": times})
        dataset.to_netcdf(tmp_path / f"part-{number}.nc", engine="h5netcdf")
    with pytest.raises(InputFileError, match="another 'time': calendar '360_day', not 'noleap'"):
        cubes.open_dataset(tmp_path / "part-*.nc")
    series("2003-01-01", [1.0]).to_netcdf(tmp_path / "part-1.nc", engine="h5netcdf")
    with pytest.raises(InputFileError, match="another 'time': type datetime64"):
        cubes.open_dataset(tmp_path / "part-*.nc")


def test_bounds_in_a_calendar_that_numpy_does_not_have(tmp_path: Path) -> None:
    for number in range(2):
        times = xr.date_range(f"2001-0{2 - number}-01", periods=3, calendar="360_day", use_cftime=True)
        edges = np.stack([times, times + np.timedelta64(7, "h").astype(object)], axis=1)
        dataset = xr.Dataset({"time_bnds": (("time", "edge"), edges)}, {"time": times})
        dataset.time.attrs["bounds"] = "time_bnds"
        dataset.to_netcdf(tmp_path / f"part-{number}.nc", engine="h5netcdf")
    same_after_saving(cubes.open_dataset(tmp_path / "part-*.nc"), tmp_path)


def test_anomalies_and_climatologies_are_not_packed_as_the_data_were(tmp_path: Path) -> None:
    data = cubes.open_dataset(write(tmp_path, [temperatures(0), temperatures(1)], [packed(250, 290)] * 2))
    for made in (cubes.anomalies(data), cubes.anomalies(data.compute()), cubes.climatology(data)):
        again = saved_and_read(made, tmp_path / f"made-{len(list(tmp_path.iterdir()))}.nc")
        xr.testing.assert_equal(again, made.compute())
