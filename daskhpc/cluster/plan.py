"""Each rank's role and resources: pure functions from a Runtime and Settings to a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime import Grant, Runtime, Sourced, shared_cpus, shared_memory
from ..settings import Settings
from ..text import bytes_text, counted

SCHEDULER, CLIENT, WORKER = "scheduler", "client", "worker"
SMALLEST_WORLD = 3
_NOT_ASKED: Sourced[int | None] = Sourced(None, "not set")


def role_of(rank: int) -> str:
    """The role of a rank, as in dask_mpi: 0 the scheduler, 1 the client, every further one a worker.

    Examples
    --------
    >>> [role_of(rank) for rank in range(4)]
    ['scheduler', 'client', 'worker', 'worker']
    """
    return (SCHEDULER, CLIENT)[rank] if rank < 2 else WORKER


@dataclass(frozen=True, slots=True)
class RankPlan:
    """What one rank does.

    Attributes
    ----------
    rank : int
    host : str
        Node of the rank.
    role : str
        ``"scheduler"``, ``"client"`` or ``"worker"``.
    processes : Sourced[int]
        Worker processes of the rank; 0 for the scheduler and the client.
    nthreads : Sourced[int]
        Threads per worker process; for the client the CPUs it was granted.
    memory_limit : Sourced[int]
        Bytes per worker process; 0 means no limit.
    blas_threads : Sourced[int]
        BLAS and OpenMP threads per process.
    interface : Sourced[str | None]
        Network interface.
    local_directory : Sourced[str]
        Where Dask spills to.
    warnings : tuple[str, ...]
        What is unwise on the rank's node, each with what to type instead.
    """

    rank: int
    host: str
    role: str
    processes: Sourced[int]
    nthreads: Sourced[int]
    memory_limit: Sourced[int]
    blas_threads: Sourced[int]
    interface: Sourced[str | None]
    local_directory: Sourced[str]
    warnings: tuple[str, ...] = ()


def plan_rank(runtime: Runtime, settings: Settings, rank: int, ranks_on_node: Sequence[int]) -> RankPlan:
    """Plan one rank.

    Parameters
    ----------
    runtime : Runtime
        Of the rank's node.
    settings : Settings
    rank : int
        The rank in the cluster's communicator.
    ranks_on_node : Sequence[int]
        All ranks on the same node.

    Returns
    -------
    RankPlan
    """
    role = role_of(rank)
    workers = max(1, sum(role_of(r) == WORKER for r in ranks_on_node))
    cpus = shared_cpus(runtime.grant, workers if role == WORKER else 1)
    memory = shared_memory(runtime.grant, workers, settings.headroom)
    processes = setting(settings, "processes") if role == WORKER else Sourced(0, f"no workers on the {role}")
    if role == WORKER:
        nthreads = worker_threads(cpus, settings)
        blas = worker_blas(cpus, nthreads.value, settings, runtime.grant.omp_threads)
    else:
        nthreads = cpus if role == CLIENT else Sourced(1, "scheduler")
        blas = _least(nthreads, runtime.grant.omp_threads)
    limit = (
        worker_memory(memory, settings, runtime.grant.system_memory) if role == WORKER else Sourced(0, "not limited")
    )
    count = workers * processes.value
    return RankPlan(
        rank=rank,
        host=runtime.host.value,
        role=role,
        processes=processes,
        nthreads=nthreads,
        memory_limit=limit,
        blas_threads=blas,
        interface=interface_of(runtime, settings),
        local_directory=directory_of(runtime, settings),
        warnings=(
            *runtime.warnings,
            *more_than_granted(runtime.grant, settings, count, nthreads.value, blas.value),
            *unused(runtime.grant, ranks_on_node),
        ),
    )


def unused(grant: Grant, ranks_on_node: Sequence[int]) -> tuple[str, ...]:
    """What to say of a node without a worker, as a launcher makes one that fills a node before it takes the next.

    Examples
    --------
    >>> unused(Grant(Sourced(None, ""), Sourced(8, "affinity"), Sourced(0, ""), Sourced(None, "")), [0, 1])
    ('no worker runs there, so its 8 CPUs (affinity) are not used: ...',)
    """
    if any(role_of(rank) == WORKER for rank in ranks_on_node):
        return ()
    cpus = grant.node_cpus
    return (
        f"no worker runs there, so its {counted(cpus.value, 'CPU')} ({cpus.source}) are not used: start two ranks more"
        " than nodes, and one on each node in turn, as daskhpc run, srun --overcommit --distribution=cyclic and"
        " mpiexec -ppn 1 do",
    )


def more_than_granted(grant: Grant, settings: Settings, workers: int, nthreads: int, blas: int) -> tuple[str, ...]:
    """What was asked for beyond what the node grants; each with what to type instead.

    Parameters
    ----------
    grant : Grant
        What the node gives.
    settings : Settings
    workers : int
        Worker processes on the node; 0 on a rank that has none.
    nthreads, blas : int
        Threads of each, and BLAS threads of each thread.

    Notes
    -----
    A launcher may start some ranks more than there are CPUs. Unless a setting asks for the threads, only more than two
    to a CPU are worth a line.
    """
    warnings = []
    asked = [name for name in ("workers", "nthreads", "processes", "blas_threads") if settings.given(name)]
    threads = workers * nthreads * (blas if "blas_threads" in asked else 1)
    cpus, memory, limit = grant.node_cpus, grant.node_memory, settings.memory_limit
    if threads > cpus.value * (1 if asked else 2):
        warnings.append(
            f"{counted(workers, 'worker')} with {counted(threads, 'thread')} in all on {counted(cpus.value, 'CPU')}"
            f" ({cpus.source}) wait for each other: start fewer, or leave out workers, processes and threads"
        )
    if not isinstance(limit, float | str) and memory.value and workers * limit > memory.value:
        warnings.append(
            f"memory_limit={bytes_text(limit)} for {counted(workers, 'worker')}, but the job has"
            f" {bytes_text(memory.value)} ({memory.source}) there: leave memory_limit out to share that"
        )
    return tuple(warnings)


def interface_of(runtime: Runtime, settings: Settings) -> Sourced[str | None]:
    """The interface that was set, else the fastest usable one."""
    return setting(settings, "interface") if settings.interface else runtime.interface


def directory_of(runtime: Runtime, settings: Settings) -> Sourced[str]:
    """The directory that was set, else the local scratch."""
    return setting(settings, "local_directory") if settings.local_directory else runtime.scratch


def worker_threads(cpus: Sourced[int], settings: Settings) -> Sourced[int]:
    """Threads per worker process: the CPUs of the rank over its processes, unless set."""
    if settings.nthreads is not None:
        return setting(settings, "nthreads")
    return _share(cpus, settings.processes)


def worker_memory(memory: Sourced[int], settings: Settings, system: Sourced[int]) -> Sourced[int]:
    """Bytes per worker process: the memory of the rank over its processes, unless set; Dask lowers it to the node's."""
    limit = _worker_memory(memory, settings)
    if system.value and limit.value > system.value:
        return Sourced(system.value, f"{limit.source}, lowered to {system.source}")
    return limit


