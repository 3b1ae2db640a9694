"""What `explain` says beside what happens, on two single-threaded worker processes of 2 GiB.

For every shape of work: tasks counted by the scheduler, and the most memory that a worker process took above what it
took before (VmHWM of Linux, reset before the work). Then every piece of advice, followed and not. Nothing else may run
on the machine meanwhile. Prints the tables of docs/explain.md:

    python tests/benchmarks/explain.py [words of the names of shapes, or "advice"]
"""

from __future__ import annotations

import math
import operator
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

import dask  # noqa: E402
import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow.csv  # noqa: E402
import xarray as xr  # noqa: E402
from distributed import Client, KilledWorker, SchedulerPlugin, wait  # noqa: E402

MIB = 2**20


class Counter(SchedulerPlugin):  # type: ignore[misc]
    """The tasks that were run."""

    name = "explain-counter"

    def __init__(self) -> None:
        self.keys: set[Any] = set()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if start == "processing" and finish == "memory":
            self.keys.add(key)


def count(dask_scheduler: Any) -> int:
    """The tasks that were run since the last time."""
    plugin = dask_scheduler.plugins[Counter.name]
    found = len(plugin.keys)
    plugin.keys.clear()
    return found


def begin() -> int:
    """Forget the peak of this process; its memory now."""
    import gc

    import dask.array
    import dask.dataframe
    import numpy.linalg
    import pandas
    import pyarrow.dataset
    import xarray

    assert all((dask.array, dask.dataframe, numpy.linalg, pandas, pyarrow.dataset, xarray))
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return status("VmRSS")


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


def measured(client: Client, obj: Any) -> tuple[int, int, float]:
    """Tasks run, the most bytes that a worker took above its idle ones, and seconds."""
    client.run_on_scheduler(count)
    before = client.run(begin)
    start = time.perf_counter()
    try:
        dask.compute(obj)
    except KilledWorker as error:
        print(type(error).__name__, file=sys.stderr)
        client.wait_for_workers(len(before), timeout=60)
        return client.run_on_scheduler(count), 0, math.nan
    seconds = time.perf_counter() - start
    peaks = client.run(status, "VmHWM")
    return client.run_on_scheduler(count), max(peaks[worker] - before[worker] for worker in before), seconds


def warm_up(client: Client, folder: Path) -> None:
    """New worker processes that have done a little of everything before."""
    client.restart()
    place = folder / "little"
    place.mkdir(exist_ok=True)
    paths = [files(place, kind, 2, 1000) for kind in ("csv", "parquet", "text")]
    frame = dd.read_parquet(paths[1])
    shuffled = frame.set_index("key", divisions=[0, 500, 999]).merge(frame, on="group")
    grouped = dd.read_csv(paths[0]).groupby("group").x.std()
    x = normal(40, 10, chunks=20).rechunk((20, 10))
    dask.compute(
        shuffled, grouped, x.rechunk((5, 10), method="p2p"), da.linalg.svd(x)[0], db.read_text(paths[2]).count()
    )


def normal(*shape: int, chunks: Any) -> Any:
    return da.random.default_rng(0).normal(size=shape, chunks=chunks)


def table(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "key": rng.integers(0, 1000, rows),
            "group": rng.integers(0, 20, rows),
            "x": rng.normal(size=rows),
            "y": rng.normal(size=rows),
        }
    )


