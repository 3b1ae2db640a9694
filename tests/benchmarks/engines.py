"""The engines that search.py compares, and the program that measures one of them on some workloads.

    python -m engines '{"engine": "loky", "workers": 2, "workloads": ["1 ms"], "samples": {"1 ms": 40}, ...}'

writes one JSON line per workload.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import psutil

INTERVAL = 0.02  # seconds between two samples of the memory
BECOME_SUBREAPER = 36


class Engine(NamedTuple):
    """How a program uses an engine."""

    search: Callable[[Any], dict[str, Any]]
    call: Callable[[Any], list[Any]]


def in_backend(name: str, workers: int) -> Engine:
    """An engine that is a backend of joblib, for scikit-learn's search and for plain calls."""
    from joblib import Parallel, parallel_config
    from sklearn.model_selection import GridSearchCV

    def search(work: Any) -> dict[str, Any]:
        with parallel_config(backend=name, n_jobs=workers):
            return work.of(GridSearchCV)

    def call(work: Any) -> list[Any]:
        with parallel_config(backend=name, n_jobs=workers):
            return list(Parallel()(work.each()))

    return Engine(search, call)


@contextmanager
def dask_client(workers: int) -> Iterator[Any]:
    """The current client of so many worker processes with a thread each."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True) as cluster, Client(cluster) as client:
        client.wait_for_workers(workers, timeout=60)
        yield client


@contextmanager
def daskhpc(workers: int) -> Iterator[Engine]:
    """daskhpc's own search class, and its backend for plain calls."""
    import daskhpc

    with daskhpc.start(workers=workers, nthreads=1):
        engine = in_backend("daskhpc", workers)
        if hasattr(daskhpc, "GridSearchCV"):
            engine = engine._replace(search=lambda work: work.of(daskhpc.GridSearchCV))
        yield engine


@contextmanager
def loky(workers: int) -> Iterator[Engine]:
    """joblib's own processes."""
    yield in_backend("loky", workers)


@contextmanager
def joblib_dask(workers: int) -> Iterator[Engine]:
    """joblib's backend for Dask."""
    with dask_client(workers):
        yield in_backend("dask", workers)


@contextmanager
def dask_ml(workers: int) -> Iterator[Engine]:
    """dask-ml's search class."""
    from dask_ml.model_selection import GridSearchCV

    with dask_client(workers) as client:
        yield Engine(lambda work: work.of(GridSearchCV, scheduler=client), no_calls)


def no_calls(work: Any) -> list[Any]:
    """For an engine that is a search class alone."""
    raise NotImplementedError("has searches only, no plain calls")


@contextmanager
def ipyparallel(workers: int) -> Iterator[Engine]:
    """ipyparallel's joblib backend."""
    import ipyparallel

    with ipyparallel.Cluster(n=workers, log_level=40) as client:
        client.wait_for_engines(workers, timeout=60)
        client[:].use_cloudpickle().get()
        client.load_balanced_view().register_joblib_backend()
        yield in_backend("ipyparallel", workers)


@contextmanager
def ray(workers: int) -> Iterator[Engine]:
    """Ray's joblib backend."""
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        yield in_backend("ray", workers)
    finally:
        ray.shutdown()


ENGINES: dict[str, tuple[Callable[[int], AbstractContextManager[Engine]], str]] = {
    "daskhpc": (daskhpc, "daskhpc"),
    "loky": (loky, "joblib"),
    "joblib+dask": (joblib_dask, "distributed"),
    "dask-ml": (dask_ml, "dask-ml"),
    "ipyparallel": (ipyparallel, "ipyparallel"),
    "Ray": (ray, "ray"),
}


def orphans_come_here() -> None:
    """Make this process the parent of every descendant whose parent ends, so that none is lost."""
    ctypes.CDLL(None).prctl(BECOME_SUBREAPER, 1, 0, 0, 0)


def memory() -> int:
    """Bytes of this process and all below it; pages that several of them map count once in all (PSS)."""
    me = psutil.Process()
    return sum(proportional(process.pid) for process in [me, *me.children(recursive=True)])


def proportional(pid: int) -> int:
    """The PSS of a process, 0 for one that has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    return 0


def growth(function: Callable[[], Any]) -> int:
    """How far memory rises above what it was, in bytes, while a call runs."""
    gc.collect()
    before = highest = memory()
    ended = threading.Event()

    def sample() -> None:
        nonlocal highest
        while not ended.wait(INTERVAL):
            highest = max(highest, memory())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        function()
    finally:
        ended.set()
        thread.join(60)
    return highest - before


def measure(engine: Engine, name: str, samples: int, quick: bool, apart: bool) -> dict[str, Any]:
    """Warm the workers, then time serial and parallel work in turn; memory in a round of its own, before."""
    from workloads import WORKLOADS, differing, seconds

    workload = WORKLOADS[name]
    work = workload.make(samples, quick)
    row: dict[str, Any] = {
        "text": work.text,
        "fits": work.fits,
        "differs": {},
        "serial": [],
        "wall": [],
        "once": [],
        "apart": [],
    }
    work.small().on(engine)
    if workload.for_memory:
        row["bytes"] = growth(lambda: work.on(engine))
    taken, expected = seconds(work.serial)
    row["serial"].append(taken)
    taken, found = seconds(lambda: work.on(engine))
    row["wall"].append(taken)
    row["differs"].update(differing(found, expected))
    if work.shares_prefix:
        taken, found = seconds(work.once)
        row["once"].append(taken)
        if differing(found, expected):
            raise AssertionError("the serial search that fits each prefix once finds other scores")
    if apart and not workload.for_memory:
        row["apart"].append(halves_apart(work))
    return row


def halves_apart(work: Any) -> float:
    """Seconds that a process takes for half of the fits while another one makes the other half, with no word between
    them: what the machine allows, the mean of both."""
    from workloads import seconds_of_half

    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(2, context) as pool:
        start = manager.Barrier(2)
        taken = [pool.submit(seconds_of_half, work, number, start) for number in range(2)]
        return sum(future.result(timeout=600) for future in taken) / 2


def main() -> None:
    """Measure what the JSON argument says."""
    task = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    orphans_come_here()
    left = list(task["workloads"])
    apart = task["engine"] == "daskhpc"  # once is enough: it is the machine's

    def report(**row: Any) -> None:
        print(json.dumps({"engine": task["engine"], "workload": left.pop(0), **row}), file=results, flush=True)

    try:
        with ENGINES[task["engine"]][0](task["workers"]) as engine:
            while left:
                try:
                    row = measure(engine, left[0], task["samples"].get(left[0], 0), task["quick"], apart)
                except Exception as error:
                    row = {"reason": one_line(error)}
                report(**row)
    except ModuleNotFoundError as error:
        while left:
            report(reason=f"not installed: {error}")
    except Exception as error:
        while left:
            report(reason=one_line(error))


def one_line(error: Exception) -> str:
    """What went wrong, short enough for a table."""
    text = " ".join(str(error).split()).replace("|", "/")
    return text if isinstance(error, NotImplementedError) else f"{type(error).__name__}: {text}"[:160]


if __name__ == "__main__":
    main()
