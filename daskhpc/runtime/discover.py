"""Reads on what this process runs and what it was granted, into one frozen value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from .blas_threads import omp_threads
from .cpus import read_cpus
from .memory import least, read_process_memory, read_ram, read_system_memory
from .model import Grant, Runtime, Sourced, granted_cpus, shared_cpus, shared_memory
from .mpi import said_by_mpi
from .network import Network, read_network
from .node import NodeView, short
from .ranks import MPI_LAUNCHERS, LaunchedRank, read_rank
from .schedulers import Scheduler, recognise
from .scratch import read_scratch


def resolve_host(name: str) -> str | None:
    """The IPv4 address of a host; None if its name does not resolve."""
    import socket

    try:
        return socket.gethostbyname(name)
    except (OSError, UnicodeError):
        return None


def discover(
    env: Mapping[str, str] = os.environ,
    root: Path | str = "/",
    resolve: Callable[[str], str | None] = resolve_host,
    headroom: float = 0.1,
    mpi: Callable[[], tuple[int, int] | None] = said_by_mpi,
) -> Runtime:
    """Read on what this process runs and what it was granted. Nothing is changed, and MPI is not started.

    Parameters
    ----------
    env : Mapping[str, str]
        The environment of the process.
    root : Path or str
        The root of the file system.
    resolve : Callable[[str], str | None]
        Gives the IPv4 address of another node of the job, or None.
    headroom : float
        Fraction of the node's memory that no worker gets, from 0 up to but not including 1.
    mpi : Callable[[], tuple[int, int] | None]
        Gives MPI's rank and world size; None if MPI is not started.

    Returns
    -------
    Runtime
        Every value with its source. Ranks are the launcher's, which may differ from MPI's. A variable or file
        that is malformed is not used, and `Runtime.warnings` names it.

    Raises
    ------
    ValueError
        If `headroom` is out of range.

    Examples
    --------
    A task of a Slurm step, on a node of which no file can be read:

    >>> step = {"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
    >>> runtime = discover({**step, "SLURM_CPUS_PER_TASK": "8"}, root="/nonexistent")
    >>> print(runtime.rank, "of", runtime.world_size)
    2 (SLURM_PROCID) of 4 (SLURM_STEP_NUM_TASKS)
    >>> print(runtime.cpus)
    8 (SLURM_CPUS_PER_TASK)
    """
    if not 0 <= headroom < 1:
        raise ValueError(f"headroom is a part of the memory, from 0 up to but not including 1, not {headroom!r}")
    return _read(NodeView(env, Path(root)), resolve, headroom, mpi())


def _read(
    node: NodeView, resolve: Callable[[str], str | None], headroom: float, mpi: tuple[int, int] | None
) -> Runtime:
    """Ask every reader, each with what it needs from those before."""
    scheduler, variable = recognise(node)
    rank = read_rank(node, scheduler.ranks(node), bool(scheduler.launcher))
    by_mpiexec = rank.launcher not in (scheduler.launcher, "")
    by_scheduler = scheduler.host(node, by_mpiexec)
    host = by_scheduler or _host_of_kernel(node)
    nodes = scheduler.nodes(node, host.value)
    job = scheduler.job(node)
    grant = _grant(node, scheduler, rank, host.value, nodes.value)
    workers = rank.worker_ranks_on_node.value
    # A shell of salloc has the job's variables, and may run on the login node.
    outside = by_scheduler is None and host.value not in map(short, nodes.value)
    if outside and scheduler.outside_advice:
        node.warn(f"{host.value} is not a node of job {job.value}: {scheduler.outside_advice}")
    network = _network(node, resolve, job.value is not None, rank, host.value, nodes.value)
    return Runtime(
        host=host,
        scheduler=Sourced(scheduler.name, variable),
        job=job,
        step=scheduler.step(node),
        rank=rank.rank,
        local_rank=rank.local_rank,
        world_size=rank.world_size,
        ranks_on_node=rank.ranks_on_node,
        worker_ranks_on_node=rank.worker_ranks_on_node,
        mpi_rank=Sourced(mpi[0], "MPI") if mpi else Sourced(None, "MPI is not started"),
        mpi_size=Sourced(mpi[1], "MPI") if mpi else Sourced(None, "MPI is not started"),
        nodes=nodes,
        tasks=scheduler.tasks(node),
        submit_host=scheduler.submit_host(node),
        grant=grant,
        cpus=shared_cpus(grant, workers),
        memory=shared_memory(grant, workers, headroom),
        end_time=scheduler.end(node),
        interface=network.interface,
        interfaces=network.interfaces,
        scratch=read_scratch(node, scheduler.scratch_variables),
        warnings=tuple(node.warnings),
    )


def _host_of_kernel(node: NodeView) -> Sourced[str]:
    name = node.hostname()
    return Sourced(short(name), "/proc/sys/kernel/hostname") if name else Sourced("localhost", "not known")


def _grant(node: NodeView, scheduler: Scheduler, rank: LaunchedRank, host: str, nodes: tuple[str, ...]) -> Grant:
    """The node's grant, with a warning if this rank is bound to fewer CPUs than it was granted."""
    cpus, bound = read_cpus(node, scheduler.cpus(node, host, nodes), rank)
    ram = read_ram(node)
    system = read_system_memory(node, ram)
    grant = Grant(
        cpus_per_rank=scheduler.cpus_per_rank(node, rank, cpus),
        node_cpus=cpus,
        node_memory=least([*scheduler.memory(node, cpus, ram), system]),
        bound_cpus=bound,
        system_memory=read_process_memory(node, system),
        omp_threads=omp_threads(node.env),
    )
    granted = granted_cpus(grant, rank.worker_ranks_on_node.value)
    if bound.value is not None and bound.value < granted.value:
        advice = next((m.unbind for m in MPI_LAUNCHERS if m.name == rank.launcher), scheduler.binding_advice)
        node.warn(
            f"this rank was granted {granted.value} CPUs ({granted.source}) but is bound to {bound.value}: {advice}"
        )
    return grant


def _network(
    node: NodeView,
    resolve: Callable[[str], str | None],
    in_job: bool,
    rank: LaunchedRank,
    host: str,
    nodes: tuple[str, ...],
) -> Network:
    """The network, knowing whether ranks are, or may be, on other nodes."""
    others = tuple(name for name in nodes if short(name) != host)
    several = bool(others) or rank.world_size.value > rank.ranks_on_node.value
    return read_network(node, resolve, others if several else None, scheduled=in_job)
