"""A task on its way to a worker, which may be lost meanwhile."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .call_queue import SHORT_TASK, SHORTEST_TASK, Call
from .task import Stream

_GRACE_SECONDS = 0.5
_WORTH_SECONDS = 2 * SHORTEST_TASK  # of less, another worker would get all

Member = TypeVar("Member")


@dataclass(slots=True, eq=False)
class SentTask:
    """A task on its way.

    Attributes
    ----------
    calls : list[Call]
        The calls whose results have not come. Emptied when the worker is lost, and its calls go elsewhere.
    alone : bool
        Whether nothing else of the run is in the worker.
    seconds : float
        What it is expected to take.
    ends, due : float
        When, on the monotonic clock, it is expected back, and when that is late.
    name : str
    taken : int
        Results that came before the task was over.
    moved : bool
        Whether it has a call that was moved.
    recalled, over : bool
        Whether the calls that have not begun were asked back; whether the task is over.
    slot : int or None
        Of its worker, if the calls are to go to the same child as others of their group.
    gone : asyncio.Event
        Set when the worker is lost.
    """

    calls: list[Call]
    alone: bool
    seconds: float = 0.0
    slot: int | None = None
    ends: float = math.inf
    due: float = math.inf
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    taken: int = 0
    moved: bool = False
    recalled: bool = False
    over: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def expected_after(self, others: Sequence[SentTask], threads: int) -> None:
        """Estimate when it ends, behind other tasks in the same worker."""
        now = time.monotonic()
        self.ends = max(now, begins(others, threads)) + self.seconds
        self.due = now + 3 * (self.ends - now) + _GRACE_SECONDS
        self.moved = any(call.moved for call in self.calls)

    @property
    def short(self) -> bool:
        """Whether it takes about as long as Dask's messages about a task of its own; False if that is not known."""
        return 0 < self.seconds < SHORT_TASK and not self.alone

    def take_results(self, records: Sequence[Stream]) -> Iterator[tuple[Call, Stream]]:
        """The calls whose records are new, each of which then leaves it; `records` begin with the task's first."""
        for found in list(zip(self.calls, records[self.taken :], strict=False)):
            yield found
            self.taken += 1
            self.calls = self.calls[1:]

    def may_be_shared(self) -> bool:
        """Whether its calls may go to any other worker, and have not done so yet.

        A call moves once. While tasks are slow to begin, calls would go round and none would begin.
        """
        return not self.recalled and not self.alone and self.slot is None and not self.moved

    def recall(self) -> None:
        """Its calls that have not begun are on their way to other workers."""
        self.recalled = True
        for call in self.calls:
            call.moved = True

    def take_unstarted(self, keep: int = 0) -> list[Call]:
        """The calls that go elsewhere, all but the first so many."""
        back, self.calls = self.calls[keep:], self.calls[:keep]
        return back


def begins(sent: Sequence[SentTask], threads: int) -> float:
    """When, on the monotonic clock, a thread of a worker with these tasks is free for the next; 0.0 if one is idle."""
    return sorted(task.ends for task in sent)[-threads] if len(sent) >= threads else 0.0


def latest_begin(
    sent: Mapping[Member, Sequence[SentTask]], seats: Sequence[tuple[Member, int]], waiting: float | None
) -> float:
    """Until when a worker has to begin a task to be given it; one that is free later leaves the last calls to others.

    Parameters
    ----------
    sent : mapping of Sequence[SentTask]
        All tasks on their way, by worker.
    seats : sequence of tuple
        The workers, each with the threads that take part.
    waiting : float or None
        Seconds that all calls that wait will take; None if more may come, or that is not known.
    """
    if waiting is None:
        return math.inf
    soonest = min((begins(sent.get(member, ()), threads) for member, threads in seats), default=0.0)
    return max(time.monotonic(), soonest) + waiting / max(1, sum(threads for _, threads in seats))


def expect_again(sent: Sequence[SentTask], threads: int, seconds_of: Callable[[Sequence[Call]], float]) -> None:
    """When a task of a worker has ended, estimate again when those end that begin now, or have not begun.

    The first tasks are sent with a guess. If they take longer, one that has not begun would count as over, and its
    worker would get more than its part of the last calls.
    """
    for place in range(threads - 1, len(sent)):
        sent[place].seconds = seconds_of(sent[place].calls)
        sent[place].expected_after(sent[:place], threads)


def load(sent: Sequence[SentTask]) -> tuple[int, float]:
    """How busy a worker with these tasks is: of two, the one with less is given the next."""
    return len(sent), max((task.ends for task in sent), default=0.0)


def to_give_back(sent: Mapping[Member, Sequence[SentTask]], idle: bool) -> list[tuple[Member, list[SentTask]]]:
    """The tasks whose calls that have not begun are to go to others.

    Parameters
    ----------
    sent : mapping of Sequence[SentTask]
        All tasks on their way, by worker.
    idle : bool
        Whether a slot has nothing to do and no call waits for it.

    Returns
    -------
    list of tuple
        Workers, each with its tasks: those behind a call that takes long; if a slot is idle, also those of the worker
        that has the most left, unless it is so little that its way to another takes as long.
    """
    now = time.monotonic()
    found: dict[Member, list[SentTask]] = {}
    most, last = _WORTH_SECONDS, None
    for member, tasks in sent.items():
        if sum(len(task.calls) for task in tasks) < 2:
            continue
        late = [task for task in tasks if task.due < now and not task.recalled]
        if late:
            found[member] = late
        left = max((task.ends - now for task in tasks if task.may_be_shared()), default=0.0)
        if idle and left > most:
            most, last = left, member
    if last is not None:
        found[last] = [task for task in sent[last] if task.may_be_shared()]
    return list(found.items())
