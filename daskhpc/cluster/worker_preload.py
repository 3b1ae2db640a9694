"""Dask's worker preload: sets up interrupts, the memory figure and the log of a worker process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil

from ..compat.distributed import measure_memory_by
from ..compat.distributed_security import harden_connections
from .logs import start_worker_log
from .refused_connections import log_few_refusals
from .session import session

PROGRAM_FOLDER = "DASKHPC_PROGRAM_FOLDER"
"""The variable that names the folder with the program's modules; put first once all that Dask needs was imported."""
_PROGRAM_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_handlers: dict[int, Any] = {}


def dask_setup(worker: Any) -> None:
    """Set up a worker process; Dask calls this when a worker starts."""
    leave_signals_to_program()
    folder = os.environ.pop(PROGRAM_FOLDER, "")
    if folder:
        session.program_folder = folder
        sys.path.insert(0, folder)
    measure_memory_by(worker, private_memory)
    # It warns of each task that still ran when the worker was told to close.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    missed = "Failed to communicate with scheduler during heartbeat"
    logging.getLogger("distributed.worker").addFilter(DroppedAtEnd(missed, partial(is_closing, worker)))
    harden_connections()
    log_few_refusals()
    start_worker_log()


def private_memory(pid: int | None = None) -> int:
    """Bytes of memory that are a process's own: its resident set without what it shares; 0 where it is gone."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return int(memory.rss - memory.shared)


def leave_signals_to_program() -> None:
    """Ignore the signals that are the client's to answer, as far as this thread may, until `answer_signals_again`.

    Launchers send them to every process of a job: an interrupt of the terminal, or what ``sbatch --signal=USR1@120``
    asks for. The program's own handler runs on the client; without one the signal ends the client, and so the cluster.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _PROGRAM_SIGNALS:
            _handlers.setdefault(number, signal.getsignal(number))
            signal.signal(number, signal.SIG_IGN)


def let_program_answer_signals() -> None:
    """On the client: put Python's handlers back. MPI libraries take SIGHUP and SIGUSR1 for themselves in MPI_Init."""
    if threading.current_thread() is threading.main_thread():
        for number in _PROGRAM_SIGNALS:
            handler = signal.getsignal(number)
            if handler is not None:  # None: set by C code before Python began
                signal.signal(number, handler)


def answer_signals_again() -> None:
    """Undo `leave_signals_to_program`."""
    while _handlers:
        number, handler = _handlers.popitem()
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


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
    """Whether a worker, a scheduler or a cluster of Dask is being closed, or was."""
    return server is not None and server.status.name in ("closing", "closed")
