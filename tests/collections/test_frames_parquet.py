"""Parquet files whose schemas differ and mean the same, or whose gaps would change values."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask.dataframe
import pandas
import pyarrow
import pytest
from pyarrow import parquet

from daskhpc import frames
from daskhpc.errors import InputFileError, SettingsError

A, B = 1234567890123456789, 1234567890123456790
PLAIN = pandas.DataFrame({"x": [1, 2, 3, 4], "t": ["a", "b", "a", "b"]})
FILTERED = PLAIN[PLAIN["x"] != 3]
AS_CATEGORY = PLAIN.astype({"t": "category"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lazy(*tables: Any, **options: Any) -> Any:
    for path in Path().iterdir():
        path.unlink()
    for number, table in enumerate(tables):
        if isinstance(table, pandas.DataFrame):
            table.to_parquet(f"{number}.parquet")
        else:
            parquet.write_table(table, f"{number}.parquet")
    return frames.read_parquet("*.parquet", **options)


def read(*tables: Any, **options: Any) -> pandas.DataFrame:
    frame = lazy(*tables, **options)
    found: pandas.DataFrame = frame.compute(scheduler="synchronous")
    unknown = [name for name in frame.columns if frame.dtypes[name] == "category"]
    assert found.dtypes.drop(unknown).to_dict() == frame.dtypes.drop(unknown).to_dict()
    assert found.index.name == frame.index.name
    for part in frame.partitions:
        assert part.compute(scheduler="synchronous").dtypes.astype(str).to_dict() == found.dtypes.astype(str).to_dict()
    return found


def table(kind: Any = None, **columns: Any) -> pyarrow.Table:
    return pyarrow.table({name: pyarrow.array(values, kind) for name, values in columns.items()})


@pytest.mark.parametrize("tables", [[FILTERED, PLAIN], [PLAIN, FILTERED], [FILTERED, FILTERED], [PLAIN[:0], FILTERED]])
def test_row_numbers_are_no_column(tables: list[pandas.DataFrame]) -> None:
    found = read(*tables)
    expected = pandas.concat(tables)
    assert found.columns.tolist() == ["x", "t"]
    assert found["x"].tolist() == expected["x"].tolist()
    assert found["t"].tolist() == expected["t"].tolist()
    assert read(*tables, columns=["t"])["t"].tolist() == expected["t"].tolist()
    assert lazy(*tables)[["t"]].compute(scheduler="synchronous").columns.tolist() == ["t"]


def test_row_numbers_that_all_files_have_are_the_index() -> None:
    assert read(FILTERED, FILTERED.astype({"x": float})).index.tolist() == [0, 1, 3] * 2


@pytest.mark.parametrize("tables", [[AS_CATEGORY, PLAIN], [PLAIN, AS_CATEGORY]])
def test_categories_in_one_file_and_text_in_the_next(tables: list[pandas.DataFrame]) -> None:
    found = read(*tables)
    assert found.dtypes.astype(str).to_dict() == {"x": "int64", "t": "string"}
    assert found["t"].tolist() == PLAIN["t"].tolist() * 2


def test_categories_that_differ() -> None:
    more = pandas.DataFrame({"x": range(200), "t": pandas.Categorical([f"t{i}" for i in range(200)])})
    found = lazy(AS_CATEGORY, more).compute(scheduler="synchronous")
    assert found["t"].dtype == "category"
    assert found["t"].tolist() == [*PLAIN["t"], *more["t"]]
    gaps = table(x=[1], t=[None])
    found = lazy(AS_CATEGORY, gaps).compute(scheduler="synchronous")
    assert found["t"].tolist()[:4] == PLAIN["t"].tolist()
    assert found["t"].isna().sum() == 1
    numbers = PLAIN.astype({"x": "category"})
    assert read(numbers, PLAIN)["x"].tolist() == [1, 2, 3, 4] * 2


def test_categories_of_numbers_and_of_nothing(folder: Path) -> None:
    numbers = pandas.DataFrame({"n": pandas.Series([0, 7, 0], dtype="category")})
    frame = lazy(numbers, numbers)
    assert frame.compute(scheduler="synchronous")["n"].tolist() == [0, 7, 0] * 2
    frame.to_parquet(folder / "saved")
    again = frames.read_parquet(f"{folder}/saved/*.parquet").compute(scheduler="synchronous")
    assert again["n"].tolist() == [0, 7, 0] * 2  # Dask would write "0"
    for path in (folder / "saved").iterdir():
        path.unlink()
    (folder / "saved").rmdir()
    nothing = pandas.DataFrame({"t": pandas.Series([None, None], dtype="category")})
    assert lazy(nothing, nothing).compute(scheduler="synchronous")["t"].isna().all()


def test_categories_in_other_orders_are_text() -> None:
    orders = [PLAIN.assign(t=pandas.Categorical(PLAIN["t"], order, ordered=True)) for order in (["a", "b"], ["b", "a"])]
    found = read(*orders)
    assert found["t"].dtype == "string"
    assert found["t"].tolist() == PLAIN["t"].tolist() * 2
    alike = lazy(orders[0], orders[0]).compute(scheduler="synchronous")
    assert alike["t"].cat.ordered
    assert alike["t"].cat.categories.tolist() == ["a", "b"]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("files", [[[A, None, B]], [[A, B], [None, 3]], [[None, 3], [A, B]], [[], [None], [A]]])
def test_ids_with_gaps_are_exact_whichever_file_the_gap_is_in(files: list[list[Any]], statistics: bool) -> None:
    for number, values in enumerate(files):
        part = table(pyarrow.int64(), id=values)
        parquet.write_table(part, f"{number}.parquet", write_statistics=statistics)
    frame = frames.read_parquet("*.parquet")
    found = frame.compute(scheduler="synchronous")["id"]
    assert found.dtype == frame.dtypes["id"] == "Int64"
    assert [None if pandas.isna(value) else value for value in found] == [value for part in files for value in part]


@pytest.mark.parametrize("others", [[A, B], [1, 2], [True, False]])
@pytest.mark.parametrize("first", [True, False])
def test_a_file_without_any_value_has_gaps(others: list[Any], first: bool) -> None:
    """pandas stores a column of None alone as one of no type."""
    empty, whole = table(pyarrow.null(), x=[None, None]), table(x=others)
    found = read(*([empty, whole] if first else [whole, empty]))["x"]
    assert found.dropna().tolist() == others
    assert found.isna().sum() == 2
    assert read(empty, empty)["x"].isna().all()


@pytest.mark.parametrize("statistics", [True, False])
def test_categories_without_any_value_stay_categories_of_text(statistics: bool) -> None:
    """Dask's reader gives such a file categories of objects, which Dask does not put together with those of text."""
    kind = pyarrow.dictionary(pyarrow.int8(), pyarrow.string())
    for values in ([None, None], []):
        for number, cells in enumerate([values, ["a", None, "b"]]):
            parquet.write_table(table(kind, x=cells), f"{number}.parquet", write_statistics=statistics)
        found = frames.read_parquet("*.parquet").compute(scheduler="synchronous")["x"]
        assert found.cat.categories.tolist() == ["a", "b"]
        assert found.astype(object).where(found.notna(), None).tolist() == [*values, "a", None, "b"]


