"""What a process that ends out of order still says, and what others on its node know of it."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from dask.utils import format_bytes

from ..runtime.oom import OutOfMemory, read_oom

_FATAL = "Fatal Python error: "


@dataclass(slots=True)
class _State:
    before: OutOfMemory = field(default_factory=lambda: OutOfMemory(0, 0))
    crashes: bool = False
    terminated: bool = False


_state = _State()


def leave_last_words(descriptor: int) -> None:
    """From now on a crash of this process, or SIGTERM, writes where it stood to a file descriptor.

    The kernel's own ending (SIGKILL) leaves no words. A program that has handlers of its own keeps them.
    """
    _state.before = read_oom()
    if not faulthandler.is_enabled():
        faulthandler.enable(descriptor, all_threads=False)
        _state.crashes = True
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        faulthandler.register(signal.SIGTERM, descriptor, all_threads=False, chain=True)
        _state.terminated = True


def leave_none() -> None:
    """In a forked child, whose file descriptors are its own: nothing is written there any more."""
    if _state.crashes:
        faulthandler.disable()
    if _state.terminated:
        faulthandler.unregister(signal.SIGTERM)
    _state.crashes = _state.terminated = False


def memory_used_up() -> int:
    """The job's memory limit on this node where the kernel has ended a process for it since the start, else 0."""
    now = read_oom()
    return now.limit if now.kills > _state.before.kills else 0


def cause_of(words: Sequence[str], limit: int) -> str:
    """How a process ended.

    Parameters
    ----------
    words : Sequence[str]
        The lines that it left; those that faulthandler writes.
    limit : int
        Bytes of memory on its node that were used up when the kernel ended a process there; 0 where it did not.
    """
    place = next((f", at {word.strip()}" for word in words if word.lstrip().startswith("File ")), "")
    fatal = next((word.strip().removeprefix(_FATAL) for word in words if word.startswith(_FATAL)), "")
    if fatal:
        return f"{fatal[0].lower()}{fatal[1:]}{place}"
    if any(word.strip() for word in words):
        return f"SIGTERM{place}"
    if limit:
        return f"killed by the kernel: the job had used up its {format_bytes(limit)} of memory there"
    return "without a word, as SIGKILL ends it, and the kernel where memory is used up"