def files(folder: Path, kind: str, count: int = 8, rows: int = 1_000_000) -> str:
    """Files of a table in a folder."""
    target = folder / f"{kind}-{rows}"
    if target.exists():
        return str(target / "*")
    target.mkdir()
    for number in range(count):
        part = table(rows)
        if kind == "csv":
            pyarrow.csv.write_csv(pyarrow.Table.from_pandas(part), target / f"{number:03}.csv")
        elif kind == "parquet":
            part.to_parquet(target / f"{number:03}.parquet")
        else:
            (target / f"{number:03}.txt").write_text("\n".join(map(str, part["x"][: rows // 2])))
    return str(target / "*")


def elementwise(folder: Path) -> Any:
    x = normal(6000, 6000, chunks=1500)
    return (da.exp(x) + 1) * 2


def reduction(folder: Path) -> Any:
    return normal(16000, 16000, chunks=2000).std(axis=0)


def matmul(folder: Path) -> Any:
    return (normal(6000, 6000, chunks=1500) @ normal(6000, 6000, chunks=1500)).sum()


def rechunked(folder: Path) -> Any:
    return normal(8000, 8000, chunks=(1000, 8000)).rechunk((8000, 1000)).max(axis=0)


def rechunked_by_tasks(folder: Path) -> Any:
    return normal(8000, 8000, chunks=(1000, 8000)).rechunk((8000, 1000), method="tasks").max(axis=0)


def stencil(folder: Path) -> Any:
    return normal(10000, 10000, chunks=2000).map_overlap(lambda b: b + np.roll(b, 1, 0), depth=1).mean()


def tall_qr(folder: Path) -> Any:
    q, r = da.linalg.qr(normal(400_000, 100, chunks=(40_000, 100)))
    return [q.sum(), r]


def compressed_svd(folder: Path) -> Any:
    return da.linalg.svd_compressed(normal(8000, 4000, chunks=(2000, 4000)), k=10, seed=0)[1]


def percentiles(folder: Path) -> Any:
    return da.percentile(normal(80_000_000, chunks=8_000_000), [10, 50, 90])


def grouped(folder: Path) -> Any:
    return dd.read_parquet(files(folder, "parquet")).groupby("group").x.std()


def indexed(folder: Path) -> Any:
    frame = dd.read_parquet(files(folder, "parquet"))
    return frame.set_index("key", divisions=[*range(0, 1000, 100), 999]).x.sum()


def merged(folder: Path) -> Any:
    left = dd.read_parquet(files(folder, "parquet"))
    right = table(100_000).drop_duplicates("key")[["key", "y"]].rename(columns={"y": "z"})
    return left.merge(dd.from_pandas(right, npartitions=4), on="key").z.sum()


def csv(folder: Path) -> Any:
    frame = dd.read_csv(files(folder, "csv"), blocksize=16 * MIB)
    return frame[frame.x > 0].groupby("group").y.mean()


def parquet(folder: Path) -> Any:
    frame = dd.read_parquet(files(folder, "parquet"))
    return frame.assign(z=frame.x * frame.y)[["z", "group"]]


def text(folder: Path) -> Any:
    return db.read_text(files(folder, "text")).map(float).fold(lambda a, b: a + b, initial=0.0)


def sequence(folder: Path) -> Any:
    return db.from_sequence(range(4_000_000), npartitions=8).map(lambda i: i + 0.5).sum()


def delayed_tree(folder: Path) -> Any:
    level = [dask.delayed(np.sort)(normal(4_000_000, chunks=4_000_000)) for _ in range(16)]
    while len(level) > 1:
        level = [dask.delayed(np.add)(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def climatology(folder: Path) -> Any:
    days = pd.date_range("2000-01-01", periods=2 * 365)
    air = xr.DataArray(
        normal(len(days), 180, 360, chunks=(30, 180, 360)), dims=("time", "lat", "lon"), coords={"time": days}
    )
    return air.groupby("time.month").mean()


def persisted(folder: Path) -> Any:
    x = normal(9000, 9000, chunks=3000).persist()
    wait(x)
    return (x + 1).mean(axis=0)


def from_numpy(folder: Path) -> Any:
    return (da.from_array(np.ones((6000, 4000)), chunks=2000) * 2).sum(axis=1)


SHAPES: dict[str, Callable[[Path], Any]] = {
    "elementwise": elementwise,
    "reduction": reduction,
    "matrix product": matmul,
    "rechunk, p2p": rechunked,
    "rechunk, tasks": rechunked_by_tasks,
    "stencil": stencil,
    "tall QR": tall_qr,
    "compressed SVD": compressed_svd,
    "percentiles": percentiles,
    "group-by": grouped,
    "set_index": indexed,
    "merge": merged,
    "CSV chain": csv,
    "Parquet chain": parquet,
    "bag of text": text,
    "bag in memory": sequence,
    "delayed tree": delayed_tree,
    "climatology": climatology,
    "persisted input": persisted,
    "NumPy array in the graph": from_numpy,
}


def compare(client: Client, name: str, folder: Path) -> str:
    """A line of the table of shapes."""
    from daskhpc.explaining import explain

    obj = SHAPES[name](folder)
    found = explain(obj)
    tasks, peak, _ = measured(client, obj)
    said = found.work.work_memory.value
    ratio = f"{said / peak:.2f}" if said else "unknown"
    counted = f"{found.work.tasks:,}" if tasks == found.work.tasks else f"{found.work.tasks:,} (ran: {tasks:,})"
    said_text = f"{said / MIB:,.0f}" if said else "unknown"
    return f"| {name} | {counted} | {peak / MIB:,.0f} | {said_text} | {ratio} |"


def small_chunks(folder: Path) -> tuple[Any, Any]:
    return normal(4000, 4000, chunks=100).sum(), normal(4000, 4000, chunks=2000).sum()


def large_chunks(folder: Path) -> tuple[Any, Any]:
    return da.exp(normal(10_000, 10_000, chunks=10_000)).sum(), da.exp(normal(10_000, 10_000, chunks=2000)).sum()


def few_chunks(folder: Path) -> tuple[Any, Any]:
    return da.exp(normal(8000, 4000, chunks=(8000, 4000))).sum(), da.exp(normal(8000, 4000, chunks=(2000, 2000))).sum()


def large_result(folder: Path) -> tuple[Any, Any]:
    x = normal(12_000, 12_000, chunks=2000)
    return x, x.mean(axis=0)


def object_columns(folder: Path) -> tuple[Any, Any]:
    names = np.array([f"name-{number}" for number in range(1000)], dtype=object)
    frame = pd.DataFrame({"label": pd.Series(names[np.arange(2_000_000) % 1000], dtype=object), "x": 1.0})
    with dask.config.set({"dataframe.convert-string": False}):
        slow = dd.from_pandas(frame, npartitions=8)
        fast = dd.from_pandas(frame.astype({"label": "string[pyarrow]"}), npartitions=8)
    return slow.drop_duplicates("label"), fast.drop_duplicates("label")


def exploding_rechunk(folder: Path) -> tuple[Any, Any]:
    x = normal(8000, 8000, chunks=(40, 8000))
    return x.rechunk((8000, 40), method="tasks").sum(), x.rechunk((8000, 40), method="p2p").sum()


def shuffled_merge(folder: Path) -> tuple[Any, Any]:
    left = dd.read_parquet(files(folder, "parquet", 8, 200_000))
    right = dd.from_pandas(table(1000)[["key", "y"]].rename(columns={"y": "z"}), npartitions=8)
    return left.merge(right, on="key").z.sum(), left.merge(right.repartition(npartitions=1), on="key").z.sum()


def known_limits(folder: Path) -> tuple[Any, Any]:
    frame = dd.read_parquet(files(folder, "parquet", 8, 500_000))
    limits = [*range(0, 999, 125), 999]
    return frame.set_index("key").x.cumsum().sum(), frame.set_index("key", divisions=limits).x.cumsum().sum()


def first_of_sorted(folder: Path) -> tuple[Any, Any]:
    frame = dd.read_parquet(files(folder, "parquet", 8, 500_000))
    return frame.sort_values("x", ascending=False), frame.nlargest(10, "x")


def applied_groups(folder: Path) -> tuple[Any, Any]:
    groups = dd.read_parquet(files(folder, "parquet", 8, 500_000)).groupby("group")
    return groups.apply(lambda group: group.x.mean(), meta=("x", float)), groups.x.mean()


def grouped_bag(folder: Path) -> tuple[Any, Any]:
    bag = db.from_sequence(range(1_000_000), npartitions=8)
    return (
        bag.groupby(lambda i: i % 10).map(lambda pair: (pair[0], sum(pair[1]))),
        bag.foldby(lambda i: i % 10, operator.add, 0, operator.add, 0),
    )


def many_tasks(folder: Path) -> tuple[Any, Any]:
    return normal(14_000, 14_000, chunks=40).sum(), normal(14_000, 14_000, chunks=2000).sum()


def data_in_graph(folder: Path) -> tuple[Any, Any]:
    np.save(folder / "x.npy", np.ones((2000, 2000)))
    piece = dask.delayed(np.load)(str(folder / "x.npy"))
    return da.from_array(np.ones((2000, 2000)), chunks=1000).sum(), da.from_delayed(piece, (2000, 2000), float).sum()


ADVICE: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "small-chunks": small_chunks,
    "large-chunks": large_chunks,
    "few-chunks": few_chunks,
    "large-result": large_result,
    "object-columns": object_columns,
    "rechunk": exploding_rechunk,
    "shuffle, merge": shuffled_merge,
    "shuffle, set_index": known_limits,
    "shuffle, sort_values": first_of_sorted,
    "shuffle, groupby.apply": applied_groups,
    "shuffle, bag.groupby": grouped_bag,
    "data-in-graph": data_in_graph,
    "many-tasks": many_tasks,
}


def follow(client: Client, code: str, folder: Path) -> list[str]:
    """Lines of the table of advice: as it was, and as advised."""
    from daskhpc.explaining import explain

    lines = []
    for name, obj in zip(("as it was", "as advised"), ADVICE[code](folder), strict=True):
        warm_up(client, folder)
        found = explain(obj)
        work, said = found.work, code.partition(",")[0] in {each.code for each in found.advice}
        tasks, peak, seconds = measured(client, obj)
        taken = "a worker is killed |" if math.isnan(seconds) else f"{seconds:.2f} | {peak / MIB:,.0f}"
        figures = f"{tasks:,} | {taken} | {work.result} | {work.embedded / MIB:,.1f}"
        lines.append(f"| {code} | {name} | {'yes' if said else 'no'} | {figures} |")
    return lines


def main(words: list[str]) -> None:
    from clusters import start_cluster

    with (
        tempfile.TemporaryDirectory() as folder,
        start_cluster(2, local_directory=folder) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Counter())
        if "advice" in words:
            print(
                "| advice | | given | tasks | seconds | peak, MiB | result | data in the tasks, MiB |",
                "|---|---|---|---|---|---|---|---|",
                sep="\n",
            )
            for code in [each for each in ADVICE if any(word in each for word in words)] or ADVICE:
                print("\n".join(follow(client, code, Path(folder))), flush=True)
            return
        print("| work | tasks | measured | the bound | bound / measured |")
        print("|---|---|---|---|---|")
        for name in SHAPES:
            if not words or any(word in name for word in words):
                warm_up(client, Path(folder))
                print(compare(client, name, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
