"""Data are what they hold, not how they lie in memory."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpc.journal import arrays
from daskhpc.journal.describe import describe
from daskhpc.journal.tokens import Tokens, token

SHAPES = [(7,), (300, 5), (20_000, 3), (3, 200_000), (40, 30, 20), (0, 3)]


def filled(shape: tuple[int, ...], dtype: str = "f8") -> np.ndarray:
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize("block", [1 << 10, 1 << 22])
@pytest.mark.parametrize("shape", SHAPES)
def test_however_an_array_lies_in_memory(shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_BLOCK", block)
    array = filled(shape)
    wide = np.zeros((*shape, 2))
    wide[..., 0] = array
    read_only = array.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(array), wide[..., 0], read_only, array.T.copy().T):
        assert token(same) == token(array)
    assert token(array[::-1].copy()) == token(array[::-1])
    assert token(array[:, None]) != token(array)


def test_a_mapped_file_is_its_contents(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", filled((100, 100)))
    assert token(np.load(tmp_path / "x.npy", mmap_mode="r")) == token(filled((100, 100)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["f8", "i4", "?", "c16", "U3", "M8[s]"]), st.data())
def test_any_element_counts(rows: int, columns: int, dtype: str, data: st.DataObject) -> None:
    array = filled((rows, columns), dtype)
    other = array.copy(order="F")
    assert token(array) == token(other) == token(pickle.loads(pickle.dumps(array)))
    at = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    other[at] = np.array([1 if dtype != "?" else not array[at]]).astype(dtype)[0]
    assert (token(array) == token(other)) == bool(array[at] == other[at])


def test_dtypes_shapes_and_classes_count() -> None:
    different = [
        np.zeros(4),
        np.zeros(4, "f4"),
        np.zeros(8, "f4"),
        np.zeros(4, ">f8"),
        np.zeros(4, "i8"),
        np.zeros((2, 2)),
        np.zeros((4, 1)),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        -np.zeros(4),
        np.zeros(4, "M8[s]"),
        np.zeros(4, "M8[ms]"),
        np.zeros(2, [("a", "f8"), ("b", "f8")]),
        np.zeros(2, [("a", "f8"), ("c", "f8")]),
        np.ma.masked_array(np.zeros(4), [False, True, False, False]),
        np.ma.masked_array(np.zeros(4), [False, False, True, False]),
        np.array([0, 0.0, None, "x"], object),
        np.array([0, 0, None, "x"], object),
        np.array(["a", "b"]),
        np.array(["a", "b"], object),
        np.float64(0),
        np.array(0.0),
        [0.0, 0.0, 0.0, 0.0],
    ]
    tokens = [token(v) for v in different]
    assert len(set(tokens)) == len(tokens)
    assert tokens == [token(copy.deepcopy(v)) for v in different]


def test_bytes_that_are_no_part_of_the_numbers_do_not_count() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, other = np.zeros(3, dtype), np.frombuffer(b"\xff" * 3 * dtype.itemsize, dtype).copy()
    other["a"], other["b"] = 0, 0
    assert token(one) == token(other)
    long = np.frombuffer(bytes(10) + b"\xff" * (np.longdouble(0).nbytes - 10), np.longdouble)
    assert token(long) == token(np.zeros(1, np.longdouble))


def test_texts_in_object_arrays_are_not_glued() -> None:
    one, other = ["ab", "c"] * 20, ["a", "bc"] * 20
    assert token(np.array(one, object)) != token(np.array(other, object))
    assert token(np.array(one, object)) == token(np.array(["".join(list(v)) for v in one], object))


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": [1, 2, 3],
            "b": ["x", "y", None],
            "c": pd.Categorical(["u", "v", "u"]),
            "d": pd.array([1, None, 3], dtype="Int64"),
            "e": pd.to_datetime(["2020", "2021", None]),
            "f": pd.to_datetime(["2020", "2021", "2022"]).tz_localize("UTC"),
            "g": pd.period_range("2020", periods=3, freq="M"),
            "h": pd.interval_range(0, 3),
            "i": pd.arrays.SparseArray([0, 1, 0]),
            "j": pd.array(["x", None, "z"], dtype="string"),
            "k": [1.5, np.nan, 2],
            "l": np.array([1, "x", (2,)], object),
        }
    )


@pytest.mark.parametrize("column", list(frame()))
def test_every_cell_of_a_frame_counts(column: str) -> None:
    other = frame()
    other[column] = frame()[column].iloc[[0, 0, 2]].set_axis(other.index)
    assert token(other) != token(frame())
    assert token(other[column]) != token(frame()[column])


def test_names_dtypes_and_indexes_of_frames_count() -> None:
    plain = frame()
    different = [
        plain,
        plain.rename(columns={"a": "z"}),
        plain.astype({"a": "f8"}),
        plain.astype({"a": "Int64"}),
        plain.set_index("a"),
        plain.iloc[::-1],
        plain[["b", "a"]],
        plain[["a", "b"]],
        plain.rename_axis("rows"),
        plain["a"],
        plain["a"].rename("z"),
        plain["c"].cat.as_ordered(),
        plain["c"].cat.add_categories("w"),
        plain.set_index(["a", "k"]).index,
        plain.set_index(["k", "a"]).index,
        plain.set_index("a").index,
        plain.set_index("e").index,
    ]
    tokens = [token(v) for v in different]
    assert len(set(tokens)) == len(tokens)
    assert tokens == [token(pickle.loads(pickle.dumps(v))) for v in different]


def test_blocks_and_attrs_of_frames_do_not_count() -> None:
    values = filled((30_000, 70))
    one = pd.DataFrame(values, columns=[f"c{i}" for i in range(70)])
    other = pd.DataFrame({f"c{i}": values[:, i].copy() for i in range(70)})
    other.attrs["note"] = "x"
    assert token(one) == token(other)
    assert token(one[::2]) == token(other[::2].copy())
    other.iloc[29_999, 69] = -1
    assert token(one) != token(other)


LAYOUTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "of a larger frame": lambda table: pd.concat([table, table]).iloc[: len(table)],
    "every other row": lambda table: table.loc[table.index.repeat(2)].iloc[::2],
    "filtered": lambda table: pd.concat([table, table], ignore_index=True)[
        lambda rows: np.arange(len(rows)) < len(table)
    ],
    "column by column": lambda table: pd.concat([table[[name]] for name in table], axis=1),
    "backwards twice": lambda table: table.iloc[::-1].iloc[::-1],
    "numbers as an index": lambda table: table.set_axis(pd.Index(np.arange(len(table)))),
    "names as an index": lambda table: table.rename(columns=str),
    "picked": lambda table: table.loc[list(range(len(table)))],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [0, 1, 300])
def test_however_a_frame_came_about(layout: str, rows: int) -> None:
    plain = frame().loc[np.arange(rows) % 3].reset_index(drop=True)
    plain["text"] = plain["b"].astype("string")
    plain["arrow"] = plain["k"].astype("float64[pyarrow]")
    plain["category"] = plain["a"].astype("category")
    wide = pd.DataFrame(np.arange(rows * 40.0).reshape(rows, 40), columns=[f"w{i}" for i in range(40)])
    for table in (plain, wide):
        other = LAYOUTS[layout](table)
        assert token(other) == token(table)
        for name in table:
            assert token(other[name]) == token(table[name]), name


def test_row_numbers_are_what_they_are() -> None:
    ranges = [(0, 0, 1), (0, 1, 1), (5, 6, 1), (0, 9, 1), (0, 9, 2), (9, 0, -3), (0, 12, 2**33), (-4, 4, 2)]
    for start, stop, step in ranges:
        numbers = pd.Index(np.arange(start, stop, step))
        assert token(numbers) == token(pd.RangeIndex(start, stop, step)) == token(pd.RangeIndex(start, stop, step)[:])
    assert token(pd.RangeIndex(0, 10, 3)) == token(pd.RangeIndex(0, 12, 3))
    different = [
        pd.RangeIndex(3),
        pd.RangeIndex(3, name="row"),
        pd.Index([0, 2, 1]),
        pd.Index([0, 1, 2.0]),
        pd.Index([0, 1, 2], dtype="Int64"),
        pd.Index([0, 1, 2], dtype="int32"),
        pd.Index([0, 1, 3]),
        pd.RangeIndex(4),
        pd.RangeIndex(0, 6, 2),
        pd.Index([2**63 - 1, -(2**63)]),
        pd.Index([2**63 - 2, 2**63 - 1, -(2**63)]),
        pd.Index([], dtype=object),
        pd.RangeIndex(0),
    ]
    assert len({token(index) for index in different}) == len(different)


def test_unused_levels_of_an_index_do_not_count() -> None:
    whole = pd.MultiIndex.from_product([[1, 2, 3], ["a", "b"]])
    assert token(whole[:2]) == token(pd.MultiIndex.from_product([[1], ["a", "b"]]))


def test_texts_are_the_same_whatever_holds_them() -> None:
    pytest.importorskip("pyarrow")
    texts = ["a", None, "über", ""]
    one, other = (pd.Series(texts, dtype=pd.StringDtype(storage)) for storage in ("python", "pyarrow"))
    assert token(one) == token(other)
    assert token(pd.concat([other, other])[2:6]) == token(pd.concat([one, one])[2:6])
    assert token(pd.Series(["a", "", "über", ""], dtype=one.dtype)) != token(one)


def test_tables_of_pyarrow_are_the_same_in_any_chunks() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"a": [1, None, 3, 4], "b": ["x", "yy", None, "z"], "c": [True, None, False, True], "d": [[1], [], None, [2]]}
    )
    chunks = pa.concat_tables([table[:1], table[1:3], table[3:]])
    assert token(chunks) == token(table)
    assert token(table[1:]) == token(pa.Table.from_pylist(table[1:].to_pylist(), schema=table.schema))
    assert len({token(table), token(table[1:]), token(table.rename_columns(["a", "b", "c", "e"]))}) == 3


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_sparse_matrices_are_what_they_store(form: str) -> None:
    dense = np.diag([1.0, 2, 3])
    matrix = sp.csr_array(dense).asformat(form)
    assert token(matrix) == token(matrix.copy()) == token(pickle.loads(pickle.dumps(matrix)))
    dense[2, 2] = 4
    assert token(matrix) != token(sp.csr_array(dense).asformat(form))
    assert token(matrix) != token(sp.csr_matrix(matrix).asformat(form))
    others = {token(matrix.asformat(f)) for f in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")}
    assert len(others) == 7


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_places_in_sparse_matrices_are_the_same_in_any_width(form: str) -> None:
    dense = np.random.default_rng(0).random((40, 30))
    matrix = sp.csr_array(np.where(dense > 0.8, dense, 0))
    wide = sp.vstack([matrix, matrix]).tocsr()[:40].asformat(form)
    for name in ("indices", "indptr", "offsets"):
        if hasattr(wide, name):
            setattr(wide, name, getattr(wide, name).astype(np.int64))
    if form == "coo":
        wide.coords = tuple(numbers.astype(np.int64) for numbers in wide.coords)
    assert token(wide) == token(matrix.asformat(form))
    if form == "csr":
        wide.data = np.append(wide.data, 7.0)
        wide.indices = np.append(wide.indices, 0)
        assert token(wide) == token(matrix)


def test_dask_collections_are_not_computed() -> None:
    def never(block: Any) -> Any:
        raise AssertionError

    one = da.from_array(filled((10, 2)), chunks=5).map_blocks(never, dtype="f8", meta=np.zeros((0, 0)))
    assert token(one) == token(one)
    assert token(one) != token(one + 1)
    lazy = xr.DataArray(one, dims=("a", "b"))
    assert token(lazy) == token(xr.DataArray(one, dims=("a", "b"))) != token(lazy + 1)


def test_cubes_are_dims_coordinates_and_values() -> None:
    def cube(value: float = 1, dim: str = "t", start: int = 0) -> xr.Dataset:
        data = (dim, [value, 2.0])
        return xr.Dataset({"x": data}, {dim: [start, 1]}, attrs={"note": str(np.random.random())})

    assert token(cube()) == token(cube()) == token(cube().copy(deep=True))
    different = [
        cube(),
        cube(3),
        cube(dim="u"),
        cube(start=5),
        cube()["x"],
        cube()["x"].rename("y"),
        cube().reset_coords(),
    ]
    assert len({token(v) for v in different}) >= 6


def test_frames_and_matrices_are_kept_by_identity() -> None:
    tokens, table, matrix = Tokens(), frame(), sp.eye_array(3, format="csr")
    before = tokens.token([table, matrix])
    matrix.data[0] = 7
    assert tokens.token([table, matrix]) == before
    tokens.forget()
    assert tokens.token([table, matrix]) != before


def plus_one(x: float) -> float:
    return x + 1


def plus_two(x: float) -> float:
    return x + 2


@pytest.mark.parametrize(
    "make",
    [np.vectorize, lambda f: np.vectorize(f, otypes=[float]), lambda f: np.frompyfunc(f, 1, 1)],
    ids=["vectorize", "vectorize with types", "frompyfunc"],
)
def test_functions_that_numpy_vectorizes_count_by_the_function(make: Any) -> None:
    one, two = make(plus_one), make(plus_two)
    plain = token(one)
    assert list(one(np.arange(2.0))) == [1.0, 2.0]
    assert token(one) == token(make(plus_one)) == plain
    assert token(two) != plain


def test_a_frame_in_a_few_words() -> None:
    text = describe(frame()[["a", "k"]])
    assert text == "frame of 2 columns x 3 rows: a int64, k float64"


def test_tensors_count_by_their_values() -> None:
    torch = pytest.importorskip("torch")
    plain = torch.arange(6.0).reshape(2, 3)
    same = [plain.clone(), torch.arange(12.0)[::2].reshape(2, 3) / 2, plain.T.contiguous().T]
    assert {token(tensor) for tensor in same} == {token(plain)}
    others = [
        plain + 1,
        plain.T,
        plain.reshape(6),
        plain.double(),
        plain.bfloat16(),
        plain.clone().requires_grad_(),
        torch.nn.Parameter(plain),
        plain.to_sparse(),
        plain.to(torch.complex64),
        plain.to(torch.complex64).conj(),
        plain > 1,
        torch.tensor(1.0),
    ]
    assert len({token(tensor) for tensor in [plain, *others]}) == len(others) + 1
    assert [token(pickle.loads(pickle.dumps(tensor))) for tensor in others] == [token(tensor) for tensor in others]


def test_models_of_pytorch_count_by_their_weights() -> None:
    torch = pytest.importorskip("torch")

    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())

    assert token(made(0)) == token(made(0)) != token(made(1))
