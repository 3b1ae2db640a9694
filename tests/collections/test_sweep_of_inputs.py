"""Whatever the types, the gaps, the files and the encodings: what is read, saved and read again is what there was.

Or there is an error before anything is computed. docs/contributing.md has the seed and the counts; for 20 times as many
and another seed: ``DASKHPC_SWEEP=20 pytest --timeout=0 tests/collections/test_sweep_of_inputs.py``.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas
import pytest
import xarray as xr
from hypothesis import HealthCheck, event, given, seed, settings
from hypothesis import strategies as st

from daskhpc import arrays, bags, cubes, frames
from daskhpc.errors import DaskhpcError

TIMES = int(os.environ.get("DASKHPC_SWEEP", "1"))
SEED = 17 + TIMES - 1
FRAMES, ARRAYS, CUBES = 60 * TIMES, 60 * TIMES, 40 * TIMES
QUIET: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
COLUMNS = 3


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Columns as lists of Python's values, None for a gap; and the dtypes in which pandas may have them.
IDS = st.integers(-(2**63) + 1, 2**63 - 1)
SMALL = st.integers(-1000, 1000)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).filter(
    lambda text: text == text.strip()
)
FLOATS = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
DATES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
KINDS: dict[str, tuple[Any, list[str]]] = {
    "ids": (st.one_of(IDS, SMALL), ["int64", "Int64", "object"]),
    "unsigned": (st.integers(0, 2**64 - 1), ["uint64", "UInt64", "object"]),
    "small": (SMALL, ["int64", "Int64", "int16", "float64", "category"]),
    "floats": (FLOATS, ["float64", "Float64", "float32"]),
    "bools": (st.booleans(), ["bool", "boolean", "object"]),
    "texts": (TEXT, ["object", "string", "category"]),
    "codes": (st.integers(0, 99).map(lambda n: f"{n:03}x"), ["object", "category", "string"]),
    "dates": (DATES, ["datetime64[us]"]),
    "decimals": (st.decimals(-1000, 1000, places=2), ["object"]),
}


@st.composite
def column(draw: st.DrawFn, rows: int, kinds: list[str]) -> tuple[str, str, list[Any]]:
    kind = draw(st.sampled_from(kinds))
    values, dtypes = KINDS[kind]
    gaps = draw(st.sampled_from([0, 0, 1, 2]))
    cells = [None if draw(st.integers(0, 9)) < 3 * gaps else draw(values) for _ in range(rows)]
    return kind, draw(st.sampled_from(dtypes)), cells


@st.composite
def tables(draw: st.DrawFn, kinds: list[str]) -> tuple[list[tuple[str, str, list[Any]]], list[int]]:
    """Columns, and the rows at which the files end."""
    rows = draw(st.integers(1, 12))
    columns = [draw(column(rows, kinds)) for _ in range(draw(st.integers(1, COLUMNS)))]
    cuts = sorted(draw(st.sets(st.integers(1, rows), max_size=3)) | {rows})
    return columns, cuts


def plain(values: Any) -> list[Any]:
    """Values as Python's own, None for what is missing; 1.0 is 1."""
    found = []
    for value in values:
        value = value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
        if value is None or value is pandas.NA or value is pandas.NaT or value != value:
            found.append(None)
        elif isinstance(value, pandas.Timestamp):
            found.append(value.to_pydatetime())
        else:
            found.append(int(value) if isinstance(value, float) and value.is_integer() else value)
    return found


def pieces(cells: list[Any], cuts: list[int]) -> list[list[Any]]:
    return [cells[start:stop] for start, stop in zip([0, *cuts], cuts, strict=False)]


def in_memory(cells: list[Any], dtype: str) -> Any:
    """A column of pandas in a dtype, or the nearest that holds these cells."""
    if dtype in ("int64", "int16", "uint64", "bool") and None in cells:
        dtype = "object"
    if dtype == "category":
        return pandas.Series(cells).astype("category")
    if dtype == "object":
        return pandas.Series(cells, dtype=object)
    return pandas.Series(cells, dtype=object).astype(dtype)


@seed(SEED)
@settings(max_examples=FRAMES, **QUIET)
@given(tables(list(KINDS)))
def test_frames_in_parquet(table: tuple[list[tuple[str, str, list[Any]]], list[int]]) -> None:
    columns, cuts = table
    with tempfile.TemporaryDirectory() as folder:
        whole = []
        for number, start in enumerate([0, *cuts[:-1]]):
            # each file has the dtype that pandas gives to its part alone
            parts = {
                f"c{i}": in_memory(cells[start : cuts[number]], dtype) for i, (_, dtype, cells) in enumerate(columns)
            }
            frame = pandas.DataFrame(parts)
            try:
                frame.to_parquet(f"{folder}/{number}.parquet")
            except (ValueError, TypeError, OverflowError):  # pandas and pyarrow do not write everything
                return
            whole.append(frame)
        try:
            lazy = frames.read_parquet(f"{folder}/*.parquet")
        except DaskhpcError:
            event("refused")
            return
        found = lazy.compute()
        for name in found.columns:
            expected = [value for frame in whole for value in plain(frame[name])]
            assert plain(found[name]) == expected, (name, found.dtypes[name])
        if any(str(dtype).startswith(("decimal", "object")) for dtype in found.dtypes):
            return  # Dask's to_parquet refuses some of these, before it computes
        again = saved_and_read(lazy, folder)
        for name in found.columns:
            assert plain(again[name]) == plain(found[name]), (name, found.dtypes[name])


