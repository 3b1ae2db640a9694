"""The full log of this process: in a file of its own if ``logs`` is set, else its last records, kept in memory.

Why it is so: what the process prints must not change, and a logger passes nothing on that is below its level. So
levels of loggers are lowered for the log, and the handlers that were there before get a filter that lets through what
they had. Dask keeps records of its own (``DequeHandler``), but behind the same levels: at the level "warning" it
holds no line from INFO on, and a client's process has none. Levels set on handlers would hold back what a program
asks for later by ``logging.getLogger("distributed").setLevel("INFO")``.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

from ..compat.python import copy_warnings, loggers_of
from ..errors import StartError
from ..own_files import make_own_folder, open_own

if TYPE_CHECKING:
    from ..runtime import Runtime

FOLDER = Path(".daskhpc", "logs")
"""Where `save_logs` writes, in the working directory, if ``logs`` is not set."""
KEPT_RECORDS = 2000
"""Records that are kept in memory."""
_WORKER_LOG = "DASKHPC_WORKER_LOG"
_FAMILIES = ("distributed", "daskhpc")
# One below INFO, so that INFO is known for a level that the program itself sets later.
_LOG_LEVEL = logging.INFO - 1
_PLAIN = frozenset({str, int, float, bool, type(None)})


def run_name(runtime: Runtime) -> str:
    """What the log folder of a run is called, as this process would call it; all ranks take the client's.

    ``job.step`` of a Slurm step, which a requeued job keeps; else host and process id, after the job's id if there is
    one: a job script may start several programs.
    """
    job, step = runtime.job.value, runtime.step.value
    if step is not None:
        return f"{job}.{step}"
    own = f"{runtime.host.value}-{os.getpid()}"
    return f"{job}-{own}" if job else own


def start_log(logs: str | None, run: str, role: str, rank: int | None = None) -> StartError | None:
    """Begin the log of this process, and end the one before it.

    Parameters
    ----------
    logs : str or None
        The setting: a folder in which every run has one of its own; None keeps the last records in memory.
    run : str
        From `run_name`.
    role : str
        What this process is.
    rank : int, optional
        None if there are no ranks.

    Returns
    -------
    StartError or None
        Why the file cannot be written.
    """
    stop_log()
    start = "" if rank is None else f"rank-{rank}-"
    folder = Path(logs or FOLDER, run).absolute()
    file = folder / f"{start}{role}.log"
    try:
        handler = FileLog(file) if logs else LastRecords(file)
    except OSError as error:
        return StartError("The log cannot be written.", str(error), "another folder for logs, or none")
    _begin(handler, f"{folder}/{start}worker-" if logs else None)
    return None


def start_worker_log() -> None:
    """In a worker process: begin the log that its Nanny asked for."""
    path = os.environ.pop(_WORKER_LOG, None)
    if path is not None:
        with contextlib.suppress(OSError):
            _begin(FileLog(Path(path)), None)


def worker_environment(name: int | str) -> dict[str, str]:
    """The variables that give a worker process the file of its log: none if ``logs`` is not set."""
    start = _process_log.workers if _process_log is not None else None
    return {} if start is None else {_WORKER_LOG: f"{start}{name}.log"}


def save_logs() -> Path | None:
    """Write what was kept in memory, and has not been written yet, to the file of this process.

    For a process that is about to end because something died: any thread may call it, and nothing is raised.

    Returns
    -------
    Path or None
        The folder with the logs of this run; None if there is none, or if it cannot be written.
    """
    return None if _process_log is None else _process_log.handler.save()


def stop_log() -> None:
    """End the log of this process: its loggers are what they were."""
    global _process_log
    if _process_log is not None:
        _process_log.undo.close()
        _process_log = None


class FileLog(logging.Handler):
    """Appends every record to a file, at once and with one write, so that nothing is lost with the process."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.setFormatter(_format())
        self._folder = file.parent
        make_own_folder(self._folder)
        self._descriptor = open_own(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be written is left out, silently."""
        with contextlib.suppress(Exception):
            os.write(self._descriptor, _bytes(self.format(record)))

    def save(self) -> Path | None:
        """Nothing is left to write."""
        return self._folder

    def close(self) -> None:
        """Close the file."""
        self.acquire()
        try:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)
        finally:
            self.release()
        super().close()


class LastRecords(logging.Handler):
    """Keeps the last records until `save` appends them to a file that only its owner can read."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.setFormatter(_format())
        self._file = file
        self._records: collections.deque[logging.LogRecord] = collections.deque(maxlen=KEPT_RECORDS)
        self._saving = threading.Lock()

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a record; no lock is needed for that, nor held while texts are made by the program's own code."""
        with contextlib.suppress(Exception):
            self._records.append(_without_objects(record))
        return True

    def save(self) -> Path | None:
        """Append what is kept to the file; the folder, None if that fails."""
        with self._saving, contextlib.suppress(Exception):
            lines = [self._line(self._records.popleft()) for _ in range(len(self._records))]
            folder = self._file.parent
            make_own_folder(folder)
            descriptor = open_own(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(descriptor, b"".join(lines))
            finally:
                os.close(descriptor)
            return folder
        return None

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            return _bytes(self.format(record))
        except Exception:  # the message does not fit its arguments
            return _bytes(f"{record.levelname} {record.name}: {record.msg!r} {record.args!r}")


def _format() -> logging.Formatter:
    line = f"%(asctime)s.%(msecs)03d {gethostname()} %(levelname)s %(name)s: %(message)s"
    return logging.Formatter(line, "%Y-%m-%d %H:%M:%S")


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace") + b"\n"


def _record(name: str, level: int, file: str, line: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, file, line, text, None, None)


def _without_objects(record: logging.LogRecord) -> logging.LogRecord:
    """A record that keeps no object of the program alive: a future in it would hold its result on the cluster."""
    plain = type(record.msg) is str and all(type(argument) in _PLAIN for argument in record.args or ())
    if plain and not isinstance(record.args, Mapping) and not record.exc_info:
        return record
    kept = copy.copy(record)
    kept.msg, kept.args = record.getMessage(), None
    if record.exc_info:
        kept.exc_text, kept.exc_info = logging.Formatter().formatException(record.exc_info), None
    return kept


@dataclass(frozen=True, slots=True)
class _ProcessLog:
    """The log of this process, how file names of its worker processes begin, and what ends it."""

    handler: FileLog | LastRecords
    workers: str | None
    undo: contextlib.ExitStack


_process_log: _ProcessLog | None = None


def _begin(handler: FileLog | LastRecords, workers: str | None) -> None:
    global _process_log
    undo = contextlib.ExitStack()
    undo.callback(handler.close)
    _take_records(handler, undo)
    undo.callback(copy_warnings(lambda file, line, text: _log_warning(handler, file, line, text)))
    _process_log = _ProcessLog(handler, workers, undo)
    # Not by a logger, which might print it.
    handler.handle(_record(__name__, logging.INFO, __file__, 0, f"the log of process {os.getpid()} begins"))


def _log_warning(handler: logging.Handler, file: str, line: int, text: str) -> None:
    handler.handle(_record("py.warnings", logging.WARNING, file, line, text))


def _take_records(handler: logging.Handler, undo: contextlib.ExitStack) -> None:
    """Give the handler all that Dask and daskhpc log from INFO on, and from their own level if that is lower."""
    level = min(_LOG_LEVEL, logging.getLogger(_FAMILIES[0]).getEffectiveLevel())
    handler.setLevel(level)
    loggers = loggers_of(_FAMILIES)
    lowered = {each.name: each.level for each in loggers if each.level > level or each.name in _FAMILIES}
    printed = _Printed(lowered, level)
    for logger in loggers:
        for other in logger.handlers:
            other.addFilter(printed)
            undo.callback(other.removeFilter, printed)
    for logger in loggers:
        if logger.name in lowered:
            logger.setLevel(level)
            undo.callback(_restore, logger, level, lowered[logger.name])
        ends_here = not logger.propagate
        if logger.name in _FAMILIES and not ends_here:
            _add(logger, _Upward(printed), undo)
            logger.propagate = False
            undo.callback(setattr, logger, "propagate", True)
        if logger.name in _FAMILIES or ends_here:
            _add(logger, handler, undo)


def _add(logger: logging.Logger, handler: logging.Handler, undo: contextlib.ExitStack) -> None:
    logger.addHandler(handler)
    undo.callback(logger.removeHandler, handler)


def _restore(logger: logging.Logger, ours: int, before: int) -> None:
    if logger.level == ours:
        logger.setLevel(before)


class _Printed(logging.Filter):
    """Lets a handler have what it had before levels of loggers were lowered.

    Parameters
    ----------
    lowered : Mapping[str, int]
        The loggers' own levels before.
    level : int
        What they were lowered to; another one was set since, and counts.
    """

    def __init__(self, lowered: Mapping[str, int], level: int) -> None:
        super().__init__()
        self._lowered = lowered
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is at the level that its logger had."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            own = logger.level
            level = self._lowered.get(logger.name, own) if own == self._level else own
            if level:
                return record.levelno >= level
            logger = logger.parent
        return True


class _Upward(logging.Handler):
    """Passes the records that were printed before to the root logger, whose handlers are the program's."""

    def __init__(self, printed: _Printed) -> None:
        super().__init__()
        self._printed = printed

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass a record on."""
        if self._printed.filter(record):
            logging.getLogger().callHandlers(record)
        return True
