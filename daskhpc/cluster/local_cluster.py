"""The cluster on one machine without MPI: a LocalCluster, planned as one rank with several worker processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..chunk_size import array_chunk_size
from ..own_files import own_scratch
from ..runtime import Runtime, Sourced
from ..settings import Settings
from . import http_door
from .encryption import local_security, new_identities, use_in_dask
from .environment import limit_worker_deaths_per_task
from .plan import (
    CLIENT,
    WORKER,
    RankPlan,
    directory_of,
    interface_of,
    more_than_granted,
    setting,
    worker_blas,
    worker_memory,
    worker_threads,
)
from .quiet_end import drop_records_of_the_end


def plan_local(runtime: Runtime, settings: Settings) -> RankPlan:
    """Plan the workers of this machine, as one rank with several processes.

    How many processes: ``workers`` or ``processes`` if one is set, their product if both are, as many as leave each
    ``nthreads`` if that is set, else as Dask's LocalCluster divides a machine.

    Parameters
    ----------
    runtime : Runtime
        Its ``cpus`` and ``memory`` are shared among the processes.
    settings : Settings

    Returns
    -------
    RankPlan
    """
    cpus = runtime.cpus
    processes = _processes(cpus, settings)
    shared = replace(settings, processes=processes.value)
    nthreads = worker_threads(cpus, shared)
    blas = worker_blas(cpus, nthreads.value, shared, runtime.grant.omp_threads)
    more = more_than_granted(runtime.grant, settings, processes.value, nthreads.value, blas.value)
    return RankPlan(
        rank=0,
        host=runtime.host.value,
        role=WORKER,
        processes=processes,
        nthreads=nthreads,
        memory_limit=worker_memory(runtime.memory, shared, runtime.grant.system_memory),
        blas_threads=blas,
        interface=interface_of(runtime, settings),
        local_directory=directory_of(runtime, settings),
        warnings=(*runtime.warnings, *more),
    )


def _processes(cpus: Sourced[int], settings: Settings) -> Sourced[int]:
    from distributed.deploy.utils import nprocesses_nthreads

    workers, processes = setting(settings, "workers"), setting(settings, "processes")
    of_each = settings.given("processes")
    if settings.workers is not None and of_each:  # as many as over MPI: there each worker is a rank with its processes
        return Sourced(workers.value * processes.value, f"{workers.source}: workers x processes")
    if settings.workers is not None:
        return workers
    if of_each:
        return processes
    if settings.nthreads is not None:
        return Sourced(max(1, cpus.value // settings.nthreads), f"{cpus.source} / nthreads")
    return Sourced(nprocesses_nthreads(cpus.value)[0], f"{cpus.source}, as Dask divides it")


def start_local(
    plan: RankPlan, settings: Settings, secret: str, protocol: str = "tcp", end: float | None = None
) -> Any:
    """Start the LocalCluster; it ends with the program, as one over MPI ranks does.

    Parameters
    ----------
    plan : RankPlan
    settings : Settings
    secret : str
        That opens its HTTP servers.
    protocol : str
        That of the connections.
    end : float or None
        When the job ends, in seconds since the epoch; None if it is not known.

    Returns
    -------
    distributed.LocalCluster

    Raises
    ------
    StartError
        If the connections are to be encrypted, and the package that makes certificates is not installed.
    """
    import dask
    from distributed.diagnostics.plugin import SchedulerPlugin

    from ..compat.distributed import hear_workers_before_counting_them_silent
    from ..compat.distributed_workers import ResilientLocalCluster
    from .workers import CappedNanny

    class RestoreChunkSize(SchedulerPlugin):  # type: ignore[misc]
        """Give Dask its own chunks back when the cluster closes, by whichever of the ways to close it."""

        async def close(self) -> None:
            array_chunk_size.restore()

    identities = new_identities(protocol, end)
    use_in_dask(identities.get(CLIENT), CLIENT)  # for clients that the program makes by the address
    limit_worker_deaths_per_task()
    drop_records_of_the_end()
    where = {"interface": settings.interface} if settings.interface else {"host": "127.0.0.1"}
    preload = [http_door.PRELOAD, *http_door.other_preloads("distributed.scheduler.preload")]
    scratch = own_scratch(plan.local_directory.value)
    door = http_door.scheduler_configuration(secret, settings.dashboard)
    with dask.config.set({"temporary-directory": scratch, **door}):
        cluster = http_door.guarded(ResilientLocalCluster, secret)(
            worker_class=CappedNanny,
            n_workers=plan.processes.value,
            threads_per_worker=plan.nthreads.value,
            memory_limit=plan.memory_limit.value,
            local_directory=scratch,
            protocol=protocol,
            security=local_security(identities) if identities else None,
            dashboard_address=settings.dashboard_address if settings.dashboard else None,
            scheduler_kwargs={"dashboard": False, "preload": preload},
            config=http_door.worker_configuration(secret),
            blas_threads=plan.blas_threads.value,
            **where,
        )
    hear_workers_before_counting_them_silent(cluster.scheduler)
    cluster.scheduler.add_plugin(RestoreChunkSize())
    return cluster