def saved_and_read(lazy: Any, folder: str) -> pandas.DataFrame:
    lazy.to_parquet(f"{folder}/saved", write_metadata_file=False)
    return frames.read_parquet(f"{folder}/saved/*.parquet").compute()


@seed(SEED)
@settings(max_examples=FRAMES, **QUIET)
@given(tables([kind for kind in KINDS if kind != "decimals"]), st.sampled_from([None, 40]))
def test_frames_in_csv(table: tuple[list[tuple[str, str, list[Any]]], list[int]], blocksize: Any) -> None:
    columns, cuts = table
    with tempfile.TemporaryDirectory() as folder:
        objects = pandas.DataFrame(
            {f"c{i}": pandas.Series(cells, dtype=object) for i, (_, _, cells) in enumerate(columns)}
        )
        objects["row"] = range(len(objects))
        for number, start in enumerate([0, *cuts[:-1]]):
            objects.iloc[start : cuts[number]].to_csv(f"{folder}/{number}.csv", index=False)
        objects.to_csv(f"{folder}/whole.txt", index=False)
        try:
            lazy = frames.read_csv(f"{folder}/*.csv", blocksize=blocksize)
        except DaskhpcError:
            event("refused")
            return
        expected = pandas.read_csv(f"{folder}/whole.txt")
        texts = pandas.read_csv(f"{folder}/whole.txt", dtype=str)
        found = lazy.compute()
        assert found.dtypes.to_dict() == lazy.dtypes.to_dict()
        for i, (kind, _, cells) in enumerate(columns):
            name = f"c{i}"
            want = cells if kind in ("ids", "unsigned", "small") else plain(expected[name])
            if found.dtypes[name] == "string":
                want = plain(texts[name])
            assert plain(found[name]) == want, (name, kind, found.dtypes[name])
        again = saved_and_read(lazy, folder)
        for name in found.columns:
            assert plain(again[name]) == plain(found[name]), (name, found.dtypes[name])


