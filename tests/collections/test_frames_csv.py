"""CSV files whose column types are settled over all of them: pandas is the judge of what they hold."""

from __future__ import annotations

import glob
import gzip
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskhpc import frames
from daskhpc.errors import InputFileError, SettingsError
from daskhpc.frames import text_blocks, types_over_files


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


class Folder:
    """A folder with a hostile name."""

    def __init__(self, path: Path) -> None:
        self.path = path / "it's a $(folder); echo \"[1]*"
        self.path.mkdir()

    def files(self, *contents: str | bytes) -> list[str]:
        """Files 0.csv and so on with these contents."""
        return [self.file(f"{i}.csv", content) for i, content in enumerate(contents)]

    def file(self, name: str, content: str | bytes) -> str:
        path = self.path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def quiet(*args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frames.read_csv(*args, **options)


def as_told(column: pandas.Series) -> pandas.Series:
    """A column in the dtypes that read_csv promises for what pandas calls object or str."""
    if column.dtype != object and not isinstance(column.dtype, pandas.StringDtype):
        return column
    missing = column.isna()
    if pandas.api.types.infer_dtype(column[~missing]) == "boolean":
        return column.astype("boolean")
    return column.astype(object).map(str, na_action="ignore").astype("string[pyarrow]")


def assert_equal(got: pandas.DataFrame, want: pandas.DataFrame) -> None:
    want = want.apply(as_told)
    pandas.testing.assert_frame_equal(got.reset_index(drop=True), want.reset_index(drop=True))


NUMBERS = ["1", "-3", "2.5", "", "NA", " 7", "+4", "1e5", "0", "00012"]
TOKENS = [
    *NUMBERS, "true", "True", "FALSE", "x", "0x10", "inf", "-inf", "nan", "Infinity", "NAN", "7 ", "2020-01-01",
    "1_000", '"q,q"', '"a\nb"', '"say ""hi"""', "  ", "1.", ".5",
    "1e400", '""', '"3"', "1e5x", "-", "TRUE ", "None", "é", "12:30",
]  # fmt: skip
COLUMNS = st.one_of(
    *(
        st.lists(st.sampled_from(tokens), min_size=5, max_size=5)
        for tokens in (TOKENS, NUMBERS, ["True", "false", "", "NA"], ["9223372036854775808", "1", "-1", "2.5"])
    )
)


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(COLUMNS, min_size=2, max_size=3), st.integers(1, 60))
def test_a_file_in_blocks_holds_what_pandas_reads(tmp_path: Path, columns: list[list[str]], blocksize: int) -> None:
    lines = ["abc"[: len(columns)], *("".join(",".join(row)) for row in zip(*columns, strict=True))]
    path = tmp_path / "file.csv"
    path.write_text("\n".join([",".join(lines[0]), *lines[1:]]) + "\n")
    assert_equal(quiet(path, blocksize=blocksize).compute(), pandas.read_csv(path))


