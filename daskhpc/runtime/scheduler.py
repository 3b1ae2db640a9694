"""The batch system: which one, the job, its step, its nodes and its end."""

from __future__ import annotations

import os

from .hostlist import expand_counts, expand_hosts
from .model import Sourced
from .reading import Reader, short

# Set by Torque's pbs_mom (start_exec.c) and not by PBS Pro's.
_TORQUE = ("PBS_NUM_NODES", "PBS_NUM_PPN", "PBS_NP", "PBS_VNODENUM", "PBS_WALLTIME")
# Slurm numbers the batch shell, interactive steps and their kin from here on.
_SPECIAL_STEPS = 0xFFFFFFF0
# What Slurm writes where there is no limit.
_NEVER = 0xFFFFFFFE


def read_scheduler(reader: Reader) -> Sourced[str]:
    """``"slurm"``, ``"torque"``, ``"pbspro"`` or ``"none"``."""
    if reader.variable("SLURM_JOB_ID"):
        return Sourced("slurm", "SLURM_JOB_ID")
    if not reader.variable("PBS_JOBID"):
        return Sourced("none", "neither SLURM_JOB_ID nor PBS_JOBID")
    if (reader.variable("PBS_VERSION") or "").upper().startswith("TORQUE"):
        return Sourced("torque", "PBS_VERSION")
    for name in _TORQUE:
        if reader.variable(name):
            return Sourced("torque", name)
    return Sourced("pbspro", "PBS_JOBID")


def read_job(reader: Reader, scheduler: str) -> Sourced[str | None]:
    """The id of the job."""
    if scheduler == "none":
        return Sourced(None, "no scheduler")
    name = "SLURM_JOB_ID" if scheduler == "slurm" else "PBS_JOBID"
    return Sourced(reader.variable(name), name)


def read_step(reader: Reader, scheduler: str) -> Sourced[str | None]:
    """The Slurm step that this process is a task of; None in the batch shell and outside Slurm."""
    if scheduler != "slurm":
        return Sourced(None, "no Slurm step")
    for name in ("SLURM_STEP_ID", "SLURM_STEPID"):
        number = reader.integer(name)
        if number is not None:
            return Sourced(str(number), name) if number < _SPECIAL_STEPS else Sourced(None, "no Slurm step")
    return Sourced(None, "no Slurm step")


def read_host(reader: Reader, launched: bool) -> Sourced[str]:
    """The short name of this node.

    Parameters
    ----------
    reader : Reader
        The node.
    launched : bool
        Whether an MPI launcher other than srun started this process: it may have passed on the first node's
        ``SLURMD_NODENAME``, so the kernel is asked first where it names a node of the job.
    """
    slurmd, kernel = reader.variable("SLURMD_NODENAME"), reader.text("/proc/sys/kernel/hostname")
    if not kernel and reader.real:
        kernel = os.uname().nodename
    if slurmd and not (launched and kernel and short(kernel) in _slurm_hosts(reader)):
        return Sourced(short(slurmd), "SLURMD_NODENAME")
    if kernel:
        return Sourced(short(kernel), "/proc/sys/kernel/hostname")
    return Sourced("localhost", "nobody says")


def _slurm_hosts(reader: Reader) -> frozenset[str]:
    nodes = _slurm_nodes(reader)
    return frozenset(short(node) for node in nodes.value) if nodes else frozenset()


def _slurm_nodes(reader: Reader) -> Sourced[tuple[str, ...]] | None:
    for name in ("SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURM_STEP_NODELIST"):
        if name not in reader.env:
            continue
        try:
            return Sourced(expand_hosts(reader.env[name]), name)
        except ValueError as error:
            reader.ignored(name, str(error))
    return None


def read_node_file(reader: Reader) -> tuple[str, ...]:
    """The lines of ``PBS_NODEFILE``, one for each place of a process; none where this node does not have it.

    Notes
    -----
    PBS writes the file on the first node of the job only.
    """
    name = reader.variable("PBS_NODEFILE")
    return tuple(line.strip() for line in reader.lines(name) if line.strip()) if name else ()


def read_nodes(reader: Reader, scheduler: str, host: str) -> Sourced[tuple[str, ...]]:
    """The nodes of the job, in the scheduler's order; this one alone where nobody says."""
    if scheduler == "slurm":
        return _slurm_nodes(reader) or Sourced((host,), "this node: no node list")
    if scheduler == "none":
        return Sourced((host,), "this node")
    lines = read_node_file(reader)
    if lines:
        return Sourced(tuple(dict.fromkeys(lines)), "PBS_NODEFILE")
    return Sourced((host,), "this node: no PBS_NODEFILE here")


def read_count_here(reader: Reader, name: str, host: str, nodes: tuple[str, ...]) -> int | None:
    """This node's entry in one of Slurm's counts per node (``SLURM_JOB_CPUS_PER_NODE``)."""
    value = reader.variable(name)
    if value is None:
        return None
    try:
        counts = expand_counts(value)
    except ValueError as error:
        reader.ignored(name, str(error))
        return None
    names = [short(node) for node in nodes]
    index = names.index(host) if host in names else -1
    if len(counts) == len(nodes) and index >= 0:
        return counts[index]
    return counts[0] if len(set(counts)) == 1 else None


def read_end(reader: Reader, scheduler: str) -> Sourced[float | None]:
    """When the job ends, in seconds since the epoch."""
    if scheduler == "slurm":
        end = reader.integer("SLURM_JOB_END_TIME", least=1)
        if end is None:
            return Sourced(None, "nobody says: no SLURM_JOB_END_TIME")
        return Sourced(float(end), "SLURM_JOB_END_TIME") if end < _NEVER else Sourced(None, "no limit")
    if scheduler == "torque":
        return _torque_end(reader)
    return Sourced(None, "nobody says: PBS Pro sets no end" if scheduler == "pbspro" else "no scheduler")


def _torque_end(reader: Reader) -> Sourced[float | None]:
    """The wall time after the node file was written, which Torque does as the job starts."""
    seconds = reader.integer("PBS_WALLTIME", least=1)
    if seconds is None:
        return Sourced(None, "nobody says: no PBS_WALLTIME")
    try:
        start = reader.path(reader.variable("PBS_NODEFILE") or "/nonexistent").stat().st_mtime
    except (OSError, ValueError):
        return Sourced(None, "nobody says: PBS_WALLTIME without a PBS_NODEFILE here")
    return Sourced(start + seconds, "PBS_WALLTIME after PBS_NODEFILE was written")