def test_gaps_among_small_numbers_and_among_true_and_false() -> None:
    assert read(table(n=[1, None]), table(n=[2, 3]))["n"].dtype == "float64"
    assert read(table(n=[1, 2]), table(pyarrow.int16(), n=[3]))["n"].dtype == "int64"
    found = read(table(b=[True, None]), table(b=[False, True]))["b"]
    assert found.tolist() == [True, pandas.NA, False, True]
    nullable = pandas.DataFrame({"n": pandas.array([A, None], "Int64"), "b": pandas.array([True, None], "boolean")})
    plain = pandas.DataFrame({"n": [3], "b": [False]})
    for tables in ([nullable, nullable], [nullable, plain], [plain, nullable]):
        found = read(*tables)
        assert found.dtypes.astype(str).to_dict() == {"n": "Int64", "b": "boolean"}
        assert A in found["n"].tolist()


def test_types_of_arrow_stay_what_they_are() -> None:
    kinds = {"n": pyarrow.int64(), "b": pyarrow.bool_(), "d": pyarrow.date32(), "t": pyarrow.timestamp("us", "UTC")}
    days: list[Any] = [datetime.datetime(2020, 1, 1), None]
    values: dict[str, list[Any]] = {"n": [A, None], "b": [True, None], "d": days, "t": days}
    one = pandas.DataFrame({name: pandas.array(values[name], pandas.ArrowDtype(kind)) for name, kind in kinds.items()})
    for other in (one, one.assign(more=1)):
        tables = [one.assign(more=0.5) if "more" in other else one, other]
        pandas.testing.assert_frame_equal(read(*tables), pandas.concat(tables), check_dtype=False)
        assert read(*tables).dtypes[: len(kinds)].tolist() == one.dtypes.tolist()


