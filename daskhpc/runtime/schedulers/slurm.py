"""Slurm."""

from __future__ import annotations

import re
from datetime import datetime

from ..hostlist import expand_counts, expand_hosts, expand_numbers
from ..model import Sourced
from ..node import NodeView, short
from ..ranks import LaunchedRank, worker_ranks
from .base import Scheduler

# Slurm numbers the batch shell, interactive steps and their kin from here on.
_SPECIAL_STEPS = 0xFFFFFFF0
# SLURM_JOB_END_TIME of a job without a limit; in squeue's output it ends a year after its start.
_NEVER = 0xFFFFFFFE
_NO_LIMIT_SECONDS = 360 * 24 * 3600.0
# How scontrol prints the memory of a job, by the variable in which srun takes it, in MB.
_GRANTED_MEMORY = {
    "SLURM_MEM_PER_NODE": r"\bMinMemoryNode=(\d+)([MGTP]?)",
    "SLURM_MEM_PER_CPU": r"\bMinMemoryCPU=(\d+)([MGTP]?)",
    "SLURM_MEM_PER_GPU": r"\bMemPerTres=gres[:/]gpu:(\d+)([MGTP]?)",
}
_MEGABYTES = {"": 1, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}


class Slurm(Scheduler):
    """Slurm tells most: nodes, CPUs, memory, and, to the tasks of a step, their ranks.

    Notes
    -----
    Some variables hold for the node on which they were set: ``SLURMD_NODENAME``, ``SLURM_CPUS_ON_NODE``. mpiexec
    copies the environment of the first node to all ranks, so that on the other nodes these are wrong. They are
    believed only if the host fits.
    """

    name = "slurm"
    job_variable = "SLURM_JOB_ID"
    submit_variable = "SLURM_SUBMIT_HOST"
    launcher = "srun"
    scratch_variables = ("SLURM_TMPDIR",)
    binding_advice = "add --cpu-bind=none to srun"
    outside_advice = "start this with srun"

    def step(self, node: NodeView) -> Sourced[str | None]:
        for name in ("SLURM_STEP_ID", "SLURM_STEPID"):
            number = node.integer(name)
            if number is not None:
                return Sourced(str(number), name) if number < _SPECIAL_STEPS else Sourced(None, "no Slurm step")
        return Sourced(None, "no Slurm step")

    def tasks(self, node: NodeView) -> Sourced[int | None]:
        """``SLURM_NTASKS``; inside a step that is the step's, not the job's."""
        if self.step(node).value is not None:
            return Sourced(None, "not known: SLURM_NTASKS is the step's")
        return Sourced(node.integer("SLURM_NTASKS", least=1), "SLURM_NTASKS")

    def ranks(self, node: NodeView) -> LaunchedRank | None:
        """This process as a task of a step of more than one task; a batch shell's ``SLURM_PROCID`` is no rank."""
        if self.step(node).value is None:
            return None
        rank = node.integer("SLURM_PROCID")
        for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
            size = node.integer(name, least=1)
            if size is not None:
                break
        if rank is None or size is None or size < 2:
            return None
        if rank >= size:
            node.ignored("SLURM_PROCID", f"the step has {size} tasks")
            return None
        local = node.integer("SLURM_LOCALID")
        tasks = _tasks_on_node(node)
        if tasks is not None:
            on_node = Sourced(len(tasks), "SLURM_GTIDS")
            workers = Sourced(max(1, len(tasks - {0, 1})), "SLURM_GTIDS")
        else:
            on_node = _most_tasks_on_node(node, size)
            workers = worker_ranks(on_node, size)
        return LaunchedRank(
            launcher="srun",
            rank=Sourced(rank, "SLURM_PROCID"),
            local_rank=Sourced(local or 0, "SLURM_LOCALID" if local is not None else "not known"),
            world_size=Sourced(size, name),
            ranks_on_node=on_node,
            worker_ranks_on_node=workers,
        )

    def host(self, node: NodeView, by_mpiexec: bool) -> Sourced[str] | None:
        slurmd, kernel = node.variable("SLURMD_NODENAME"), node.hostname()
        if slurmd is None:
            return None
        listed = _listed_nodes(node)
        if by_mpiexec and kernel and listed and short(kernel) in map(short, listed.value):
            return None
        return Sourced(short(slurmd), "SLURMD_NODENAME")

    def nodes(self, node: NodeView, host: str) -> Sourced[tuple[str, ...]]:
        return _listed_nodes(node) or Sourced((host,), "this node: no node list")

    def cpus(self, node: NodeView, host: str, nodes: tuple[str, ...]) -> Sourced[int] | None:
        """``SLURM_CPUS_ON_NODE``, unless mpiexec brought it along from another node."""
        foreign = short(node.variable("SLURMD_NODENAME") or host) != host
        on_node = None if foreign else node.integer("SLURM_CPUS_ON_NODE", least=1)
        if on_node is not None:
            return Sourced(on_node, "SLURM_CPUS_ON_NODE")
        counted = _count_of_node(node, "SLURM_JOB_CPUS_PER_NODE", host, nodes)
        return Sourced(counted, "SLURM_JOB_CPUS_PER_NODE") if counted else None

    def cpus_per_rank(self, node: NodeView, rank: LaunchedRank, node_cpus: Sourced[int]) -> Sourced[int | None]:
        """``SLURM_CPUS_PER_TASK``, or ``SLURM_TRES_PER_TASK=cpu=4``, unless mpiexec started too many ranks for that."""
        per_task, source = node.integer("SLURM_CPUS_PER_TASK", least=1), "SLURM_CPUS_PER_TASK"
        if per_task is None:
            of_task = re.search(r"(?:^|,)cpu[:=](\d+)", node.variable("SLURM_TRES_PER_TASK") or "")
            per_task, source = (int(of_task[1]) if of_task else None), "SLURM_TRES_PER_TASK"
        if not per_task:
            return Sourced(None, "shared")
        by_mpiexec = rank.launcher not in ("srun", "")
        if by_mpiexec and per_task * rank.worker_ranks_on_node.value > node_cpus.value:
            return Sourced(None, "shared")
        return Sourced(per_task, source)

    def memory(self, node: NodeView, node_cpus: Sourced[int], ram: Sourced[int] | None) -> tuple[Sourced[int], ...]:
        """``SLURM_MEM_PER_NODE``, of which 0 is all of the node's, ``SLURM_MEM_PER_CPU`` and ``SLURM_MEM_PER_GPU``."""
        limits = []
        per_node, per_cpu = node.megabytes("SLURM_MEM_PER_NODE"), node.megabytes("SLURM_MEM_PER_CPU")
        if per_node:
            limits.append(Sourced(per_node, "SLURM_MEM_PER_NODE"))
        elif per_node == 0 and ram is not None:
            limits.append(Sourced(ram.value, f"{ram.source} (SLURM_MEM_PER_NODE=0)"))
        if per_cpu:
            limits.append(Sourced(per_cpu * node_cpus.value, f"SLURM_MEM_PER_CPU x {node_cpus.source}"))
        per_gpu = node.megabytes("SLURM_MEM_PER_GPU")
        if per_gpu:
            gpus = _gpus_on_node(node)
            limits.append(Sourced(per_gpu * gpus.value, f"SLURM_MEM_PER_GPU x {gpus.source}"))
        return tuple(limits)

    def memory_command(self, job: str) -> tuple[str, ...]:
        return ("scontrol", "show", "job", job)

    def parse_memory(self, output: str) -> tuple[str, str] | None:
        """The line has one of ``MinMemoryNode=4G``, ``MinMemoryCPU=2000M`` and ``MemPerTres=gres:gpu:40960``."""
        for name, pattern in _GRANTED_MEMORY.items():
            match = re.search(pattern, output)
            if match:
                return name, str(int(match[1]) * _MEGABYTES[match[2]])
        return None

    def end(self, node: NodeView) -> Sourced[float | None]:
        end = node.integer("SLURM_JOB_END_TIME", least=1)
        if end is None:
            return Sourced(None, "not known: no SLURM_JOB_END_TIME")
        return Sourced(float(end), "SLURM_JOB_END_TIME") if end < _NEVER else Sourced(None, "no limit")

    def end_command(self, job: str) -> tuple[str, ...]:
        """Slurm sets ``SLURM_JOB_END_TIME`` from release 23.02 on; squeue tells it in all releases.

        One element of an array has the id of the array, and squeue then lists all of them.
        """
        return ("squeue", "--noheader", "--jobs", job, "--format", "%A %e")

    def parse_end(self, output: str, now: float, job: str) -> Sourced[float | None] | None:
        own = next((line.split()[1:] for line in output.splitlines() if line.split()[:1] == [job]), [])
        try:
            end = datetime.fromisoformat("".join(own)).timestamp()
        except ValueError:
            return None
        return Sourced(None, "no time limit") if end - now > _NO_LIMIT_SECONDS else Sourced(end, "squeue")


