"""Whether the kernel ended processes of this job because its memory was used up."""

from __future__ import annotations

from dataclasses import dataclass

from .cgroups import folders, memory_limit
from .node import NodeView

_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """What the control groups of a job on one node tell.

    Attributes
    ----------
    kills : int
        Processes that the kernel ended so far.
    limit : int
        Bytes that the job may use on the node; 0 if no group limits it.
    """

    kills: int
    limit: int


def read_oom(node: NodeView | None = None) -> OutOfMemory:
    """What the kernel did to the job of this process on this node.

    Notes
    -----
    The group that sets the least limit counts, with all groups below it: a process of another task of the same step
    may be the one that was ended. Version 2 counts so by itself (``memory.events``); in version 1 each group counts
    what was ended in it alone (``memory.oom_control``), and the groups below are added.
    """
    node = node or NodeView.here()
    limit = memory_limit(node)
    if limit is None:
        return OutOfMemory(0, 0)
    for folder in folders(node, "memory", unified=True):
        if node.text(f"{folder}/memory.max") == str(limit.value):
            return OutOfMemory(_count(node, f"{folder}/memory.events"), limit.value)
    for folder in folders(node, "memory", unified=False):
        if node.text(f"{folder}/memory.limit_in_bytes") == str(limit.value):
            return OutOfMemory(_count_below(node, folder, _DEEPEST), limit.value)
    return OutOfMemory(0, limit.value)


def _count(node: NodeView, path: str) -> int:
    for line in node.lines(path):
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.isdecimal():
            return int(number)
    return 0


def _count_below(node: NodeView, folder: str, depth: int) -> int:
    inner = (f"{folder}/{name}" for name in node.names(folder) if node.path(f"{folder}/{name}").is_dir())
    return _count(node, f"{folder}/memory.oom_control") + (
        sum(_count_below(node, each, depth - 1) for each in inner) if depth else 0
    )
