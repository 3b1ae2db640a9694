"""A Dask cluster of real worker processes on this machine, as daskhpc starts them."""

from __future__ import annotations

from typing import Any


def start_cluster(workers: int, threads: int = 1, **options: Any) -> Any:
    """Worker processes kept by daskhpc's Nannies."""
    from daskhpc.cluster.workers import CappedNanny
    from daskhpc.compat.distributed_workers import ResilientLocalCluster

    return ResilientLocalCluster(
        worker_class=CappedNanny,
        n_workers=workers,
        threads_per_worker=threads,
        host="127.0.0.1",
        dashboard_address=None,
        **{"memory_limit": "2GiB", **options},
    )
