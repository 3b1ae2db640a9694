"""What a process logs of connections that it refuses: little, however many there are."""

from __future__ import annotations

import logging
import ssl

_LOGGERS = ("distributed.comm.tcp", "tornado.general")
_BEGINNINGS = ("Listener on %r: TLS handshake failed", "SSL Error on")
_FIRST = 3


class FewOfMany(logging.Filter):
    """Lets the first few refused connections be logged, then every tenth, hundredth and so on with their number.

    A connection that is cut during the handshake is not logged: the run's own processes do it when the cluster closes.

    A program that tries ports, of whatever user, would fill the log of a job with a line for each try.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be seen."""
        if not str(record.msg).startswith(_BEGINNINGS):
            return True
        error = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if isinstance(error, OSError) and (not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError)):
            return False
        self._count += 1
        if self._count <= _FIRST:
            return True
        if str(self._count).rstrip("0") != "1":
            return False
        record.msg = f"{self._count} connections so far that could not show a key of this run; the last: {record.msg}"
        return True


def log_few_refusals() -> None:
    """In this process; a second call changes nothing."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, FewOfMany) for each in logger.filters):
            logger.addFilter(FewOfMany())
