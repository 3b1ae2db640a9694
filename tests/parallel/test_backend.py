"""joblib's Parallel over real worker processes: results, data, errors, losses, cancelling, nesting, leftovers."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import distributed
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from clusters import start_cluster
from distributed import Client
from joblib import Parallel, delayed, parallel_config
from waiting import meet, until

import daskhpc  # noqa: F401
from daskhpc.cluster.children import children_of
from daskhpc.parallel import backend, local, worker_parcels
from daskhpc.parallel import run as engine
from daskhpc.parallel.outcome import WorkerDiedError
from daskhpc.parallel.transport import fetch
from daskhpc.parallel.worker_events import WORKERS_TOPIC, WorkerEvents
from daskhpc.parallel.worker_set import WorkerSet

SECONDS = 60


@pytest.fixture(autouse=True)
def _backend(client: Any) -> Iterator[None]:
    with parallel_config(backend="daskhpc", n_jobs=-1):
        yield


def where(x: int, folder: Path | None = None, of: int = 0) -> tuple[int, int]:
    """The square and the process; the first calls wait until so many processes make calls."""
    if folder is not None:
        meet(folder, of)
    time.sleep(0.01)
    return x * x, os.getpid()


def pids(client: Any) -> set[int]:
    """The processes of all workers in which calls run."""

    def children(dask_worker: Any) -> list[int]:
        return [child.pid for child in children_of(dask_worker).children]

    return {pid for found in client.run(children).values() for pid in found}


def test_calls_run_on_all_workers_in_order(client: Any, tmp_path: Path) -> None:
    results = Parallel()(delayed(where)(i, tmp_path, 2) for i in range(60))
    assert [value for value, _ in results] == [i * i for i in range(60)]
    until(lambda: {pid for _, pid in results} == pids(client), what="the end of children that tests before have killed")


def test_no_calls() -> None:
    assert Parallel()([]) == []


@pytest.mark.parametrize(("n_jobs", "processes"), [(1, 0), (2, 2), (-1, 2), (-2, 1), (5, 2)])
def test_n_jobs_counts_the_threads_of_all_workers(client: Any, n_jobs: int, processes: int, tmp_path: Path) -> None:
    with parallel_config(backend="daskhpc"):
        results = Parallel(n_jobs=n_jobs)(delayed(where)(i, tmp_path, processes) for i in range(20))
        assert joblib.effective_n_jobs(n_jobs) == (2 if processes else 1)
    used = {pid for _, pid in results}
    assert len(used) == max(1, processes)
    assert used <= (pids(client) if processes else {os.getpid()})


def times(folder: Path, of: int) -> list[tuple[float, int]]:
    """When the call began and ended; the first calls wait until so many run at the same time."""
    began = time.monotonic()
    meet(folder, of)
    time.sleep(0.02)
    return [(began, 1), (time.monotonic(), -1)]


@pytest.mark.parametrize("ahead", ["2*n_jobs", "all"])
def test_a_worker_with_more_threads_runs_no_more_calls_than_n_jobs(ahead: str, tmp_path: Path) -> None:
    with start_cluster(1, 4) as cluster, Client(cluster):
        found = Parallel(n_jobs=2, pre_dispatch=ahead)(delayed(times)(tmp_path, 2) for _ in range(60))
    assert most_at_once(found) == 2


def test_the_clients_threads_run_no_more_calls_than_n_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "threads_here", lambda: 4)
    assert most_at_once(Parallel(n_jobs=2, prefer="threads")(delayed(times)(tmp_path, 2) for _ in range(20))) == 2


def most_at_once(found: list[list[tuple[float, int]]]) -> int:
    running = [0]
    for _, change in sorted(moment for both in found for moment in both):
        running.append(running[-1] + change)
    return max(running)


def test_n_jobs_zero() -> None:
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(where)(i) for i in range(2))


def test_generators() -> None:
    assert [v for v, _ in Parallel(return_as="generator")(delayed(where)(i) for i in range(10))] == [
        i * i for i in range(10)
    ]
    unordered = Parallel(return_as="generator_unordered")(delayed(where)(i) for i in range(10))
    assert sorted(v for v, _ in unordered) == [i * i for i in range(10)]


def test_data_sent_to_all_workers_meanwhile(client: Any) -> None:
    """For which the scheduler tells listeners of "all" what cannot be sent: they lose their connection."""
    results = Parallel(return_as="generator")(delayed(where)(i) for i in range(10))
    assert next(results)[0] == 0
    (sent,) = client.scatter([7], broadcast=True)
    assert client.submit(abs, sent).result(timeout=SECONDS) == 7
    assert [v for v, _ in results] == [i * i for i in range(1, 10)]
    assert client.submit(abs, sent).result(timeout=SECONDS) == 7


def test_the_scheduler_is_told_once_to_tell_of_workers(client: Any) -> None:
    def plugins(dask_scheduler: Any) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dask_scheduler.add_plugin(WorkerEvents(), name=WORKERS_TOPIC, idempotent=WorkerEvents.idempotent)
        return sum(isinstance(plugin, WorkerEvents) for plugin in dask_scheduler.plugins.values())

    Parallel()(delayed(abs)(i) for i in range(2))
    assert client.run_on_scheduler(plugins) == 1


def test_a_use_sends_the_scheduler_nothing_before_its_tasks(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask's client sends nothing for 10 ms after a message, so that tasks would wait behind it."""
    Parallel()(delayed(lambda i: i)(i) for i in range(2))
    members = WorkerSet.of(client)
    until(lambda: not members._futures)
    gc.collect()  # futures of tests before, which would be released in between
    client.sync(asyncio.sleep, 0)  # the client's loop has sent by now that it released them
    sent, send = list[str](), client._send_to_scheduler
    monkeypatch.setattr(client, "_send_to_scheduler", lambda message: (sent.append(message["op"]), send(message)))
    Parallel()(delayed(lambda i: i)(i) for i in range(2))
    assert sent[0] == "update-graph"
    assert set(sent) <= {"update-graph", "client-releases-keys"}


