"""Memory of the job on this node."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .cgroups import folders, memory_limit
from .model import Sourced
from .node import NodeView

_UNKNOWN = Sourced(0, "not known")
_PROCESS_LIMITS = {"Max address space": "RLIMIT_AS", "Max data size": "RLIMIT_DATA"}


def read_system_memory(node: NodeView, ram: Sourced[int] | None) -> Sourced[int]:
    """Bytes that the processes of this node may not exceed: the least of the RAM, the control groups and RLIMIT_RSS.

    Parameters
    ----------
    node : NodeView
        The node.
    ram : Sourced[int] or None
        As `read_ram` gives it.

    Returns
    -------
    Sourced[int]
        0 if it is not known.

    Notes
    -----
    The kernel does not enforce RLIMIT_RSS, but Slurm sets it to the memory of a step, and Dask lowers every memory
    limit to it.
    """
    limits = [limit for limit in (memory_limit(node), ram, _resident_limit(node)) if limit is not None]
    return min(limits, key=lambda limit: limit.value, default=_UNKNOWN)


def read_process_memory(node: NodeView, system: Sourced[int]) -> Sourced[int]:
    """Bytes that one process may not exceed: those of the node, RLIMIT_AS or RLIMIT_DATA, which the kernel enforces.

    Unlike RLIMIT_RSS they are no measure of what the job has on the node: each process has so much.
    """
    limits = [system]
    for line in node.lines("/proc/self/limits"):
        name, soft = _PROCESS_LIMITS.get(line[:26].strip()), line[26:].split()[:1]
        if name and soft and soft[0].isdecimal():
            limits.append(Sourced(int(soft[0]), name))
    return least(limits)


def least(limits: Sequence[Sourced[int]]) -> Sourced[int]:
    """The least of the limits that are known; 0 if none is."""
    return min((limit for limit in limits if limit.value), key=lambda limit: limit.value, default=_UNKNOWN)


def _resident_limit(node: NodeView) -> Sourced[int] | None:
    for line in node.lines("/proc/self/limits"):
        name, hard = line[:26].strip(), line[26:].split()[1:2]
        if name == "Max resident set" and hard and hard[0].isdecimal() and int(hard[0]):
            return Sourced(int(hard[0]), "RLIMIT_RSS")
    return None


def read_ram(node: NodeView) -> Sourced[int] | None:
    """Bytes of memory in this node."""
    for line in node.lines("/proc/meminfo"):
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdecimal():
            return Sourced(int(words[1]) * 1024, "/proc/meminfo")
    if node.real and "SC_PHYS_PAGES" in os.sysconf_names:
        return Sourced(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "sysconf")
    return None


def spare_memory(node: NodeView | None = None) -> int:
    """Bytes that this process may still take: the least of what the node has available and its control groups leave.

    Parameters
    ----------
    node : NodeView, optional
        The node; this one by default.
    """
    node = node or NodeView.here()
    left = [int(words[1]) * 1024 for words in map(str.split, node.lines("/proc/meminfo")) if _available(words)]
    for unified, limit, used, cache in (
        (True, "memory.max", "memory.current", "inactive_file"),
        (False, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in folders(node, "memory", unified):
            most, now = node.text(f"{folder}/{limit}") or "", node.text(f"{folder}/{used}") or ""
            if most.isdecimal() and now.isdecimal():
                stat = dict(line.split()[:2] for line in node.lines(f"{folder}/memory.stat") if " " in line)
                left.append(int(most) - int(now) + int(stat.get(cache, 0)))
    return max(0, min(left, default=0))


def _available(words: list[str]) -> bool:
    return len(words) >= 2 and words[0] == "MemAvailable:" and words[1].isdecimal()