def test_an_index_stays_one() -> None:
    days = [PLAIN.set_index(pandas.date_range(f"202{i}", periods=4)) for i in range(2)]
    found = read(days[0], days[1].astype({"x": float}))
    assert found.index.equals(days[0].index.append(days[1].index))
    named = PLAIN.set_index("t")
    assert read(named, named.astype(float)).index.tolist() == PLAIN["t"].tolist() * 2
    assert read(named, PLAIN).columns.tolist() == ["x", "t"]


def test_decimals_keep_their_digits() -> None:
    found = read(table(d=[Decimal("1.23")]), table(d=[Decimal("12345678901234567.6789")]))
    assert found["d"].tolist() == [Decimal("1.23"), Decimal("12345678901234567.6789")]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([table(n=[A]), table(n=[0.5])], "'n' cannot be reconciled: .*0.parquet has it as int64"),
        ([table(pyarrow.uint64(), n=[2**64 - 1]), table(n=[-1])], "'n' cannot be reconciled"),
        (
            [table(pyarrow.timestamp("us"), n=[datetime.datetime(3000, 1, 1)]), table(pyarrow.timestamp("ns"), n=[1])],
            "'n' cannot be reconciled: .*0.parquet has it as timestamp",
        ),
        ([table(n=[1]), table(n=[1], m=[2])], "1.parquet has a column 'm', which .*0.parquet has not"),
        ([PLAIN, PLAIN.set_index(pandas.date_range("2020", periods=4))], "1.parquet has a column '__index_level_0__'"),
    ],
)
def test_what_would_change_values_is_refused_before_anything_is_computed(tables: list[Any], words: str) -> None:
    with pytest.raises(InputFileError, match=words):
        lazy(*tables)


def test_options_of_dask_are_not_dropped() -> None:
    equal = lazy(PLAIN, PLAIN, filters=[("x", ">", 3)]).compute(scheduler="synchronous")
    assert equal["x"].tolist() == [4, 4]
    with pytest.raises(SettingsError, match="filters"):
        lazy(PLAIN, PLAIN.astype({"x": float}), filters=[("x", ">", 3)])


def test_equal_files_are_read_by_dask() -> None:
    found = lazy(PLAIN, PLAIN)
    assert type(found.expr).__name__ == type(dask.dataframe.read_parquet(["0.parquet"]).expr).__name__


@pytest.mark.parametrize("dtypes", [{}, {"x": "float64"}])
def test_files_are_read_in_the_given_order(dtypes: dict[str, str]) -> None:
    lazy(*(PLAIN.assign(x=number).astype(dtypes if number else {}) for number in range(3)))
    order = [2, 0, 1, 0]
    found = frames.read_parquet([f"{number}.parquet" for number in order]).compute(scheduler="synchronous")
    assert found["x"].tolist() == [number for number in order for _ in range(4)]
    if not dtypes:
        with pytest.raises(SettingsError, match="in the order of their names"):
            frames.read_parquet(["1.parquet", "0.parquet"], filters=[("x", ">", 3)])