def _worker_memory(memory: Sourced[int], settings: Settings) -> Sourced[int]:
    limit = settings.memory_limit
    if limit == "auto":
        # 0 means that the amount of memory is not known: then there is no limit.
        return _share(memory, settings.processes) if memory.value else memory
    if isinstance(limit, float):
        source = f"{limit:g} of {memory.source} ({settings.sources.get('memory_limit', 'argument')})"
        return Sourced(int(memory.value * limit), source)
    return Sourced(int(limit), settings.sources.get("memory_limit", "argument"))


def worker_blas(
    cpus: Sourced[int], nthreads: int, settings: Settings, asked: Sourced[int | None] = _NOT_ASKED
) -> Sourced[int]:
    """BLAS threads per worker process, so that threads times BLAS threads stay within its CPUs.

    The user's environment can ask for fewer (`asked`), and not for more.
    """
    if settings.blas_threads is not None:
        return _least(setting(settings, "blas_threads"), asked)
    return _least(Sourced(max(1, cpus.value // (settings.processes * nthreads)), "CPUs / threads"), asked)


def _least(threads: Sourced[int], asked: Sourced[int | None]) -> Sourced[int]:
    return Sourced(asked.value, asked.source) if asked.value and asked.value < threads.value else threads


def ranks_on_host(hosts: Sequence[str], rank: int) -> tuple[int, ...]:
    """The ranks on the node of `rank`, in order."""
    return tuple(r for r, host in enumerate(hosts) if host == hosts[rank])


def _share(whole: Sourced[int], parts: int) -> Sourced[int]:
    if parts == 1:
        return whole
    return Sourced(max(1, math.floor(whole.value / parts)), f"{whole.source} / {parts} processes")


def setting(settings: Settings, name: str) -> Sourced[Any]:
    """A setting with its source."""
    return Sourced(getattr(settings, name), settings.sources.get(name, "argument"))
