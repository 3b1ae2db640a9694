"""CPUs of the job on this node, and the CPUs that this rank is bound to."""

from __future__ import annotations

import os

from .cgroups import cpu_quota, cpuset
from .hostlist import expand_numbers
from .model import Sourced
from .node import NodeView
from .ranks import LaunchedRank

# Processes that start ranks on a node, as /proc/PID/status names them (15 characters).
_LAUNCHER_PROCESSES = ("hydra_", "mpiexec", "mpirun", "orterun", "orted", "prterun", "prted", "pals")
_MOST_PARENTS = 8


def read_cpus(
    node: NodeView, granted: Sourced[int] | None, rank: LaunchedRank
) -> tuple[Sourced[int], Sourced[int | None]]:
    """The CPUs of the job on this node, and those that this rank is bound to.

    Parameters
    ----------
    node : NodeView
        The node.
    granted : Sourced[int] or None
        The CPUs that the scheduler grants on this node.
    rank : LaunchedRank
        This process among the ranks.

    Returns
    -------
    node_cpus : Sourced[int]
        What the scheduler grants, else what the kernel leaves.
    bound : Sourced[int | None]
        None if the rank may run on all CPUs of the node.

    Notes
    -----
    Under a scheduler a rank counts as bound if it may not run on every CPU that is online. The number granted is no
    measure, because a scheduler may be configured to grant more CPUs than there are.
    """
    if granted is None:
        return _left_by_kernel(node, rank)
    allowed, online = affinity(node), online_cpus(node)
    if allowed is None or online is None or len(allowed) >= len(online):
        return granted, Sourced(None, "not bound")
    return granted, Sourced(len(allowed), "affinity")


def affinity(node: NodeView) -> frozenset[int] | None:
    """The CPUs that this process may run on."""
    return _allowed(node, "self")


def online_cpus(node: NodeView) -> frozenset[int] | None:
    """The CPUs of this node."""
    return _numbers(node.text("/sys/devices/system/cpu/online"))


def _left_by_kernel(node: NodeView, rank: LaunchedRank) -> tuple[Sourced[int], Sourced[int | None]]:
    """The node's CPUs and the binding if no scheduler gives them: from affinity, cpuset and quota.

    Notes
    -----
    Among several ranks on a node, an affinity may be the binding of one rank, or hold for all of them, because the
    user typed ``taskset ... mpiexec``. Only the affinity of the launcher tells the two apart. If it cannot be read,
    anything smaller than the cpuset counts as a binding: too many ranks on too few CPUs would be worse.
    """
    allowed, everything = affinity(node), _everything(node)
    cpus = Sourced(len(everything.value), everything.source)
    bound: Sourced[int | None] = Sourced(None, "not bound")
    if allowed is not None and rank.world_size.value == 1:
        cpus = Sourced(len(allowed), "affinity")
    elif allowed is not None:
        of_launcher = _launcher_affinity(node)
        before = of_launcher if of_launcher is not None else everything.value
        if len(allowed) < len(before):
            bound = Sourced(len(allowed), "affinity")
            cpus = Sourced(len(before), "affinity of the launcher") if of_launcher is not None else cpus
        else:
            cpus = Sourced(len(allowed), "affinity")
    quota = cpu_quota(node)
    if quota is not None and quota.value < cpus.value:
        cpus = quota
    return Sourced(max(1, cpus.value), cpus.source), bound


def _everything(node: NodeView) -> Sourced[frozenset[int]]:
    """The CPUs that the control group of this process may use."""
    online, confined = online_cpus(node), cpuset(node)
    if confined and (online is None or len(confined & online) < len(online)):
        return Sourced(confined if online is None else confined & online, "cgroup cpuset")
    if online is not None:
        return Sourced(online, "/sys/devices/system/cpu/online")
    count = (os.cpu_count() or 1) if node.real else 1
    return Sourced(frozenset(range(count)), "os.cpu_count" if node.real else "not known")


def _launcher_affinity(node: NodeView) -> frozenset[int] | None:
    """The CPUs of the process that launched this rank on this node."""
    parent = _status(node, "self").get("PPid", "0")
    for _ in range(_MOST_PARENTS):
        if not parent.isdecimal() or int(parent) < 2:
            return None
        status = _status(node, parent)
        if status.get("Name", "").startswith(_LAUNCHER_PROCESSES):
            return _numbers(status.get("Cpus_allowed_list"))
        parent = status.get("PPid", "0")
    return None


def _allowed(node: NodeView, process: str) -> frozenset[int] | None:
    return _numbers(_status(node, process).get("Cpus_allowed_list"))


def _status(node: NodeView, process: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in node.lines(f"/proc/{process}/status"))
    return {name: value.strip() for name, _, value in pairs}


def _numbers(text: str | None) -> frozenset[int] | None:
    try:
        return frozenset(expand_numbers(text or ""))
    except ValueError:
        return None
