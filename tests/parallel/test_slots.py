"""A worker's slots and their children: what calls may do there, how they end, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import pickle
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import psutil
import pytest
from clusters import start_cluster
from distributed import Client, LocalCluster
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.svm import LinearSVC
from waiting import gone, until
from wire import Wire, Worker, values_of

import daskhpc  # noqa: F401
from daskhpc.cluster.children import children_of
from daskhpc.parallel import worker_parcels
from daskhpc.parallel.outcome import WorkerDiedError
from daskhpc.parallel.slots import Slots, run_without_dask_task

SECONDS = 60
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # children need not import this module


@contextlib.contextmanager
def cluster_of(folder: Path, **options: Any) -> Iterator[Any]:
    """The current client of one worker with two threads."""
    options = {"local_directory": str(folder), **options}
    with (
        start_cluster(1, threads=2, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
        parallel_config(backend="daskhpc", n_jobs=-1),
    ):
        yield client


@pytest.fixture(scope="module")
def _one_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = str(tmp_path_factory.mktemp("worker"))
    with (
        start_cluster(1, threads=2, local_directory=folder) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def client(_one_worker: Any) -> Iterator[Any]:
    """One worker with two threads, which calls use by default."""
    _one_worker.wait_for_workers(1, timeout=SECONDS)
    with _one_worker.as_current(), parallel_config(backend="daskhpc", n_jobs=-1):
        yield _one_worker


def worker_pid(client: Any) -> int:
    (pid,) = client.run(os.getpid).values()
    return int(pid)


def processes_of(client: Any) -> set[int]:
    """The server of the worker's children, and they."""

    def those(dask_worker: Any) -> set[int]:
        server = children_of(dask_worker)
        return {server.pid, *(child.pid for child in server.children)}

    (pids,) = client.run(those).values()
    return set(pids)


def met(folder: Path, i: int, of: int) -> int:
    """Wait for others, so that each is in a child of its own; returns the process id."""
    (folder / f"met-{i}").touch()
    until(lambda: len(list(folder.glob("met-*"))) >= of, SECONDS)
    return os.getpid()


# What a call may do, as under joblib's own processes.


def as_loky(function: Any, *args: Any) -> Any:
    """What two calls return, each; under loky the same."""
    ours = Parallel()(delayed(function)(*args) for _ in range(2))
    theirs = Parallel(n_jobs=2, backend="loky")(delayed(function)(*args) for _ in range(2))
    assert ours == theirs
    return ours[0]


class TooLateError(Exception):
    pass


def alarm() -> str:
    def ring(*_: Any) -> None:
        raise TooLateError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(SECONDS)
    except TooLateError:
        return "in time"
    finally:
        signal.signal(signal.SIGALRM, before)
    return "never"


def pool() -> list[int]:
    with multiprocessing.Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def executor() -> list[int]:
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(abs, [-1, -2, -3]))


def main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize(
    ("function", "value"), [(alarm, "in time"), (pool, [1, 2, 3]), (executor, [1, 2, 3]), (main_thread, True)]
)
def test_what_a_call_may_do(client: Any, function: Any, value: Any) -> None:
    assert as_loky(function) == value


@pytest.mark.parametrize(
    "model",
    [
        LinearSVC(random_state=0, max_iter=200),
        LogisticRegression(solver="liblinear", random_state=0, penalty="l1"),
    ],
    ids=["LinearSVC", "LogisticRegression"],
)
@pytest.mark.filterwarnings("ignore")
def test_liblinear_gives_the_serial_coefficients(client: Any, model: Any) -> None:
    """Its generator of random numbers is one per process, and unprotected."""
    data = load_breast_cancer(return_X_y=True)

    def fitted(n_jobs: int) -> list[Any]:
        return [m.coef_ for m in cross_validate(model, *data, cv=6, return_estimator=True, n_jobs=n_jobs)["estimator"]]

    for ours, serial in zip(fitted(-1), fitted(1), strict=True):
        np.testing.assert_array_equal(ours, serial)


