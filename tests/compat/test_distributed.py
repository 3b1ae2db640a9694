"""What daskhpc needs of distributed beyond its public names is still there."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import weakref
from typing import Any

import dask
import distributed
import pytest
from distributed import Client
from waiting import until

from daskhpc.compat import distributed as compat


def test_a_forked_process_does_not_have_the_clients_thread(client: Any) -> None:
    assert compat.runs_in_this_process(client)
    child = os.fork()
    if child == 0:
        os._exit(int(compat.runs_in_this_process(client)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_forgets_what_dask_does_at_its_end(client: Any) -> None:
    """Dask's exit handlers, the finalizers of its connections and processes, and its workers: all are found."""
    assert callable(distributed.client._close_global_client)
    assert callable(distributed.deploy.spec.close_clusters)
    compat.leave_end_to_parent()

    def workers() -> list[Any]:
        return [child for child in multiprocessing.active_children() if child.name.startswith("Dask Worker")]

    def finalizers() -> list[Any]:
        entries = weakref.finalize._registry.items()  # type: ignore[attr-defined]
        return [f for f, info in entries if f.atexit and info.func.__module__.startswith("distributed.")]

    assert len(workers()) == 2
    assert len(finalizers()) > 2
    child = os.fork()
    if child == 0:
        os._exit(len(workers()) + len(finalizers()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


FINDS = """
import sys
import distributed
from daskhpc.compat.distributed import let_calls_find
for _ in range(2):
    let_calls_find(distributed, sys.argv[1], lambda: None)
from distributed import get_client
first = get_client()
assert first.submit(abs, -3).result(30) == 3
assert get_client() is first and distributed.worker.get_client(timeout=5) is first
print(first.scheduler.address)
first.close()
"""


def test_a_process_that_makes_calls_finds_the_cluster(client: Any) -> None:
    address = client.scheduler.address
    done = subprocess.run([sys.executable, "-c", FINDS, address], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == address, done.stderr


def clients_of(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.clients)


async def ask_scheduler(dask_worker: Any) -> Any:
    return await compat.call_on_scheduler(dask_worker, clients_of)


def test_a_worker_asks_the_scheduler_without_a_client_of_its_own(client: Any) -> None:
    for present in client.run(ask_scheduler).values():
        assert client.id in present
    assert set(client.run_on_scheduler(clients_of)) == set(present)


def divide(a: int, b: int) -> float:
    return a / b


async def ask_peer(other: str, a: int, b: int, dask_worker: Any) -> Any:
    return await compat.call_on_worker(dask_worker, other, divide, a, b)


def test_a_worker_asks_another_one(client: Any) -> None:
    one, other = sorted(compat.worker_infos(client))
    assert client.run(ask_peer, other, 1, 2, workers=[one]) == {one: 0.5}
    with pytest.raises(OSError, match=r"divide failed on .*division by zero"):
        client.run(ask_peer, other, 1, 0, workers=[one])


def test_what_the_client_asks_by_itself_takes_no_worker_away(client: Any) -> None:
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        Client(client.scheduler.address) as busy,
    ):
        assert {len(compat.worker_infos(busy)) for _ in range(500)} == {2}


def test_every_open_client_is_listed(client: Any) -> None:
    """``open_clients``."""
    assert client in compat.open_clients()


def test_a_paused_worker_takes_no_task_and_the_memory_is_what_is_said() -> None:
    """``pause_worker``, ``resume_worker`` and ``measure_memory_by``, on a worker of their own."""
    from distributed import Worker

    def on_worker(dask_worker: Worker) -> tuple[str, int]:
        compat.measure_memory_by(dask_worker, lambda: 123)
        compat.pause_worker(dask_worker)
        dask_worker.monitor.update()
        return dask_worker.status.name, dask_worker.monitor.recent()["memory"]

    with Client(n_workers=1, processes=False, dashboard_address=None, set_as_default=False) as client:
        assert list(client.run(on_worker).values()) == [("paused", 123)]
        (info,) = client.cluster.scheduler.workers.values()
        until(lambda: info.status.name == "paused", 60)
        client.run(lambda dask_worker: compat.resume_worker(dask_worker))
        until(lambda: info.status.name == "running", 60)
        assert client.submit(sum, [1, 2]).result(60) == 3


def test_bytes_that_workers_fetched_and_wrote(client: Any) -> None:
    """If this fails, see what distributed calls the log of transfers, and the counts of what is written to disk."""
    first, second = client.ncores()
    last = client.run(lambda dask_worker: compat.last_fetch(dask_worker))
    written = client.run(lambda dask_worker: compat.bytes_written_to_disk(dask_worker))
    data = client.submit(bytes, 10**6, workers=[first], pure=False)
    assert client.submit(len, data, workers=[second], pure=False).result() == 10**6
    fetched = client.run(lambda dask_worker: compat.bytes_fetched_since(dask_worker, last[dask_worker.address]))
    assert fetched[second] == pytest.approx(10**6, rel=0.01)
    assert client.run(lambda dask_worker: compat.last_fetch(dask_worker))[second] > last[second]
    assert client.run(lambda dask_worker: compat.bytes_written_to_disk(dask_worker)) == written
    assert client.run(lambda dask_worker: hasattr(dask_worker, "digests_total"))[first]


def test_copies_that_every_worker_keeps(client: Any) -> None:
    """If this fails, see how distributed's active memory manager takes copies away that no task waits for."""
    held = client.scatter({key: key for key in ("kept-by-a-test", "not-kept-by-a-test")}, broadcast=True)
    for _ in range(2):
        client.run_on_scheduler(compat.keep_replicas, "kept-by-a-test")
    client.amm.run_once()
    until(lambda: len(client.who_has(held)["not-kept-by-a-test"]) == 1, 60)
    assert len(client.who_has(held)["kept-by-a-test"]) == 2


def make_workers_silent(dask_scheduler: Any) -> None:
    for state in dask_scheduler.workers.values():
        state.last_seen -= 1000


def test_workers_are_heard_before_they_count_as_silent() -> None:
    """If this fails, see how distributed looks for workers that were silent for ``worker-ttl``."""

    async def hear_and_look(dask_scheduler: Any) -> None:
        compat.hear_workers_before_counting_them_silent(dask_scheduler)
        make_workers_silent(dask_scheduler)
        await dask_scheduler.periodic_callbacks["worker-ttl"].callback()

    async def look(dask_scheduler: Any) -> None:
        make_workers_silent(dask_scheduler)
        await dask_scheduler.check_worker_ttl()

    with Client(n_workers=1, processes=False, dashboard_address=None, set_as_default=False) as client:
        for function, left in ((hear_and_look, 1), (look, 0)):
            client.run_on_scheduler(function)
            assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.workers)) == left
