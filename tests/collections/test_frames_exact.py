"""No type that is settled over several files changes a value: ids, gaps, leading zeros, dates beyond nanoseconds."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas
import pytest

from daskhpc import bags, frames
from daskhpc.errors import InputFileError, SettingsError

A, B = 1234567890123456789, 1234567890123456790
EVEN = 2**60  # float64 has it


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(*values: Any) -> str:
    return "".join(f'"{value}",\n' if "," in str(value) else f"{value},\n" for value in values)


def cleared() -> None:
    for path in Path().iterdir():
        path.unlink()


def read(*files: str, **options: Any) -> pandas.Series:
    cleared()
    for number, text in enumerate(files):
        Path(f"{number}.csv").write_text("x,y\n" + text)
    lazy = frames.read_csv("*.csv", blocksize=None, **options)
    computed = lazy.compute(scheduler="synchronous")
    assert computed.dtypes.to_dict() == lazy.dtypes.to_dict()
    assert [part.dtypes.to_dict() for part in lazy.partitions] == [lazy.dtypes.to_dict()] * lazy.npartitions
    return computed["x"]


@pytest.mark.parametrize(
    "files",
    [
        [rows(A, "", B)],
        [rows(A, B), rows("", 3)],
        [rows("", 3), rows(A, B)],
        [rows("", "1.0"), rows(A, B)],
        [rows(A, "", "1.0", B)],
        [rows(-A, "NA"), rows(2**63 - 1)],
    ],
)
def test_ids_with_gaps_are_exact_whichever_file_the_gap_is_in(files: list[str]) -> None:
    found = read(*files)
    assert found.dtype == "Int64"
    texts = [value.split(",")[0] for text in files for value in text.splitlines()]
    assert found.tolist() == [pandas.NA if text in ("", "NA") else int(text.removesuffix(".0")) for text in texts]


def test_what_float64_holds_is_as_in_pandas() -> None:
    assert read(rows(EVEN, ""), rows(1)).dtype == "float64"
    assert read(rows(1, ""), rows("0.5")).dtype == "float64"
    assert read(rows("1e300", "0.5", "")).tolist()[:2] == [1e300, 0.5]
    assert read(rows(2**62, "0.5")).tolist() == [2.0**62, 0.5]


@pytest.mark.parametrize(
    ("files", "values"),
    [
        ([rows("0.5"), rows(A)], ["0.5", str(A)]),
        ([rows(A, "0.5")], [str(A), "0.5"]),
        ([rows("", "1e18"), rows(A)], [pandas.NA, "1e18", str(A)]),
        ([rows(2**64 - 1), rows("0.5")], [str(2**64 - 1), "0.5"]),
    ],
)
def test_ids_and_fractions_are_text_and_one_is_told_where(files: list[str], values: list[Any]) -> None:
    with pytest.warns(UserWarning, match=r"'x' by .* in .*[.]csv:\d.*dtype=\{column: 'float64'\}"):
        found = read(*files)
    assert found.dtype == "string"
    assert found.tolist() == values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(*files, dtype={"x": "float64"}).dtype == "float64"


def test_thousands_and_demanded_integers(folder: Path) -> None:
    assert read(rows(f"{A:,}", ""), thousands=",").tolist() == [A, pandas.NA]
    assert read(rows(A, "", "1.0", B), dtype={"x": "Int64"}).tolist() == [A, pandas.NA, 1, B]
    assert read(rows(2**64 - 1, "", "1"), dtype={"x": "UInt64"}).tolist() == [2**64 - 1, pandas.NA, 1]
    with pytest.raises(InputFileError, match="'x' cannot be reconciled"):
        read(rows(A, ""), dtype={"x": "Int32"})


def test_texts_stay_as_they_are_in_all_files() -> None:
    with pytest.warns(UserWarning, match="'unknown' in"):
        assert read(rows("007", "1.50"), rows("unknown")).tolist() == ["007", "1.50", "unknown"]
    with pytest.warns(UserWarning, match=f"{10**20}. in"):
        assert read(rows("007"), rows(10**20)).tolist() == ["007", str(10**20)]
    assert read(rows("True", ""), rows("False")).tolist() == [True, pandas.NA, False]


def test_dates_out_of_the_range_of_others_are_refused_before_anything_is_computed() -> None:
    Path("0.csv").write_text("t\n2020-01-01 00:00:00.123456789\n")
    Path("1.csv").write_text("t\n3000-01-01 00:00:00\n")
    with pytest.raises(InputFileError, match=r"'t' cannot be reconciled"):
        frames.read_csv("*.csv", parse_dates=["t"])
    Path("1.csv").write_text("t\n2020-01-01 00:00:00\n")
    found = frames.read_csv("*.csv", parse_dates=["t"]).compute(scheduler="synchronous")
    assert found["t"].dt.nanosecond.tolist() == [789, 0]


def records(*files: list[Any]) -> list[pandas.Series]:
    """As JSON lines, and as a bag."""
    cleared()
    for number, values in enumerate(files):
        lines = [json.dumps({} if value is None else {"x": value}) for value in values]
        Path(f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    made = [frames.read_json_lines("*.jsonl", blocksize=None), bags.to_frame(bags.read_json_lines("*.jsonl"), ["x"])]
    for lazy in made:
        assert lazy.compute(scheduler="synchronous").dtypes.to_dict() == lazy.dtypes.to_dict()
    return [lazy.compute(scheduler="synchronous")["x"] for lazy in made]


@pytest.mark.parametrize("gap", [None, float("nan")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_ids_of_records_are_exact(gap: Any, place: int) -> None:
    values: list[Any] = [A, 3, B]
    values.insert(place, gap)
    for found in records(values[:2], values[2:]):
        assert found.dtype == "Int64"
        assert found.tolist() == [pandas.NA if value is gap else value for value in values]


def test_numbers_of_records_that_float64_holds() -> None:
    for found in records([EVEN, None], [0.5]):
        assert found.dtype == "float64"
    for found in records([A], [B]):
        assert found.dtype == "int64"
    for found in records([True, float("nan")], [None]):
        assert found.dtype == "boolean"
    for found in records(["a", float("nan")]):
        assert found.tolist() == ["a", pandas.NA]


def test_ids_and_fractions_of_records_are_refused() -> None:
    with pytest.raises(InputFileError, match=f"jsonl:1 has {A} .whole numbers that float64 changes"):
        records([A], [0.5])


@pytest.mark.parametrize("first", [0, 1, 5])
def test_rows_with_one_value_more_do_not_move_the_others(first: int) -> None:
    """pandas takes the first column for the row numbers, and pandas 3 makes a range of whole numbers that grow."""
    Path("x.csv").write_text("x,y\n" + "".join(f"{first + row},2,3\n" for row in range(3)))
    with pytest.raises(InputFileError, match=r"x.csv:2 has more values than there are columns"):
        frames.read_csv("x.csv")


AWARE, NAIVE = "2020-01-01T00:00:00+01:00", "2020-07-01 00:00:00"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([rows(AWARE), rows(NAIVE)], "1.csv:2 says no offset to UTC"),
        ([rows(AWARE, "2020-07-02")], "0.csv:3 says no offset to UTC"),
        ([rows("", NAIVE), rows("2020-01-01T00:00Z")], "1.csv:2 says an offset to UTC"),
        ([rows(NAIVE, "2020-01-01 00:00:00-0330")], "0.csv:3 says an offset to UTC"),
    ],
)
def test_dates_with_and_without_an_offset_do_not_go_together(files: list[str], said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        read(*files, parse_dates=["x"])


def test_dates_of_several_offsets_are_in_utc() -> None:
    found = read(rows(AWARE, "2020-07-01T00:00:00Z", ""), rows("2020-07-01T00:00:00.5-03:30"), parse_dates=["x"])
    expected = ["2019-12-31T23:00:00", "2020-07-01T00:00:00", None, "2020-07-01T03:30:00.5"]
    assert found.tolist() == pandas.to_datetime(expected, utc=True, format="ISO8601").tolist()


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
@pytest.mark.parametrize("broken", ["cut off", "not compressed"])
def test_files_that_cannot_be_decompressed(suffix: str, pack: Any, broken: str) -> None:
    data = b"x,y\n" + b"1,2\n" * 1000
    Path(f"x.csv.{suffix}").write_bytes(pack(data)[:-9] if broken == "cut off" else data)
    with pytest.raises(InputFileError, match=rf"x.csv.{suffix} cannot be decompressed"):
        frames.read_csv("x.csv.*")


def test_a_dtype_for_all_other_columns() -> None:
    Path("x.csv").write_text("a,b,c\n007,008,2020-01-01\n")
    dtype = defaultdict(lambda: "str", a="int64")
    found = frames.read_csv("x.csv", dtype=dtype, parse_dates=["c"]).compute(scheduler="synchronous")
    assert found.iloc[0].tolist() == [7, "008", pandas.Timestamp("2020-01-01")]


def test_columns_from_the_end_are_none() -> None:
    Path("x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputFileError, match="has no column -1"):
        frames.read_csv("x.csv", usecols=[-1])
    with pytest.raises(SettingsError, match=r"parse_dates=\['a'\]"):
        frames.read_csv("x.csv", dtype={"a": "datetime64[ns]"})


def test_half_a_character_in_json() -> None:
    Path("x.jsonl").write_text('{"a": "x"}\n{"a": "\\ud83d"}\n')
    with pytest.raises(InputFileError, match=r"x.jsonl:2 has .* \(text with half of a pair of surrogates\)"):
        frames.read_json_lines("x.jsonl")
    found = frames.read_json_lines("x.jsonl", dtype={"a": "object"}).compute(scheduler="synchronous")
    assert found["a"].tolist() == ["x", "\ud83d"]