def test_the_backend_by_name_in_parallel() -> None:
    assert [v for v, _ in Parallel(n_jobs=2, backend="daskhpc")(delayed(where)(i) for i in range(4))] == [0, 1, 4, 9]


def test_calls_flow_while_they_are_made() -> None:
    """A call is made, runs and has its effect before the next one is made."""
    seen: list[bool] = []

    def calls(folder: Path) -> Iterator[Any]:
        for i in range(4):
            yield delayed(Path.touch)(folder / str(i))
            until((folder / str(i)).exists)
            seen.append(True)

    with tempfile.TemporaryDirectory() as folder:
        Parallel()(calls(Path(folder)))
    assert len(seen) == 4


def held(i: int, long: int, go: str) -> int:
    if i == long:
        until(Path(go).exists)
    return i


@pytest.mark.parametrize("long", [3, 50, 150])
def test_no_call_and_no_result_waits_for_a_long_call(long: int, tmp_path: Path) -> None:
    go = tmp_path / "go"
    calls = (delayed(held)(i, long, str(go)) for i in range(200))
    results = Parallel(return_as="generator_unordered")(calls)
    quick = [next(results) for _ in range(199)]
    assert set(quick) == set(range(200)) - {long}
    go.touch()
    assert list(results) == [long]


def test_what_was_sent_ahead_leaves_a_worker_with_a_long_call(tmp_path: Path) -> None:
    """A task that has not begun is taken back whole."""
    go = tmp_path / "go"
    calls = [delayed(where)(i) for i in range(40)] + [delayed(held)(0, 0, str(go))]
    results = Parallel(return_as="generator_unordered")(calls + [delayed(where)(i) for i in range(100)])
    quick = [next(results) for _ in range(140)]
    assert all(isinstance(result, tuple) for result in quick)
    go.touch()
    assert list(results) == [0]


def test_a_given_pre_dispatch_is_kept(tmp_path: Path) -> None:
    """A call is made for the one that has ended; the two others have not."""
    made = []

    def calls() -> Iterator[Any]:
        for i in range(30):
            made.append(i)
            yield delayed(block)(str(tmp_path), i) if i else delayed(where)(i)

    results = Parallel(pre_dispatch=2, return_as="generator")(calls())
    until(lambda: began(tmp_path) == 2)
    assert made == [0, 1, 2]
    (tmp_path / "go").touch()
    assert len(list(results)) == 30


def wait_for(path: str, i: int) -> int:
    if i >= 4:
        until(Path(path).exists)
    return i


def test_the_last_calls_are_sent_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """joblib takes them from the caller's iterator at once, and gives away one as each result comes."""
    given: list[int] = []
    add = engine.Run.add
    monkeypatch.setattr(engine.Run, "add", lambda run, calls, *more: (add(run, calls, *more), given.append(len(calls))))
    monkeypatch.setattr(backend, "_MAKING_SECONDS", 1e9)  # however long a call takes to make
    go = tmp_path / "go"

    def all_were_given() -> bool:
        try:
            until(lambda: sum(given) == 30, 60)
            return True
        finally:
            go.touch()

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(all_were_given)
        assert Parallel()(delayed(wait_for)(str(go), i) for i in range(30)) == [*range(30)]
        assert found.result()


