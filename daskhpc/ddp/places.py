"""Which worker processes become the ranks of a training, in which order, with which environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dask.utils import natural_sort_key

from ..errors import SettingsError
from ..runtime.blas_threads import BLAS_VARIABLES, blas_variables
from ..text import counted

# What a launcher tells its own processes. Lightning, Accelerate and MPI libraries take a rank that has these for one
# of that launcher's. SLURM_JOB_ID, SLURM_CPUS_* and CUDA_VISIBLE_DEVICES stay: they are true for the rank, too.
_LAUNCHERS = re.compile(r"SLURM_(PROCID|LOCALID|NODEID|NTASKS|NPROCS|STEP|TASK|SRUN|LAUNCH)|PMI|OMPI_|MPI_LOCAL|PALS_")


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """A worker process that may become a rank.

    Attributes
    ----------
    address : str
        Dask's, such as ``tcp://10.0.0.5:40123``.
    name : str
        The worker's name in Dask.
    node : str
        Equal for the processes of one node.
    host : str
        The IP address on which the worker listens: ranks listen there, too.
    interface : str
        The name of the network interface with this address on that node; empty if there is none.
    threads : int
    process : int
        A number that no other process has.
    gpus : tuple[str, ...]
        What ``CUDA_VISIBLE_DEVICES`` shows to this process, or else the numbers of the node's GPUs.
    busy : bool
        Whether the worker runs something now.
    """

    address: str
    name: str
    node: str
    host: str
    interface: str
    threads: int
    process: int
    gpus: tuple[str, ...] = ()
    busy: bool = False

    @property
    def hostname(self) -> str:
        """The node's host name."""
        return self.node.split()[0]


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where a rank runs.

    Attributes
    ----------
    rank, local_rank, node_rank, local_world_size, world_size, nodes : int
        As torchrun counts them; `nodes` is its ``GROUP_WORLD_SIZE``.
    gpus : tuple[str, ...]
        Those of the ranks of this node, in their order; empty unless each has one of its own.
    """

    rank: int
    local_rank: int
    node_rank: int
    local_world_size: int
    world_size: int
    nodes: int
    worker: WorkerPlace
    gpus: tuple[str, ...] = ()


def choose(workers: Iterable[WorkerPlace], world_size: int | None, backend: str = "auto") -> list[RankPlace]:
    """Choose the workers of a training, and order them by node and then by name.

    A node is filled before the next one is used, because ranks of one node talk through its memory; of equal nodes
    those come first that have more idle workers.

    Parameters
    ----------
    workers : iterable of WorkerPlace
    world_size : int, optional
        By default one rank for each worker process; if all nodes have GPUs, at most one for each GPU.
    backend : str
        With "gloo", GPUs are left aside.

    Raises
    ------
    SettingsError
        If there are fewer workers, or nccl is asked for and ranks would share a GPU or have none.
    """
    nodes: dict[str, list[WorkerPlace]] = {}
    for worker in sorted(workers, key=lambda worker: (worker.busy, natural_sort_key(str(worker.name)), worker.address)):
        nodes.setdefault(worker.node, []).append(worker)
    with_gpus = backend != "gloo" and bool(nodes) and all(_gpus(on_node) for on_node in nodes.values())
    if with_gpus and world_size is None:
        nodes = {node: on_node[: len(_gpus(on_node))] for node, on_node in nodes.items()}
    found = sum(map(len, nodes.values()))
    if world_size is None:
        world_size = found
    if not 1 <= world_size <= found:
        raise SettingsError(
            f"A training of {counted(max(world_size, 1), 'rank')} needs as many worker processes.",
            f"{found:,} worker process{'' if found == 1 else 'es'}",
            f"world_size={found}" if found else "start workers first: daskhpc.start()",
        )
    order = sorted(nodes.values(), key=lambda on_node: (-_idle(on_node), natural_sort_key(on_node[0].hostname)))
    chosen: list[list[WorkerPlace]] = []
    left = world_size
    for on_node in order:
        if left:
            chosen.append(
                sorted(on_node[:left], key=lambda worker: (natural_sort_key(str(worker.name)), worker.address))
            )
            left -= len(chosen[-1])
    chosen.sort(key=lambda on_node: natural_sort_key(on_node[0].hostname))
    ranks = _ranks(chosen, with_gpus)
    if "nccl" in backend and not all(rank.gpus for rank in ranks):
        gpus = [len(_gpus(on_node)) for on_node in chosen]
        raise SettingsError(
            "With the backend nccl each rank needs a GPU of its own.",
            f"{counted(len(ranks), 'rank')}, {counted(sum(gpus), 'GPU')} on {counted(len(chosen), 'node')}",
            "no world_size, for a rank per GPU; or backend='auto', which trains on CPUs then",
        )
    return ranks


def _ranks(chosen: Sequence[Sequence[WorkerPlace]], with_gpus: bool) -> list[RankPlace]:
    each_a_gpu = with_gpus and all(len(_gpus(on_node)) >= len(on_node) for on_node in chosen)
    world_size = sum(map(len, chosen))
    ranks: list[RankPlace] = []
    for node_rank, on_node in enumerate(chosen):
        gpus = _gpus(on_node)[: len(on_node)] if each_a_gpu else ()
        for local_rank, worker in enumerate(on_node):
            numbers = (len(ranks), local_rank, node_rank, len(on_node), world_size, len(chosen))
            ranks.append(RankPlace(*numbers, worker, gpus))
    return ranks


def _idle(on_node: Sequence[WorkerPlace]) -> int:
    return sum(not worker.busy for worker in on_node)


def _gpus(on_node: Sequence[WorkerPlace]) -> tuple[str, ...]:
    """The GPUs of the workers of a node: each worker's own first, then what others see, too."""
    firsts = [worker.gpus[0] for worker in on_node if worker.gpus]
    return tuple(dict.fromkeys([*firsts, *(gpu for worker in on_node for gpu in worker.gpus)]))