@seed(SEED)
@settings(max_examples=FRAMES, **QUIET)
@given(tables(["ids", "unsigned", "small", "floats", "bools", "texts", "codes"]))
def test_records(table: tuple[list[tuple[str, str, list[Any]]], list[int]]) -> None:
    columns, cuts = table
    with tempfile.TemporaryDirectory() as folder:
        for number, start in enumerate([0, *cuts[:-1]]):
            rows = zip(*(cells[start : cuts[number]] for _, _, cells in columns), strict=True)
            records = [{f"c{i}": cell for i, cell in enumerate(row) if cell is not None or i % 2} for row in rows]
            lines = [json.dumps({"row": 0, **record}) for record in records]
            Path(folder, f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        for read in (
            lambda: frames.read_json_lines(f"{folder}/*.jsonl", blocksize=None),
            lambda: bags.to_frame(bags.read_json_lines(f"{folder}/*.jsonl")),
        ):
            try:
                lazy = read()
            except DaskhpcError:
                event("refused")
                continue
            found = lazy.compute()
            assert found.dtypes.to_dict() == lazy.dtypes.to_dict()
            for i, (_, _, cells) in enumerate(columns):
                if f"c{i}" in found:
                    assert plain(found[f"c{i}"]) == plain(cells), found.dtypes[f"c{i}"]
                else:
                    assert plain(cells) == [None] * len(cells)


DTYPES = ["?", "i1", "u1", ">i2", "i4", "i8", "u8", "f2", "f4", ">f8", "c8", "c16", "M8[ns]", "m8[s]", "S3", "U3", "O"]


@st.composite
def laid_out(draw: st.DrawFn) -> np.ndarray:
    """An array in any layout of memory."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    numbers = np.random.default_rng(draw(st.integers(0, 99))).integers(-300, 300, [2 * n for n in shape])
    whole = numbers.astype("U4").astype(dtype) if dtype.kind in "SU" else numbers.astype(dtype)
    if dtype.kind == "f" and draw(st.booleans()):
        whole.flat[::5] = np.nan
    layout = draw(st.sampled_from(["C", "F", "strided", "backwards", "transposed", "broadcast"]))
    cut = tuple(slice(0, n) for n in shape)
    if layout == "strided":
        return whole[tuple(slice(None, None, 2) for _ in shape)]
    if layout == "backwards":
        return whole[cut][tuple(slice(None, None, -1) for _ in shape)]
    if layout == "transposed":
        return whole[cut].T
    if layout == "broadcast":
        return np.broadcast_to(whole[cut][:1], shape)
    return np.array(whole[cut], order=layout)


@seed(SEED)
@settings(max_examples=ARRAYS, **QUIET)
@given(laid_out(), st.data())
def test_arrays(array: np.ndarray, data: st.DataObject) -> None:
    computed: list[int] = []

    def seen(block: Any) -> Any:
        computed.append(1)
        return block

    chunks = tuple(data.draw(st.integers(1, n)) for n in array.shape)
    lazy = da.from_array(array, chunks=chunks).map_blocks(
        seen, dtype=array.dtype, meta=np.empty((0,) * array.ndim, array.dtype)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, data.draw(st.sampled_from(["x.zarr", "x.h5", "x"])))
        try:
            arrays.save_array(lazy, path)
        except Exception:
            refused = True
        else:
            refused = False
        if refused:
            assert not computed
            event("refused")
            return
        found = arrays.open_array(path)
        assert found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found.compute(), array)
        window = tuple(slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in array.shape)
        np.testing.assert_array_equal(found[window].compute(), array[window])


VALUES: dict[str, Any] = {
    "f8": st.floats(-1000, 1000).map(lambda x: round(x, 4)) | st.just(np.nan),
    "f4": st.integers(-1000, 1000) | st.just(np.nan),
    "i8": st.integers(-(2**62), 2**62),
    "i2": st.integers(-30000, 30000),
    "u1": st.integers(0, 255),
    "?": st.booleans(),
    "M8[ns]": st.integers(-(10**9), 10**9),
    "S": st.sampled_from([b"a", b"bc", b"longer"]),
}
ENCODINGS: dict[str, list[dict[str, Any]]] = {
    "f": [
        {},
        {"_FillValue": -9999.0},
        {"_FillValue": 7.0},
        {"dtype": "float32"},
        {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -32768},
        {"dtype": "int16", "scale_factor": 0.25, "add_offset": 100.0, "_FillValue": -32768},
        {"dtype": "int32", "scale_factor": 0.01, "_FillValue": -(2**31)},
    ],
    "i": [{}, {"dtype": "int32"}, {"dtype": "int64"}, {"_FillValue": -1}],
    "u": [{}, {"dtype": "int16"}, {"_FillValue": 255}],
    "b": [{}, {"dtype": "int8"}],
    "M": [
        {},
        {"units": "hours since 1990-01-01", "dtype": "float64"},
        {"units": "days since 1970-01-01"},
        {"units": "seconds since 2001-01-01", "dtype": "int64"},
    ],
    "S": [{}],
}


@seed(SEED)
@settings(max_examples=CUBES, **QUIET)
@given(st.data())
def test_cubes(data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["nc", "nc", "zarr"]))
    kinds = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=2))
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for number in range(data.draw(st.integers(1, 3))):
            rows = data.draw(st.integers(1, 4))
            step = data.draw(st.sampled_from([1, 60, 86400]))
            times = np.datetime64(f"200{number}-01-01", "ns") + np.arange(rows) * np.timedelta64(step, "s")
            dataset, encoding = xr.Dataset(coords={"time": times}), {}
            for i, kind in enumerate(kinds):
                cells = data.draw(st.lists(VALUES[kind], min_size=2 * rows, max_size=2 * rows))
                values = np.array(cells) if kind == "S" else np.array(cells).astype("i8" if kind[0] == "M" else kind)
                if kind[0] == "M":
                    values = values.astype("M8[s]").astype("M8[ns]")
                dataset[f"v{i}"] = (("time", "x"), values.reshape(rows, 2))
                encoding[f"v{i}"] = data.draw(st.sampled_from(ENCODINGS[np.dtype(kind).kind]))
            path = f"{folder}/{number}.{suffix}"
            try:
                save(dataset, path, encoding=encoding)
            except (ValueError, OverflowError):  # xarray itself refuses that encoding
                return
            with opened(path) as written:
                parts.append(written.load())
        try:
            found = cubes.open_dataset(f"{folder}/?.{suffix}", **({"consolidated": False} if suffix == "zarr" else {}))
        except DaskhpcError:
            event("refused")
            return
        expected = xr.concat(parts, "time", coords="minimal", data_vars="minimal", compat="override", join="outer")
        for n, taken in enumerate((found, found.isel(time=slice(None, None, 2)), found.compute())):
            xr.testing.assert_equal(taken.compute(), expected.isel(time=slice(None, None, 2)) if n == 1 else expected)
            save(taken, f"{folder}/saved{n}.{suffix}")
            with opened(f"{folder}/saved{n}.{suffix}") as again:
                xr.testing.assert_equal(again.load(), taken.compute())


def save(dataset: xr.Dataset, path: str, **options: Any) -> None:
    if path.endswith("zarr"):
        dataset.to_zarr(path, consolidated=False, **options)
    else:
        dataset.to_netcdf(path, engine="h5netcdf", **options)


def opened(path: str) -> xr.Dataset:
    if path.endswith("zarr"):
        return xr.open_dataset(path, engine="zarr", consolidated=False)
    return xr.open_dataset(path, engine="h5netcdf")
