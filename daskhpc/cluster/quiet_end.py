"""Drops what Dask logs because a cluster closes: the program's own last line is to be the last."""

from __future__ import annotations

import logging
import threading

from .session import session
from .worker_preload import LOOP_STOPPED, DroppedAtEnd, is_closing

_NOISE = (
    ("distributed.scheduler", "broadcast to"),  # a message was under way to a worker that has closed
    ("distributed.scheduler", "cannot schedule new futures after"),  # a graph was under way from a thread
    ("distributed.comm.tcp", "Listener on"),  # a worker that ends was about to greet ("TLS handshake failed")
    ("distributed.nanny", "Worker process still alive after"),  # it is slow to close, and is killed
    ("asyncio", LOOP_STOPPED),
    # A thread of the program, or a task, waits there: a CancelledError, whose text is empty
    *((f"distributed.{name}", "") for name in ("event", "lock", "queues", "semaphore", "variable")),
)


def drop_records_of_the_end() -> None:
    """From now on, drop these records in this process once its cluster closes."""
    for name, noise in _filters:
        logging.getLogger(name).addFilter(noise)


def silence_program_end() -> None:
    """When the program is over: print nothing about its threads that wait for results, nor about its client's loop.

    Python stops the former, and the latter may stop when the client's next message is due.
    """
    threading.excepthook = lambda _: None
    logging.getLogger("asyncio").addFilter(DroppedAtEnd(LOOP_STOPPED, lambda: True))


def _ends() -> bool:
    member = session.member
    server, connection = (member.server, member.connection) if member is not None else (None, None)
    told = (server is not None and server.closing) or (connection is not None and connection.ending)
    return told or is_closing(session.scheduler) or is_closing(session.local)


_filters = [(name, DroppedAtEnd(beginning, _ends)) for name, beginning in _NOISE]
