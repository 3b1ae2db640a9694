"""The limits that control groups put on this process: version 1, version 2, and both at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .hostlist import expand_numbers
from .model import Sourced
from .node import NodeView
from .scratch import unescape

# Why it is so: a limit of any group above a process holds for it too, and a scheduler may set its limit on the job, the
# step or the task. So every function here walks from the process's own group up to the root and takes the least.
#
# Version 1 has one tree per controller, version 2 one for all, and "hybrid" systems have both at once, each controller
# in one of them. Both are read, and a file that is missing sets no limit. In a container, /proc/self/cgroup may name a
# group of the machine outside, which cannot be seen inside. What the mount point shows is then the process's own group.

# Version 1 writes "no limit" as the largest multiple of a page below 2**63.
_NO_LIMIT = 2**60


@dataclass(frozen=True, slots=True)
class Mount:
    """Where one hierarchy of groups is mounted.

    Attributes
    ----------
    controllers : frozenset[str]
        The controllers of a version 1 hierarchy; empty for version 2.
    root : str
        The group that the mount point shows.
    point : str
        The mount point.
    """

    controllers: frozenset[str]
    root: str
    point: str


def memory_limit(node: NodeView) -> Sourced[int] | None:
    """The least memory limit on the way from this process's own group to the root, in bytes."""
    limits = [
        *_limits(node, "memory", True, "memory.max", _bytes),
        *_limits(node, "memory", True, "memory.high", _bytes),
        *_limits(node, "memory", False, "memory.limit_in_bytes", _bytes),
    ]
    return min(limits, key=lambda limit: limit.value, default=None)


def cpu_quota(node: NodeView) -> Sourced[int] | None:
    """The least CPU quota on the way to the root, in whole CPUs, at least 1."""
    quotas = [
        Sourced(max(1, int(quota.value)), quota.source)
        for quota in (
            *_limits(node, "cpu", True, "cpu.max", _quota),
            *_limits(node, "cpu", False, "cpu.cfs_quota_us", _quota, "cpu.cfs_period_us"),
        )
    ]
    return min(quotas, key=lambda quota: quota.value, default=None)


def cpuset(node: NodeView) -> frozenset[int] | None:
    """The CPUs of the innermost group that names any."""
    for unified, names in (
        (True, ("cpuset.cpus.effective",)),
        (False, ("cpuset.effective_cpus", "cpuset.cpus")),
    ):
        for folder in folders(node, "cpuset", unified):
            for name in names:
                try:
                    return frozenset(expand_numbers(node.text(f"{folder}/{name}") or ""))
                except ValueError:
                    continue
    return None


def folders(node: NodeView, controller: str, unified: bool) -> Iterator[str]:
    """The folders of this process's groups, innermost first.

    Parameters
    ----------
    node : NodeView
        The node.
    controller : str
        ``"memory"``, ``"cpu"`` or ``"cpuset"``.
    unified : bool
        Whether to walk version 2's hierarchy rather than version 1's.
    """
    group = _group_of_process(node, controller, unified)
    if group is None:
        return
    for mount in _mounts(node, controller):
        if bool(mount.controllers) == unified or (mount.controllers and controller not in mount.controllers):
            continue
        parts = _below(group, mount.root)
        for length in range(len(parts), -1, -1):
            yield "/".join([mount.point.rstrip("/"), *parts[:length]])


def _limits(
    node: NodeView, controller: str, unified: bool, name: str, parse: Callable[[str], float | None], beside: str = ""
) -> Iterator[Sourced[int]]:
    """The limits in one file of each group on the way; `beside` names a second file whose text is appended."""
    for folder in folders(node, controller, unified):
        text = node.text(f"{folder}/{name}")
        if text is not None and beside:
            text = f"{text} {node.text(f'{folder}/{beside}') or ''}"
        value = parse(text) if text is not None else None
        if value is not None:
            yield Sourced(int(value), f"cgroup {name}")


def _bytes(text: str) -> int | None:
    return int(text) if text.isdecimal() and 0 < int(text) < _NO_LIMIT else None


def _quota(text: str) -> float | None:
    """CPUs from a quota and a period: ``"150000 100000"`` is 1.5; ``max`` and -1 are none."""
    words = text.split()
    if not words or not words[0].isdecimal():
        return None
    period = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 100_000
    return int(words[0]) / period if period and int(words[0]) else None


def _group_of_process(node: NodeView, controller: str, unified: bool) -> str | None:
    """The path of this process's group in one hierarchy, as /proc/self/cgroup gives it."""
    for line in node.lines("/proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (unified and number == "0" and not controllers) or (not unified and controller in controllers.split(",")):
            return path or "/"
    return None


def _below(group: str, top: str) -> list[str]:
    """The parts of `group` below the group that a mount shows; none if it lies elsewhere (a container)."""
    parts, above = group.strip("/").split("/"), top.strip("/").split("/") if top.strip("/") else []
    if ".." in parts or parts[: len(above)] != above:
        return []
    return [part for part in parts[len(above) :] if part]


def _mounts(node: NodeView, controller: str) -> list[Mount]:
    """The mounted hierarchies; the usual places if mountinfo names none."""
    mounts = []
    for line in node.lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset()
        mounts.append(Mount(controllers, unescape(fields[3]), unescape(fields[4])))
    return mounts or _usual_mounts(node, controller)


def _usual_mounts(node: NodeView, controller: str) -> list[Mount]:
    base = "/sys/fs/cgroup"
    names = node.names(base)
    mounts = [
        Mount(frozenset(name.split(",")), "/", f"{base}/{name}") for name in names if controller in name.split(",")
    ]
    if "cgroup.controllers" in names:
        mounts.append(Mount(frozenset(), "/", base))
    if "unified" in names:
        mounts.append(Mount(frozenset(), "/", f"{base}/unified"))
    return mounts
