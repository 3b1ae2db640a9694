"""How a process ended: what it writes when it crashes, and what the kernel and its exit code say afterwards."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..runtime.oom import OutOfMemory, read_oom
from ..text import bytes_text

_FATAL = "Fatal Python error: "


@dataclass(slots=True)
class _State:
    before: OutOfMemory = field(default_factory=lambda: OutOfMemory(0, 0))
    crashes: bool = False
    terminated: bool = False


_state = _State()


def install_crash_handler(descriptor: int) -> None:
    """From now on, if this process crashes or gets SIGTERM, its place in the program goes to a file descriptor.

    SIGKILL leaves no lines. A program that has handlers of its own keeps them.
    """
    _state.before = read_oom()
    if not faulthandler.is_enabled():
        faulthandler.enable(descriptor, all_threads=False)
        _state.crashes = True
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        faulthandler.register(signal.SIGTERM, descriptor, all_threads=False, chain=True)
        _state.terminated = True


def remove_crash_handler() -> None:
    """In a forked child, whose file descriptors are its own: nothing is written there any more."""
    if _state.crashes:
        faulthandler.disable()
    if _state.terminated:
        faulthandler.unregister(signal.SIGTERM)
    _state.crashes = _state.terminated = False


def exceeded_memory_limit() -> int:
    """The job's memory limit on this node if the kernel has ended a process for it since the start, else 0."""
    now = read_oom()
    return now.limit if now.kills > _state.before.kills else 0


def cause_of_end(last_lines: Sequence[str], limit: int) -> str:
    """How a process ended.

    Parameters
    ----------
    last_lines : Sequence[str]
        The lines that the process left, as faulthandler writes them.
    limit : int
        Bytes of memory on its node that were used up when the kernel ended a process there; 0 if it did not.

    Examples
    --------
    >>> cause_of_end(["Fatal Python error: Segmentation fault", '  File "search.py", line 3 in fit'], 0)
    'segmentation fault, at File "search.py", line 3 in fit'
    """
    place = next((f", at {line.strip()}" for line in last_lines if line.lstrip().startswith("File ")), "")
    fatal = next((line.strip().removeprefix(_FATAL) for line in last_lines if line.startswith(_FATAL)), "")
    if fatal:
        return f"{fatal[0].lower()}{fatal[1:]}{place}"
    if any(line.strip() for line in last_lines):
        return f"SIGTERM{place}"
    if limit:
        return f"killed by the kernel: the job had used up its {bytes_text(limit)} of memory there"
    return "no output: killed by a signal, such as SIGKILL when memory is used up"


def cause_of_exit(exitcode: int, memory_limit: int | None) -> str:
    """How a process ended, in words.

    Parameters
    ----------
    exitcode : int
        Negative for a signal, as `multiprocessing` has it.
    memory_limit : int or None
        The memory limit for which its Nanny ended it, None if it did not.

    Examples
    --------
    >>> cause_of_exit(-9, None)
    'it was ended by SIGKILL, as the kernel does when memory is used up'
    >>> cause_of_exit(-15, 2 << 30)
    'it had used up its memory limit of 2.00 GiB'
    """
    if memory_limit is not None:
        return f"it had used up its memory limit of {bytes_text(memory_limit)}"
    if exitcode >= 0:
        return f"it exited with status {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hints = {"SIGKILL": ", as the kernel does when memory is used up", "SIGSEGV": ", a segmentation fault"}
    return f"it was ended by {name}{hints.get(name, '')}"
