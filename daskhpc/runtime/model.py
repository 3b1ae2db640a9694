"""What a process was granted, as frozen values that carry their source."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value and its source.

    Attributes
    ----------
    value
        The value.
    source : str
        Where the value was read, in the words of the system: an environment variable's name, a file, or a short rule.
    exact : bool
        False if the value is a bound or a guess, because no source gives it.
    """

    value: T
    source: str
    exact: bool = field(default=True, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.value} ({self.source})"


@dataclass(frozen=True, slots=True)
class Grant:
    """What the scheduler and the kernel grant on one node, before it is shared among the worker ranks of the node.

    Attributes
    ----------
    cpus_per_rank : Sourced[int | None]
        CPUs that the launcher grants each rank by itself (``SLURM_CPUS_PER_TASK``); None if the node's CPUs are
        shared among its worker ranks.
    node_cpus : Sourced[int]
        CPUs of the job on this node that this process may use.
    node_memory : Sourced[int]
        Bytes of the job on this node.
    bound_cpus : Sourced[int | None]
        CPUs that this rank is bound to, which no share exceeds; None if it may run on all CPUs of the node.
    system_memory : Sourced[int]
        Bytes that no process of the node may exceed, whatever is granted or asked for; 0 if it is not known.
    omp_threads : Sourced[int | None]
        BLAS and OpenMP threads of a process that the user's environment asks for; None if it asks for none.
    """

    cpus_per_rank: Sourced[int | None]
    node_cpus: Sourced[int]
    node_memory: Sourced[int]
    bound_cpus: Sourced[int | None] = Sourced(None, "not bound")
    system_memory: Sourced[int] = Sourced(0, "not known")
    omp_threads: Sourced[int | None] = Sourced(None, "not set")


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where this process runs and what it was granted; every value with its source.

    Attributes
    ----------
    host : Sourced[str]
        Short name of this node.
    scheduler : Sourced[str]
        ``"slurm"``, ``"pbspro"``, ``"torque"`` or ``"none"``.
    job, step : Sourced[str | None]
        Job id and, under Slurm, the step of this process; None outside.
    rank, local_rank, world_size, ranks_on_node : Sourced[int]
        As the launcher gives them; 0, 0, 1 and 1 if nothing launched this process as a rank.
    worker_ranks_on_node : Sourced[int]
        Ranks of this node that hold workers (all but ranks 0 and 1), at least 1.
    mpi_rank, mpi_size : Sourced[int | None]
        As MPI gives them; None if MPI is not started in this process.
    nodes : Sourced[tuple[str, ...]]
        The nodes of the job, this one alone outside a job.
    tasks : Sourced[int | None]
        Tasks that the job asked for; None if that is not known.
    submit_host : Sourced[str | None]
        Login node from which the job was submitted; None if that is not known.
    grant : Grant
        What this node gives the job.
    cpus : Sourced[int]
        CPUs granted to this rank.
    memory : Sourced[int]
        Bytes granted to this rank, headroom taken off.
    end_time : Sourced[float | None]
        When the job ends, in seconds since the epoch; None if there is no limit, or if it is not known.
    interface : Sourced[str | None]
        Network interface that Dask should use; None if only the default is left.
    interfaces : tuple[str, ...]
        The usable interfaces of this node (up, with an IPv4 network), the chosen one first.
    scratch : Sourced[str]
        Directory on a local disk.
    warnings : tuple[str, ...]
        What is unwise here, each with what to type instead.

    Examples
    --------
    >>> import daskhpc
    >>> runtime = daskhpc.discover()
    >>> isinstance(runtime, daskhpc.Runtime) and runtime.cpus.value >= 1
    True

    Each value has the place that it comes from, such as ``SLURM_CPUS_PER_TASK``:

    >>> from daskhpc.runtime import Sourced
    >>> Sourced(40, "SLURM_CPUS_PER_TASK").source
    'SLURM_CPUS_PER_TASK'
    """

    host: Sourced[str]
    scheduler: Sourced[str]
    job: Sourced[str | None]
    step: Sourced[str | None]
    rank: Sourced[int]
    local_rank: Sourced[int]
    world_size: Sourced[int]
    ranks_on_node: Sourced[int]
    worker_ranks_on_node: Sourced[int]
    mpi_rank: Sourced[int | None]
    mpi_size: Sourced[int | None]
    nodes: Sourced[tuple[str, ...]]
    tasks: Sourced[int | None]
    submit_host: Sourced[str | None]
    grant: Grant
    cpus: Sourced[int]
    memory: Sourced[int]
    end_time: Sourced[float | None]
    interface: Sourced[str | None]
    interfaces: tuple[str, ...]
    scratch: Sourced[str]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        """One line a value, with its source."""
        lines = []
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Grant):
                granted = ((g.name, getattr(value, g.name)) for g in fields(value))
                inner = (f"{name} {given}" for name, given in granted if given.value is not None)
                lines.append(f"{f.name}: {'; '.join(inner)}")
            else:
                lines.append(f"{f.name}: {value}")
        return "\n".join(lines)


def shared_cpus(grant: Grant, worker_ranks: int) -> Sourced[int]:
    """CPUs of one worker rank.

    Parameters
    ----------
    grant : Grant
        What the node gives.
    worker_ranks : int
        Worker ranks on the node; fewer than 1 count as 1.

    Returns
    -------
    Sourced[int]
        What the launcher grants each rank, else the node's CPUs divided and rounded down, at least 1; never more
        than the CPUs that this rank is bound to.
    """
    share = granted_cpus(grant, worker_ranks)
    if grant.bound_cpus.value is not None and grant.bound_cpus.value < share.value:
        return Sourced(grant.bound_cpus.value, grant.bound_cpus.source)
    return share


def granted_cpus(grant: Grant, worker_ranks: int) -> Sourced[int]:
    """CPUs of one worker rank if nothing bound it; see `shared_cpus`."""
    if grant.cpus_per_rank.value is not None:
        return Sourced(grant.cpus_per_rank.value, grant.cpus_per_rank.source)
    ranks = max(1, worker_ranks)
    return Sourced(max(1, grant.node_cpus.value // ranks), grant.node_cpus.source + _among(ranks))


def shared_memory(grant: Grant, worker_ranks: int, headroom: float) -> Sourced[int]:
    """Bytes of one worker rank.

    Parameters
    ----------
    grant : Grant
        What the node gives.
    worker_ranks : int
        Worker ranks on the node; fewer than 1 count as 1.
    headroom : float
        Part of the node's memory, from 0 up to but not including 1, that no worker gets: the scheduler, the
        client and the system live there.

    Returns
    -------
    Sourced[int]
        0 if the memory of the node is not known.
    """
    ranks = max(1, worker_ranks)
    left = int(grant.node_memory.value * (1 - headroom)) // ranks
    return Sourced(left, f"{grant.node_memory.source}{_among(ranks)}, {headroom:.0%} headroom")


def _among(ranks: int) -> str:
    return f" / {ranks} worker ranks" if ranks > 1 else ""
