"""Waiting in tests: for a condition or for each other, with a deadline."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def until(condition: Callable[[], object], timeout: float = 100, what: str = "what was waited for") -> None:
    """Return when `condition()` is true; fail when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout:g} s"
        time.sleep(0.01)


def meet(folder: Path, of: int) -> None:
    """Return when so many threads, of this process or of others, have come to a folder: they run at the same time."""
    (folder / f"met-{os.getpid()}-{threading.get_ident()}").touch()
    until(lambda: len(list(folder.glob("met-*"))) >= of, what=f"the meeting of {of}")


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for by its parent or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
