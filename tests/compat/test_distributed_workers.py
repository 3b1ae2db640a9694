"""What daskhpc's Nanny and LocalCluster need of distributed beyond its public names is still there."""

from __future__ import annotations

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
        assert client.submit(sum, [1, 2], pure=False).result(timeout=30) == 3


def test_a_worker_that_has_to_be_killed_leaves_no_lock() -> None:
    with start_cluster(1) as cluster:
        (nanny,) = cluster.workers.values()
        lock = Path(nanny.worker_dir + ".dirlock")
        assert lock.exists()
        os.kill(nanny.pid, signal.SIGSTOP)
        cluster.sync(nanny.kill, timeout=0.5)
        assert not lock.exists()


def process_name() -> Any:
    """The name of this process, as ``multiprocessing`` gave it."""
    import multiprocessing

    return multiprocessing.current_process().name