@pytest.mark.parametrize("blocksize", [1, 30, "auto", None])
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('x,y\r\n1,a\r\n2,"é\r\nu"\r\n3,b\r\n', {}),
        ("x,y\r1,a\r2,b\r", {}),
        ("x,y\n1,a\n\n   \n2,b", {}),
        ("\ufeffx,y\n1,a\n2,é\n", {}),
        ('x,y\n1,5" pipe\n2,6" pipe\n3,"f,\ng"\n', {}),
        ('x,"y\nz"\n1,2\n3,4\n', {}),
        ('x,y\n1,5"\n2,"a\nb"\n3,6"\n4,c\n', {}),
        ("x,x\n1,2\n3,a\n", {}),
        ("x,y,z\n1,2,3\n4\n5,6,7\n", {}),
        ("1,2\n3,a\n", {"header": None}),
        ("1,2\n3,a\n", {"names": ["p", "q"]}),
        ("x,y\n1,2\n3,a\n", {"names": ["p", "q"], "header": 0}),
        ("# a\n# b,1,2\n\nx,y\n1,2\n3,4\n", {"skiprows": 2}),
        ("# a\nx,y\n9,bad\n1,2\n3,4\n", {"skiprows": [0, 2]}),
        ("a\nx,y\n1,2\n3,4\n", {"header": 1}),
        ("# a\nx,y\n1,2 # b\n3,4\n", {"comment": "#"}),
        ("x;y\n1,5;2\n3;4\n", {"sep": ";", "decimal": ","}),
        ("x   y\n1 2\n3  4\n", {"sep": r"\s+"}),
        ("x\ty\n1\t2\n3\t4.5\n", {"sep": "\t"}),
        ("x,y\n1,'a,b'\n3,'c\nd'\n", {"quotechar": "'"}),
        ("x,y\n1,a\\,b\n3,c\n", {"escapechar": "\\"}),
        ("x,y\n1,-\n3,4\n-,-999\n", {"na_values": ["-", -999]}),
        ("x,y\n1,NA\n3,4\n", {"keep_default_na": False}),
        ("x,y,z\n1,a,2\n3,4,5\n", {"usecols": ["z", "x"]}),
        ("x,y,z\n1,a,2\n3,4,5\n", {"usecols": [0, 2]}),
        ("x,y,z\n1,a,2\n3,4,5\n", {"usecols": ["x", "z"], "dtype": {"y": "str", "z": "float64"}}),
        ("x,y,z\n1,a,2\n3,4,5\n", {"usecols": np.array([0, 2])}),
        ("1,a,2\n3,4,5\n", {"header": None, "names": ["p", "q"], "usecols": [2, 0]}),
        ("x,y,z\n1,a,2\n3,4,5\n", {"header": 0, "names": ["p", "q"], "usecols": [1, 2]}),
        ("1,a,2\n3,4,5\n", {"names": ["p", "q"], "usecols": ["p", "q"]}),
        ("x,y,z\n1,01/31/2020,2\n3,02/01/2020,5\n", {"parse_dates": [1]}),
        ("x,y,z\n1,2,01/31/2020\n3,4,02/01/2020\n", {"parse_dates": [1], "usecols": ["y", "z"]}),
        ("x,y,z\n1,2000-01-01,01/31/2020\n3,2000-01-01,02/01/2020\n", {"parse_dates": [1], "usecols": [1, 2]}),
        ("x,y\n1,NaT\n3,02/01/2020\n", {"parse_dates": ["y"]}),
        ('x,y\n1,"1,000"\n3,4\n', {"thousands": ","}),
        ('x,y\n1,"a\n3,b"c\n', {"quoting": 3}),
        ("x,y\n1,2\n3,4,5\n6,7\n", {"on_bad_lines": "skip"}),
        ("x,y\n1,yes\n3,no\n", {"true_values": ["yes"], "false_values": ["no"]}),
        ("x,y\n1,a\n2,b\n", {"engine": "python"}),
        ("x,y\n1,a\n2,b\n", {"engine": "python", "na_values": {"x": ["2"]}}),
        ("x,y\n1,a\n2,b\n", {"low_memory": True}),
    ],
)
def test_options_mean_what_they_mean_to_pandas(
    folder: Folder, text: str, options: dict[str, Any], blocksize: int | str | None
) -> None:
    (path,) = folder.files(text)
    want = pandas.read_csv(path, **options)
    assert_equal(quiet(path, blocksize=blocksize, **options).compute(), want)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_encodings(folder: Folder, encoding: str) -> None:
    (path,) = folder.files("x,y\n1,a\n2,é\n".encode(encoding))
    assert quiet(path, encoding=encoding, blocksize=1).compute()["y"].tolist() == ["a", "é"]


def test_a_large_file_is_cut_where_records_end(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f'{i},"{"line" + chr(10) if i % 3 else ""}{i}"' for i in range(300)]
    (path,) = folder.files("x,y\n" + "\n".join(rows) + "\n")
    want = pandas.read_csv(path)
    for piece in (13, 64, 1000):
        monkeypatch.setattr(text_blocks, "PIECE", piece)
        frame = quiet(path, blocksize=200)
        assert frame.npartitions > 10
        assert_equal(frame.compute(), want)


def hundred(folder: Folder, broken: str) -> list[str]:
    """A hundred files, the 73rd with another last line."""
    texts = ["x,y,z\n" + "".join(f"{i},{n / 2},t{n}\n" for n in range(5)) for i in range(100)]
    texts[72] += broken
    return folder.files(*texts)


@pytest.mark.parametrize(
    ("broken", "column", "dtype", "value"),
    [(",1,t\n", "x", "float64", ""), ("1.5,1,t\n", "x", "float64", "1.5"), ("n/a?,1,t\n", "x", "string", "n/a?")],
)
def test_of_a_hundred_files_one_breaks_a_type(
    client: Client, folder: Folder, broken: str, column: str, dtype: str, value: str
) -> None:
    paths = hundred(folder, broken)
    together = "".join(Path(path).read_text()[6 if i else 0 :] for i, path in enumerate(paths))
    want = pandas.read_csv(folder.file("all.txt", together))
    with dask.config.set(scheduler=client):
        types = frames.column_types(paths).set_index("column")
        assert_equal(quiet(paths, blocksize=500).compute(), want)
    assert types.loc[column].tolist() == [dtype, f"{paths[72]}:7", value]
    assert types["forced_by"].tolist() == [f"{paths[72]}:7", "", ""]


