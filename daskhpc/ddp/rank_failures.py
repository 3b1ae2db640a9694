"""Which failure of a training came first, and the message about it: pure decisions over what was reported."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..cluster.start_table import spans
from ..errors import TrainingError
from ..text import bytes_text, duration
from .raised_errors import RaisedError

Kind = Literal["exception", "exit", "signal", "memory", "hang", "worker"]

# Frames of a stack that are not the user's: packages, the standard library, what the interpreter makes.
_FOREIGN = re.compile(r"/(site|dist)-packages/|/lib/python3\.\d+/|/daskhpc/(ddp|cluster)/|^<(frozen|string|__array)")
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+),? in (?P<function>.+)$', re.MULTILINE)
_MOST_TEXTS = 4
_COMMUNICATION = re.compile(r"gloo|NCCL|ProcessGroup|[Ww]atchdog")
_WAITING = re.compile(r"/torch/(distributed|autograd|nn/parallel)/")


@dataclass(frozen=True, slots=True)
class RankFailure:
    """How one rank ended, or that it stands.

    Attributes
    ----------
    rank : int
    host : str
    kind : {"exception", "exit", "signal", "memory", "hang", "worker"}
    time_ns : int
        When, in Unix time: of an exception when it was raised, of a process when its end was seen.
    text : str
        An exception's type and text, the exit code, the signal, the cause of a worker's end.
    line : str
        Where in the user's code: ``train.py:41, in fit``; empty if that is not known.
    consequence : bool
        Whether it only means that another rank could not be reached.
    step : int
        How many batches the rank had.
    stack : str
        The stack of a rank that ended without a message or hangs.
    raised : RaisedError or None
        The exception.
    """

    rank: int
    host: str
    kind: Kind
    time_ns: int
    text: str
    line: str = ""
    consequence: bool = False
    step: int = 0
    stack: str = ""
    raised: RaisedError | None = None


@dataclass(frozen=True, slots=True)
class RankStack:
    """Where a living rank stands."""

    rank: int
    host: str
    step: int
    stack: str

    @property
    def waits(self) -> bool:
        """Whether it waits for other ranks: it is inside torch's communication, or in a backward pass."""
        frame = _FRAME.search(self.stack)
        return frame is not None and _WAITING.search(frame["file"]) is not None

    @property
    def stands(self) -> bool:
        """Whether it is in the user's code, and not because it waits for others: one that has just failed is not."""
        return not self.waits and user_line(self.stack) != ""


def primary(failures: Iterable[RankFailure]) -> RankFailure | None:
    """The first failure that is no consequence of another one."""
    causes = [failure for failure in failures if not failure.consequence and failure.kind != "hang"]
    return min(causes, key=lambda failure: failure.time_ns, default=None)


def first_cause(failures: Sequence[RankFailure], stacks: Sequence[RankStack] = ()) -> RankFailure:
    """The failure that brought the others.

    Parameters
    ----------
    failures : sequence of RankFailure
        At least one.
    stacks : sequence of RankStack
        Of the ranks that still live. They matter if no failure is a cause of its own: then a rank stands, and others
        have waited for it in vain. It is a rank with the fewest batches, and of these one that does not itself wait.
    """
    cause = primary(failures)
    if cause is not None:
        return cause
    if stacks:
        slowest_first = sorted(stacks, key=lambda stack: stack.step)
        standing = next((stack for stack in slowest_first if stack.stands), None)
        standing = standing or next((stack for stack in slowest_first if not stack.waits), slowest_first[0])
        earliest = min(failures, key=lambda failure: failure.time_ns)
        text = next((failure.text for failure in failures if failure.kind == "hang"), earliest.text)
        return RankFailure(
            standing.rank,
            standing.host,
            "hang",
            earliest.time_ns,
            text,
            user_line(standing.stack),
            step=standing.step,
            stack=standing.stack,
        )
    return min(failures, key=lambda failure: failure.time_ns)


def user_line(stack: str) -> str:
    """The innermost place of the user's code in a stack as ``faulthandler`` writes it, newest call first.

    Examples
    --------
    >>> user_line('File "/home/me/train.py", line 41 in fit')
    '/home/me/train.py:41, in fit'
    """
    frames = _FRAME.finditer(main_thread(stack))
    return _innermost((each["file"], int(each["line"]), each["function"].strip()) for each in frames)


def line_of_error(raised: RaisedError) -> str:
    """The innermost place of the user's code in a traceback: ``train.py:41, in fit``."""
    return _innermost((frame.file, frame.lines[0], frame.function) for frame in reversed(raised.frames))


def _innermost(places: Iterable[tuple[str, int, str]]) -> str:
    own = (f"{file}:{line}, in {function}" for file, line, function in places if not _FOREIGN.search(file))
    return next(own, "")


def main_thread(stack: str) -> str:
    """The part of ``faulthandler``'s stacks that is of the thread in which the user's function runs."""
    parts = re.split(r"\n\s*\n", stack)
    return next((part for part in parts if "rank_process.py" in part), stack)


