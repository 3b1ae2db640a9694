"""CPUs of the job on this node, of each rank, and the CPUs that this rank is bound to."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .cgroups import cpu_quota, cpuset
from .hostlist import expand_numbers
from .model import Sourced
from .ranks import Ranks
from .reading import Reader, short
from .scheduler import read_count_here, read_node_file

# Processes that start ranks on a node, as /proc/PID/status names them (15 characters).
_LAUNCHERS = ("hydra_", "mpiexec", "mpirun", "orterun", "orted", "prterun", "prted", "pals")
_PARENTS = 8


@dataclass(frozen=True, slots=True)
class Cpus:
    """CPUs on this node; the fields are those of `daskhpc.runtime.model.Grant`."""

    per_rank: Sourced[int | None]
    node: Sourced[int]
    bound: Sourced[int | None]


def read_cpus(reader: Reader, scheduler: str, ranks: Ranks, host: str, nodes: tuple[str, ...]) -> Cpus:
    """The CPUs that the scheduler grants, else those that the kernel leaves.

    Parameters
    ----------
    reader : Reader
        The node.
    scheduler : str
        ``"slurm"``, ``"pbspro"``, ``"torque"`` or ``"none"``.
    ranks : Ranks
        This process among the ranks.
    host : str
        This node.
    nodes : tuple[str, ...]
        The nodes of the job.

    Returns
    -------
    Cpus
        Under a scheduler the rank counts as bound where it may not run on every CPU that is online: a scheduler
        may well grant more CPUs than there are.
    """
    granted = _granted(reader, scheduler, host, nodes)
    if granted is None:
        node, bound = _left_by_kernel(reader, ranks)
        return Cpus(_per_task(reader, scheduler, ranks, node), node, bound)
    own, online = affinity(reader), online_cpus(reader)
    confined = own is not None and online is not None and len(own) < len(online)
    bound = Sourced(len(own) if own is not None and confined else None, "affinity" if confined else "not bound")
    return Cpus(_per_task(reader, scheduler, ranks, granted), granted, bound)


def binding_advice(scheduler: str, launcher: str) -> str:
    """What to type so that a rank may run on all CPUs it was granted."""
    if launcher == "openmpi":
        return "add --bind-to none to mpiexec"
    if launcher == "hydra":
        return "add -bind-to none to mpiexec (Intel MPI: export I_MPI_PIN=off)"
    if launcher == "mvapich":
        return "export MV2_ENABLE_AFFINITY=0"
    if scheduler == "slurm":
        return "add --cpu-bind=none to srun"
    return "start it without taskset, numactl or another binding"


def affinity(reader: Reader) -> frozenset[int] | None:
    """The CPUs that this process may run on."""
    return _allowed(reader, "self")


def online_cpus(reader: Reader) -> frozenset[int] | None:
    """The CPUs of this node."""
    return _numbers(reader.text("/sys/devices/system/cpu/online"))


def _granted(reader: Reader, scheduler: str, host: str, nodes: tuple[str, ...]) -> Sourced[int] | None:
    """What the scheduler's variables grant on this node."""
    if scheduler == "slurm":
        return _slurm(reader, host, nodes)
    if scheduler == "torque":
        return _torque(reader, host)
    if scheduler == "pbspro":
        return _pbspro(reader, host)
    return None


def _slurm(reader: Reader, host: str, nodes: tuple[str, ...]) -> Sourced[int] | None:
    """``SLURM_CPUS_ON_NODE``, unless mpiexec brought it along from another node."""
    foreign = short(reader.variable("SLURMD_NODENAME") or host) != host
    here = None if foreign else reader.integer("SLURM_CPUS_ON_NODE", least=1)
    if here is not None:
        return Sourced(here, "SLURM_CPUS_ON_NODE")
    counted = read_count_here(reader, "SLURM_JOB_CPUS_PER_NODE", host, nodes)
    return Sourced(counted, "SLURM_JOB_CPUS_PER_NODE") if counted else None


def _torque(reader: Reader, host: str) -> Sourced[int] | None:
    """This node's lines of the node file where it is whole, else ``PBS_NUM_PPN``.

    Notes
    -----
    Torque sets ``PBS_NUM_PPN`` to 1 for ``-l procs=N``, and to the first part's for ``-l nodes=1:ppn=8+2:ppn=4``.
    """
    per_node, lines = reader.integer("PBS_NUM_PPN", least=1), read_node_file(reader)
    counted = sum(short(line) == host for line in lines)
    whole = len(lines) == reader.integer("PBS_NP", least=1)
    if counted and counted != per_node and (whole or per_node is None):
        return Sourced(counted, "PBS_NODEFILE")
    return Sourced(per_node, "PBS_NUM_PPN") if per_node else None