def _gpus_on_node(node: NodeView) -> Sourced[int]:
    """The GPUs of the job on this node; one if their number is not known: less memory is safer than more."""
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE"):
        match = re.fullmatch(r"(?:[^:,]+:)?(\d+)", node.variable(name) or "")
        if match and int(match[1]):
            return Sourced(int(match[1]), name)
    for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        listed = node.variable(name)
        if listed:
            return Sourced(len(listed.split(",")), name)
    return Sourced(1, "1 GPU: number not known", exact=False)


def _listed_nodes(node: NodeView) -> Sourced[tuple[str, ...]] | None:
    for name in ("SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURM_STEP_NODELIST"):
        if name not in node.env:
            continue
        try:
            return Sourced(expand_hosts(node.env[name]), name)
        except ValueError as error:
            node.ignored(name, str(error))
    return None


def _count_of_node(node: NodeView, name: str, host: str, nodes: tuple[str, ...]) -> int | None:
    """This node's entry in a list of counts per node."""
    value = node.variable(name)
    if value is None:
        return None
    try:
        counts = expand_counts(value)
    except ValueError as error:
        node.ignored(name, str(error))
        return None
    names = [short(listed) for listed in nodes]
    index = names.index(host) if host in names else -1
    if len(counts) == len(nodes) and index >= 0:
        return counts[index]
    return counts[0] if len(set(counts)) == 1 else None


def _tasks_on_node(node: NodeView) -> frozenset[int] | None:
    """The ranks of this node, by number."""
    value = node.variable("SLURM_GTIDS")
    if value is None:
        return None
    try:
        return frozenset(expand_numbers(value))
    except ValueError as error:
        node.ignored("SLURM_GTIDS", str(error))
        return None


def _most_tasks_on_node(node: NodeView, size: int) -> Sourced[int]:
    """The tasks of this node if Slurm does not number them: the most that there may be."""
    nodes = node.integer("SLURM_STEP_NUM_NODES", least=1) or node.integer("SLURM_NNODES", least=1)
    if nodes is None or nodes == 1:
        return Sourced(size, "SLURM_STEP_NUM_TASKS")
    return Sourced(max(1, size - nodes + 1), "SLURM_STEP_NUM_TASKS, at most", exact=False)