def unused_gpus(workers: Iterable[WorkerPlace], ranks: Sequence[RankPlace]) -> str:
    """What to say if ranks with a GPU each are fewer than the GPUs of their nodes; else empty."""
    nodes: dict[str, list[WorkerPlace]] = {rank.worker.node: [] for rank in ranks if rank.gpus}
    for worker in workers:
        if worker.node in nodes:
            nodes[worker.node].append(worker)
    gpus = [len(_gpus(on_node)) for on_node in nodes.values()]
    if sum(gpus) <= len(ranks):
        return ""
    return (
        f"{counted(len(ranks), 'rank')} for {counted(sum(gpus), 'GPU')}, because a rank is a worker process: "
        f"--processes {max(gpus)}, with one task on each node, starts one for each GPU"
    )


def torch_backend(backend: str, ranks: Sequence[RankPlace]) -> str:
    """What ``init_process_group`` is called with.

    "auto" is nccl if every rank has a GPU of its own, else gloo. Beside nccl there is gloo for what lies in the memory
    of the CPU, such as the states of random numbers that a checkpoint gathers.
    """
    if backend == "auto":
        backend = "nccl" if all(rank.gpus for rank in ranks) else "gloo"
    return "cpu:gloo,cuda:nccl" if backend == "nccl" else backend


def chosen_variables(
    program: Mapping[str, str | None], threads: int | None, env: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The variables that nothing else overrides: those of `env`, and the program's own numbers of threads.

    Parameters
    ----------
    program : mapping
        What the program has set in its environment.
    threads : int, optional
        What `train` was asked for, which comes before what the program has set.
    env : mapping
        What `train` was given.
    """
    numbers = {} if threads else {name: program[name] for name in BLAS_VARIABLES if program.get(name)}
    return {**numbers, **env}


def environment(
    place: RankPlace, before: Mapping[str, str], training: str, threads: int, restarts: int = 0, max_restarts: int = 0
) -> dict[str, str | None]:
    """The variables to set in a rank, and those to remove (None): torchrun's in full, other launchers' none.

    The address and the port of the store come later, when rank 0 listens.

    Parameters
    ----------
    place : RankPlace
    before : mapping
        The environment of the rank's process, with what the program has set.
    training : str
        Its name.
    threads : int
        Of the rank.
    """
    changes: dict[str, str | None] = {name: None for name in before if _LAUNCHERS.match(name)}
    changes |= {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.local_rank),
        "GROUP_RANK": str(place.node_rank),
        "ROLE_RANK": str(place.rank),
        "ROLE_NAME": "default",
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_WORLD_SIZE": str(place.local_world_size),
        "GROUP_WORLD_SIZE": str(place.nodes),
        "ROLE_WORLD_SIZE": str(place.world_size),
        "TORCHELASTIC_RUN_ID": training,
        "TORCHELASTIC_RESTART_COUNT": str(restarts),
        "TORCHELASTIC_MAX_RESTARTS": str(max_restarts),
        # All ranks connect to the store that rank 0 has opened before; none opens one on a port by guess.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    if "TORCH_NCCL_ASYNC_ERROR_HANDLING" not in before:
        changes["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "1"
    changes |= blas_variables(threads)
    if place.gpus:
        changes["CUDA_VISIBLE_DEVICES"] = ",".join(place.gpus)
    # Without these gloo takes the address of the host's name, which on Debian is 127.0.1.1.
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if place.worker.interface and name not in before:
            changes[name] = place.worker.interface
    return changes