def test_a_text_among_numbers_is_said_with_its_place(folder: Folder) -> None:
    paths = hundred(folder, "\nn/a?,1,t\n")
    with pytest.warns(UserWarning, match=re.escape(f"'x' by 'n/a?' in {paths[72]}:8")):
        frames.read_csv(paths)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frames.read_csv(paths, na_values=["n/a?"]).dtypes["x"] == "float64"
        assert frames.read_csv(paths, dtype={"x": "str"}).dtypes["x"] == "string"


@pytest.mark.parametrize(
    ("texts", "options", "place", "words"),
    [
        (["x,y\n1,2\n", "x,y\n1,2\n\n,2\n"], {"dtype": {"x": int}}, "1.csv:4", ["'x'", "int64", "missing"]),
        (["x,y\n1,2\n", "x,y\n1,2\na,2\n"], {"dtype": {"x": "float64"}}, "1.csv:3", ["'x'", "float64", "'a'"]),
        (["x,y\n1,2\n", "x,y\n1,2\n300,2\n"], {"dtype": {"x": "int8"}}, "1.csv:3", ["'x'", "int8", "'300'"]),
        (['x,y\n1,"a\nb"\n1.5,2\n'], {"dtype": {"x": "Int64"}}, "0.csv:4", ["'x'", "Int64", "'1.5'"]),
        (["x,y\n2020-01-01,2\n", "x,y\nnever,2\n"], {"parse_dates": ["x"]}, "1.csv:2", ["'x'", "'never'", "date"]),
        (["x,y\n01/02/2020,2\n", "x,y\n13/02/2020,2\n"], {"parse_dates": ["x"]}, "1.csv:2", ["%m/%d/%Y", "dayfirst"]),
        (["x,y\n1,2\n", "x,z\n1,2\n"], {}, "1.csv", ["no column 'y'"]),
        (["x,y\n1,2\n", "x,y,z\n1,2,3\n"], {}, "1.csv", ["has a column 'z'", "usecols=['x', 'y']"]),
        (["x,y\n1,2\n", "x,y\n1,2\n1,2,3\n"], {}, "1.csv:3", ["3 values", "2 columns"]),
        (["x,y\n1,2\n", "x,y\n1,2,3\n4,5,6\n"], {}, "1.csv:2", ["more values"]),
        (["x,y\n1,2\n", b"x,y\n1,a\n\n2,\xe9\n"], {}, "1.csv:4", ["not utf-8", "'y'", "latin-1"]),
        (["x,y\n1,2\n", 'x,y\n1,2\n3,"4\n5,6\n'], {}, "1.csv:3", ["nothing closes"]),
        (['x,y\n1,"a\nb"\n\n1,2,3\n'], {}, "0.csv:5", ["3 values", "2 columns"]),
        (['x,y\n1,"a\nb"\n1,"c\nd",3\n5,6\n'], {}, "0.csv:4", ["3 values"]),
        (['x,y\n1,"a\nb"\n3,"4\n5,6\n'], {"engine": "python"}, "0.csv:4", ["nothing closes"]),
        (['x,y\n1,"a\n5,6\n'], {}, "0.csv:2", ["nothing closes", '1,"a']),
        ([b'x,y\r\n1,"a\r\nb"\r\n2,\xe9\r\n'], {}, "0.csv:4", ["not utf-8", "'y'"]),
        ([b"x,\xe9\n1,2\n"], {}, "0.csv:1", ["not utf-8"]),
        (["# a\nx,y\n1,2 # b\n#\n\nc,2\n"], {"comment": "#", "dtype": {"x": int}}, "0.csv:6", ["'x'", "'c'"]),
        (["x,y\n1,2\n", ""], {}, "1.csv", ["empty"]),
    ],
)
def test_what_cannot_be_reconciled_is_named_before_anything_is_read_for_use(
    client: Client, folder: Folder, texts: list[str], options: dict[str, Any], place: str, words: list[str]
) -> None:
    paths = folder.files(*texts)
    before = client.run_on_scheduler(read)
    with dask.config.set(scheduler=client), pytest.raises(InputFileError) as raised:
        quiet(paths, blocksize=8, **options)
    for word in [f"{folder.path}/{place}", *words]:
        assert word in str(raised.value)
    assert raised.value.todo
    assert client.run_on_scheduler(read) == before