def users_stack(stack: str) -> str:
    """Of ``faulthandler``'s stacks the lines of the user's function, and of what it called."""
    return re.split(r'\n +File "[^"]*/daskhpc/ddp/rank_process\.py"', main_thread(stack))[0].rstrip()


def exit_failure(
    rank: int,
    host: str,
    time_ns: int,
    status: int,
    stack: str,
    held: tuple[int, int] | None = None,
    tail: Sequence[str] = (),
) -> RankFailure:
    """The failure of a rank whose process ended without a word.

    Parameters
    ----------
    status : int
        Its exit code, or the negative number of the signal.
    stack : str
        What ``faulthandler`` wrote before the end.
    held : (int, int), optional
        Bytes that it held and the worker's limit, if it was ended for that.
    tail : sequence of str
        The last lines that it printed.
    """
    line = user_line(stack)
    if held is not None:
        text = f"it held {bytes_text(held[0])} of {bytes_text(held[1])}, the worker's memory limit"
        return RankFailure(rank, host, "memory", time_ns, text, line, stack=stack)
    if status < 0:
        # nccl's watchdog and gloo's threads abort a process whose peer is gone.
        aborted = -status == signal.SIGABRT and any(_COMMUNICATION.search(text) for text in tail)
        return RankFailure(rank, host, "signal", time_ns, signal_name(-status), line, aborted, stack=stack)
    return RankFailure(rank, host, "exit", time_ns, f"exit code {status}", line, stack=stack)


def signal_name(number: int) -> str:
    """``SIGKILL``, and what it often means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, as the kernel sends it if memory is used up" if name == "SIGKILL" else name


def may_restart(cause: RankFailure, saved: bool, restarts: int, max_restarts: int) -> bool:
    """Whether a training is begun again from its last checkpoint.

    An exception before the first save of an attempt is the program's own: it would come again at the same place.
    """
    return restarts < max_restarts and (saved or cause.kind != "exception")


def next_step(cause: RankFailure, checkpoint: Path | None) -> str:
    """What to do about a failure; the training then goes on from its last checkpoint, if there is one."""
    steps = {
        "memory": "smaller batches, less data in each rank, or more memory: --mem of the job, --memory-limit",
        "hang": "see that all ranks make the same collective calls, or a longer timeout=",
        "worker": "look at the worker's log, and run it again",
    }
    raised = cause.raised
    step = steps.get(cause.kind) or (f"{raised.todo}; then run it again" if raised and raised.todo else "")
    step = step or "mend it and run it again"
    return f"{step}: it goes on from {checkpoint}" if checkpoint else step


def error_of(
    cause: RankFailure, others: Mapping[int, str], world_size: int, todo: str, timeout: float
) -> TrainingError:
    """The error that the user sees.

    Parameters
    ----------
    cause : RankFailure
    others : mapping of int to str
        What became of the other ranks, by rank.
    todo : str
        What to type next.
    timeout : float
        Seconds without progress after which a rank counts as hanging.
    """
    who = f"Rank {cause.rank} of {world_size} on {cause.host}"
    at = f" at step {cause.step}" if cause.step else ""
    line = f", at {cause.line}" if cause.line else ""
    happened = {
        "exception": f"{who} raised {cause.text}{line}.",
        "exit": f"{who} ended with {cause.text}{line}.",
        "signal": f"{who} was ended by {cause.text}{line}.",
        "memory": f"{who} used too much memory{line}: {cause.text}.",
        "hang": f"{who} stands{at}{line}: it made no progress for {duration(timeout)}.",
        "worker": f"{who} was lost with its Dask worker: {cause.text}.",
    }[cause.kind]
    found = _what_became_of(others, cause.text)
    if cause.stack:
        stack = users_stack(cause.stack)
        found = f"{found}\n{stack}" if found else stack
    error = TrainingError(happened, found, todo)
    error.rank, error.host, error.kind, error.line = cause.rank, cause.host, cause.kind, cause.line
    return error


def _what_became_of(others: Mapping[int, str], cause: str) -> str:
    """Ranks that ended alike stand together.

    Examples
    --------
    >>> _what_became_of({0: "it lost the connection", 1: "KeyError: 1", 3: "KeyError: 1"}, cause="KeyError: 1")
    'rank 0: it lost the connection; ranks 1,3: the same'
    """
    alike: dict[str, list[int]] = {}
    for rank, text in sorted(others.items()):
        alike.setdefault(text, []).append(rank)
    texts = [
        f"rank{'s' if len(ranks) > 1 else ''} {spans(ranks)}: {'the same' if text == cause else text}"
        for text, ranks in alike.items()
    ]
    more = f"; and {len(texts) - _MOST_TEXTS} more" if len(texts) > _MOST_TEXTS else ""
    return "; ".join(texts[:_MOST_TEXTS]) + more
