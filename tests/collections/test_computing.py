"""daskhpc.compute and persist: Dask's own results, figures that are right, and nothing left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
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
import xarray as xr
from clusters import start_cluster
from dask import delayed
from distributed import Client, SchedulerPlugin, futures_of, worker_client
from waiting import until

import daskhpc
from daskhpc.computing import Figures, last
from daskhpc.computing.counting import Counts
from daskhpc.computing.progress import ProgressThread
from daskhpc.errors import SettingsError
from daskhpc.parallel.progress import Progress, Standing

DEADLINE = 120.0
MB = 2**20


@pytest.fixture(params=["cluster", "here"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """With a client, and without."""
    if request.param == "cluster":
        request.getfixturevalue("client")
        yield
    else:
        with dask.config.set(scheduler="threads"):
            yield


def figures() -> Figures:
    found = last()
    assert found is not None
    return found


def left_in(client: Client) -> list[str]:
    """The tasks that the scheduler knows, and the counters of runs."""

    def names(dask_scheduler: Any) -> list[str]:
        return [str(key) for key in (*dask_scheduler.tasks, *dask_scheduler.plugins) if "daskhpc-run" in str(key)] + [
            str(key) for key in dask_scheduler.tasks
        ]

    return list(client.run_on_scheduler(names))


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(40) % 4, "b": np.arange(40.0)})


@pytest.mark.usefixtures("anywhere")
def test_results_are_those_of_dask() -> None:
    array = da.arange(100, chunks=10)
    table = dd.from_pandas(frame(), npartitions=4)
    bag = db.from_sequence(range(10), npartitions=2)
    cube = xr.DataArray(array, dims="x").to_dataset(name="t")
    objs = ([array, {"total": array.sum()}], table.groupby("a").b.sum(), bag.sum(), delayed(len)("abc"), cube, 7)
    nested, sums, total, length, loaded, seven = daskhpc.compute(*objs, progress=False)
    np.testing.assert_array_equal(nested[0], np.arange(100))
    assert nested[1] == {"total": 4950}
    pd.testing.assert_series_equal(sums.sort_index(), frame().groupby("a").b.sum())
    assert (total, length, seven) == (45, 3, 7)
    assert isinstance(loaded["t"].data, np.ndarray)


@pytest.mark.usefixtures("anywhere")
def test_what_is_no_collection_is_handed_back() -> None:
    objs = ([1, "two"], None)
    assert daskhpc.compute(*objs) == dask.compute(*objs) == objs
    assert daskhpc.persist(*objs) == objs


@pytest.mark.parametrize(
    "make",
    [
        lambda: (da.random.random((400, 400), chunks=100) + 1).T.sum(axis=0),
        lambda: da.ones((400, 400), chunks=(400, 50)).rechunk((50, 400)).mean(),
        lambda: dd.from_pandas(frame(), npartitions=8).groupby("a").b.mean(),
        lambda: db.from_sequence(range(100), npartitions=10).map(str).frequencies(),
        lambda: delayed(sum)([delayed(abs)(n) for n in range(20)]),
    ],
    ids=["elementwise", "rechunk", "groupby", "bag", "delayed"],
)
def test_each_task_is_counted_once(client: Client, make: Callable[[], Any]) -> None:
    """As many as plain Dask makes of the same collection, counted by a plugin of Dask's scheduler."""
    with dask.config.set({"dataframe.shuffle.method": "tasks"}):
        plain = tasks_of(client, lambda: dask.compute(make()))
        daskhpc.compute(make(), progress=False)
    assert figures().count == plain > 0


class Computed(SchedulerPlugin):  # type: ignore[misc]
    """The tasks that workers made."""

    def __init__(self) -> None:
        self.keys: set[Any] = set()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if start == "processing" and finish == "memory":
            self.keys.add(key)


def tasks_of(client: Client, run: Callable[[], Any]) -> int:
    def add(dask_scheduler: Any) -> None:
        dask_scheduler.add_plugin(Computed(), name="computed")

    def taken(dask_scheduler: Any) -> int:
        keys = dask_scheduler.plugins["computed"].keys
        dask_scheduler.remove_plugin("computed")
        return len(keys)

    client.run_on_scheduler(add)
    run()
    return int(client.run_on_scheduler(taken))


def double(x: Any) -> Any:
    return 2 * x


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_figures_of_a_run(client: Client) -> None:
    naps = [delayed(nap)(0.2 + n / 1000) for n in range(6)]
    daskhpc.compute(naps, progress=False)
    found = figures()
    assert (found.name, found.workers, found.threads, found.hosts) == ("compute", 2, 2, 1)
    kind = next(kind for kind in found.tasks if kind.name == "nap")
    assert kind.count == 6
    assert found.seconds >= 0.6
    assert 1.2 <= kind.compute <= found.threads * found.seconds, "no second is counted twice"
    assert found.utilisation == pytest.approx(sum(k.compute for k in found.tasks) / 2 / found.seconds)
    assert set(found.peak_memory) == set(client.ncores())