def test_warnings_that_one_search_turns_to_errors_stay_warnings_for_the_next(client: Any) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = LogisticRegression(max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            cross_val_score(model, X, y, cv=4, error_score="raise")
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert np.isfinite(cross_val_score(model, X, y, cv=4, error_score="raise")).all()

    def filters() -> list[Any]:
        return [entry for entry in warnings.filters if entry[2] is ConvergenceWarning and entry[0] == "error"]

    assert Parallel()(delayed(filters)() for _ in range(4)) == [[]] * 4


def test_a_call_finds_its_cluster(client: Any) -> None:
    def compute(i: int) -> tuple[str, int]:
        import distributed

        own = distributed.get_client()
        return own.scheduler.address, own.submit(abs, -i).result(timeout=SECONDS)

    address = client.scheduler.address
    # More calls than threads: each waits for a Dask task, which has to get past the calls that wait for a slot.
    assert Parallel(timeout=SECONDS)(delayed(compute)(i) for i in range(12)) == [(address, i) for i in range(12)]


# How calls end.


def attempt(folder: Path, name: str) -> None:
    """Note that a call has begun, and where."""
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def attempts(folder: Path, name: str) -> list[int]:
    try:
        return [int(line) for line in (folder / name).read_text().split()]
    except FileNotFoundError:
        return []


def crash(folder: Path) -> None:
    until(lambda: attempts(folder, "bystander"), SECONDS)
    attempt(folder, "crash")
    ctypes.string_at(0)


def bystander(folder: Path) -> int:
    """Runs while the other crashes."""
    attempt(folder, "bystander")
    until(lambda: attempts(folder, "crash"), SECONDS)
    until(lambda: gone(attempts(folder, "crash")[0]), SECONDS)
    return os.getpid()


def test_a_crash_leaves_the_call_beside_it_alone(client: Any, tmp_path: Path) -> None:
    before = worker_pid(client)
    results = Parallel(return_as="generator_unordered")([delayed(bystander)(tmp_path), delayed(crash)(tmp_path)])
    other = next(results)
    with pytest.raises(WorkerDiedError, match="SIGSEGV") as raised:
        next(results)
    assert "crash ended its process twice, the second time when it ran alone" in str(raised.value)
    assert attempts(tmp_path, "bystander") == [other], "made once"
    first, again = attempts(tmp_path, "crash")
    assert first not in (again, other), "retried once, in another process"
    assert worker_pid(client) == before
    assert gone(first)
    assert Parallel()(delayed(abs)(-i) for i in range(10)) == list(range(10))


@pytest.mark.parametrize(
    ("end", "cause"), [(lambda: os._exit(5), "5"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL")]
)
def test_a_call_that_ends_its_process(client: Any, end: Any, cause: str) -> None:
    before = worker_pid(client)
    with pytest.raises(WorkerDiedError, match=cause):
        Parallel()(delayed(end)() for _ in range(1))
    assert worker_pid(client) == before


def test_sys_exit_is_an_error_of_its_call(client: Any) -> None:
    with pytest.raises(SystemExit):
        Parallel()([delayed(sys.exit)(3)])


def test_a_child_that_is_killed_while_it_is_idle(client: Any) -> None:
    (pid,) = Parallel()([delayed(os.getpid)()])
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid), SECONDS)
    pids = Parallel()(delayed(os.getpid)() for _ in range(8))
    assert pid not in pids


def endless(how: str, folder: Path) -> None:
    attempt(folder, "endless")
    if how == "sleep":
        time.sleep(10 * SECONDS)
    elif how == "in C":
        sum(range(10**14))
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(1)


@pytest.mark.parametrize("how", ["sleep", "in C", "stubborn"])
def test_an_interrupt_ends_calls_that_never_return(client: Any, how: str, tmp_path: Path) -> None:
    pressed = [0.0]

    def interrupt() -> None:
        until(lambda: len(attempts(tmp_path, "endless")) == 2, SECONDS)
        pressed[0] = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    before = worker_pid(client)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Parallel()(delayed(endless)(how, tmp_path) for _ in range(2))
    assert time.monotonic() - pressed[0] < 15
    thread.join(SECONDS)
    until(lambda: all(map(gone, attempts(tmp_path, "endless"))), SECONDS)
    assert worker_pid(client) == before
    assert Parallel()(delayed(abs)(-i) for i in range(4)) == list(range(4))


def leak(folder: Path) -> None:
    attempt(folder, "leak")
    kept = []
    while True:
        kept.append(np.ones(1 << 20))  # 8 MiB
        time.sleep(0.01)


def beside_leak(folder: Path) -> int:
    until(lambda: attempts(folder, "leak"), SECONDS)
    until(lambda: gone(attempts(folder, "leak")[0]), SECONDS)
    return os.getpid()


def test_a_leak_ends_one_call(tmp_path: Path) -> None:
    """Neither the worker, nor Dask's data in it, nor the call beside it is lost."""
    with cluster_of(tmp_path, memory_limit="700MiB") as client:
        before = worker_pid(client)
        future = client.submit(np.arange, 1000, pure=False)
        results = Parallel(return_as="generator_unordered")([delayed(beside_leak)(tmp_path), delayed(leak)(tmp_path)])
        other = next(results)
        with pytest.raises(WorkerDiedError, match="leak") as raised:
            next(results)
        assert re.search(r"it had [\d.]+ [MG]iB of memory .* its memory limit of 700.00 MiB", str(raised.value))
        assert len(attempts(tmp_path, "leak")) == 2
        assert attempts(tmp_path, "leak")[0] != other
        assert worker_pid(client) == before
        assert future.status == "finished"
        assert future.result()[999] == 999


# What is left.


def counts(client: Any) -> tuple[int, ...]:
    """Files and threads of the worker and of this process, the worker's processes and the runs that it knows."""

    def of_worker(dask_worker: Any) -> tuple[int, int, int, int]:
        me, server = psutil.Process(), children_of(dask_worker)
        files = sum(psutil.Process(child.pid).num_fds() for child in server.children)
        return me.num_fds() + files, me.num_threads(), len(server.children), len(worker_parcels.runs())

    (found,) = client.run(of_worker).values()
    me = psutil.Process()
    return (*found, me.num_fds(), me.num_threads())


def memory_of(client: Any) -> int:
    """Bytes of the worker and its children."""
    return sum(psutil.Process(pid).memory_full_info().uss for pid in {worker_pid(client), *processes_of(client)})


def test_200_parallels_leave_nothing(client: Any, tmp_path: Path) -> None:
    Parallel()(delayed(met)(tmp_path, i, 2) for i in range(2))
    array = np.ones(300_000)

    def use(times: int) -> None:
        for i in range(times):
            if i % 8:
                assert Parallel()(delayed(abs)(-i) for _ in range(4)) == [i] * 4
            else:
                assert Parallel()(delayed(np.sum)(array[i:]) for _ in range(4)) == [array.size - i] * 4

    use(40)
    before, memory = counts(client), memory_of(client)
    use(200)
    # Dask keeps a few more connections and threads if one use begins while the last is being freed.
    files, threads, children, runs, own_files, own_threads = before
    most = (files + 8, threads + 4, children, runs, own_files + 8, own_threads + 8)
    try:
        until(lambda: all(now <= then for now, then in zip(counts(client), most, strict=True)), SECONDS)
    except AssertionError:
        assert counts(client) == most
    # Each thread more may bring an arena of malloc's.
    until(lambda: memory_of(client) - memory < (10 + 2 * max(0, counts(client)[1] - threads)) << 20, SECONDS)


def segments_of(pid: int) -> set[str]:
    """Nodes' shared arrays that a process has open or mapped, by inode."""
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/memfd:daskhpc (" in line:
            found.add(line.split()[4])
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(entry).startswith("/memfd:daskhpc ("):
                found.add(str(os.stat(entry).st_ino))
    return found


def test_a_large_array_is_mapped_once_and_freed(client: Any, tmp_path: Path) -> None:
    def seen(x: Any, i: int) -> tuple[set[str], bool, float]:
        pid = met(tmp_path, i, 2)
        return segments_of(pid), bool(x.flags.writeable), float(x.sum())

    x = np.ones(4_000_000)
    with Parallel() as parallel:
        (one, *rest), (other, *also) = parallel(delayed(seen)(x, i) for i in range(2))
        assert one == other
        assert len(one) == 1
        assert rest == also == [False, x.sum()]
    for pid in {os.getpid(), worker_pid(client), *processes_of(client)}:
        until(lambda pid=pid: segments_of(pid) == set(), SECONDS, f"process {pid} lets go")


@pytest.mark.parametrize("processes", [True, False])
def test_no_child_outlives_its_worker(tmp_path: Path, processes: bool) -> None:
    def children(client: Any, round_: str) -> set[int]:
        folder = tmp_path / round_
        folder.mkdir()
        pids = set(Parallel()(delayed(met)(folder, i, 2) for i in range(2)))
        assert len(pids) == 2
        return processes_of(client) | pids

    def end_within_seconds(pids: set[int]) -> None:
        assert len(pids) == 3
        until(lambda: all(map(gone, pids)), 20, "the end of all children")

    if processes:
        with cluster_of(tmp_path) as client:
            pids, killed = children(client, "killed"), worker_pid(client)
            os.kill(killed, signal.SIGKILL)
            end_within_seconds(pids)
            # The scheduler may not have seen the end of the first one yet, which then does not answer.
            until(lambda: {*client.run(os.getpid, on_error="ignore").values()} - {killed}, 2 * SECONDS)
            pids = children(client, "closed")
        end_within_seconds(pids)
        return
    with (
        LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
        parallel_config(backend="daskhpc", n_jobs=-1),
    ):
        pids = children(client, "within")
    end_within_seconds(pids)


# A worker's slots alone.


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Two slots with real children, and no cluster."""
    with Wire(worker=Worker(threads=2)) as made:
        yield made


def test_children_start_when_they_are_needed_and_are_kept(wire: Wire) -> None:
    assert wire.slots._running() == []
    (first,) = wire((os.getpid, ()))
    assert wire((os.getpid, ())) == [first], "the warmest is taken"
    assert [slot.child.pid for slot in wire.slots._running() if slot.child is not None] == [first]
    assert first != os.getpid()


def test_a_task_goes_to_the_slot_that_it_names(wire: Wire) -> None:
    pids = [values_of(wire.result(wire.task(wire.make((os.getpid, ())), slot=slot)))[0] for slot in (0, 1, 2, 1)]
    assert pids[0] == pids[2] != pids[1] == pids[3]


def test_idle_children_end(wire: Wire) -> None:
    (pid,) = wire((os.getpid, ()))
    wire.slots._end_idle()
    assert wire.slots._running() != []
    for slot in wire.slots._slots:
        slot.used -= 2 * SECONDS
    wire.slots._end_idle()
    assert wire.slots._running() == []
    until(lambda: gone(pid), SECONDS)
    assert wire((abs, (-1,))) == [1]


def test_a_lost_child_leaves_the_records_of_the_calls_before(wire: Wire) -> None:
    def end_at(i: int) -> int:
        if i == 2:
            os._exit(3)
        return i

    result = wire.result(wire.task(wire.make(*((end_at, (i,)) for i in range(4)))))
    assert values_of(result) == [0, 1]
    assert "3" in result.died
    assert wire((abs, (-1,))) == [1]


def test_a_child_that_is_killed_for_a_run_that_ends_makes_no_call_of_the_next(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wire((abs, (-1,))) == [1]
    child_of = wire.slots._child

    def child_while_the_run_ends(slot: Any, task: Any) -> Any:
        child = child_of(slot, task)
        worker_parcels.forget(task.run)
        wire.slots.free(task.run)
        return child

    monkeypatch.setattr(wire.slots, "_child", child_while_the_run_ends)
    assert wire.slots.run(wire.task(wire.make((abs, (-2,))))).records == []
    assert wire.slots._running() == []


def test_a_server_that_is_killed_is_replaced(wire: Wire) -> None:
    (pid,) = wire((os.getpid, ()))
    server = children_of(wire.worker)
    os.kill(server.pid, signal.SIGSTOP)
    asked = threading.Timer(0.1, os.kill, (server.pid, signal.SIGKILL))
    for slot in wire.slots._slots:
        slot.end()
    asked.start()  # while it is asked for the next child
    assert wire((abs, (-1,))) == [1]
    asked.join(SECONDS)
    assert children_of(wire.worker) is not server
    until(lambda: gone(pid), SECONDS)


def wait_for(path: Path, i: int) -> int:
    (path / f"at-{i}").touch()
    until(lambda: i == 0 or (path / "go").exists(), SECONDS)
    return i


@pytest.fixture
def background() -> Iterator[Any]:
    """Runs a function in a thread; what it returned when it is asked for."""
    threads: list[threading.Thread] = []

    def start(function: Any, *args: Any) -> Any:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(function(*args)))
        threads.append(thread)
        thread.start()

        def result() -> Any:
            thread.join(SECONDS)
            return found[0]

        return result

    yield start
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_what_a_task_that_is_recalled_has_done_is_told(wire: Wire, tmp_path: Path, background: Any) -> None:
    waiting, done, running = (
        wire.task(wire.make(*((function, args) for args in arguments)), name=name)
        for name, function, arguments in (
            ("waiting", abs, [(-1,), (-2,)]),
            ("done", abs, [(-1,)]),
            ("running", wait_for, [(tmp_path, i) for i in range(3)]),
        )
    )
    assert wire.slots.recall(wire.run, ["waiting", "never sent"]) == {}
    assert wire.result(waiting).records == [], "it begins nothing when it comes"
    assert values_of(wire.result(done)) == [1]
    assert wire.slots.recall(wire.run, ["done"]) == {"done": None}, "its reply is on its way"
    result = background(wire.result, running)
    until((tmp_path / "at-1").exists, SECONDS)
    records = wire.slots.recall(wire.run, ["running"])["running"]
    assert records is not None
    assert len(records) == 1
    (tmp_path / "go").touch()
    assert values_of(result()) == [0, 1], "the third has not begun"
    assert not (tmp_path / "at-2").exists()


def test_what_is_freed_while_it_runs_ends(wire: Wire, tmp_path: Path, background: Any) -> None:
    result = background(wire.slots.run, wire.task(wire.make(*((wait_for, (tmp_path, i)) for i in (1, 2)))))
    until((tmp_path / "at-1").exists, SECONDS)
    (slot,) = wire.slots._running()
    assert slot.child is not None
    pid = slot.child.pid
    worker_parcels.forget(wire.run)
    wire.slots.free(wire.run)
    assert result().records == []
    assert "waits no more" in result().died
    until(lambda: gone(pid), SECONDS)
    assert wire.slots.run(wire.task(wire.make((abs, (-1,))))).records == [], "what comes late begins nothing"


def test_children_forget_what_is_dropped_and_what_is_freed(wire: Wire) -> None:
    x = np.ones(300_000)

    def total(array: Any, i: int) -> float:
        return float(array.sum()) + i

    assert wire((total, (x, 0)), (total, (x, 1))) == [x.size, x.size + 1]
    (slot,) = wire.slots._running()
    assert slot.child is not None
    pid = slot.child.pid
    assert len(segments_of(pid)) == 1
    numbers = [*worker_parcels.run_state(wire.run).segments]
    worker_parcels.run_state(wire.run).drop(numbers)
    wire.slots.drop(wire.run, numbers)
    until(lambda: segments_of(pid) == set(), SECONDS)
    assert slot.has[wire.run], "it still has the small ones"
    wire.slots.free(wire.run)
    assert wire.run not in slot.has
    assert not gone(pid)


def test_a_busy_child_forgets_what_is_dropped_when_its_task_is_over(
    wire: Wire, tmp_path: Path, background: Any
) -> None:
    x = np.ones(300_000)
    assert wire((np.sum, (x,)), (np.sum, (x,))) == [x.size, x.size]
    (slot,) = wire.slots._running()
    assert slot.child is not None
    pid = slot.child.pid
    busy = background(wire.result, wire.task(wire.make((wait_for, (tmp_path, 1)))))
    until((tmp_path / "at-1").exists, SECONDS)
    numbers = [*worker_parcels.run_state(wire.run).segments]
    worker_parcels.run_state(wire.run).drop(numbers)
    wire.slots.drop(wire.run, numbers)
    assert len(segments_of(pid)) == 1
    (tmp_path / "go").touch()
    assert values_of(busy()) == [1]
    until(lambda: segments_of(pid) == set(), SECONDS)
    assert slot.has[wire.run], "it still has the small ones"


def test_requests_leave_the_threads_of_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs one of them for each new connection."""
    release, worker = threading.Event(), Worker()
    monkeypatch.setattr(Slots, "run", lambda slots, task: release.wait(SECONDS))

    async def look() -> int:
        requests = [asyncio.create_task(run_without_dask_task(pickle.dumps(None), worker)) for _ in range(40)]
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, int), SECONDS)
        finally:
            release.set()
            await asyncio.gather(*requests)

    assert asyncio.run(look()) == 0


def test_what_calls_print_is_there_when_they_have_ended(wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    def say() -> None:
        print("Python", end="")
        ctypes.CDLL(None).printf(b", and C")

    wire((say, ()))
    assert sorted(capfd.readouterr().out.split(", ")) == ["Python", "and C"]
