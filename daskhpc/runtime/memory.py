"""Memory of the job on this node."""

from __future__ import annotations

import os
from pathlib import Path

from .cgroups import folders, memory_limit
from .model import Sourced
from .reading import Reader


def read_node_memory(reader: Reader, scheduler: str, node_cpus: Sourced[int]) -> Sourced[int]:
    """Bytes of the job on this node: the least of what Slurm, the control groups and the RAM say.

    Parameters
    ----------
    reader : Reader
        The node.
    scheduler : str
        ``"slurm"``, ``"pbspro"``, ``"torque"`` or ``"none"``.
    node_cpus : Sourced[int]
        CPUs of the job on this node, which ``SLURM_MEM_PER_CPU`` multiplies.

    Returns
    -------
    Sourced[int]
        0 where nobody says.

    Notes
    -----
    Neither PBS Pro nor Torque puts the memory of a job into its environment; where they enforce it they do so by
    control groups.
    """
    limits: list[Sourced[int]] = []
    whole = ""
    if scheduler == "slurm":
        per_node = reader.megabytes("SLURM_MEM_PER_NODE")
        per_cpu = reader.megabytes("SLURM_MEM_PER_CPU")
        if per_node:
            limits.append(Sourced(per_node, "SLURM_MEM_PER_NODE"))
        if per_cpu:
            limits.append(Sourced(per_cpu * node_cpus.value, f"SLURM_MEM_PER_CPU x {node_cpus.source}"))
        if per_node == 0:
            whole = " (SLURM_MEM_PER_NODE=0)"
    group = memory_limit(reader)
    if group is not None:
        limits.append(group)
    ram = read_ram(reader)
    if ram is not None:
        limits.append(Sourced(ram.value, ram.source + whole))
    return min(limits, key=lambda limit: limit.value, default=Sourced(0, "nobody says"))


def read_ram(reader: Reader) -> Sourced[int] | None:
    """Bytes of memory in this node."""
    for line in reader.lines("/proc/meminfo"):
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdecimal():
            return Sourced(int(words[1]) * 1024, "/proc/meminfo")
    if reader.real and "SC_PHYS_PAGES" in os.sysconf_names:
        return Sourced(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "sysconf")
    return None


def spare_memory(reader: Reader | None = None) -> int:
    """Bytes that this process may still take: the least of what the node has available and its control groups leave.

    Parameters
    ----------
    reader : Reader, optional
        The node; this one by default.
    """
    reader = reader or Reader(os.environ, Path("/"))
    left = [int(words[1]) * 1024 for words in map(str.split, reader.lines("/proc/meminfo")) if _available(words)]
    for unified, limit, used, cache in (
        (True, "memory.max", "memory.current", "inactive_file"),
        (False, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in folders(reader, "memory", unified):
            most, now = reader.text(f"{folder}/{limit}") or "", reader.text(f"{folder}/{used}") or ""
            if most.isdecimal() and now.isdecimal():
                stat = dict(line.split()[:2] for line in reader.lines(f"{folder}/memory.stat") if " " in line)
                left.append(int(most) - int(now) + int(stat.get(cache, 0)))
    return max(0, min(left, default=0))


def _available(words: list[str]) -> bool:
    return len(words) >= 2 and words[0] == "MemAvailable:" and words[1].isdecimal()
