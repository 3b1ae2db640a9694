"""daskhpc.cubes.open_dataset: many files as one dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from daskhpc import cubes
from daskhpc.cubes import engines
from daskhpc.cubes.chunks import dataset_chunks, pack
from daskhpc.cubes.example_files import air_temperature
from daskhpc.errors import InputFileError, SettingsError

Change = Callable[[xr.Dataset], xr.Dataset]


def days(first: str, count: int) -> Any:
    return np.datetime64(first, "D") + np.arange(count)


def write(
    folder: Path, change: dict[int, Change] | None = None, files: int = 4, engine: str = "h5netcdf"
) -> list[Path]:
    """Some files of a few days each; `change` says which of them are other than the rest."""
    paths = []
    for i in range(files):
        dataset = air_temperature(days(f"2001-0{i + 1}-01", 5), 30, 12, 0)
        dataset["mask"] = ("lat", np.arange(7) % 2 == 0)
        dataset = (change or {}).get(i, lambda same: same)(dataset)
        paths.append(folder / f"part-{i}.nc")
        dataset.to_netcdf(paths[-1], engine=engine)
    return paths


def same(found: xr.Dataset, folder: Path, pattern: str = "part-*.nc", **options: Any) -> None:
    """Equal to what xarray makes of the same files."""
    with xr.open_mfdataset(
        str(folder / pattern), data_vars="minimal", coords="minimal", compat="override", **options
    ) as expected:
        xr.testing.assert_identical(found.compute(), expected.compute())


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_many_files_are_one_dataset_equal_to_xarrays(tmp_path: Path, client: Client, engine: str) -> None:
    folder = tmp_path / "it's a $(folder); echo"
    folder.mkdir()
    write(folder, engine=engine)
    found = cubes.open_dataset(folder / "part-*.nc", engine=engine)
    assert found.air.chunks is not None
    same(found, folder, engine=engine)
    assert found.time.encoding["units"].startswith("hours since 2001-01-01")
    for part in ({"time": 17}, {"time": slice(3, 39, 7), "lat": 2}, {"lon": [1, 5], "time": slice(None, None, -4)}):
        xr.testing.assert_identical(found.isel(part).compute(), found.compute().isel(part))
    assert cubes.open_dataset(folder / "part-*.nc", engine=engine).air.data.name == found.air.data.name


def test_files_are_put_in_the_order_of_their_times(tmp_path: Path, client: Client) -> None:
    paths = write(tmp_path)
    found = cubes.open_dataset([paths[2], paths[0], str(paths[3]), paths[1]])
    same(found, tmp_path)
    assert found.indexes["time"].is_monotonic_increasing


def test_without_a_client_this_process_opens_them(tmp_path: Path) -> None:
    write(tmp_path)
    same(cubes.open_dataset(tmp_path / "*.nc"), tmp_path)


def test_classic_netcdf_and_text_of_other_lengths(tmp_path: Path, client: Client) -> None:
    for i, word in enumerate(("dry", "humid")):
        note = xr.Dataset({"note": ("time", np.array([word, "-"], "S"))}, {"time": [2 * i, 2 * i + 1]})
        note.to_netcdf(tmp_path / f"part-{i}.nc", engine="scipy", format="NETCDF3_CLASSIC")
    found = cubes.open_dataset(tmp_path / "part-*.nc")
    assert found.note.values.tolist() == [b"dry", b"-", b"humid", b"-"]


def test_one_file_and_zarr_stores(tmp_path: Path, client: Client) -> None:
    paths = write(tmp_path)
    one = cubes.open_dataset(paths[0])
    xr.testing.assert_identical(one.compute(), xr.load_dataset(paths[0]))
    for i, path in enumerate(paths):
        xr.open_dataset(path).chunk(time=3).drop_encoding().to_zarr(tmp_path / f"part-{i}.zarr", consolidated=False)
    stores = cubes.open_dataset(tmp_path / "part-*.zarr", consolidated=False)
    xr.testing.assert_equal(stores.compute(), cubes.open_dataset(paths).compute())


def test_a_packed_file_among_others_is_read_as_what_it_holds(tmp_path: Path, client: Client) -> None:
    paths = write(tmp_path)
    packed = xr.load_dataset(paths[1])
    encoding = {"air": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 270.0, "_FillValue": -9999}}
    packed.to_netcdf(paths[1], engine="h5netcdf", encoding=encoding)
    found = cubes.open_dataset(paths)
    same(found, tmp_path)
    with xr.open_dataset(paths[1]) as alone:
        assert found.air.dtype == np.result_type(packed.air.dtype, alone.air.dtype)


def test_calendars_that_numpy_does_not_have(tmp_path: Path, client: Client) -> None:
    times = xr.date_range("2001-02-28", periods=6, calendar="360_day", use_cftime=True)
    for i in (1, 0):
        part = xr.Dataset({"a": ("time", np.arange(3.0))}, {"time": times[3 * i : 3 * i + 3]})
        part.to_netcdf(tmp_path / f"part-{i}.nc", engine="h5netcdf")
    found = cubes.open_dataset(tmp_path / "part-*.nc")
    assert list(found.indexes["time"]) == list(times)
    assert str(found.time.values[2]) == "2001-02-30 00:00:00"
    same(found, tmp_path)


def test_times_on_both_sides_of_what_numpy_has(tmp_path: Path) -> None:
    times = xr.date_range("2250-01-01", periods=30, freq="YS", use_cftime=True)  # nanoseconds end in 2262
    edges = np.stack([times, times + np.timedelta64(7, "h").astype(object)], axis=1)
    dataset = xr.Dataset({"time_bnds": (("time", "edge"), edges)}, {"time": times})
    dataset.time.attrs["bounds"] = "time_bnds"
    dataset.to_netcdf(tmp_path / "part-0.nc", engine="h5netcdf")
    found = cubes.open_dataset(tmp_path / "part-0.nc", chunks={"time": 5})
    np.testing.assert_array_equal(found.time_bnds.values, edges)
    assert found.time_bnds[3, 1].values == edges[3, 1]


def test_a_single_time_that_is_no_dimension(tmp_path: Path) -> None:
    path = write(tmp_path, {0: lambda dataset: dataset.isel(time=2)}, files=1)[0]
    xr.testing.assert_identical(cubes.open_dataset(path).compute(), xr.load_dataset(path))


def test_files_without_a_coordinate_along_which_they_grow_keep_their_order(tmp_path: Path) -> None:
    for i in range(3):
        xr.Dataset({"a": ("row", [i, i])}).to_netcdf(tmp_path / f"{i}.nc", engine="h5netcdf")
    found = cubes.open_dataset([tmp_path / f"{i}.nc" for i in (2, 0, 1)], along="row")
    assert found.a.values.tolist() == [2, 2, 0, 0, 1, 1]


def test_bounds_of_times_are_times(tmp_path: Path) -> None:
    def bounded(dataset: xr.Dataset) -> xr.Dataset:
        dataset["time_bnds"] = (("time", "edge"), np.stack([dataset.time.values] * 2, axis=1))
        dataset.time.attrs["bounds"] = "time_bnds"
        dataset.time.encoding["units"] = "hours since 1990-01-01"
        return dataset

    write(tmp_path, dict.fromkeys(range(4), bounded))
    found = cubes.open_dataset(tmp_path / "*.nc")
    assert found.time_bnds.dtype.kind == "M"
    np.testing.assert_array_equal(found.time_bnds[:, 0].values, found.time.values)


def test_options_of_xarray_hold_for_every_file(tmp_path: Path, client: Client) -> None:
    write(tmp_path)
    with pytest.raises(InputFileError, match="has another 'time': units 'hours since 2001-02-01"):
        cubes.open_dataset(tmp_path / "*.nc", decode_times=False)
    found = cubes.open_dataset(tmp_path / "part-0.nc", drop_variables=["mask"], decode_cf=False)
    assert set(found.variables) == {"air", "time", "lat", "lon"}


def other(name: str, make: Callable[[Any], Any]) -> Change:
    return lambda dataset: dataset.assign({name: make(dataset[name])})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.drop_vars("air"), "has no variable 'air'"),
        (lambda d: d.assign(extra=1), "has a variable 'extra'"),
        (other("air", lambda air: air.assign_attrs(units="degC")), "another 'air': units 'degC', not 'K'"),
        (lambda d: d.isel(lat=slice(5)), "another 'air': 5 along lat, not 7"),
        (lambda d: d.assign_coords(lat=d.lat + 0.5), "another 'lat': values that differ by up to 0.5"),
        (other("air", lambda air: air.astype("S4")), r"another 'air': type"),
        (other("air", lambda air: air.transpose("time", "lon", "lat")), "another 'air': dimensions"),
        (other("mask", lambda mask: ~mask), "another 'mask': values that differ by up to 1"),
    ],
)
def test_a_file_that_differs_is_named(tmp_path: Path, client: Client, change: Change, words: str) -> None:
    write(tmp_path, {2: change})
    with pytest.raises(InputFileError, match="1 of 4 files cannot be opened as one") as caught:
        cubes.open_dataset(tmp_path / "*.nc")
    assert f"{tmp_path}/part-2.nc has" in caught.value.found
    with pytest.raises(InputFileError, match=words):
        cubes.open_dataset(tmp_path / "*.nc")


def test_what_differs_may_be_dropped(tmp_path: Path) -> None:
    write(tmp_path, {1: lambda d: d.assign(extra=1)})
    with pytest.raises(InputFileError, match=r"drop_variables=\['extra'\]"):
        cubes.open_dataset(tmp_path / "*.nc")
    assert "extra" not in cubes.open_dataset(tmp_path / "*.nc", drop_variables=["extra"])


@pytest.mark.parametrize("broken", [0, 2])
@pytest.mark.parametrize("engine", [None, "netcdf4"])
def test_a_truncated_file_is_named(tmp_path: Path, client: Client, broken: int, engine: str | None) -> None:
    paths = write(tmp_path)
    content = paths[broken].read_bytes()
    paths[broken].write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputFileError, match=f"part-{broken}.nc cannot be read"):
        cubes.open_dataset(paths, engine=engine)
    paths[broken].write_bytes(b"")
    with pytest.raises(InputFileError, match=f"part-{broken}.nc"):
        cubes.open_dataset(paths)


def test_missing_files_are_named(tmp_path: Path) -> None:
    paths = write(tmp_path)
    with pytest.raises(InputFileError, match=r"2 of 6 files are not there.\n.*gone.nc, .*lost.nc"):
        cubes.open_dataset([*paths, tmp_path / "gone.nc", tmp_path / "lost.nc"])
    with pytest.raises(InputFileError, match=r"No file matches .*\n.* has 4 entries, such as part-0.nc"):
        cubes.open_dataset(tmp_path / "*.cdf")
    with pytest.raises(InputFileError, match="no file to open"):
        cubes.open_dataset([])


def test_files_that_overlap_are_named(tmp_path: Path) -> None:
    paths = write(tmp_path, {1: lambda d: d.assign_coords(time=d.time - np.timedelta64(29, "D"))})
    with pytest.raises(InputFileError, match=r"Two files overlap along time.\n.*part-0.nc has 2001-01-01.*part-1.nc"):
        cubes.open_dataset(paths)
    with pytest.raises(InputFileError, match="overlap"):
        cubes.open_dataset([paths[0], paths[0]])


def test_a_file_that_is_not_in_order_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, {3: lambda d: d.isel(time=[0, 2, 1, 3])})
    with pytest.raises(InputFileError, match=r"part-3.nc is not in order along time.\n.*time\[1\] is 2001-04-02"):
        cubes.open_dataset(paths)


def test_what_is_no_dataset_and_what_is_no_dimension(tmp_path: Path) -> None:
    (tmp_path / "x.nc").write_text("hello, world")
    with pytest.raises(InputFileError, match=r"neither NetCDF nor HDF5.*\n.*hello"):
        cubes.open_dataset(tmp_path / "x.nc")
    paths = write(tmp_path)
    with pytest.raises(InputFileError, match=r"no variable along 'day'.\n.*lat, lon, time"):
        cubes.open_dataset(paths, along="day")
    with pytest.raises(SettingsError, match="chunks is a mapping"):
        cubes.open_dataset(paths, chunks=100)  # type: ignore[arg-type]


def test_a_file_that_is_being_written_is_named(tmp_path: Path, client: Client) -> None:
    import h5py

    paths = write(tmp_path)
    with h5py.File(paths[1], "r+"), pytest.raises(InputFileError, match=r"part-1.nc cannot be read.*lock"):
        cubes.open_dataset(paths)


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(InputFileError, match=r"needs netCDF4 or h5netcdf.\n.*\n.*pip install 'daskhpc\[files\]'"):
        cubes.open_dataset(paths)


def test_chunks_are_those_of_the_files_unless_given(tmp_path: Path, client: Client) -> None:
    paths = write(tmp_path)
    found = cubes.open_dataset(paths)
    assert found.air.chunks == ((40,), (7,), (12,))
    given = cubes.open_dataset(paths, chunks={"lat": 3, "time": 15})
    assert given.air.chunks == ((15, 15, 10), (3, 3, 1), (12,))
    xr.testing.assert_identical(given.compute(), found.compute())
    with pytest.raises(SettingsError, match=r"a dimension 'day' that is not cut.\n.*time, lat, lon"):
        cubes.open_dataset(paths, chunks={"day": 3})


@pytest.mark.parametrize(
    ("blocks", "lengths", "most", "time", "lat", "lon"),
    [
        ({}, [10, 10, 10], 10**6, (30,), (20,), (30,)),  # everything in one
        ({}, [10, 10, 10], 20 * 600, (20, 10), (20,), (30,)),  # some files
        ({}, [10, 10, 10], 15 * 600, (10, 10, 10), (20,), (30,)),  # a chunk does not take a part of the next file
        ({}, [10, 10, 10], 7 * 600, (5,) * 6, (20,), (30,)),  # parts of a file
        ({"time": 4}, [10, 10], 7 * 600, (4, 4, 2) * 2, (20,), (30,)),  # whole blocks of the file
        ({}, [2, 2], 300, (1,) * 4, (10, 10), (30,)),  # not even one map
        ({"time": 10, "lat": 4, "lon": 5}, [10, 10], 10 * 4 * 30, (10, 10), (4,) * 5, (30,)),
        ({"time": 10, "lat": 20, "lon": 30}, [10, 10], 100, (10, 10), (20,), (30,)),  # a block is never cut
        ({}, [0, 3, 0, 3], 10**6, (6,), (20,), (30,)),
    ],
)
def test_the_chunks_of_a_dataset(blocks: Any, lengths: list[int], most: int, time: Any, lat: Any, lon: Any) -> None:
    sizes = {"time": sum(lengths), "lat": 20, "lon": 30}
    assert dataset_chunks(sizes, blocks, "time", lengths, most, {}) == {"time": time, "lat": lat, "lon": lon}


def test_packing_never_cuts_across_files() -> None:
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] * 3
    edges = set(np.cumsum(lengths))
    chunks = pack(lengths, 1, 100)
    assert sum(chunks) == sum(lengths)
    assert max(chunks) <= 100
    assert set(np.cumsum(chunks)) <= edges
    assert len(chunks) == 12
