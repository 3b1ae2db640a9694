"""Whether the kernel ended processes of this job because its memory was used up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .cgroups import folders, memory_limit
from .reading import Reader

_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """What the control groups of a job on one node tell.

    Attributes
    ----------
    kills : int
        Processes that the kernel ended so far.
    limit : int
        Bytes that the job may use on the node; 0 where no group limits it.
    """

    kills: int
    limit: int


def read_oom(reader: Reader | None = None) -> OutOfMemory:
    """What the kernel did to the job of this process on this node.

    Notes
    -----
    The group that sets the least limit counts, with all groups below it: a process of another task of the same step
    may be the one that was ended. Version 2 counts so by itself (``memory.events``); in version 1 each group counts
    what was ended in it alone (``memory.oom_control``), and the groups below are added.
    """
    reader = reader or Reader(os.environ, Path("/"))
    limit = memory_limit(reader)
    if limit is None:
        return OutOfMemory(0, 0)
    for folder in folders(reader, "memory", unified=True):
        if reader.text(f"{folder}/memory.max") == str(limit.value):
            return OutOfMemory(_count(reader, f"{folder}/memory.events"), limit.value)
    for folder in folders(reader, "memory", unified=False):
        if reader.text(f"{folder}/memory.limit_in_bytes") == str(limit.value):
            return OutOfMemory(_count_below(reader, folder, _DEEPEST), limit.value)
    return OutOfMemory(0, limit.value)


def _count(reader: Reader, path: str) -> int:
    for line in reader.lines(path):
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.isdecimal():
            return int(number)
    return 0


def _count_below(reader: Reader, folder: str, depth: int) -> int:
    inner = (f"{folder}/{name}" for name in reader.names(folder) if reader.path(f"{folder}/{name}").is_dir())
    return _count(reader, f"{folder}/memory.oom_control") + (
        sum(_count_below(reader, each, depth - 1) for each in inner) if depth else 0
    )
