"""Dask's worker preload: an interrupt from the terminal reaches all processes and is the program's to answer."""

from __future__ import annotations

import signal
import threading
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave interrupts to the client; Dask calls this when a worker starts."""
    ignore_interrupts()


def ignore_interrupts() -> None:
    """Ignore SIGINT in this process, as far as this thread may."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