def read(dask_scheduler: Any) -> dict[str, dict[str, float]]:
    """The time that tasks took that read partitions."""
    return {
        name: dict(dask_scheduler.task_prefixes[name].all_durations)
        for name in list(dask_scheduler.task_prefixes)
        if "read-csv" in name
    }


def test_a_hundredth_file_cannot_be_reconciled(client: Client, folder: Folder) -> None:
    paths = hundred(folder, "1,half,t\n")
    before = client.run_on_scheduler(read)
    with dask.config.set(scheduler=client), pytest.raises(InputFileError, match=r"'y'.*72\.csv:7.*float64"):
        quiet(paths, dtype={"y": float})
    assert client.run_on_scheduler(read) == before


def test_a_sample_looks_at_both_ends_and_what_it_missed_is_named_later(folder: Folder) -> None:
    rows = ["1,2\n"] * 100
    at_the_end = folder.file("end.csv", "x,y\n" + "".join([*rows, "1,\n"]))
    within = folder.file("within.csv", "x,y\n" + "".join([*rows[:50], "1,a\n", *rows]))
    assert frames.read_csv(at_the_end, sample=10).dtypes["y"] == "float64"
    frame = frames.read_csv(within, sample=10)
    assert frame.dtypes["y"] == "int64"
    with pytest.raises(InputFileError) as raised:
        frame.compute()
    assert f"{within}:52" in str(raised.value)
    assert "without sample=" in raised.value.todo
    assert frame["x"].sum().compute() == 151


def test_compressed_files_and_files_without_rows(folder: Folder) -> None:
    paths = [folder.file("a.csv", "x,y\n1,2\n"), folder.file("b.csv.gz", gzip.compress(b"x,y\n3,4.5\n"))]
    frame = frames.read_csv([*paths, folder.file("c.csv", "x,y\n")], blocksize=1)
    assert_equal(frame.compute(), pandas.DataFrame({"x": [1, 3], "y": [2, 4.5]}))
    for name in ("d.csv.zip", "d.csv.ZIP", "d.tar.gz"):
        with pytest.raises(InputFileError, match="compressed"):
            frames.read_csv(folder.file(name, gzip.compress(b"x\n")))
    large = folder.file("E.CSV.GZ", gzip.compress(b"x\n1\n"))
    for options in ({}, {"compression": {"method": "gzip"}}):
        assert frames.read_csv(large, **options).compute()["x"].tolist() == [1]


def test_columns_in_another_order_are_found_by_their_names(folder: Folder) -> None:
    frame = frames.read_csv(folder.files("x,y\n1,2\n", "y,x\n3.5,4\n"), blocksize=1)
    assert_equal(frame.compute(), pandas.DataFrame({"x": [1, 4], "y": [2, 3.5]}))


def test_dates(folder: Folder) -> None:
    paths = folder.files("t,y\n2020-01-01,2\n", "t,y\n2020-01-02 03:04:05,2\n,3\n")
    frame = frames.read_csv(paths, parse_dates=["t"], blocksize=1)
    computed = frame.compute()
    assert (frame.dtypes == computed.dtypes).all()
    assert computed["t"].tolist()[:2] == [pandas.Timestamp("2020-01-01"), pandas.Timestamp("2020-01-02 03:04:05")]
    assert computed["t"].isna().tolist() == [False, False, True]
    with_offsets = folder.files("t\n2020-01-01 00:00+01:00\n", "t\n2020-07-01 00:00+02:00\n")
    utc = frames.read_csv(with_offsets, parse_dates=["t"]).compute()["t"]
    assert utc.tolist() == [pandas.Timestamp("2019-12-31 23:00Z"), pandas.Timestamp("2020-06-30 22:00Z")]
    european = folder.files("t\n01/02/2020\n", "t\n13/02/2020\n")
    months = frames.read_csv(european, parse_dates=["t"], dayfirst=True).compute()["t"].dt.month
    assert months.tolist() == [2, 2]


def test_categories_and_demanded_dtypes(folder: Folder) -> None:
    dtype = {"t": "category", "n": "Int64", "o": object, "s": str}
    frame = frames.read_csv(folder.files("t,n,o,s\na,1,x,7\n", "t,n,o,s\nb,,y,07\n"), dtype=dtype)
    computed = frame.compute()
    assert computed.dtypes.astype(str).to_dict() == {"t": "category", "n": "Int64", "o": "object", "s": "string"}
    assert computed["s"].tolist() == ["7", "07"]
    assert sorted(computed["t"].cat.categories) == ["a", "b"]


