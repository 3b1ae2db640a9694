"""What `explain` says of work beside what happens on real workers, and its advice beside what following it changes."""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable
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
from distributed import Client, SchedulerPlugin, wait

from daskhpc import arrays, explain
from daskhpc.chunk_size import Resources
from daskhpc.explaining import Explanation


class Counter(SchedulerPlugin):  # type: ignore[misc]
    """The tasks that were run."""

    name = "explain-counter"

    def __init__(self) -> None:
        self.keys: set[Any] = set()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if start == "processing" and finish == "memory":
            self.keys.add(key)


def tasks_run(client: Client, obj: Any) -> int:
    client.register_plugin(Counter())
    try:
        dask.compute(obj)
        return int(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.plugins[Counter.name].keys)))
    finally:
        client.unregister_scheduler_plugin(Counter.name)


def frame(rows: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"key": rng.integers(0, 50, rows), "x": rng.normal(size=rows), "y": rng.normal(size=rows)})


def normal(*shape: int, chunks: Any) -> Any:
    return da.random.default_rng(0).normal(size=shape, chunks=chunks)


def climatology() -> Any:
    days = pd.date_range("2001-01-01", periods=120)
    air = xr.DataArray(normal(120, 4, chunks=(20, 4)), dims=("time", "lat"), coords={"time": days})
    return air.groupby("time.month").mean()


