"""Partitions for the cluster, Parquet and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe
import numpy as np
import pandas
import pytest
from distributed import Client
from pandas.testing import assert_frame_equal, assert_series_equal

from daskhpc import frames
from daskhpc.errors import InputFileError, SettingsError
from daskhpc.frames import partitions


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "it's a $(folder); echo"
    path.mkdir()
    return path


def table(rows: int) -> pandas.DataFrame:
    texts = pandas.array(["abcdefgh"] * rows, dtype="string[pyarrow]")
    return pandas.DataFrame(
        {"v": np.arange(rows), "s": texts}, index=pandas.date_range("2020", "2021", periods=rows, name="t")
    )


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("parts", [1, 3, 60])
def test_partitions_of_the_right_size_hold_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, parts: int, known: bool
) -> None:
    monkeypatch.setattr(partitions, "piece_size", lambda *_: 50_000)
    frame = dask.dataframe.from_pandas(table(20_000), npartitions=parts)
    frame = frame if known else frame.clear_divisions()
    fitted = frames.fit_partitions(frame)
    sizes = fitted.map_partitions(lambda part: part.memory_usage(deep=True).sum()).compute()
    assert sizes.max() < 60_000
    assert sizes.median() > 25_000
    assert fitted.known_divisions is known
    assert_frame_equal(fitted.compute(), table(20_000))


def test_each_thread_gets_a_partition(client: Client) -> None:
    with dask.config.set(scheduler=client):
        frame = dask.dataframe.from_pandas(table(1000), npartitions=1)
        fitted = frames.fit_partitions(frame)
        assert fitted.npartitions == 2
        assert fitted.known_divisions
        assert_series_equal(frames.fit_partitions(frame["v"]).compute(), table(1000)["v"])


def test_divisions_survive_equal_times() -> None:
    one = pandas.DataFrame({"v": range(100)}, index=[1] * 99 + [2])
    frame = dask.dataframe.from_pandas(one, npartitions=1)
    assert partitions.new_divisions([1, 2], [100], [5], [[1, 1]], 20) == [1, 2]
    assert_frame_equal(frames.fit_partitions(frame).compute(), one)


def test_categories_stay_categories_in_partitions_that_are_joined() -> None:
    parts = [pandas.DataFrame({"t": pandas.Categorical([f"a{i}", f"b{i}"])}) for i in range(4)]
    frame = dask.dataframe.from_map(lambda i: parts[i], range(4), meta=parts[0].iloc[:0])
    fitted = frames.fit_partitions(frame)
    assert fitted.npartitions < 4
    assert [part.compute()["t"].dtype.name for part in fitted.partitions] == ["category"] * fitted.npartitions
    assert fitted.compute()["t"].tolist() == [f"{letter}{i}" for i in range(4) for letter in "ab"]


def parquet(folder: Path, **columns: dict[str, Any]) -> list[str]:
    for name, values in columns.items():
        pandas.DataFrame(values).to_parquet(folder / f"{name}.parquet")
    return [str(folder / f"{name}.parquet") for name in columns]


def test_parquet_of_equal_schemas_is_as_dask_reads_it(folder: Path) -> None:
    paths = parquet(folder, a={"x": [1, 2], "y": ["a", "b"]}, b={"x": [3, 4], "y": ["c", "d"]})
    read = frames.read_parquet(f"{folder}/*.parquet")
    assert_frame_equal(read.compute(), dask.dataframe.read_parquet(paths).compute())


def test_parquet_of_unequal_schemas_is_read_as_what_holds_both(folder: Path) -> None:
    parquet(folder, a={"x": [1, 2], "y": [None, None]}, b={"y": ["c", None], "x": [0.5, None]})
    read = frames.read_parquet(f"{folder}/*.parquet")
    computed = read.compute()
    assert computed.dtypes.astype(str).to_dict() == {"x": "float64", "y": "string"}
    assert (computed.dtypes == read.dtypes).all()
    assert computed["x"].tolist()[:3] == [1, 2, 0.5]
    assert computed["y"].isna().tolist() == [True, True, False, True]
    assert read[["y"]].compute().columns.tolist() == ["y"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"x": ["t"], "y": ["a"]}, ["'x' cannot be reconciled", "b.parquet", "string", "int64"]),
        ({"x": [1]}, ["b.parquet has no column 'y'"]),
    ],
)
def test_parquet_that_cannot_be_reconciled(folder: Path, other: dict[str, Any], words: list[str]) -> None:
    paths = parquet(folder, a={"x": [1], "y": ["a"]}, b=other)
    with pytest.raises(InputFileError) as raised:
        frames.read_parquet(paths)
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_what_is_no_parquet(folder: Path) -> None:
    (folder / "a.parquet").write_text("x")
    with pytest.raises(InputFileError, match=r"a\.parquet is not a Parquet file"):
        frames.read_parquet(folder / "a.parquet")


def records(folder: Path, **rows: list[Any]) -> list[str]:
    for name, some in rows.items():
        texts = [row if isinstance(row, str) else json.dumps(row) for row in some]
        (folder / f"{name}.jsonl").write_text("\n".join(texts) + "\n")
    return [str(folder / f"{name}.jsonl") for name in rows]


@pytest.mark.parametrize("blocksize", [1, 40, "auto"])
def test_json_lines_have_types_that_hold_all_files(folder: Path, blocksize: Any) -> None:
    first = [
        {"i": 1, "g": 1, "f": 1, "b": True, "h": True},
        {"i": 2, "g": 2, "f": 2, "b": False, "h": None, "t": "é\n"},
    ]
    second = [{"t": "u", "f": 0.5, "i": 3, "b": True, "n": {"q": [1]}}, "", {"i": 4, "g": None, "b": True}]
    read = frames.read_json_lines(records(folder, a=first, b=second), blocksize=blocksize)
    computed = read.compute().reset_index(drop=True)
    assert (computed.dtypes == read.dtypes).all()
    assert computed.dtypes.astype(str).to_dict() == {
        "i": "int64", "g": "float64", "f": "float64", "b": "bool", "h": "boolean", "t": "string", "n": "object",
    }  # fmt: skip
    assert computed["i"].tolist() == [1, 2, 3, 4]
    assert computed["t"].fillna("-").tolist() == ["-", "é\n", "u", "-"]
    assert computed["n"].tolist()[2] == {"q": [1]}
    assert read[["t"]].compute().columns.tolist() == ["t"]


def test_json_lines_that_cannot_be_reconciled_unless_one_says_how(folder: Path) -> None:
    paths = records(folder, a=[{"x": 1}], b=[{"y": 1}, "", {"x": "one"}])
    with pytest.raises(InputFileError) as raised:
        frames.read_json_lines(paths)
    for word in ["'x'", f"{paths[1]}:3 has 'one' (text)", f"{paths[0]}:1 has 1 (whole numbers)"]:
        assert word in str(raised.value)
    as_text = frames.read_json_lines(paths, dtype={"x": "str"}).compute()
    assert as_text["x"].fillna("-").tolist() == ["1", "-", "one"]
    assert frames.read_json_lines(paths, dtype={"x": "object"}).compute()["x"].tolist() == [1, None, "one"]
    with pytest.raises(SettingsError, match="JSON says"):
        frames.read_json_lines(paths, dtype={"x": "int8"})


@pytest.mark.parametrize("line", ['{"x": ', "[1]", "7"])
def test_a_line_that_is_no_record_is_named(folder: Path, line: str) -> None:
    paths = records(folder, a=[{"x": 1}], b=[{"x": 1}, "", line])
    with pytest.raises(InputFileError, match=r"b\.jsonl:3 is no record"):
        frames.read_json_lines(paths)


def test_whole_numbers_that_fit_nothing(folder: Path) -> None:
    paths = records(folder, a=[{"x": 2**64}])
    with pytest.raises(InputFileError, match="beyond 64 bits"):
        frames.read_json_lines(paths)
