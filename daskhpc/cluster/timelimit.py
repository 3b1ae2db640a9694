"""The time limit of the job: shortly before it, journals are made safe and the program ends, to be run again.

Why it is so: the program has to end in order, so that its own ``finally`` and exit handlers run, and from outside
only an exception in its main thread does that. An exception in a signal's handler can be lost: an ``except:`` of the
program or a library catches it, or the signal comes while Python runs a callback of its garbage collection, which
prints and drops every exception. A requeued job depends on the exit code 75, so the exception is raised again until
the program ends; while it is on its way or something cleans up it must not be raised a second time, which the weak
reference to it tells. Code that heeds no exception is ended by ``os._exit`` after a while. (Raised once, with
``os._exit`` as the only backstop, `test_an_end_that_is_dropped_comes_again` fails: exit handlers do not run.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..compat.distributed import open_clients, pause_worker
from ..compat.python import at_exit, waits_for_threads
from ..errors import EXIT_FAILED, EXIT_UNFINISHED, DaskhpcError
from ..journal.journal import open_journals
from ..runtime.commands import asked_end_time, with_end_time
from ..runtime.model import Sourced
from ..text import counted
from .environment import interactive
from .output import flush_output
from .world import say

if TYPE_CHECKING:
    from ..journal.journal import Journal
    from .session import ClusterMember

_LONGEST_GRACE = 30.0
_LOOK_SECONDS = 60.0
_POLL_SECONDS = 0.02
_DELIVERY_SECONDS, _DELIVERY_PARTS = 2.0, 100
_REPEAT_SECONDS = 0.5
_SUSPENDED_SECONDS = 5.0
_INTERRUPT = signal.SIGRTMIN + 8


_stoppers: list[Callable[[float], None]] = []


@contextlib.contextmanager
def asked_to_stop(stop: Callable[[float], None]) -> Iterator[None]:
    """Within: when the time limit is near, `stop` is called with some seconds to save and stop, in another thread."""
    _stoppers.append(stop)
    try:
        yield
    finally:
        _stoppers.remove(stop)


class TimeLimitNear(SystemExit):
    """Raised in the main thread when the time limit is near; ends the program unless it is caught."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """When the job ends, and how long before that the program does.

    Attributes
    ----------
    end : float
        In Unix time.
    margin : float
        Seconds.
    source : str
        What the end of the job was read from.
    """

    end: float
    margin: float
    source: str = ""

    @property
    def patience(self) -> float:
        """Seconds that what runs on the workers has to come to an end."""
        return self.margin / 3

    @property
    def grace(self) -> float:
        """Seconds that the program has to end; the journals have half as many before that, and again after it."""
        return min(self.margin / 3, _LONGEST_GRACE)


@dataclass(frozen=True, slots=True)
class SavedResults:
    """What a run has in its journals.

    Attributes
    ----------
    folders : tuple[str, ...]
    saved : int
        Results that this run has added.
    unsaved : int
        Results that could not be saved.
    """

    folders: tuple[str, ...]
    saved: int
    unsaved: int = 0


def limit_of(end: Sourced[float | None], margin: float, now: float) -> TimeLimit | None:
    """The limit to watch for; None if there is none, or if it has passed.

    If it comes sooner than the margin, half of the time that is left is for work.
    """
    if end.value is None or end.value <= now:
        return None
    left = end.value - now
    return TimeLimit(end.value, margin if left > margin else left / 2, end.source)


def exit_code(kept: SavedResults) -> int:
    """75 if another run gets further; 70 if it would not, because this run saved nothing."""
    return EXIT_UNFINISHED if kept.saved else EXIT_FAILED


def last_message(limit: TimeLimit, kept: SavedResults) -> DaskhpcError:
    """The message when the program is ended."""
    clock = _clock(limit)
    folders = ", ".join(kept.folders)
    lost = f"; {counted(kept.unsaved, 'more result')} could not be saved" if kept.unsaved else ""
    if kept.saved:
        return DaskhpcError(
            f"The time limit is near ({clock}), so the program ends unfinished, with exit code {EXIT_UNFINISHED}.",
            f"this run saved {counted(kept.saved, 'result')} in {folders}{lost}",
            "submit it again: it goes on from there; on Slurm, jobs of daskhpc submit do so by themselves",
        )
    return DaskhpcError(
        f"The time limit is near ({clock}), and this run saved nothing new; another one would get no further.",
        f"{folders}: no result more than before{lost}",
        "a longer --time",
    )


def warning(limit: TimeLimit, kept: SavedResults | None, now: float) -> DaskhpcError:
    """The message if the program runs on."""
    happened = f"The time limit comes in {max(0.0, limit.end - now):.0f} s"
    ends = f"the job ends at {_clock(limit)} ({limit.source})"
    if kept is not None:
        found = f"{ends}; this session saved {counted(kept.saved, 'result')} in {', '.join(kept.folders)}"
        return DaskhpcError(f"{happened}.", found, "save what else you need")
    script = shlex.quote(os.path.basename(sys.argv[0]) or "script.py")
    return DaskhpcError(
        f"{happened}, and nothing of this program is kept.",
        f"{ends}; the program runs on until then",
        f"next time: daskhpc run --checkpoint DIR {script}, or checkpoint=DIR in its searches",
    )


def _clock(limit: TimeLimit) -> str:
    return time.strftime("%H:%M:%S", time.localtime(limit.end))


class TimeLimitWatcher:
    """Wakes before a time limit and ends the program if a journal has its results.

    Parameters
    ----------
    limit : TimeLimit
    ask : callable, optional
        Asks the batch system for the end of the job, in Unix time, after the job was suspended and near its end.

    Notes
    -----
    A real-time signal, which nothing else sends, makes the main thread raise `TimeLimitNear`. As long as this exception
    exists, it is on its way, or something still cleans up. If it is gone and the program has not ended, it was dropped,
    by an ``except:`` of the program, or because the signal came while Python ran a callback of its garbage collection.
    Then it is raised again.
    """

    def __init__(self, limit: TimeLimit, ask: Callable[[], Sourced[float | None]] | None = None) -> None:
        self.limit = limit
        self.ask = ask or (lambda: Sourced(None, "not asked"))
        self.over = threading.Event()
        self.code = 0
        self._raised: Callable[[], TimeLimitNear | None] = lambda: None
        self.interrupts = threading.current_thread() is threading.main_thread()
        if self.interrupts:
            signal.signal(_INTERRUPT, self._raise)
        at_exit(self.over.set)
        threading.Thread(target=self._run, name="daskhpc-timelimit", daemon=True).start()

    def _run(self) -> None:
        asked = 0.0
        while (left := self.limit.end - self.limit.margin - time.time()) > 0:
            if left <= _LOOK_SECONDS and asked != self.limit.end:  # it may have been put off (scontrol update)
                asked = self.limit.end
                self._ask_again()
                continue
            began, pause = time.time(), min(left, _LOOK_SECONDS)
            if self.over.wait(pause):
                return
            if time.time() - began > pause + _SUSPENDED_SECONDS:
                self._ask_again()
        kept = _saved_results(open_journals())
        if kept is None or interactive():
            say(warning(self.limit, kept, time.time()))
            return
        for stop in list(_stoppers):
            stop(self.limit.patience)
        _drain_workers(self.limit.patience)
        written = open_journals()
        _sync(written, self.limit.grace / 2)
        kept = _saved_results(written) or kept
        if self.over.is_set():
            return
        say(last_message(self.limit, kept))
        self.code = exit_code(kept)
        if not self._end_program():
            _sync(open_journals(), self.limit.grace / 2)
            flush_output()
            os._exit(self.code)

    def _ask_again(self) -> None:
        """The end may have moved: by as much as a job was suspended (Slurm), or because its limit was changed."""
        end = self.ask()
        if end.value is not None:
            self.limit = TimeLimit(end.value, self.limit.margin, end.source)

    def _end_program(self) -> bool:
        """Raise in the main thread, again if the exception was dropped; whether the program ended in time."""
        end, main = time.monotonic() + self.limit.grace, threading.main_thread()
        while (left := end - time.monotonic()) > 0:
            if self.interrupts and self._raised() is None:
                signal.pthread_kill(main.ident or 0, _INTERRUPT)
            if self.over.wait(min(left, _REPEAT_SECONDS)):
                return True
        return False

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.over.is_set() or waits_for_threads():
            return  # the program is at its end, or waits for its threads to be
        error = TimeLimitNear(self.code)
        self._raised = weakref.ref(error)
        try:
            raise error
        finally:
            del error  # or its own traceback would keep it


_watch: TimeLimitWatcher | None = None


def watch_time_limit(
    end: Sourced[float | None], margin: float, ask: Callable[[], Sourced[float | None]] | None = None
) -> None:
    """From now on, watch for the end of the job; a second call takes the place of the first one.

    Parameters
    ----------
    end : Sourced[float or None]
        In Unix time; None if there is no limit, or if it is not known: then nothing is watched.
    margin : float
        Seconds before it at which the program is to end.
    ask : callable, optional
        As of `TimeLimitWatcher`.
    """
    global _watch
    limit = limit_of(end, margin, time.time())
    if limit is None:
        return
    if _watch is not None:
        _watch.over.set()
    _watch = TimeLimitWatcher(limit, ask)


def watch_end_of_job(member: ClusterMember, margin: float) -> None:
    """On the client's rank: watch for the end of its job, which the batch system tells if no variable does."""
    member.runtime = runtime = with_end_time(member.runtime)
    watch_time_limit(runtime.end_time, margin, partial(asked_end_time, runtime))


