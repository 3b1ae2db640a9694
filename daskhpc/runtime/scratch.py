"""A directory on a local disk."""

from __future__ import annotations

import os
import re

from .model import Sourced
from .node import NodeView

_SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "panfs", "cifs", "smb")
_MEMORY = ("tmpfs", "ramfs")
_INSTEAD = "set local_directory (or DASK_DASKHPC__LOCAL_DIRECTORY) to a directory on a local disk"


def read_scratch(node: NodeView, variables: tuple[str, ...] = ()) -> Sourced[str]:
    """The first of the scheduler's directories, ``TMPDIR`` and /tmp that is a writable directory.

    Parameters
    ----------
    node : NodeView
        The node.
    variables : tuple[str, ...]
        The variables with which the scheduler names a directory of the job.

    Returns
    -------
    Sourced[str]
        With a warning if it lies on a network file system or in memory.
    """
    found = None
    for name in (*variables, "TMPDIR"):
        value = node.variable(name)
        if value is None:
            continue
        if found is None and value.startswith("/") and _writable(node, value):
            found = Sourced(value, name)
        elif found is None:
            node.ignored(name, "not a writable directory")
    if found is None and _writable(node, "/tmp"):
        found = Sourced("/tmp", "/tmp")
    if found is None:
        node.warn(f"no writable scratch directory, not even /tmp: {_INSTEAD}")
        return Sourced("/tmp", "nothing else")
    _warn_of_file_system(node, found)
    return found


def _writable(node: NodeView, directory: str) -> bool:
    try:
        path = node.path(directory)
        return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        return False


def _warn_of_file_system(node: NodeView, scratch: Sourced[str]) -> None:
    kind = file_system(node, scratch.value)
    # FUSE file systems are written fuse.NAME.
    name = kind.removeprefix("fuse.").lower()
    if name.startswith(_SHARED):
        node.warn(f"scratch {scratch.value} ({scratch.source}) is on {kind}, shared between nodes and slow: {_INSTEAD}")
    elif name in _MEMORY:
        node.warn(
            f"scratch {scratch.value} ({scratch.source}) is {kind}, which is memory: data spilled there saves none; "
            f"{_INSTEAD}"
        )


def file_system(node: NodeView, directory: str) -> str:
    """The type of the file system that holds a directory; empty if /proc/self/mounts does not show it."""
    path = _real(node, directory)
    best, kind = "", ""
    for line in node.lines("/proc/self/mounts"):
        fields = line.split()
        if len(fields) < 3:
            continue
        point = unescape(fields[1])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # A later mount on the same point hides the earlier one.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _real(node: NodeView, directory: str) -> str:
    """The directory with symbolic links followed, as seen from the root."""
    real, top = os.path.realpath(node.path(directory)), os.path.realpath(node.root)
    if top == "/":
        return real
    return real.removeprefix(top) or "/" if (real + "/").startswith(top + "/") else directory


def unescape(text: str) -> str:
    r"""Undo the octal escapes of /proc/self/mounts: ``\040`` is a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
