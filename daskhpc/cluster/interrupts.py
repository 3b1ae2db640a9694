"""Dask's worker preload: what a worker process leaves to the client, interrupts and words about tasks cut short."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave interrupts to the client, whose end is the cluster's; Dask calls this when a worker starts."""
    ignore_interrupts()
    # It warns of each task that still ran when the worker was told to close.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)


def ignore_interrupts() -> None:
    """Ignore SIGINT in this process, as far as this thread may."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