# Data.


def describe(x: Any, i: int) -> tuple[bool, float, str]:
    array = x if isinstance(x, np.ndarray) else x.data if scipy.sparse.issparse(x) else x.to_numpy()
    return bool(array.flags.writeable), float(array.sum()), type(x).__name__


@pytest.mark.parametrize(
    "x",
    [
        np.arange(500_000.0).reshape(-1, 5),
        np.asfortranarray(np.arange(500_000.0).reshape(-1, 5)),
        pd.DataFrame(np.arange(500_000.0).reshape(-1, 5), columns=list("abcde")),
        scipy.sparse.random(2000, 2000, 0.1, format="csr", random_state=0),
    ],
    ids=["c", "fortran", "frame", "sparse"],
)
def test_large_data_is_mapped_read_only(x: Any) -> None:
    results = Parallel()(delayed(describe)(x, i) for i in range(20))
    _, total, name = describe(x, 0)
    assert set(results) == {(False, total, name)}


@pytest.mark.parametrize(
    ("options", "writeable"), [({"max_nbytes": None}, True), ({"mmap_mode": "c"}, True), ({}, False)]
)
def test_joblibs_memory_options(options: dict[str, Any], writeable: bool) -> None:
    x = np.arange(300_000.0)
    with parallel_config(backend="daskhpc", n_jobs=-1, **options):
        assert set(Parallel()(delayed(describe)(x, i) for i in range(6))) == {(writeable, x.sum(), "ndarray")}


def test_small_arrays_are_copies() -> None:
    x = np.arange(10.0)
    assert set(Parallel()(delayed(describe)(x, i) for i in range(6))) == {(True, 45.0, "ndarray")}


def test_results_are_writeable() -> None:
    for result in Parallel()(delayed(np.zeros)(300_000) for _ in range(3)):
        result += 1


def test_nothing_is_left_when_the_call_ends(client: Any) -> None:
    x = np.arange(1_000_000.0)
    Parallel()(delayed(describe)(x, i) for i in range(6))
    until(lambda: not any(client.run(lambda: len(worker_parcels._states)).values()))  # small runs are freed together
    assert set(client.run(lambda: sum("memfd:daskhpc (" in _target(n) for n in _descriptors())).values()) == {0}
    assert not any("memfd:daskhpc (" in _target(n) for n in _descriptors())


