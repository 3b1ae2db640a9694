"""Dask's worker preload: what a worker process leaves to the client, its own memory, and its log."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from .accounting import private_memory
from .logs import keep_worker_log


def dask_setup(worker: Any) -> None:
    """Set up a worker process; Dask calls this when a worker starts."""
    ignore_interrupts()  # they are the client's, whose end is the cluster's
    worker.monitor.get_process_memory = private_memory
    # It warns of each task that still ran when the worker was told to close.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    logging.getLogger("distributed.worker").addFilter(LastHeartbeat(worker))
    keep_worker_log()


def ignore_interrupts() -> None:
    """Ignore SIGINT in this process, as far as this thread may."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class LastHeartbeat(logging.Filter):
    """Drops the error that Dask logs for a heartbeat which was under way when its worker began to close."""

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be seen."""
        missed = str(record.msg).startswith("Failed to communicate with scheduler during heartbeat")
        return not missed or self._worker.status.name not in ("closing", "closed")