@pytest.mark.parametrize(
    ("one", "other", "options"),
    [
        ("c,1\nb,2\n", "b,1\na,2\n", {}),
        ("10,1\n,2\n", "2,1\n010,2\n", {}),
        ("1,1\n2,2\n", "x,1\n01,2\n", {}),
        ("yes,1\nno,2\n", ",1\nyes,2\n", {"true_values": ["yes"], "false_values": ["no"]}),
        ('"a\nb",1\n', '"q""q",2\n', {"usecols": ["t"]}),
        (",1\n", "", {}),
    ],
)
def test_categories_are_those_of_pandas(folder: Folder, one: str, other: str, options: dict[str, Any]) -> None:
    want = pandas.read_csv(folder.file("all.txt", "t,y\n" + one + other), dtype={"t": "category"}, **options)
    paths = folder.files("t,y\n" + one, "t,y\n" + other)
    for blocksize in (1, None):
        lazy = frames.read_csv(paths, dtype={"t": "category"}, blocksize=blocksize, **options)
        pandas.testing.assert_frame_equal(lazy.compute().reset_index(drop=True), want)
        assert lazy.dtypes["t"] == want["t"].dtype


@pytest.mark.parametrize("texts", [["ab", "bc"], ["abc", "a"]])
def test_many_categories_do_not_go_to_every_task(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    monkeypatch.setattr(types_over_files, "MOST_CATEGORIES", 2)
    lazy = frames.read_csv(folder.files(*("t\n" + "\n".join(text) for text in texts)), dtype={"t": "category"})
    assert not lazy["t"].cat.known
    assert lazy.compute()["t"].tolist() == list("".join(texts))


def test_only_the_columns_that_are_needed_are_parsed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frames.read_csv(folder.files("x,y,z\n1,2,a\n"))
    used: list[Any] = []
    read_csv = pandas.read_csv
    monkeypatch.setattr(pandas, "read_csv", lambda *a, **o: used.append(o["usecols"]) or read_csv(*a, **o))
    assert frame["y"].sum().compute() == 2
    assert used == [["y"]]


def test_a_file_that_changes_after_its_types_were_settled_is_refused(folder: Folder) -> None:
    (path,) = folder.files("x\n1\n")
    frame = frames.read_csv(path)
    Path(path).write_text("x\n1\ntext\n")
    with pytest.raises(InputFileError, match="has changed"):
        frame.compute()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nrows": 3}, "head"),
        ({"index_col": 0}, "set_index"),
        ({"converters": {"x": int}}, "map"),
        ({"nrow": 3}, "no option 'nrow'"),
        ({"engine": "pyarrow"}, "engine"),
        ({"header": [0, 1]}, "one line of column names"),
        ({"dtype": {"q": int}}, "'q'"),
        ({"dtype": {"x": "nothing"}}, "dtype"),
        ({"parse_dates": True}, "list of columns"),
        ({"parse_dates": ["q"]}, "'q'"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Folder, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        frames.read_csv(folder.files("x,y\n1,2\n"), **options)


def test_files_that_are_not_there(folder: Folder) -> None:
    for paths, words in ((folder.path / "none*.csv", "No file"), ([], "no file"), (folder.path, "folder")):
        with pytest.raises(InputFileError, match=words):
            frames.read_csv(paths)


def test_a_link_to_nothing_is_not_left_out(folder: Folder) -> None:
    """Such as a file of git-annex that was not fetched."""
    path = Path(folder.file("a1.csv", "x\n1\n"))
    path.with_name("a2.csv").symlink_to("annex/objects/key")
    for paths in (f"{glob.escape(str(folder.path))}/a*.csv", path.with_name("a2.csv")):
        with pytest.raises(
            InputFileError, match=r"a2.csv is a link to a file that is not there.*\n.*annex/objects/key"
        ):
            frames.read_csv(paths)


def test_another_separator_is_proposed(folder: Folder) -> None:
    for rows in ("2020-01-01;1,5;\n", "a;1\nb,c;2,3\n", "a;1\nb;2,3\nc;1,2,3\n"):
        with pytest.raises(InputFileError, match="sep=';', which stands between the names"):
            frames.read_csv(folder.files("day;value\n" + rows))
    with pytest.warns(UserWarning, match=r"one column, 'day\\tvalue'[.] For several: sep='\\t'"):
        frames.read_csv(folder.files("day\tvalue\n1\t2\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frames.read_csv(folder.files("day;value\n1;2\n"), sep=";").columns.tolist() == ["day", "value"]
        assert frames.read_csv(folder.files("day\n1\n")).columns.tolist() == ["day"]
