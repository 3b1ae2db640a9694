"""Dask's worker preload: sets up interrupts, the memory figure and the log of a worker process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil

from ..compat.distributed import measure_memory_by
from ..compat.distributed_security import harden_connections
from .logs import start_worker_log
from .program_signals import leave_signals_to_program, let_children_answer_interrupts
from .refused_connections import log_few_refusals
from .session import session

PROGRAM_FOLDER = "DASKHPC_PROGRAM_FOLDER"
"""The variable that names the folder with the program's modules; put first once all that Dask needs was imported."""

LOOP_STOPPED = "Future exception was never retrieved\nfuture: <Future finished exception=TimeoutError('Timeout')>"
"""What asyncio logs if an event loop stops at the moment when Dask's BatchedSend may send its next message."""


def dask_setup(worker: Any) -> None:
    """Set up a worker process; Dask calls this when a worker starts."""
    leave_signals_to_program()
    let_children_answer_interrupts()
    folder = os.environ.pop(PROGRAM_FOLDER, "")
    if folder:
        session.program_folder = folder
        sys.path.insert(0, folder)
    measure_memory_by(worker, private_memory)
    # It warns of each task that still ran when the worker began to close.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    missed = "Failed to communicate with scheduler during heartbeat"
    for name, beginning in (("distributed.worker", missed), ("asyncio", LOOP_STOPPED)):
        logging.getLogger(name).addFilter(DroppedAtEnd(beginning, partial(is_closing, worker)))
    harden_connections()
    log_few_refusals()
    start_worker_log()


def private_memory(pid: int | None = None) -> int:
    """Bytes of memory that are a process's own: its resident set without what it shares; 0 if it has ended."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)


class DroppedAtEnd(logging.Filter):
    """Drops records that Dask logs because its workers close, which the user asked for.

    Parameters
    ----------
    beginning : str
        How the message begins.
    ending : Callable[[], bool]
        Whether the end has begun.
    """

    def __init__(self, beginning: str, ending: Callable[[], bool]) -> None:
        super().__init__()
        self._beginning, self._ending = beginning, ending

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be seen."""
        return not (str(record.msg).startswith(self._beginning) and self._ending())


def is_closing(server: Any) -> bool:
    """Whether a worker, a scheduler or a cluster of Dask is being closed, or was, perhaps while it started."""
    return server is not None and server.status.name in ("closing", "closed", "failed")