def delayed_tree() -> Any:
    level = [dask.delayed(pow)(number, 2) for number in range(8)]
    while len(level) > 1:
        level = [dask.delayed(max)(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def persisted() -> Any:
    x = normal(500, 400, chunks=100).persist()  # of a shape of its own: Dask keeps it for a while after the test
    wait(x)
    return (x + 1).mean(axis=0)


WORK: dict[str, Callable[[], Any]] = {
    "elementwise": lambda: da.exp(normal(400, 400, chunks=100)) + 1,
    "reduction": lambda: normal(400, 400, chunks=100).std(axis=0),
    "product": lambda: normal(300, 300, chunks=100) @ normal(300, 300, chunks=100),
    "rechunk": lambda: normal(400, 400, chunks=(40, 400)).rechunk((400, 40)).max(axis=0),
    "stencil": lambda: normal(400, 400, chunks=100).map_overlap(np.abs, depth=1).mean(),
    "percentile": lambda: da.percentile(normal(1000, chunks=100), [10, 90]),
    "group-by": lambda: dd.from_pandas(frame(), npartitions=4).groupby("key").x.mean(),
    "set_index": lambda: dd.from_pandas(frame(), npartitions=4).set_index("key", divisions=[0, 20, 49]).x.sum(),
    "merge": lambda: dd.from_pandas(frame(), npartitions=3).merge(dd.from_pandas(frame(90), npartitions=3), on="key"),
    "bag": lambda: db.from_sequence(range(100), npartitions=5).map(lambda i: i + 1).fold(max),
    "delayed tree": delayed_tree,
    "climatology": climatology,
    "persisted": persisted,
    "several": lambda: [normal(400, 400, chunks=100).sum(), {"mean": normal(400, 400, chunks=100).mean()}],
}


@pytest.mark.parametrize("name", WORK)
def test_tasks_are_counted_exactly(name: str, client: Client) -> None:
    obj = WORK[name]()
    found = explain(obj)
    assert found.work.exact
    assert name == "delayed tree" or found.work.work_memory.value
    assert found.work.tasks == tasks_run(client, obj)
    assert found.resources.workers == 2


FACTORIZED: dict[str, Callable[[], Any]] = {
    "svd": lambda: da.linalg.svd(normal(400, 20, chunks=(100, 20)))[1],
    "compressed svd": lambda: da.linalg.svd_compressed(normal(400, 200, chunks=(100, 200)), k=5, seed=0)[1],
}


@pytest.mark.parametrize("name", FACTORIZED)
def test_tasks_of_factorizations_are_counted_nearly(name: str, client: Client) -> None:
    """Which of their tasks Dask fuses depends on the order of Python's sets, which differs between processes."""
    obj = FACTORIZED[name]()
    found = explain(obj)
    assert 0.5 < found.work.tasks / tasks_run(client, obj) < 2
    assert found.work.work_memory.value


def test_what_is_on_the_workers_is_not_counted_again(client: Client) -> None:
    x = normal(400, 400, chunks=100).persist()
    wait(x)
    found = explain(x.sum())
    assert found.work.in_memory == 16
    assert "16 results on the workers" in str(found)


def test_rows_of_persisted_partitions_have_known_bytes(client: Client) -> None:
    lazy = dd.from_pandas(frame(), npartitions=4).persist()
    wait(lazy)
    size = explain(lazy).nbytes.value
    assert size is not None
    assert 0.9 * 4000 * 24 < size < 1.5 * 4000 * 32


PEAKS: dict[str, Callable[[], Any]] = {
    "elementwise": lambda: da.exp(normal(4000, 4000, chunks=2000)) + 1,
    "reduction": lambda: normal(8000, 4000, chunks=2000).std(axis=0),
    "rechunk": lambda: normal(4000, 4000, chunks=(500, 4000)).rechunk((4000, 500), method="tasks").max(axis=0),
}


@pytest.mark.parametrize("name", PEAKS)
def test_peak_memory_is_within_a_factor_of_two_and_a_half(name: str, client: Client) -> None:
    def begin() -> int:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        return status("VmRSS")

    def status(line: str) -> int:
        text = Path("/proc/self/status").read_text()
        return next(int(each.split()[1]) * 1024 for each in text.splitlines() if each.startswith(f"{line}:"))

    dask.compute(normal(40, 40, chunks=20).rechunk((40, 10)).std(axis=0))
    obj = PEAKS[name]()
    said = explain(obj).work.work_memory.value
    before = client.run(begin)
    dask.compute(obj)
    peaks = client.run(status, "VmHWM")
    measured = max(peaks[worker] - before[worker] for worker in before)
    assert said is not None
    assert 0.4 < said / measured < 2.5, (said / 2**20, measured / 2**20)


def codes(found: Explanation) -> set[str]:
    return {each.code for each in found.advice}


@pytest.mark.parametrize("shuffle", ["disk", "tasks"])
def test_groups_of_a_bag_move_all_items(shuffle: str) -> None:
    bag = db.from_sequence(range(100), npartitions=5)
    assert "shuffle" in codes(explain(bag.groupby(lambda i: i % 3, shuffle=shuffle).map(len)))
    assert "shuffle" not in codes(explain(bag.foldby(lambda i: i % 3, max)))


def test_small_chunks_and_their_remedy(client: Client) -> None:
    slow, fast = (explain(normal(3000, 3000, chunks=size).sum()) for size in (100, 1500))
    assert "small-chunks" in codes(slow)
    assert "chunks=(" in str(slow)
    assert codes(fast) == set()
    assert fast.work.tasks < slow.work.tasks / 50


def test_large_chunks_and_their_remedy(client: Client) -> None:
    large, fitting = (explain(da.exp(normal(12_000, 12_000, chunks=size)).sum()) for size in (12_000, 2000))
    assert "large-chunks" in codes(large)
    assert codes(fitting) == set()
    assert (fitting.work.work_memory.value or 0) < (large.work.work_memory.value or 0) / 5


GIB = 2**30
CLUSTERS = {
    "a laptop": Resources(1, 4, 8 * GIB, hosts=1, client_memory=8 * GIB, cluster=False),
    "little memory": Resources(2, 16, GIB, hosts=1, client_memory=8 * GIB, cluster=True),
    "many nodes": Resources(512, 4096, 32 * GIB, hosts=512, client_memory=8 * GIB, cluster=True),
}


@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.parametrize("shape", [(3000, 3000), (2_000_000,), (40_000, 40_000), (365, 721, 1440), (3_000_000, 20)])
@pytest.mark.parametrize("pieces", ["small", "one"])
def test_advice_that_is_followed_is_not_given_again(
    shape: tuple[int, ...], name: str, pieces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rule says whether chunks are unwise, and which to take instead."""
    monkeypatch.setattr("daskhpc.explaining.explanation.resources", lambda client: CLUSTERS[name])
    sizes = {"small": tuple(max(1, length // 20) for length in shape), "one": shape}
    found = explain(da.ones(shape, chunks=sizes[pieces]).sum())
    lines = [each.todo for each in found.advice if each.todo.startswith("chunks=")]
    for line in lines:
        followed = explain(
            da.ones(shape, chunks=ast.literal_eval(line.partition("=")[2].partition("#")[0].strip())).sum()
        )
        assert codes(followed) & {"small-chunks", "large-chunks", "few-chunks", "many-tasks"} == set(), line


def test_advice_for_a_frame_that_is_followed_is_not_given_again(client: Client) -> None:
    lazy = dd.from_pandas(frame(), npartitions=400)
    (todo,) = [each.todo for each in explain(lazy).advice if each.code == "small-chunks"]
    assert codes(explain(eval(todo.partition("=")[2], {"df": lazy}))) == set()


def test_one_chunk_and_its_remedy(client: Client) -> None:
    assert "few-chunks" in codes(explain(normal(3000, 2000, chunks=(3000, 2000)).sum()))
    assert "few-chunks" not in codes(explain(normal(3000, 2000, chunks=(1000, 1000)).sum()))


def test_a_result_that_does_not_fit_and_its_remedy(client: Client) -> None:
    x = normal(20_000, 20_000, chunks=2000)
    assert "large-result" in codes(explain(x))
    assert "large-result" not in codes(explain(x.mean(axis=0)))


def test_object_columns_and_their_remedy(client: Client) -> None:
    with dask.config.set({"dataframe.convert-string": False}):
        names = pd.DataFrame({"name": pd.Series([f"somebody {number}" for number in range(4000)], dtype=object)})
        slow = explain(dd.from_pandas(names, npartitions=2))
        fast = explain(dd.from_pandas(names.astype({"name": "string[pyarrow]"}), npartitions=2))
    assert "object-columns" in codes(slow)
    assert "string[pyarrow]" in str(slow)
    assert codes(fast) == set()
    assert (fast.nbytes.value or 0) < (slow.nbytes.value or 0) / 2


def test_arrays_of_objects_and_their_remedy(client: Client) -> None:
    objects = da.from_array(np.array([1, 2.5, None] * 1000, dtype=object), chunks=500)
    (advice,) = explain(objects).advice
    assert (advice.code, "astype" in advice.todo) == ("object-columns", False)
    assert advice.todo.startswith("dtype=float   # where ")
    assert explain(da.from_array(np.array([1, 2.5, None] * 1000, dtype=float), chunks=500)).advice == ()


def test_an_exploding_rechunk_and_its_remedy(client: Client) -> None:
    x = normal(6000, 6000, chunks=(100, 6000))
    tasks, p2p = (explain(x.rechunk((6000, 100), method=method).sum()) for method in ("tasks", "p2p"))
    assert "rechunk" in codes(tasks)
    assert "rechunk" not in codes(p2p)
    assert p2p.work.tasks < tasks.work.tasks


def test_a_shuffle_and_its_remedy(client: Client) -> None:
    left, right = dd.from_pandas(frame(), npartitions=4), dd.from_pandas(frame(90), npartitions=3)
    shuffled = explain(left.merge(right, on="key"))
    broadcast = explain(left.merge(right.repartition(npartitions=1), on="key"))
    assert "shuffle" in codes(shuffled)
    assert "shuffle" not in codes(broadcast)
    assert broadcast.work.tasks < shuffled.work.tasks


def test_data_in_the_graph_and_its_remedy(client: Client, tmp_path: Path) -> None:
    data = np.ones((1500, 1500))
    np.save(tmp_path / "x.npy", data)
    carried = explain(da.from_array(data, chunks=500).sum())
    read = explain(da.from_delayed(dask.delayed(np.load)(tmp_path / "x.npy"), data.shape, float).sum())
    assert "data-in-graph" in codes(carried)
    assert carried.work.embedded == data.nbytes
    assert "data-in-graph" not in codes(read)


def test_too_many_tasks_and_their_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskhpc.explaining.advice.MANY_TASKS", 1000)
    assert "many-tasks" in codes(explain(da.ones(1200, chunks=1) + 1))
    assert "many-tasks" not in codes(explain(da.ones(1200, chunks=10) + 1))


class Stored:
    """An array in a file, of which nothing can be read."""

    shape, dtype, ndim = (1000, 600), np.dtype("float64"), 2

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("nothing is to be read")


def test_blocks_of_a_file_within_fused_tasks() -> None:
    """The slices of an array in a file stand beside the task that takes them."""
    x = da.from_array(Stored(), chunks=(300, 200), meta=np.empty((0, 0)))
    found = explain((x + 1).sum(axis=0))
    assert found.work.reads.value == 1000 * 600 * 8
    assert found.work.largest is not None
    assert found.work.largest.largest.value == 300 * 200 * 8
    assert (found.work.result.value, found.work.result.exact) == (600 * 8, True)
    drawn = arrays.random((1000, 600), chunks=(300, 200))
    assert explain((drawn + 1).sum(axis=0)).work.reads.value == 0


def test_what_is_written_does_not_come_to_this_process(tmp_path: Path, client: Client) -> None:
    x = normal(3000, 600, chunks=(300, 200))
    for written in (da.store(x, Stored(), compute=False), x.to_zarr(str(tmp_path / "x.zarr"), compute=False)):
        found = explain(written)
        assert (found.work.result.value, found.work.reads.value, found.work.embedded) == (0, 0, 0)
        assert found.nbytes.value == x.nbytes
        assert "large-result" not in codes(found)
        mixed = explain([written, x.sum(axis=0)])
        assert mixed.work.result.value == 600 * 8
