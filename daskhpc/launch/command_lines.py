"""The command lines that start a program as ranks: pure functions of an allocation."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

_MEMORY = ("SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE")
_CONTRADICTING = (
    "SLURM_CPUS_PER_GPU",
    "SLURM_EXCLUSIVE",
    "SLURM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_SOCKET",
    "SLURM_GPUS_PER_TASK",
    "SLURM_HOSTFILE",
    "SLURM_NTASKS_PER_CORE",
    "SLURM_NTASKS_PER_GPU",
    "SLURM_NTASKS_PER_SOCKET",
    "SLURM_NTASKS_PER_TRES",
    "SLURM_TRES_PER_TASK",
    "SLURM_EXPORT_ENV",
    "SRUN_EXPORT_ENV",
)
"""What srun reads from its environment and what would contradict the line: it divides the job by its tasks, of which
the step has two more, or by another rule; or it keeps the environment from the ranks."""

EXTRA_RANKS = 2
"""The scheduler's and the client's; overcommitted beside the workers, so that no node idles."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a job was given.

    Attributes
    ----------
    nodes : tuple[str, ...]
        Host names.
    tasks : int
        Tasks that the job asked for; each becomes a worker.
    cpus_per_task : int
    inside_step : bool
        Whether the command that launches runs as a step itself (``srun --pty bash``), whose CPUs it must share.
    memory : tuple[str, str] or None
        The variable in which srun takes the job's memory, and its value from the controller; None if it gives none.
    """

    nodes: tuple[str, ...]
    tasks: int
    cpus_per_task: int
    inside_step: bool = False
    memory: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, what its environment gets in addition, and what it loses; as text, a line for a shell.

    `stdin` counts if the launcher would give standard input to rank 0 and nothing to the client: "keep" it for the
    client, or "close" it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    stdin: str = ""

    def __str__(self) -> str:
        changes = [*(word for name in self.unset for word in ("-u", name)), *(f"{k}={v}" for k, v in self.env.items())]
        return shlex.join(["env", *changes, *self.argv] if changes else self.argv)


def srun_line(
    allocation: Allocation,
    program: Sequence[str],
    workers: int | None,
    mpi: str,
    survive: bool = False,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Command:
    """Start a program as workers + 2 ranks over all nodes of a Slurm allocation.

    Parameters
    ----------
    allocation : Allocation
    program : Sequence[str]
        The command of every rank.
    workers : int or None
        Worker ranks; one per task of the allocation by default.
    mpi : str
        ``srun --mpi=``.
    survive : bool
        Whether the step outlives a node.
    env : Mapping[str, str]
        The environment that srun would inherit. What contradicts the step in it is unset.

    Examples
    --------
    >>> line = srun_line(Allocation(("n1", "n2"), 2, 8), ["python", "script.py"], None, "pmi2")
    >>> print(line)  # doctest: +ELLIPSIS
    env -u SLURM_NTASKS_PER_NODE SRUN_CPUS_PER_TASK=8 srun --overcommit ... --ntasks=4 ... python script.py

    Notes
    -----
    ``--kill-on-bad-exit=1`` ends the step with its first failing rank; ``--no-kill`` would void it. From Slurm 22.05 on
    a step does not inherit ``--cpus-per-task`` from the batch job: it is on the line, and in SRUN_CPUS_PER_TASK for
    steps below. The job's tasks per node are forgotten, since srun would warn that two more tasks do not fit them.
    A shell of salloc, and a job that another job submitted, inherit variables of the outer job: srun refuses to start
    if they give the memory in two ways, and takes a wrong amount if they give it in one. So the memory is set anew.
    """
    count = workers or allocation.tasks
    cpus = allocation.cpus_per_task
    if workers and workers > allocation.tasks:
        per_node = math.ceil(workers / len(allocation.nodes))
        cpus = max(1, allocation.cpus_per_task * allocation.tasks // len(allocation.nodes) // per_node)
    argv = [
        "srun",
        "--overcommit",
        "--distribution=cyclic",
        f"--nodes={len(allocation.nodes)}",
        f"--ntasks={count + EXTRA_RANKS}",
        f"--cpus-per-task={cpus}",
        "--no-kill" if survive else "--kill-on-bad-exit=1",
        f"--mpi={mpi}",
    ]
    if allocation.inside_step:
        argv.append("--overlap")
    said, unset = _memory(allocation.memory, env)
    unset += [name for name in _CONTRADICTING if name in env]
    if ":" in env.get("SLURM_CPU_BIND", ""):  # a mask of the CPUs of the step that this command runs in
        unset += [name for name in sorted(env) if name.startswith("SLURM_CPU_BIND")]
    return Command((*argv, *program), {"SRUN_CPUS_PER_TASK": str(cpus), **said}, ("SLURM_NTASKS_PER_NODE", *unset))


def _memory(granted: tuple[str, str] | None, env: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What to set and what to unset so that srun has the memory of this job, and no other."""
    present = [name for name in _MEMORY if env.get(name)]
    if granted is None:
        return {}, present[:-1]  # srun takes one of them at most; per node is the last of the names
    name, value = granted
    return ({} if env.get(name) == value else {name: value}), [other for other in present if other != name]


def mpiexec_line(
    mpiexec: str, library: str, program: Sequence[str], workers: int, nodes: Sequence[str] = (), root: bool = False
) -> Command:
    """Start a program as workers + 2 ranks with an MPI library's own launcher.

    Parameters
    ----------
    mpiexec : str
        Path of the launcher.
    library : str
        Name of the MPI library that it belongs to.
    program : Sequence[str]
        The command of every rank.
    workers : int
    nodes : Sequence[str]
        Hosts to spread the ranks over in turn; this machine alone by default.
    root : bool
        Whether the user is root, which Open MPI wants confirmed.
    """
    ranks = workers + EXTRA_RANKS
    argv = [mpiexec, "-n", str(ranks)]
    env: dict[str, str] = {}
    if library == "Open MPI":
        argv += ["--map-by", "node:OVERSUBSCRIBE" if nodes else ":OVERSUBSCRIBE", "--bind-to", "none"]
        if nodes:
            argv += ["--host", ",".join(f"{node}:{ranks}" for node in nodes)]
        if root:
            env = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    else:
        if nodes:
            argv += ["-hosts", ",".join(nodes), "-ppn", "1"]
        if library == "Intel MPI":
            env = {"I_MPI_PIN": "0"}
    stdin = "" if library == "Open MPI" else "close" if nodes else "keep"
    return Command((*argv, *program), env, stdin=stdin)