def test_what_workers_fetch_from_each_other_is_counted(client: Client) -> None:
    first, second = client.ncores()
    with dask.annotate(workers=[first]):
        made = delayed(np.ones)(4 * MB // 8)
    with dask.annotate(workers=[second]):
        total = delayed(np.sum)(made)
    daskhpc.compute(total, progress=False)
    assert figures().transferred == pytest.approx(4 * MB, rel=0.01)

    def slow_heartbeat(dask_worker: Any) -> None:
        dask_worker.scheduler_delay -= 0.25  # as after an answer that came half a second late

    client.run(slow_heartbeat)
    daskhpc.compute(delayed(abs)(-1), progress=False)
    assert figures().transferred == 0, "the next run begins anew"


def takes(size: int) -> int:
    return len(bytearray(os.urandom(1)) * size)


def test_the_peak_is_of_this_run_and_misses_nothing(client: Client) -> None:
    """Memory that is taken and given back within a moment is seen; the run after it does not show it."""
    daskhpc.compute(delayed(takes)(400 * MB), progress=False)
    high = max(figures().peak_memory.values())
    daskhpc.compute(delayed(abs)(-1), progress=False)
    low = max(figures().peak_memory.values())
    assert high - low > 300 * MB


def test_what_is_spilled_is_counted(tmp_path: Path) -> None:
    with (
        dask.config.set({"distributed.worker.memory.target": 0.02}),
        start_cluster(1, memory_limit="1GiB", local_directory=str(tmp_path)) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        kept = daskhpc.persist(da.random.random((8, MB), chunks=(1, MB)), client=client, progress=False)
        found = figures()
        assert found.result == pytest.approx(64 * MB, rel=1e-4)  # Dask before 2025.7 counts the arrays' heads
        assert 40 * MB < found.spilled <= 66 * MB
        del kept


def fail(x: Any) -> Any:
    raise ZeroDivisionError("as Dask gives it")


@pytest.mark.parametrize("call", [daskhpc.compute, daskhpc.persist])
@pytest.mark.usefixtures("anywhere")
def test_an_exception_arrives_as_it_is(call: Any) -> None:
    before = last()
    with pytest.raises(ZeroDivisionError, match="as Dask gives it"):
        call([delayed(fail)(n) for n in range(3)], progress=False)
    assert last() is before


@pytest.mark.parametrize("call", [daskhpc.compute, daskhpc.persist])
def test_after_an_exception_nothing_is_left(client: Client, call: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        call([delayed(fail)(0), *[delayed(mark)(tmp_path, n) for n in range(1000)]], progress=False)
    until(lambda: left_in(client) == [])
    assert len(list(tmp_path.iterdir())) < 1000, "tasks that had not begun are dropped"


def mark(folder: Path, n: int) -> None:
    time.sleep(0.02)
    (folder / str(n)).touch()


@pytest.mark.parametrize("call", [daskhpc.compute, daskhpc.persist])
def test_an_interrupt_ends_it_at_once(
    client: Client, call: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        until(lambda: list(tmp_path.iterdir()))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        call([delayed(mark)(tmp_path, n) for n in range(1000)], progress=False)
    thread.join()
    until(lambda: left_in(client) == [])
    assert len(list(tmp_path.iterdir())) < 1000
    assert client.submit(double, 21).result(timeout=DEADLINE) == 42, "the client is well"
    # The scheduler and the nannies run in this process too, and may warn of a machine that stands still.
    of_client = [record for record in caplog.records if record.name.startswith("distributed.client")]
    assert [record for record in of_client if record.levelno >= logging.WARNING] == []


def test_persist_waits_and_holds_the_data_on_the_cluster(client: Client) -> None:
    (kept,) = daskhpc.persist(da.ones((1000, 1000), chunks=(500, 500)) + 1, progress=False)
    found = figures()
    assert (found.name, found.result) == ("persist", pytest.approx(8_000_000, rel=1e-4))
    assert {future.status for future in futures_of(kept)} == {"finished"}
    assert float(kept.sum().compute()) == 2_000_000


def test_persist_here_is_that_of_dask() -> None:
    (kept,) = daskhpc.persist(da.ones((100, 100), chunks=50) + 1, progress=False)
    assert isinstance(kept, da.Array)
    assert figures().result >= 80_000
    assert figures().name == "persist"


def test_two_runs_at_once_count_their_own(client: Client) -> None:
    found: dict[int, Figures] = {}
    lock = threading.Lock()

    def run(size: int) -> None:
        from daskhpc.computing import running

        results, made = running._counted_run(
            "compute",
            dask.compute,
            [delayed(nap)(0.01 * size + n / 1000) for n in range(size)],
            scheduler_of(client),
            Progress(),
        )
        with lock:
            found[size] = made
        assert len(results) == size

    threads = [threading.Thread(target=run, args=(size,)) for size in (5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert {size: {k.name: k.count for k in made.tasks}["nap"] for size, made in found.items()} == {5: 5, 9: 9}


def scheduler_of(client: Client) -> Any:
    from daskhpc.computing.schedulers import ClusterScheduler

    return ClusterScheduler(client)


def test_a_client_of_ones_own_choice(client: Client, tmp_path: Path) -> None:
    with start_cluster(1, local_directory=str(tmp_path)) as cluster, Client(cluster, set_as_default=False) as other:
        assert daskhpc.compute(delayed(os.getpid)(), client=other, progress=False) == tuple(
            other.run(os.getpid).values()
        )
        assert set(figures().peak_memory) == set(other.ncores())


def test_inside_a_task(client: Client) -> None:
    def outer() -> tuple[Any, int]:
        results = daskhpc.compute(delayed(double)(21), progress=False)
        return results, figures().count

    (answer,), count = client.submit(outer, pure=False).result(timeout=DEADLINE)
    assert (answer, count) == (42, 1)


def test_results_are_kept_if_the_report_cannot_be_written(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    with pytest.warns(UserWarning, match="is not written: FileNotFoundError"):
        found = daskhpc.compute(
            delayed(folder.rmdir)(), delayed(double)(21), report=folder / "run.json", progress=False
        )
    assert found == (None, 42)


def test_inside_a_task_that_has_given_its_thread_back(client: Client) -> None:
    def outer() -> Any:
        with worker_client():
            return daskhpc.compute(delayed(double)(21), progress=False)

    assert client.submit(outer, pure=False).result(timeout=DEADLINE) == (42,)


def test_figures_of_a_run_here() -> None:
    with dask.config.set(scheduler="threads", num_workers=3):
        daskhpc.compute([delayed(nap)(0.1 + n / 1000) for n in range(6)], progress=False)
    found = figures()
    assert (found.workers, found.threads, found.transferred, found.spilled) == (1, 3, 0, 0)
    assert {kind.name: kind.count for kind in found.tasks} == {"nap": 6}
    assert sum(kind.compute for kind in found.tasks) >= 0.6
    assert found.peak_memory["here"] > 10 * MB


def test_figures_as_json(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "it's $(a run).json"
    daskhpc.compute(da.ones(100, chunks=10).sum(), report=path, progress=False)
    written = json.loads(path.read_text())
    assert written == json.loads(json.dumps(figures().as_dict()))
    assert written["result_bytes"] == figures().result > 0
    assert sum(kind["count"] for kind in written["tasks"]) == figures().count
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_the_page_is_the_performance_report_with_the_figures(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    daskhpc.compute(da.ones(100, chunks=10).sum(), report=str(path), progress=False)
    page = path.read_text()
    assert figures()._repr_html_() in page
    assert "test_the_page_is_the_performance_report" in page, "Dask's page shows the code that called"
    assert "<script src=" not in page, "nothing is loaded from the network"
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_figures_on_the_screen(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    daskhpc.compute(da.ones(100, chunks=10).sum(), report=True, progress=False)
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", str(figures()))
    assert err.startswith(f"compute: {figures().count} tasks in ")
    assert "2 workers, 2 threads, 1 host" in err


@pytest.mark.parametrize(
    ("report", "words"),
    [("run.txt", "'run.html' or 'run.json'"), ("nowhere/run.json", "mkdir -p"), ("run.html", "daskhpc.start()")],
)
def test_a_report_that_could_not_be_written_is_refused_first(report: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words.replace("(", r"\(").replace(")", r"\)")):
        daskhpc.compute(delayed(mark)(tmp_path, 0), report=tmp_path / report, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_way_of_progress_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="progress="):
        daskhpc.compute(delayed(mark)(tmp_path, 0), progress="loud")
    assert list(tmp_path.iterdir()) == []


class Recorder(Progress):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[Standing] = []
        self.came = threading.Event()

    def update(self, standing: Standing) -> None:
        self.seen.append(standing)
        self.came.set()


def test_progress_is_shown_while_it_runs(client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    shown = Recorder()
    runner = scheduler_of(client)
    runner.begin()
    work = [delayed(double)(1), delayed(wait_for)(go, delayed(double)(2))]
    thread = threading.Thread(target=lambda: dask.compute(work, scheduler=runner))
    with ProgressThread(runner.counts_now, shown):
        thread.start()
        until(lambda: shown.seen and shown.seen[-1].done == 2)
        go.touch()
        thread.join(DEADLINE)
    assert (shown.seen[-1].total, shown.seen[-1].workers) == (3, 2)
    assert runner.end("compute", 1.0)[1] == Counts(3, 3, 0, 2)


def wait_for(path: Path, after: Any) -> None:
    until(path.exists)


def test_what_ends_the_showing_does_not_end_the_run() -> None:
    def look() -> Counts:
        raise ConnectionError

    shown = Recorder()
    with ProgressThread(look, shown) as thread:
        until(lambda: not thread._thread.is_alive())
    assert shown.seen == []
