"""The client's view of its workers: which there are, on which nodes, and which were lost and why."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import WORKER_EXIT_TOPIC
from .outcome import deserted
from .slots import free
from .worker_events import WORKERS_TOPIC, WorkerEvents
from .worker_parcels import describe

FRESH_SECONDS = 1.0
"""For so long the list of workers is not fetched again when a Parallel begins."""
_CHECK_SECONDS = 3.0
_DESERTED_SECONDS = 60.0
_FREE_SECONDS = 0.2
_CAUSE_SECONDS = 1.5
_COMING_UP_SECONDS = 0.5
_QUICK_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One worker process.

    Attributes
    ----------
    address : str
    node : str
        Equal for processes that can share memory.
    pid, threads : int
    ready : float
        When, on the monotonic clock, it may be given work: a Nanny that has not yet seen its process come up would
        take the death of it for a failed start.
    """

    address: str
    node: str
    pid: int
    threads: int
    ready: float = 0.0

    @property
    def host(self) -> str:
        """Its node's host name."""
        return self.node.split()[0]


def slots_of(n_jobs: int, threads: int) -> int:
    """What ``n_jobs`` means on workers with so many threads, at least 1."""
    return max(1, min(n_jobs, threads) if n_jobs > 0 else threads + 1 + n_jobs)


def slots_per_worker(members: Iterable[WorkerProcess], slots: int) -> Counter[WorkerProcess]:
    """How many calls each member may run at once: dealt out over the nodes, then over the threads of each."""
    nodes: dict[str, list[WorkerProcess]] = {}
    for member in members:
        nodes.setdefault(member.node, []).append(member)
    order = [m for tier in itertools.zip_longest(*nodes.values()) for m in tier if m is not None]
    threads = [m for turn in range(max((m.threads for m in order), default=0)) for m in order if m.threads > turn]
    return Counter(threads[:slots])


@dataclass(slots=True)
class _Listener:
    lost: Callable[[WorkerProcess], None]
    changed: Callable[[], None]


