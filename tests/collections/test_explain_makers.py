"""explain takes whatever makes a lazy object, and gives no advice that changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskhpc
from daskhpc import arrays, bags, frames

TABLE = pd.DataFrame({"x": range(1000), "s": ["abc"] * 1000, "time": pd.date_range("2020", periods=1000, freq="h")})
FILES = 3


@pytest.fixture(autouse=True, scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("files")
    for number in range(FILES):
        TABLE.to_csv(folder / f"{number}.csv", index=False)
        TABLE.to_parquet(folder / f"{number}.parquet")
        TABLE.drop(columns="time").to_json(folder / f"{number}.jsonl", orient="records", lines=True)
    TABLE.astype({"x": float}).to_parquet(folder / "float.parquet")
    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="synchronous"):
        patch.chdir(folder)
        yield


def ours() -> Any:
    return frames.read_csv("*.csv", parse_dates=["time"])


def lazy() -> Any:
    return dd.from_pandas(TABLE, npartitions=3)


def delayed_table() -> Any:
    return dask.delayed(TABLE.copy)()


FRAMES: dict[str, Callable[[], Any]] = {
    "read_csv": ours,
    "blocks": lambda: frames.read_csv("*.csv", parse_dates=["time"], blocksize=9000),
    "read_json_lines": lambda: frames.read_json_lines("*.jsonl"),
    "read_parquet": lambda: frames.read_parquet(["0.parquet", "1.parquet", "2.parquet"]),
    "unequal parquet": lambda: frames.read_parquet("*.parquet"),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "resample": lambda: frames.resample(ours()[["x", "time"]], "D", time="time"),
    "resample by column": lambda: frames.resample(ours()[["x", "time"]], "D", {"x": "sum"}, time="time"),
    "resample of a new index": lambda: lazy().set_index("time").x.resample("6h").mean(),
    "part of a new index": lambda: lazy().set_index("s").loc["a":"b"],
    "fit_partitions": lambda: frames.fit_partitions(ours()),
    "records": lambda: bags.read_json_lines("*.jsonl"),
    "bad lines": lambda: bags.bad_lines("*.jsonl"),
    "text": lambda: bags.read_text("*.jsonl"),
    "to_frame": lambda: bags.to_frame(bags.read_json_lines("*.jsonl")),
    "people": lambda: bags.people(100),
    "random": lambda: arrays.random((1000, 1000)),
    "from_delayed": lambda: dd.from_delayed([delayed_table()], meta=TABLE),
    "from_map": lambda: dd.from_map(lambda number: TABLE, [1, 2], meta=TABLE),
    "from_array": lambda: dd.from_array(np.ones((10, 2)), chunksize=5),
    "from_dask_array": lambda: dd.from_dask_array(da.ones((10, 2), chunks=5)),
    "from_dict": lambda: dd.DataFrame.from_dict({"x": [1, 2]}, npartitions=1),
    "bag to_dataframe": lambda: db.from_sequence([{"a": 1}] * 10).to_dataframe(),
    "dask read_json": lambda: dd.read_json("*.jsonl"),
    "to_dask_array": lambda: lazy().x.to_dask_array(),
    "to_bag": lambda: lazy().to_bag(),
    "to_delayed": lambda: lazy().to_delayed(),
    "concat": lambda: dd.concat([ours(), lazy()]),
    "describe": lambda: ours().describe(),
    "array from_delayed": lambda: da.from_delayed(dask.delayed(np.ones)(5), (5,), float),
    "array of unknown length": lambda: (lambda x: x[x > 0])(da.ones(100, chunks=10)),
    "fromfunction": lambda: da.fromfunction(lambda i, j: i + j, shape=(10, 10), chunks=5),
    "bag range": lambda: db.range(10, 2),
    "bag from_delayed": lambda: db.from_delayed([dask.delayed(list)([1])]),
    "delayed": lambda: dask.delayed(sum)([1, 2]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_it_takes_whatever_is_lazy(name: str) -> None:
    found = daskhpc.explain(OTHERS[name]())
    assert found.work.tasks > 0
    assert str(found)
    assert found._repr_html_()


@pytest.mark.parametrize("name", FRAMES)
def test_what_our_own_readers_read_is_known(name: str) -> None:
    frame = FRAMES[name]()
    found = daskhpc.explain(frame)
    suffix = {"read_json_lines": "*.jsonl", "read_parquet": "[0-2].parquet", "unequal parquet": "*.parquet"}
    on_disk = sum(path.stat().st_size for path in Path().glob(suffix.get(name, "*.csv")))
    assert found.work.reads.value is not None
    assert 0.2 * on_disk < found.work.reads.value <= on_disk  # of Parquet, without footers
    in_memory = frame.compute().memory_usage(deep=True).sum()
    assert found.nbytes.value is not None
    assert 0.4 < found.nbytes.value / in_memory < 2.5
    assert found.work.peak_memory.value is not None
    assert "reads       nothing" not in str(found)


@pytest.mark.parametrize("generator", [da.random, da.random.RandomState(0), da.random.default_rng(0)])
def test_seeds_are_no_data(generator: Any) -> None:
    found = daskhpc.explain(generator.normal(size=(600, 600), chunks=(10, 10)).sum())
    assert found.work.embedded == 0
    assert [each.code for each in found.advice] == ["small-chunks"]


def test_a_result_that_is_too_large_has_one_advice() -> None:
    found = daskhpc.explain(da.random.random((200_000, 200_000)))
    assert [each.code for each in found.advice] == ["large-result"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.tuples(st.integers(1, 300_000), st.integers(1, 3000)), st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_an_advice_on_chunks_changes_the_chunks(shape: tuple[int, int], chunks: tuple[int, int]) -> None:
    chunks = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
    if shape[0] / chunks[0] * shape[1] / chunks[1] > 3000:
        chunks = (shape[0] // 40 + 1, shape[1] // 40 + 1)
    before = daskhpc.explain(da.ones(shape, chunks=chunks).sum())
    for advice in before.advice:
        advised = re.search(r"chunks=\(([\d, ]+)\)", advice.todo)
        if advised is None:
            continue
        new = da.ones(shape, chunks=tuple(int(n) for n in advised[1].split(",") if n.strip()))
        assert new.chunks != da.ones(shape, chunks=chunks).chunks
        after = daskhpc.explain(new.sum())
        assert advice.code not in [each.code for each in after.advice]