def test_folders_that_are_columns_are_not_dropped(folder: Path) -> None:
    """As frame.to_parquet(..., partition_on=...) makes them."""
    for year in (2020, 2021):
        (folder / f"year={year}").mkdir()
        PLAIN.to_parquet(folder / f"year={year}" / "a.parquet")
    assert (
        frames.read_parquet("*/a.parquet").compute(scheduler="synchronous")["year"].tolist() == [2020] * 4 + [2021] * 4
    )
    PLAIN.astype({"x": float}).to_parquet(folder / "year=2021" / "a.parquet")
    with pytest.raises(InputFileError, match=r"folder year=2020 is a column"):
        frames.read_parquet("*/a.parquet")
    found = frames.read_parquet("*/a.parquet", columns=["x"]).compute(scheduler="synchronous")
    assert found.columns.tolist() == ["x"]


@pytest.mark.parametrize("kind", [int, float])
def test_names_that_are_numbers_stay_numbers(kind: type) -> None:
    one = pandas.DataFrame([[1, 2], [3, 4]])
    other = one.astype(kind)
    assert read(one, other).columns.tolist() == [0, 1]
    assert read(one, other)[1].tolist() == [2, 4, 2, 4]
    assert read(one, other, columns=[1]).columns.tolist() == [1]
    assert lazy(one, other)[[1]].compute(scheduler="synchronous")[1].tolist() == [2, 4, 2, 4]


def test_columns_of_several_levels_are_refused() -> None:
    levels = pandas.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    with pytest.raises(InputFileError, match=r"0.parquet has columns of 2 levels"):
        lazy(pandas.DataFrame([[1, 2]], columns=levels))


NAMED = PLAIN.rename_axis("row")
MONTHS = pandas.DataFrame({"m": pandas.period_range("2020", periods=2, freq="M"), "i": pandas.interval_range(0, 2)})


@pytest.mark.parametrize(
    "tables",
    [
        [NAMED, NAMED],
        [NAMED, NAMED[NAMED["x"] != 3]],
        [FILTERED, PLAIN, PLAIN.iloc[2:]],
        [PLAIN.iloc[2:], PLAIN.astype({"x": "int32"})],
    ],
)
def test_row_numbers_are_the_index_however_each_file_has_them(tables: list[pandas.DataFrame]) -> None:
    found, expected = read(*tables), pandas.concat(tables)
    assert found.index.equals(expected.index)
    assert found["x"].tolist() == expected["x"].tolist()


def test_periods_and_intervals_stay_what_they_are() -> None:
    gaps, whole = MONTHS.assign(n=[1, None]), MONTHS.assign(n=[2, 3])
    found = read(gaps, whole)
    pandas.testing.assert_frame_equal(found, pandas.concat([gaps, whole]))


@pytest.mark.parametrize("empty", [pandas.DataFrame({"x": [], "t": []}), PLAIN[:0].astype({"x": float, "t": float})])
def test_a_file_without_rows_says_nothing_of_types(empty: pandas.DataFrame) -> None:
    for tables in ([empty, PLAIN], [PLAIN, empty]):
        found = read(*tables)
        assert found["x"].dtype == "int64"
        assert found["t"].tolist() == PLAIN["t"].tolist()


def test_ordered_categories_and_others_are_text() -> None:
    ordered = PLAIN.assign(t=pandas.Categorical(PLAIN["t"], ["b", "a"], ordered=True))
    assert read(AS_CATEGORY, ordered)["t"].tolist() == PLAIN["t"].tolist() * 2


def test_texts_of_other_writers_and_columns_that_are_there_twice() -> None:
    views = table(getattr(pyarrow, "string_view", pyarrow.large_string)(), t=["a", None])  # pyarrow 16 and newer
    found = read(views, PLAIN[["t"]])["t"]
    assert found.dropna().tolist() == ["a", *PLAIN["t"]]
    with pytest.raises(InputFileError, match="more than one column 'n'"):
        lazy(pyarrow.table([[1], [2]], ["n", "n"]))
