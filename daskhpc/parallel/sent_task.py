"""A task on its way to a worker, which may be lost meanwhile."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .pool import Call
from .task import Stream

_GRACE_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class SentTask:
    """A task on its way.

    Attributes
    ----------
    calls : list[Call]
        Those whose results have not come. Emptied when the worker is lost, and its calls go elsewhere.
    alone : bool
        Whether nothing else of the run is in the worker.
    seconds : float
        What it is expected to take.
    due : float
        When, on the monotonic clock, it should be back.
    name : str
    taken : int
        Results that came before the task was over.
    recalled, over : bool
        Whether it was told to give back what has not begun; whether it is back.
    slot : int or None
        Of its worker, if the calls are to go where others of their group went.
    gone : asyncio.Event
        Set when the worker is lost.
    """

    calls: list[Call]
    alone: bool
    seconds: float = 0.0
    slot: int | None = None
    due: float = math.inf
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    taken: int = 0
    recalled: bool = False
    over: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def expected_after(self, others: Sequence[SentTask], threads: int) -> None:
        """Say when it is due, behind other tasks in the same worker."""
        queue = self.seconds + sum(other.seconds for other in others) / threads
        self.due = time.monotonic() + 2 * queue + _GRACE_SECONDS

    def take_results(self, records: Sequence[Stream]) -> Iterator[tuple[Call, Stream]]:
        """The calls whose records are new, each of which then leaves it; `records` begin with the task's first."""
        for found in list(zip(self.calls, records[self.taken :], strict=False)):
            yield found
            self.taken += 1
            self.calls = self.calls[1:]

    def take_unstarted(self, keep: int = 0) -> list[Call]:
        """The calls that go elsewhere, all but the first so many."""
        back, self.calls = self.calls[keep:], self.calls[:keep]
        return back


def overdue(sent: Sequence[SentTask]) -> list[SentTask]:
    """The tasks of one worker that are to give back what waits in them behind a call that takes long."""
    now = time.monotonic()
    if sum(len(task.calls) for task in sent) < 2:
        return []
    return [task for task in sent if task.due < now and not task.recalled]


async def wait_or_lost(work: Awaitable[Any], gone: asyncio.Event) -> Any:
    """What `work` gives, None where `gone` is set first."""
    first, second = asyncio.ensure_future(work), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        return await first if first.done() else None
    finally:
        first.cancel()
        second.cancel()


async def fetch(client: Any, future: Any) -> Any:
    """The result of a task; None if Dask has given it up, because it lost several workers with it."""
    from distributed import KilledWorker, wait

    await wait([future])
    try:
        # Never cancelled: the client hands a gather that was cancelled before it began to all that come after it.
        gather = asyncio.ensure_future(client.gather([future]))
        gather.add_done_callback(lambda done: done.cancelled() or done.exception())
        (result,) = await asyncio.shield(gather)
    except KilledWorker:
        return None
    return result
