"""Which rank this process is, as its launcher says."""

from __future__ import annotations

from dataclasses import dataclass

from .hostlist import expand_numbers
from .model import Sourced
from .reading import Reader

# launcher: variables of the rank, the world size, and the first given of the local rank and of the ranks on the node
_LAUNCHERS = {
    "openmpi": (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
    ),
    "mvapich": (
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_SIZE",
        ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
    ),
    # MPICH's and Intel's hydra; HPE's PALS sets the latter of each pair.
    "hydra": (
        "PMI_RANK",
        "PMI_SIZE",
        ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
        ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
    ),
}


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where this process stands among the ranks.

    Attributes
    ----------
    launcher : str
        ``"srun"``, ``"hydra"``, ``"openmpi"``, ``"mvapich"``, ``"pmix"``, or empty where nothing launched ranks.
    rank, local_rank, world_size, ranks_on_node, worker_ranks_on_node : Sourced[int]
        As in `daskhpc.runtime.model.Runtime`.
    """

    launcher: str
    rank: Sourced[int]
    local_rank: Sourced[int]
    world_size: Sourced[int]
    ranks_on_node: Sourced[int]
    worker_ranks_on_node: Sourced[int]


def read_ranks(reader: Reader, step: str | None) -> Ranks:
    """Read the launcher's variables.

    Parameters
    ----------
    reader : Reader
        The node.
    step : str | None
        The Slurm step of this process, None in a batch shell: its ``SLURM_PROCID`` is no rank.

    Returns
    -------
    Ranks
        A step's own where an MPI launcher's variables agree with them, as with ``srun --mpi=pmi2``. Where they
        do not, the step is the one of hydra's or Open MPI's proxies, and the MPI launcher's win.
    """
    slurm = _slurm_ranks(reader) if step is not None else None
    for launcher in _LAUNCHERS:
        ranks = _mpi_ranks(reader, launcher)
        if ranks is not None:
            agree = slurm and (slurm.rank.value, slurm.world_size.value) == (ranks.rank.value, ranks.world_size.value)
            return slurm if slurm and agree else ranks
    if slurm is not None:
        return slurm
    return _pmix_rank(reader) or _alone()


def _slurm_ranks(reader: Reader) -> Ranks | None:
    """The ranks of a step of more than one task."""
    rank = reader.integer("SLURM_PROCID")
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        size = reader.integer(name, least=1)
        if size is not None:
            break
    if rank is None or size is None or size < 2:
        return None
    if rank >= size:
        reader.ignored("SLURM_PROCID", f"the step has {size} tasks")
        return None
    local = reader.integer("SLURM_LOCALID")
    tasks = _tasks_here(reader)
    if tasks is not None:
        here = Sourced(len(tasks), "SLURM_GTIDS")
        workers = Sourced(max(1, len(tasks - {0, 1})), "SLURM_GTIDS")
    else:
        here = _slurm_count(reader, size)
        workers = worker_ranks(here, size)
    return Ranks(
        launcher="srun",
        rank=Sourced(rank, "SLURM_PROCID"),
        local_rank=Sourced(local or 0, "SLURM_LOCALID" if local is not None else "nobody says"),
        world_size=Sourced(size, name),
        ranks_on_node=here,
        worker_ranks_on_node=workers,
    )


def _tasks_here(reader: Reader) -> frozenset[int] | None:
    """The ranks of this node, by number."""
    value = reader.variable("SLURM_GTIDS")
    if value is None:
        return None
    try:
        return frozenset(expand_numbers(value))
    except ValueError as error:
        reader.ignored("SLURM_GTIDS", str(error))
        return None


def _slurm_count(reader: Reader, size: int) -> Sourced[int]:
    """The tasks of this node where Slurm does not number them: the most that may be."""
    nodes = reader.integer("SLURM_STEP_NUM_NODES", least=1) or reader.integer("SLURM_NNODES", least=1)
    if nodes is None or nodes == 1:
        return Sourced(size, "SLURM_STEP_NUM_TASKS")
    return Sourced(max(1, size - nodes + 1), "SLURM_STEP_NUM_TASKS, at most", exact=False)


def _mpi_ranks(reader: Reader, launcher: str) -> Ranks | None:
    """The ranks as an MPI launcher numbers them; None where it did not start this process."""
    rank_name, size_name, local_names, here_names = _LAUNCHERS[launcher]
    rank, size = reader.integer(rank_name), reader.integer(size_name, least=1)
    if rank is None or size is None:
        return None
    if rank >= size:
        reader.ignored(rank_name, f"{size_name} is {size}")
        return None
    local = _first(reader, local_names)
    here = _first(reader, here_names) or Sourced(size, f"{size_name}, at most", exact=False)
    return Ranks(
        launcher=launcher,
        rank=Sourced(rank, rank_name),
        local_rank=local or Sourced(0, "nobody says"),
        world_size=Sourced(size, size_name),
        ranks_on_node=Sourced(max(1, here.value), here.source, here.exact),
        worker_ranks_on_node=worker_ranks(here, size),
    )


def _first(reader: Reader, names: tuple[str, ...]) -> Sourced[int] | None:
    for name in names:
        value = reader.integer(name)
        if value is not None:
            return Sourced(value, name)
    return None


def worker_ranks(here: Sourced[int], size: int) -> Sourced[int]:
    """The worker ranks of a node of which only the number of ranks is known.

    Parameters
    ----------
    here : Sourced[int]
        Ranks on the node.
    size : int
        Ranks in all.

    Returns
    -------
    Sourced[int]
        Exact on a single node; else all ranks of the node, which is at most two too many: too little is then
        taken, never too much.
    """
    source = here.source.removesuffix(", at most")
    if here.value < size:
        return Sourced(max(1, here.value), f"{source}, at most")
    if size < 3:
        return Sourced(1, source)
    return Sourced(size - 2, f"{source} less scheduler and client")


def _pmix_rank(reader: Reader) -> Ranks | None:
    """The rank where a PMIx launcher gives nothing else: PMIx tells the size to MPI alone."""
    rank = reader.integer("PMIX_RANK")
    if rank is None or reader.variable("SLURM_JOB_ID"):
        return None
    return Ranks(
        launcher="pmix",
        rank=Sourced(rank, "PMIX_RANK"),
        local_rank=Sourced(0, "nobody says"),
        world_size=Sourced(rank + 1, "PMIX_RANK, at least"),
        ranks_on_node=Sourced(1, "nobody says", exact=False),
        worker_ranks_on_node=Sourced(1, "nobody says"),
    )


def _alone() -> Ranks:
    source = "no launcher"
    one, zero = Sourced(1, source), Sourced(0, source)
    return Ranks("", zero, zero, one, one, one)
