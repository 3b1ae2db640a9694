"""What a worker process uses of the memory granted, and how it ended."""

from __future__ import annotations

import signal

import psutil
from dask.utils import format_bytes


def private_memory(pid: int | None = None) -> int:
    """Bytes of memory that are a process's own: its resident set without what it shares; 0 where it is gone."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)


def cause_of_exit(exitcode: int, memory_limit: int | None) -> str:
    """How a process ended, in words.

    Parameters
    ----------
    exitcode : int
        Negative for a signal, as `multiprocessing` has it.
    memory_limit : int or None
        The memory limit for which its Nanny ended it, None where it did not.
    """
    if memory_limit is not None:
        return f"it had used up its memory limit of {format_bytes(memory_limit)}"
    if exitcode >= 0:
        return f"it exited with status {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hints = {"SIGKILL": ", as the kernel does when memory is used up", "SIGSEGV": ", a segmentation fault"}
    return f"it was ended by {name}{hints.get(name, '')}"
