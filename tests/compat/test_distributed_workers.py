"""What daskhpc's Nanny and LocalCluster need of distributed beyond its public names is still there."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import psutil
from clusters import start_cluster
from distributed import Client, LocalCluster, Nanny
from distributed.deploy import Cluster
from waiting import until

from daskhpc.compat.distributed_workers import WORKER_PROCESS, ResilientLocalCluster, SupervisingNanny


def test_what_is_overridden_is_there() -> None:
    for name in ("instantiate", "close", "kill", "_on_worker_exit"):
        assert callable(getattr(Nanny, name)), name
        assert name in vars(SupervisingNanny)
    assert "_update_worker_status" in vars(Cluster)
    assert LocalCluster.__mro__.index(Cluster) > 1
    assert "_update_worker_status" in vars(ResilientLocalCluster)


def test_a_worker_process_and_its_nanny() -> None:
    """The process has the name by which it is known, its memory is watched, and it comes again when it is killed."""
    with start_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        (nanny,) = cluster.workers.values()
        assert isinstance(nanny, SupervisingNanny)
        assert {"memory_monitor", "daskhpc-alive"} <= set(nanny.periodic_callbacks)
        assert nanny.process.process.pid == nanny.pid
        assert nanny.memory_manager.memory_limit * nanny.memory_manager.memory_terminate_fraction > 0
        (name,) = client.run(process_name).values()
        assert name.startswith(WORKER_PROCESS)
        pid = nanny.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: nanny.pid not in (None, pid) and psutil.pid_exists(nanny.pid))
        assert client.submit(sum, [1, 2], pure=False).result(timeout=60) == 3


def test_a_worker_that_has_to_be_killed_leaves_no_lock() -> None:
    with start_cluster(1) as cluster:
        (nanny,) = cluster.workers.values()
        lock = Path(nanny.worker_dir + ".dirlock")
        assert lock.exists()
        os.kill(nanny.pid, signal.SIGSTOP)
        cluster.sync(nanny.kill, timeout=4)
        assert not lock.exists()


def test_a_worker_that_is_killed_in_its_start_leaves_no_folder_and_no_lock(tmp_path: Path) -> None:
    slow = "import threading\n\ndef dask_setup(worker):\n    threading.Event().wait(60)\n"

    async def begin(address: str) -> tuple[Supervised, asyncio.Task[Any]]:
        nanny = Supervised(address, nthreads=1, preload=[slow], local_directory=str(tmp_path))
        return nanny, asyncio.ensure_future(nanny.start())

    async def give_up(nanny: Supervised, start: asyncio.Task[Any]) -> None:
        while not start.done():
            nanny.give_up_start()
            await asyncio.wait([start], timeout=0.05)
        await nanny.close()

    with start_cluster(0) as cluster:
        nanny, start = cluster.sync(begin, cluster.scheduler_address)
        until(lambda: list(tmp_path.rglob("worker-*.dirlock")))
        cluster.sync(give_up, nanny, start)
        assert isinstance(start.exception(), RuntimeError)
    assert list(tmp_path.rglob("worker-*")) == []


class Supervised(SupervisingNanny):
    """With the machine's own figures."""

    def memory_of(self, pid: int) -> int:
        return int(psutil.Process(pid).memory_info().rss)


def process_name() -> Any:
    """The name of this process, as ``multiprocessing`` gave it."""
    import multiprocessing

    return multiprocessing.current_process().name
