"""The one exception tree: what happened, what was found, what to type next."""

from __future__ import annotations

from typing import Any


class DaskhpcError(Exception):
    """Base of every error that daskhpc raises.

    Parameters
    ----------
    happened : str
        What happened, in one sentence.
    found : str
        What was found, if that helps.
    todo : str
        What to type next.
    """

    def __init__(self, happened: str, found: str = "", todo: str = "") -> None:
        super().__init__(happened, found, todo)
        self.happened = happened
        self.found = found
        self.todo = todo

    def __reduce__(self) -> Any:
        # Said in so many words: what pickles exceptions for Dask mistakes those with a MemoryError among their bases.
        return type(self), self.args, self.__dict__

    def __str__(self) -> str:
        parts = [self.happened]
        if self.found:
            parts.append(f"  found: {self.found}")
        if self.todo:
            parts.append(f"  try:   {self.todo}")
        return "\n".join(parts)


class SettingsError(DaskhpcError, ValueError):
    """A setting that does not exist, or a value that it does not take."""


class StartError(DaskhpcError, RuntimeError):
    """The cluster could not start: every rank ends, one of them prints why."""


class LaunchError(DaskhpcError, RuntimeError):
    """A program could not be launched as ranks."""


class ProgramError(LaunchError):
    """What was given as the program is none that Python can run. As with Python itself, the exit code is 2."""


class WorkerDiedError(DaskhpcError, RuntimeError):
    """A call ended its worker process, also when it ran alone."""


class TrainingError(DaskhpcError, RuntimeError):
    """A training over all workers that ended because of one of its ranks.

    Attributes
    ----------
    rank : int
        The rank that failed first; -1 if it is none's doing.
    host : str
    kind : str
        "exception", "exit", "signal", "memory", "hang" or "worker"; empty before the ranks began.
    line : str
        Where in the user's code, if that is known.
    """

    rank = -1
    host = kind = line = ""


class DataTooLargeError(DaskhpcError, MemoryError):
    """Dask collections that do not fit the memory of the process that needs them."""


class JournalError(DaskhpcError, RuntimeError):
    """A journal that cannot be used: not one, of another user or format, or of other work."""


class InputFileError(DaskhpcError, ValueError):
    """An input file that is missing, cannot be read, or does not hold what is needed; names it and the place in it."""


EXIT_USAGE = 2
"""Exit code of a command line that is wrong, a program that is not there or that is none among them."""

EXIT_FAILED = 70
"""Exit code of a process that daskhpc ends because something other than the user's program failed."""

EXIT_UNFINISHED = 75
"""Exit code of a program that daskhpc ends near the time limit, and that goes on when it is run again."""

WORKER_EXIT_TOPIC = "daskhpc-worker-exit"
"""Dask topic for a Nanny's report on how its worker process ended: a mapping with ``worker``, ``host``, ``cause``."""


def one_line(error: object) -> str:
    """The type and the text of an exception, in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be shown)"
    return f"{type(error).__name__}: {text}".removesuffix(": ")
