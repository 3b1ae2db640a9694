"""`explain` says what a lazy object is and what computing it takes, and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.callbacks import Callback

from daskhpc import explain
from daskhpc.errors import DaskhpcError


class _Ran(AssertionError):
    """A task of user data was run."""


def _fail(*args: Any, **kwargs: Any) -> Any:
    raise _Ran


@pytest.fixture
def nothing_runs() -> Iterator[None]:
    """No local scheduler runs a task meanwhile."""

    def ran(key: Any, *args: Any) -> None:
        raise _Ran(key)

    with Callback(pretask=ran):
        yield


KINDS = ["array", "dataframe", "series", "scalar", "set_index", "sort_values", "partition_size", "bag", "item"]
KINDS += ["delayed", "DataArray", "Dataset", "list", "dict"]


def _lazy(kind: str) -> Any:
    array = da.ones((100, 100), chunks=10).map_blocks(_fail, dtype=float)
    frame = dd.from_map(_fail, range(4), meta=pd.DataFrame({"a": [1], "b": [1.0], "c": ["x"]}))
    lazy: dict[str, Any] = {
        "array": array,
        "dataframe": frame,
        "series": frame.a,
        "scalar": frame.b.sum(),
        "set_index": frame.set_index("a"),
        "sort_values": frame.sort_values("a").b.sum(),
        "partition_size": frame.repartition(partition_size="1MB"),
        "bag": db.from_sequence(range(10), npartitions=2).map(_fail),
        "item": db.from_sequence(range(10), npartitions=2).map(_fail).sum(),
        "delayed": dask.delayed(_fail)(dask.delayed(_fail)(1)),
        "DataArray": xr.DataArray(array, dims=("a", "b"), name="t").mean("a"),
        "Dataset": xr.Dataset({"t": (("a", "b"), array)}).groupby_bins("a", 3).mean(),
        "list": [array, frame.a, db.from_sequence([1]).map(_fail)],
        "dict": {"x": array, "y": (array.sum(),)},
    }
    return lazy[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_computed_by_asking(kind: str, nothing_runs: None) -> None:
    lazy = _lazy(kind)
    found = explain(lazy)
    text = str(found)
    assert found.work.tasks > 0
    assert found.parts
    assert 8 <= len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100, text
    assert repr(found) == text
    assert "<table" in found._repr_html_()


def test_an_array_is_described_exactly() -> None:
    found = explain(da.ones((1000, 600), chunks=(100, 300), dtype="f4"))
    (part,) = found.parts
    assert (part.shape, part.dtype, part.pieces, part.piece_shape) == ((1000, 600), "float32", 20, (100, 300))
    assert (part.nbytes.value, part.nbytes.exact) == (1000 * 600 * 4, True)
    assert part.piece.value == 100 * 300 * 4
    assert (found.work.result.value, found.work.result.exact) == (1000 * 600 * 4, True)
    assert "1,000 x 600" in str(found)
    assert "2.29 MiB" in str(found)


def test_chunks_of_unknown_length_are_said_to_be_unknown() -> None:
    x = da.ones(1000, chunks=100)
    found = explain(x[x > 0])
    assert found.parts[0].shape == (None,)
    assert found.parts[0].nbytes.value is None
    assert "unknown until computed" in str(found)


def test_a_frame_of_numbers_in_memory_is_described_exactly() -> None:
    frame = pd.DataFrame({"a": np.arange(1000), "b": np.arange(1000.0)})
    (part,) = explain(dd.from_pandas(frame, npartitions=5)).parts
    assert (part.shape, part.pieces, part.nbytes.exact) == ((1000, 2), 5, True)
    assert part.nbytes.value is not None
    assert 16_000 <= part.nbytes.value <= 24_000


def test_what_is_read_from_files_is_counted(tmp_path: Path) -> None:
    for number in range(4):
        pd.DataFrame({"a": np.arange(1000), "b": np.arange(1000.0) + 0.125}).to_csv(tmp_path / f"{number}.csv")
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    found = explain(dd.read_csv(str(tmp_path / "*.csv")).a.sum())
    assert found.work.reads.value == pytest.approx(size, rel=0.02)


def test_divisions_that_have_to_be_computed_are_said_to_come_first() -> None:
    frame = dd.from_pandas(pd.DataFrame({"a": range(100, 0, -1), "b": 1.0}), npartitions=4)
    found = explain(frame.set_index("a").b.sum())
    assert not found.work.exact
    assert found.work.before > 4
    assert "divisions" in str(found)
    given = explain(frame.set_index("a", divisions=[1, 50, 100]).b.sum())
    assert (given.work.exact, given.work.before) == (True, 0)


def test_the_first_rows_in_an_order_need_no_divisions() -> None:
    frame = dd.from_pandas(pd.DataFrame({"a": range(100), "b": 1.0}), npartitions=4)
    assert explain(frame.sort_values("b").head(3, compute=False)).work.before == 0


def test_something_that_is_not_lazy_is_refused() -> None:
    with pytest.raises(DaskhpcError, match="Nothing here is lazy"):
        explain(np.ones(3))


def test_html_is_escaped_and_has_the_picture_of_the_chunks() -> None:
    name = "<script>alert(1)</script>"
    html = explain(xr.DataArray(da.ones((10, 10), chunks=5), name=name))._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<svg" in html
