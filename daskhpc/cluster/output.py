"""What the program has printed, at the end of its process."""

from __future__ import annotations

import contextlib
import sys


def flush_output() -> None:
    """Write what the program has printed; the end goes on if that is closed, or a disk is full."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
