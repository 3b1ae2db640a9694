"""Dask's worker preload: sets up interrupts, the memory figure and the log of a worker process."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

import psutil

from ..compat.distributed import measure_memory_by
from .logs import start_worker_log


def dask_setup(worker: Any) -> None:
    """Set up a worker process; Dask calls this when a worker starts."""
    ignore_interrupts()  # they are the client's, whose end is the cluster's
    measure_memory_by(worker, private_memory)
    # It warns of each task that still ran when the worker was told to close.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    logging.getLogger("distributed.worker").addFilter(LastHeartbeat(worker))
    start_worker_log()


def private_memory(pid: int | None = None) -> int:
    """Bytes of memory that are a process's own: its resident set without what it shares; 0 where it is gone."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)


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