def _descriptors() -> list[str]:
    return [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_data_of_a_client_that_was_killed_is_dropped(client: Any, tmp_path: Path) -> None:
    program = tmp_path / "it's; a program.py"
    program.write_text(
        "import sys, time, joblib, numpy, daskhpc\n"
        "from distributed import Client\n"
        "client = Client(sys.argv[1])\n"
        "def f(x, i, path):\n    open(path, 'w').close()\n    time.sleep(0.05)\n"
        "joblib.Parallel(n_jobs=-1, backend='daskhpc')(\n"
        "    joblib.delayed(f)(numpy.ones(10**6), i, sys.argv[2]) for i in range(10000))\n"
    )
    mark = tmp_path / "running"
    process = subprocess.Popen([sys.executable, str(program), client.scheduler.address, str(mark)])
    try:
        until(mark.exists)
        until(lambda: any(client.run(lambda: len(worker_parcels._states)).values()))
    finally:
        process.kill()
        process.wait(SECONDS)
    # A worker asks every 10 s which clients there are.
    until(lambda: not any(client.run(lambda: len(worker_parcels._states)).values()), 2 * SECONDS)


# Errors.


def fail_at(i: int, which: int) -> int:
    if i == which:
        raise KeyError("seven")
    return i


def test_the_original_error_with_its_remote_traceback() -> None:
    with pytest.raises(KeyError, match="seven") as caught:
        Parallel()(delayed(fail_at)(i, 7) for i in range(50))
    assert "in fail_at" in str(caught.value.__cause__)
    assert Parallel()(delayed(fail_at)(i, 7) for i in range(3)) == [0, 1, 2]


def test_the_traceback_has_the_file_and_line_of_a_function_that_no_module_has() -> None:
    def fail(i: int) -> None:
        raise KeyError(i)

    with pytest.raises(KeyError) as caught:
        Parallel()(delayed(fail)(i) for i in range(2))
    line = fail.__code__.co_firstlineno + 1
    assert f'File "{__file__}", line {line}, in fail\n    raise KeyError(i)' in str(caught.value.__cause__)


def test_an_error_of_the_caller() -> None:
    def calls() -> Iterator[Any]:
        yield delayed(where)(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Parallel()(calls())


def test_an_error_of_the_caller_before_the_first_call() -> None:
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(where)(1 // i) for i in range(3))


class Unpicklable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("two")
        self.lock = threading.Lock()


def raise_unpicklable() -> None:
    raise Unpicklable(1, 2)


def test_an_error_that_cannot_be_pickled() -> None:
    with pytest.raises(RuntimeError, match="Unpicklable: two"):
        Parallel()(delayed(raise_unpicklable)() for _ in range(2))


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(Exception, match=r"Could not pickle the task.*describe"):
        Parallel()(delayed(describe)(threading.Lock(), i) for i in range(4))
    with pytest.raises(Exception, match="pickle"):
        Parallel()(delayed(threading.Lock)() for i in range(4))


def block(path: str, i: int) -> None:
    Path(path, f"began-{i}").touch()
    end = time.monotonic() + SECONDS
    while not Path(path, "go").exists() and time.monotonic() < end:
        time.sleep(0.02)


def began(folder: Path) -> int:
    return len(list(folder.glob("began-*")))


def test_an_error_ends_the_call_while_others_run(tmp_path: Path) -> None:
    def first_or_block(i: int) -> None:
        if i == 0:
            until(lambda: began(tmp_path) >= 1)
            raised = time.monotonic()
            raise ValueError("first", raised)
        block(str(tmp_path), i)

    with pytest.raises(ValueError, match="first") as caught:
        Parallel()(delayed(first_or_block)(i) for i in range(100))
    assert time.monotonic() - caught.value.args[1] < 15
    (tmp_path / "go").touch()
    assert began(tmp_path) < 20
    assert [v for v, _ in Parallel()(delayed(where)(i) for i in range(3))] == [0, 1, 4]


def test_an_interrupt_ends_the_call(tmp_path: Path) -> None:
    pressed = [0.0]

    def interrupt() -> None:
        until(lambda: began(tmp_path) >= 1)
        pressed[0] = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Parallel()(delayed(block)(str(tmp_path), i) for i in range(100))
    assert time.monotonic() - pressed[0] < 15
    thread.join(SECONDS)
    (tmp_path / "go").touch()
    assert began(tmp_path) < 20


def test_a_timeout(tmp_path: Path) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.5)(delayed(block)(str(tmp_path), i) for i in range(4))
    (tmp_path / "go").touch()


# Losses.


def die_once(i: int, folder: str) -> tuple[int, int]:
    mark = Path(folder, "died")
    if i == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return i, os.getpid()


def test_a_worker_that_dies_once(client: Any, tmp_path: Path) -> None:
    results = Parallel()(delayed(die_once)(i, str(tmp_path)) for i in range(40))
    assert [i for i, _ in results] == list(range(40))
    assert (tmp_path / "died").exists()


def die(i: int, which: int, how: signal.Signals) -> int:
    if i == which:
        os.kill(os.getpid(), how)
    return i


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_call_that_kills_its_worker(client: Any, how: signal.Signals) -> None:
    with pytest.raises(WorkerDiedError, match=how.name) as caught:
        Parallel()(delayed(die)(i, 3, how) for i in range(10))
    assert "try:" in str(caught.value)
    client.wait_for_workers(2, timeout=SECONDS)
    assert Parallel()(delayed(die)(i, 99, how) for i in range(10)) == list(range(10))


def test_the_companions_of_a_killer_are_unharmed(client: Any) -> None:
    """All other results come, each computed although its worker died."""
    got = []
    results = Parallel(return_as="generator_unordered")(delayed(die)(i, 3, signal.SIGKILL) for i in range(30))
    with pytest.raises(WorkerDiedError):
        got.extend(results)
    client.wait_for_workers(2, timeout=SECONDS)


# Nesting.


def nested(i: int) -> tuple[list[int], set[int], int]:
    inner = Parallel(n_jobs=-1)(delayed(threading.get_ident)() for _ in range(4))
    processes = set(Parallel(n_jobs=2)(delayed(os.getpid)() for _ in range(4)))
    return [len(set(inner))], processes, os.getpid()


def test_nested_calls_stay_in_their_process() -> None:
    for threads, processes, own in Parallel()(delayed(nested)(i) for i in range(4)):
        assert threads == [1]
        assert processes == {own}


def inner_times(folder: Path, of: int) -> list[list[tuple[float, int]]]:
    folder.mkdir()
    return list(Parallel(n_jobs=-1)(delayed(times)(folder, of) for _ in range(8)))


@pytest.mark.parametrize("calls", [1, 2, 12])
def test_nested_calls_use_the_threads_of_their_worker_and_no_more(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How many there are is known when joblib has made them, however long that takes.
    monkeypatch.setattr(engine, "_DISPATCH_SECONDS", SECONDS)
    threads = max(1, 4 // calls)
    with (
        start_cluster(1, threads=4, local_directory=str(tmp_path)) as cluster,
        Client(cluster, set_as_default=False) as own,
        own.as_current(),
    ):
        found = Parallel()(delayed(inner_times)(tmp_path / f"call {i}", threads) for i in range(calls))
    assert most_at_once([moments for call in found for moments in call]) <= 4
    if calls <= 2:  # of many, the last ones may have more than one, too
        assert {most_at_once(call) for call in found} == {threads}


def test_no_client_is_joblibs_own(client: Any) -> None:
    from daskhpc.parallel.backend import DaskhpcBackend

    class Nobody(DaskhpcBackend):
        def _client(self) -> Any:
            return None

    with parallel_config(backend=Nobody(), n_jobs=2):
        used = {pid for _, pid in Parallel()(delayed(where)(i) for i in range(4))}
    assert used.isdisjoint({os.getpid(), *pids(client)})


# Other nodes.


def test_a_client_apart_sends_data_once_to_a_node(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskhpc.parallel.node_memory.node_name", lambda: "a login node")
    x = np.arange(6_000_000.0)
    with Parallel() as parallel:
        results = parallel(delayed(describe)(x, i) for i in range(40))
        counts = client.run(lambda: sum(kept.received for kept in worker_parcels._states.values()))
    assert set(results) == {(False, x.sum(), "ndarray")}
    assert sorted(n // x.nbytes for n in counts.values()) == [0, 1]


def test_a_process_that_cannot_look_into_the_client_gets_data_of_its_own(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers: same host name, but the client's descriptor leads nowhere."""
    monkeypatch.setattr("daskhpc.parallel.node_memory.os.getpid", lambda: 2**22 + 1)
    x = np.arange(1_000_000.0)
    with Parallel() as parallel:
        assert set(parallel(delayed(describe)(x, i) for i in range(40))) == {(False, x.sum(), "ndarray")}
        received = client.run(lambda: sum(kept.received for kept in worker_parcels._states.values()))
        assert sum(received.values()) >= x.nbytes


@pytest.mark.parametrize(("seconds", "overhead", "there"), [(0.001, SECONDS, False), (0.2, 0.5, True)])
def test_what_prefers_threads_goes_to_the_cluster_only_where_that_pays(
    client: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, overhead: float, there: bool, tmp_path: Path
) -> None:
    """`overhead` is what the way to the cluster costs: quick calls stay, also if one of them was held up."""
    monkeypatch.setattr("daskhpc.parallel.backend.threads_here", lambda: 1)
    monkeypatch.setattr(local, "_OVERHEAD_SECONDS", overhead)
    here = os.getpid()

    def sleep(i: int) -> int:
        time.sleep(seconds)
        if os.getpid() != here:
            meet(tmp_path, 2)
        return os.getpid()

    assert set(Parallel(prefer="threads")(delayed(sleep)(i) for i in range(4))) == {os.getpid()}  # on one machine
    monkeypatch.setattr("daskhpc.parallel.backend.DaskhpcBackend._elsewhere", lambda self: True)
    used = set(Parallel(prefer="threads")(delayed(sleep)(i) for i in range(40)))
    assert used - {os.getpid()} <= pids(client)
    assert len(used) == (3 if there else 1)


def test_shared_memory_is_joblibs_threads() -> None:
    assert set(Parallel(require="sharedmem")(delayed(os.getpid)() for _ in range(4))) == {os.getpid()}


def test_a_fetch_that_is_given_up_spoils_no_later_one(client: Any) -> None:
    """It is given up if its worker is lost, perhaps while the client still waits for its turn to fetch.

    Only the client's own semaphore makes sure that it waits. If a release has none, a fetch does not wait for its turn:
    then this test can go, and the shield in ``transport.fetch`` with it.
    """

    async def given_up() -> Any:
        first, second = (client.submit(lambda x: x, number, pure=False) for number in (1, 2))
        await distributed.wait([first])
        turns = 0
        while not client._gather_semaphore.locked():
            await client._gather_semaphore.acquire()
            turns += 1
        fetching = asyncio.ensure_future(fetch(client, first))
        while client._gather_future is None:
            await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.wait({fetching})
        for _ in range(turns):
            client._gather_semaphore.release()
        return await fetch(client, second)

    assert client.sync(given_up, callback_timeout=SECONDS) == 2
