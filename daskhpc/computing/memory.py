"""The most memory that this process held, as Linux counts it."""

from __future__ import annotations

import contextlib
from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_peak() -> None:
    """Begin to count anew; where the kernel does not let us, the peak is that of the whole life of the process."""
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak() -> int:
    """The most bytes that were resident since then; 0 where nobody counts."""
    with contextlib.suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