def _saved_results(written: Sequence[Journal]) -> SavedResults | None:
    if not written:
        return None
    folders = sorted({str(journal.folder) for journal in written})
    return SavedResults(tuple(folders), sum(j.results_saved for j in written), sum(j.pending + j.lost for j in written))


def _sync(written: Sequence[Journal], seconds: float) -> None:
    end = time.monotonic() + seconds
    for journal in written:
        journal.sync(max(0.0, end - time.monotonic()))


def _drain_workers(seconds: float) -> None:
    """Let the workers start no more tasks, and wait so long for those that run: their results are saved."""
    end = time.monotonic() + seconds
    # After `initialize` the program makes its client itself.
    clients = [client for client in open_clients() if client.status == "running" and not client.asynchronous]
    if not clients:
        return
    for client in clients:
        left = max(0.0, end - time.monotonic())
        with contextlib.suppress(Exception):
            client.sync(client.run, _pause, 0.8 * left, on_error="ignore", callback_timeout=left)
    # The workers are done; the last results are on their way to the client. A machine that stands still meanwhile
    # takes one of the parts, not all.
    for _ in range(_DELIVERY_PARTS):
        time.sleep(max(0.0, min(_DELIVERY_SECONDS / _DELIVERY_PARTS, end - time.monotonic())))


async def _pause(seconds: float, dask_worker: Any) -> None:
    """On a worker: start no more tasks, and wait for those that run."""
    pause_worker(dask_worker)
    end = time.monotonic() + seconds
    # Those that have seceded are among them: a call does that when it makes a client of Dask.
    while dask_worker.state.all_running_tasks and time.monotonic() < end:
        await asyncio.sleep(_POLL_SECONDS)