def _pbspro(reader: Reader, host: str) -> Sourced[int] | None:
    """The job's cpuset where there is one, else the larger of ``NCPUS`` and this node's lines of the node file.

    Notes
    -----
    PBS Pro sets ``NCPUS`` to ompthreads where these are asked for, so it may be a part of what the job was given;
    a line of the node file is an MPI process, which has a CPU at least.
    """
    confined, online = cpuset(reader), online_cpus(reader)
    if confined and online and len(confined & online) < len(online):
        return Sourced(max(1, len(confined & online)), "cgroup cpuset")
    threads = reader.integer("NCPUS", least=1)
    counted = sum(short(line) == host for line in read_node_file(reader))
    if counted > (threads or 0):
        return Sourced(counted, "PBS_NODEFILE")
    return Sourced(threads, "NCPUS") if threads else None


def _per_task(reader: Reader, scheduler: str, ranks: Ranks, node: Sourced[int]) -> Sourced[int | None]:
    """``SLURM_CPUS_PER_TASK``, unless mpiexec started more ranks than the node can give that many."""
    if scheduler != "slurm":
        return Sourced(None, "shared")
    per_task = reader.integer("SLURM_CPUS_PER_TASK", least=1)
    if per_task is None:
        return Sourced(None, "shared")
    mpiexec = ranks.launcher not in ("srun", "")
    if mpiexec and per_task * ranks.worker_ranks_on_node.value > node.value:
        return Sourced(None, "shared")
    return Sourced(per_task, "SLURM_CPUS_PER_TASK")


def _left_by_kernel(reader: Reader, ranks: Ranks) -> tuple[Sourced[int], Sourced[int | None]]:
    """The node's CPUs and the binding where no scheduler says: affinity, cpuset and quota.

    Notes
    -----
    Among several ranks on a node, an affinity may be one rank's binding or hold for all. The launcher's own
    affinity tells; where it cannot be read, anything smaller than the cpuset counts as a binding.
    """
    own, everything = affinity(reader), _everything(reader)
    node = Sourced(len(everything.value), everything.source)
    bound: Sourced[int | None] = Sourced(None, "not bound")
    if own is not None and ranks.world_size.value == 1:
        node = Sourced(len(own), "affinity")
    elif own is not None:
        start = _launcher_affinity(reader)
        before = start if start is not None else everything.value
        if len(own) < len(before):
            bound = Sourced(len(own), "affinity")
            node = Sourced(len(before), "affinity of the launcher") if start is not None else node
        else:
            node = Sourced(len(own), "affinity")
    quota = cpu_quota(reader)
    if quota is not None and quota.value < node.value:
        node = quota
    return Sourced(max(1, node.value), node.source), bound


def _everything(reader: Reader) -> Sourced[frozenset[int]]:
    """The CPUs that this process's group may use."""
    online, confined = online_cpus(reader), cpuset(reader)
    if confined and (online is None or len(confined & online) < len(online)):
        return Sourced(confined if online is None else confined & online, "cgroup cpuset")
    if online is not None:
        return Sourced(online, "/sys/devices/system/cpu/online")
    count = (os.cpu_count() or 1) if reader.real else 1
    return Sourced(frozenset(range(count)), "os.cpu_count" if reader.real else "nobody says")


def _launcher_affinity(reader: Reader) -> frozenset[int] | None:
    """The CPUs of the process that launched this rank on this node."""
    parent = _status(reader, "self").get("PPid", "0")
    for _ in range(_PARENTS):
        if not parent.isdecimal() or int(parent) < 2:
            return None
        status = _status(reader, parent)
        if status.get("Name", "").startswith(_LAUNCHERS):
            return _numbers(status.get("Cpus_allowed_list"))
        parent = status.get("PPid", "0")
    return None


def _allowed(reader: Reader, process: str) -> frozenset[int] | None:
    return _numbers(_status(reader, process).get("Cpus_allowed_list"))


def _status(reader: Reader, process: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in reader.lines(f"/proc/{process}/status"))
    return {name: value.strip() for name, _, value in pairs}


def _numbers(text: str | None) -> frozenset[int] | None:
    try:
        return frozenset(expand_numbers(text or ""))
    except ValueError:
        return None
