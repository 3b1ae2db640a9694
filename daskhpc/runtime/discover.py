"""Everything that can be read about this process's place, in one frozen value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from .cpus import binding_advice, read_cpus
from .gpus import read_gpus
from .memory import read_node_memory
from .model import Grant, Runtime, Sourced
from .mpi import said_by_mpi
from .network import Network, read_network
from .ranks import Ranks, read_ranks
from .reading import Reader, short
from .scheduler import read_end, read_host, read_job, read_nodes, read_scheduler, read_step
from .scratch import read_scratch
from .shares import granted_cpus, shared_cpus, shared_memory


def resolve_host(name: str) -> str | None:
    """The IPv4 address of a host; None where its name does not resolve."""
    import socket

    try:
        return socket.gethostbyname(name)
    except (OSError, UnicodeError):
        return None


def discover(
    env: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
    resolve: Callable[[str], str | None] = resolve_host,
    headroom: float = 0.1,
    mpi: Callable[[], tuple[int, int] | None] = said_by_mpi,
) -> Runtime:
    """Read where this process runs and what it was granted. Nothing is changed, no MPI is touched.

    Parameters
    ----------
    env : Mapping[str, str]
        The environment of the process.
    root : Path
        The root of the file system.
    resolve : Callable[[str], str | None]
        Gives the IPv4 address of another node of the job, or None.
    headroom : float
        Part of the node's memory that no worker gets, from 0 up to but not including 1.
    mpi : Callable[[], tuple[int, int] | None]
        Gives the rank and the world size as MPI says, None where it is not started.

    Returns
    -------
    Runtime
        Every value with its source. Ranks are as the launcher says, which MPI may contradict. What is malformed
        is left out, with a warning.

    Raises
    ------
    ValueError
        Where `headroom` is out of range.
    """
    if not 0 <= headroom < 1:
        raise ValueError(f"headroom is a part of the memory, from 0 up to but not including 1, not {headroom!r}")
    return _read(Reader(env, Path(root)), resolve, headroom, mpi())


def _read(
    reader: Reader, resolve: Callable[[str], str | None], headroom: float, mpi: tuple[int, int] | None
) -> Runtime:
    """Ask every reader, each with what it needs from those before."""
    scheduler = read_scheduler(reader)
    step = read_step(reader, scheduler.value)
    ranks = read_ranks(reader, step.value)
    host = read_host(reader, launched=ranks.launcher not in ("srun", ""))
    nodes = read_nodes(reader, scheduler.value, host.value)
    grant = _grant(reader, scheduler.value, ranks, host.value, nodes.value)
    workers = ranks.worker_ranks_on_node.value
    _warn_outside(reader, scheduler.value, host, nodes)
    network = _network(reader, resolve, scheduler.value, ranks, host.value, nodes.value)
    return Runtime(
        host=host,
        scheduler=scheduler,
        job=read_job(reader, scheduler.value),
        step=step,
        rank=ranks.rank,
        local_rank=ranks.local_rank,
        world_size=ranks.world_size,
        ranks_on_node=ranks.ranks_on_node,
        worker_ranks_on_node=ranks.worker_ranks_on_node,
        mpi_rank=Sourced(mpi[0], "MPI") if mpi else Sourced(None, "MPI is not started"),
        mpi_size=Sourced(mpi[1], "MPI") if mpi else Sourced(None, "MPI is not started"),
        nodes=nodes,
        grant=grant,
        cpus=shared_cpus(grant, workers),
        memory=shared_memory(grant, workers, headroom),
        end_time=read_end(reader, scheduler.value),
        interface=network.interface,
        interfaces=network.interfaces,
        scratch=read_scratch(reader),
        gpus=read_gpus(reader, scheduler.value),
        warnings=tuple(reader.warnings),
    )


def _grant(reader: Reader, scheduler: str, ranks: Ranks, host: str, nodes: tuple[str, ...]) -> Grant:
    """The node's grant, with a warning where this rank is bound to fewer CPUs than it was granted."""
    cpus = read_cpus(reader, scheduler, ranks, host, nodes)
    memory = read_node_memory(reader, scheduler, cpus.node)
    grant = Grant(cpus_per_rank=cpus.per_rank, node_cpus=cpus.node, node_memory=memory, bound_cpus=cpus.bound)
    granted = granted_cpus(grant, ranks.worker_ranks_on_node.value)
    if cpus.bound.value is not None and cpus.bound.value < granted.value:
        reader.warn(
            f"this rank was granted {granted.value} CPUs ({granted.source}) but is bound to {cpus.bound.value}: "
            f"{binding_advice(scheduler, ranks.launcher)}"
        )
    return grant


def _warn_outside(reader: Reader, scheduler: str, host: Sourced[str], nodes: Sourced[tuple[str, ...]]) -> None:
    """Warn where this process has a job's variables and is on none of its nodes, as in salloc's shell."""
    inside = host.value in {short(node) for node in nodes.value}
    if scheduler == "slurm" and host.source != "SLURMD_NODENAME" and not inside:
        reader.warn(f"{host.value} is not a node of job {reader.variable('SLURM_JOB_ID')}: start this with srun")


def _network(
    reader: Reader,
    resolve: Callable[[str], str | None],
    scheduler: str,
    ranks: Ranks,
    host: str,
    nodes: tuple[str, ...],
) -> Network:
    """The network, knowing whether ranks are, or may be, on other nodes."""
    others = tuple(node for node in nodes if short(node) != host)
    several = bool(others) or ranks.world_size.value > ranks.ranks_on_node.value
    return read_network(reader, resolve, others if several else None, scheduled=scheduler != "none")
