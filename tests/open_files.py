"""What this process has open."""

from __future__ import annotations

import gc
import os


def open_files(having: str = "") -> list[str]:
    """Descriptors and names of the open files whose names have `having` in them.

    Without sockets and what is open of /proc: a test session's cluster opens and closes these in other threads.
    """
    gc.collect()  # what tests before have left open is closed now, and not in between
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # closed meanwhile
            continue
        if having in name and not name.startswith(("socket:", "/proc/")):
            found.append(f"{descriptor} {name}")
    return sorted(found)


def none_more(before: list[str]) -> bool:
    """Whether nothing is open that was not before; other threads may have closed something, or be about to."""
    return not {*open_files()} - {*before}
