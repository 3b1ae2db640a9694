"""Which rank this process is, as its launcher gives it."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Sourced
from .node import NodeView


@dataclass(frozen=True, slots=True)
class MPILauncher:
    """The ``mpiexec`` of one MPI library: what it tells its ranks.

    Attributes
    ----------
    name : str
    rank, size : str
        The variables of the rank and of the world size.
    local_rank, ranks_on_node : tuple[str, ...]
        The variables of the rank on its node and of the number of ranks there; the first that is set counts.
    unbind : str
        What to type so that it does not bind a rank to some of its CPUs.
    """

    name: str
    rank: str
    size: str
    local_rank: tuple[str, ...]
    ranks_on_node: tuple[str, ...]
    unbind: str


# The order matters: MVAPICH's launcher is a hydra, which sets PMI_RANK too.
MPI_LAUNCHERS = (
    MPILauncher(
        "openmpi",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        "add --bind-to none to mpiexec",
    ),
    MPILauncher(
        "mvapich",
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_SIZE",
        ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
        "export MV2_ENABLE_AFFINITY=0",
    ),
    # The hydra of MPICH and Intel MPI sets the first name of each pair, PALS of HPE the second.
    MPILauncher(
        "hydra",
        "PMI_RANK",
        "PMI_SIZE",
        ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
        ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
        "add -bind-to none to mpiexec (Intel MPI: export I_MPI_PIN=off)",
    ),
)


@dataclass(frozen=True, slots=True)
class LaunchedRank:
    """This process as one of the ranks that a launcher started.

    Attributes
    ----------
    launcher : str
        ``"srun"``, ``"hydra"``, ``"openmpi"``, ``"mvapich"``, ``"pmix"``, or empty if nothing launched ranks.
    rank, local_rank, world_size, ranks_on_node, worker_ranks_on_node : Sourced[int]
        As in `daskhpc.runtime.model.Runtime`.
    """

    launcher: str
    rank: Sourced[int]
    local_rank: Sourced[int]
    world_size: Sourced[int]
    ranks_on_node: Sourced[int]
    worker_ranks_on_node: Sourced[int]


def read_rank(node: NodeView, by_scheduler: LaunchedRank | None, own_launcher: bool) -> LaunchedRank:
    """Read the variables of the MPI launchers.

    Parameters
    ----------
    node : NodeView
        The node.
    by_scheduler : LaunchedRank or None
        The rank as the scheduler's own launcher numbers it.
    own_launcher : bool
        Whether the scheduler has a launcher of its own, which numbers ranks without MPI.

    Returns
    -------
    LaunchedRank

    Notes
    -----
    Both may have numbered this process. If the numbers agree, as with ``srun --mpi=pmi2``, the scheduler's launcher
    started the rank, and it tells more. If they do not, its tasks are the proxies with which mpiexec starts ranks on
    other nodes, and mpiexec's numbers are the ranks.
    """
    for launcher in MPI_LAUNCHERS:
        rank = _mpi_rank(node, launcher)
        if rank is not None:
            numbers = (rank.rank.value, rank.world_size.value)
            agree = by_scheduler and (by_scheduler.rank.value, by_scheduler.world_size.value) == numbers
            return by_scheduler if by_scheduler and agree else rank
    return by_scheduler or (None if own_launcher else _pmix_rank(node)) or _alone()


def _mpi_rank(node: NodeView, launcher: MPILauncher) -> LaunchedRank | None:
    """The rank as an MPI launcher numbers it; None if it did not start this process."""
    rank, size = node.integer(launcher.rank), node.integer(launcher.size, least=1)
    if rank is None or size is None:
        return None
    if rank >= size:
        node.ignored(launcher.rank, f"{launcher.size} is {size}")
        return None
    local = _first(node, launcher.local_rank)
    on_node = _first(node, launcher.ranks_on_node) or Sourced(size, f"{launcher.size}, at most", exact=False)
    return LaunchedRank(
        launcher=launcher.name,
        rank=Sourced(rank, launcher.rank),
        local_rank=local or Sourced(0, "not known"),
        world_size=Sourced(size, launcher.size),
        ranks_on_node=Sourced(max(1, on_node.value), on_node.source, on_node.exact),
        worker_ranks_on_node=worker_ranks(on_node, size),
    )


def _first(node: NodeView, names: tuple[str, ...]) -> Sourced[int] | None:
    for name in names:
        value = node.integer(name)
        if value is not None:
            return Sourced(value, name)
    return None


def worker_ranks(on_node: Sourced[int], size: int) -> Sourced[int]:
    """The worker ranks of a node of which only the number of ranks is known.

    Parameters
    ----------
    on_node : Sourced[int]
        Ranks on the node.
    size : int
        Ranks in all.

    Returns
    -------
    Sourced[int]
        Exact on a single node; else all ranks of the node, which is at most two too many: too little is then
        taken, never too much.
    """
    source = on_node.source.removesuffix(", at most")
    if on_node.value < size:
        return Sourced(max(1, on_node.value), f"{source}, at most")
    if size < 3:
        return Sourced(1, source)
    return Sourced(size - 2, f"{source} less scheduler and client")


def _pmix_rank(node: NodeView) -> LaunchedRank | None:
    """The rank if a PMIx launcher gives nothing else: PMIx tells the size to MPI alone."""
    rank = node.integer("PMIX_RANK")
    if rank is None:
        return None
    return LaunchedRank(
        launcher="pmix",
        rank=Sourced(rank, "PMIX_RANK"),
        local_rank=Sourced(0, "not known"),
        world_size=Sourced(rank + 1, "PMIX_RANK, at least"),
        ranks_on_node=Sourced(1, "not known", exact=False),
        worker_ranks_on_node=Sourced(1, "not known"),
    )


def _alone() -> LaunchedRank:
    source = "no launcher"
    one, zero = Sourced(1, source), Sourced(0, source)
    return LaunchedRank("", zero, zero, one, one, one)