@dataclass(eq=False)
class WorkerSet:
    """The workers of one client; all methods but `of` run on the client's event loop.

    Attributes
    ----------
    resting : frozenset[str]
        The addresses of workers that a scaling study has set aside.
    """

    client: Any
    alive: dict[str, WorkerProcess] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)
    resting: frozenset[str] = frozenset()
    _quick: dict[Hashable, tuple[float, float]] = field(default_factory=dict)
    _over: list[str] = field(default_factory=list)
    _futures: list[Any] = field(default_factory=list)
    _listens: bool = False
    _watchers: list[_Listener] = field(default_factory=list)
    _refreshing: asyncio.Task[None] | None = None
    _checked: float = 0.0
    _deserted: float | None = None

    @classmethod
    def of(cls, client: Any) -> WorkerSet:
        """The one of a client, whichever thread asks first."""
        found = _members.get(client)
        return found if found is not None else _members.setdefault(client, cls(weakref.proxy(client)))

    def watch(self, lost: Callable[[WorkerProcess], None], changed: Callable[[], None]) -> Callable[[], None]:
        """Call `lost` when a member is lost, `changed` when workers came; returns a function that ends this."""
        if not self._listens:
            self._listens = True
            self.client.subscribe_topic(WORKERS_TOPIC, self._event)
            self.client.subscribe_topic(WORKER_EXIT_TOPIC, self._loss)
        watcher = _Listener(lost, changed)
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    async def refresh(self) -> None:
        """Fetch the list of workers."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    async def check(self, seconds: float = _CHECK_SECONDS) -> None:
        """Ask if that was not done for so long: an event may have been missed."""
        if time.monotonic() - self._checked > seconds:
            await self.refresh()

    def check_deserted(self) -> None:
        """Raise DaskhpcError if there has been no worker for long; a new cluster is given time to get some."""
        if self.alive:
            self._deserted = None
        elif self._deserted is None:
            self._deserted = time.monotonic()
        elif time.monotonic() - self._deserted > _DESERTED_SECONDS:
            self._deserted = None
            raise deserted(f"The cluster has had no worker for {_DESERTED_SECONDS:g} s.", "none")

    # Some programs use Parallel all the time, and a client sends nothing for 10 ms after each of its messages: what is
    # freed at once would keep the next task waiting. So what little is kept for runs and tasks is freed together.

    def forget_later(self, run: str) -> None:
        """Have the workers forget a run, together with others."""
        self._free_soon()
        self._over.append(run)

    def release_later(self, future: Any) -> None:
        """Release the future of a task, together with others."""
        self._free_soon()
        self._futures.append(future)

    def _free_soon(self) -> None:
        if not self._over and not self._futures:
            asyncio.get_running_loop().call_later(_FREE_SECONDS, lambda: asyncio.ensure_future(self._free()))

    async def _free(self) -> None:
        with contextlib.suppress(Exception):  # the client was closed, and all is freed with it
            for future in self._futures:
                future.release()
        self._futures = []
        runs, self._over = self._over, []
        with contextlib.suppress(Exception):
            if runs:
                await self.client.run(free, *runs, workers=list(self.alive), on_error="ignore")

    def ready(self) -> tuple[list[WorkerProcess], bool]:
        """The members that may be given work now, and whether others will be in a moment."""
        now = time.monotonic()
        ready = [member for member in self.alive.values() if member.ready <= now]
        return ready, len(ready) < len(self.alive)

    def threads(self) -> int:
        """Threads of all workers; from any thread."""
        if self._checked and time.monotonic() - self._checked < FRESH_SECONDS:
            return sum(member.threads for member in list(self.alive.values()))
        return sum(threads for address, threads in self.client.ncores().items() if address not in self.resting)

    # Some programs use Parallel hundreds of times for the same small work, such as selectors of features.

    def note_cost(self, work: Hashable, seconds: float | None) -> None:
        """Note what a call took in a use of Parallel that ends; from any thread."""
        if seconds is None or seconds > _QUICK_SECONDS:
            self._quick.pop(work, None)
        else:
            self._quick[work] = (seconds, self._quick.get(work, (math.inf,))[0])

    def expected_cost(self, work: Hashable) -> float | None:
        """What a call will take, if such calls were quick in the last two uses of Parallel; from any thread."""
        seconds = max(self._quick.get(work, (math.inf,)))
        return None if seconds == math.inf else seconds

    async def let_rest(self, addresses: Iterable[str]) -> None:
        """Give no calls to these workers from now on, and to all others."""
        self.resting = frozenset(addresses)
        if self._refreshing is not None and not self._refreshing.done():
            await self.refresh()  # it may have fetched the list before these rested
        self._checked = 0.0
        await self.refresh()

    async def _refresh(self) -> None:
        if not self._checked:
            # A scheduler that takes no plugins is asked instead, every few seconds.
            with contextlib.suppress(Exception):
                await self.client.register_plugin(WorkerEvents(), name=WORKERS_TOPIC)
        present = set(await self.client.scheduler.ncores()) - self.resting
        for address in set(self.alive) - present:
            self._remove(address)
        new = sorted(present - set(self.alive))
        if not new:
            self._checked = time.monotonic()
            return
        told = await self.client.run(describe, workers=new, on_error="ignore")
        for address, (node, pid, threads) in told.items():
            if address not in self.alive:
                ready = time.monotonic() + _COMING_UP_SECONDS if self._checked else 0.0
                self.alive[address] = WorkerProcess(address, node, pid, threads, ready)
        self._checked = time.monotonic()
        for watcher in list(self._watchers):
            watcher.changed()

    def _remove(self, address: str) -> None:
        member = self.alive.pop(address, None)
        if member is None:
            return
        for watcher in list(self._watchers):
            watcher.lost(member)

    async def _event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if message["action"] == "remove-worker":
            self._remove(message["worker"])
        elif self._watchers:
            await self.refresh()
        else:
            self._checked = min(self._checked, time.monotonic() - _CHECK_SECONDS)  # the next run asks

    async def _loss(self, event: tuple[float, Any]) -> None:
        self.causes[event[1]["worker"]] = event[1]["cause"]

    async def cause(self, member: WorkerProcess) -> str:
        """How a lost worker process ended, as far as its Nanny reports it; empty if no report comes."""
        end = time.monotonic() + _CAUSE_SECONDS
        while member.address not in self.causes and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return self.causes.get(member.address, "")


_members: weakref.WeakKeyDictionary[Any, WorkerSet] = weakref.WeakKeyDictionary()
