"""Large parcels into the memory of each node that needs them, once per node."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from typing import Any

from ..clients import ask_workers
from .memory_segment import MemorySegment, pieces
from .parcel import Parcel
from .task import Ticket
from .worker_parcels import PIECE_BYTES, attach, fetch_from_peer, node_name, receive, received, write_piece
from .worker_set import WorkerProcess, WorkerSet

_PULLS_PER_SOURCE = 2
_HOLDERS = 8
_ATTEMPTS = 3


# Why it is so: a search gives the same data to thousands of fits. As part of each task it would pass the scheduler and
# lie once in every process: with 128 processes on a node, 128 times. Scattered with Dask it would still lie once in
# each process that uses it. In a memory segment it lies once per node, whatever the number of processes, and a task
# carries a ticket of a few bytes. The segment has no name in the file system: the kernel frees it with the last process
# that has it open, however that process ends. Nodes fetch from each other, at most two at a time from one, so that the
# client's network is not the limit.


class NodeMemory:
    """Knows which nodes have the parcels of one run, and brings them to the nodes that need them.

    The client writes a parcel once, into its own node's memory. Another node gets it from a worker that has it. If
    no worker shares the client's node, the client sends it to the first node.

    Parameters
    ----------
    members : WorkerSet
    run : str
        Name of the run in the workers' stores.
    """

    def __init__(self, members: WorkerSet, run: str) -> None:
        self.members = members
        self.run = run
        self.node = node_name()
        self.segments: dict[int, MemorySegment] = {}
        self.sent = 0
        self._holders: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
        self._sources: dict[int, list[str]] = defaultdict(list)
        self._locks: dict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pulls: Counter[str] = Counter()
        self._freed = asyncio.Event()

    async def ticket(self, parcel: Parcel, member: WorkerProcess) -> Ticket:
        """Bring a packed parcel to a member's node, unless it is there; returns how to find it."""
        assert parcel.layout is not None
        key = (parcel.number, member.node)
        async with self._locks[key]:
            if not self._holders[key]:
                if member.node == self.node:
                    segment = await self._own(parcel)
                    self._holders[key].append((os.getpid(), segment.descriptor))
                else:
                    self._holders[key].append(await self._bring(parcel, member))
        return Ticket(parcel.layout, tuple(self._holders[key]))

    def opened(self, member: WorkerProcess, opened: dict[int, int], tickets: dict[int, Ticket]) -> None:
        """Note what a member's process has opened, or could not open, of what it was given tickets for."""
        failed = [number for number, descriptor in opened.items() if descriptor < 0]
        for number in opened.keys() - failed:
            holders = self._holders[(number, member.node)]
            if len(holders) < _HOLDERS:
                holders.append((member.pid, opened[number]))
        if member.node == self.node and not self.segments.keys().isdisjoint(failed):
            member.node = f"{member.node} {member.address}"  # it cannot look into this process: a node of its own
            return
        for number in failed:
            holders = self._holders[(number, member.node)]
            holders[:] = [holder for holder in holders if holder not in tickets[number].holders]

    def lost(self, member: WorkerProcess) -> None:
        """Forget what a lost member held."""
        for (_, node), holders in self._holders.items():
            if node == member.node:
                holders[:] = [holder for holder in holders if holder[0] != member.pid]
        for sources in self._sources.values():
            if member.address in sources:
                sources.remove(member.address)
        self._freed.set()

    def forget(self, number: int) -> None:
        """Free the client's own copy of a parcel."""
        segment = self.segments.pop(number, None)
        if segment is not None:
            segment.close()
        for key in [key for key in self._holders if key[0] == number]:
            del self._holders[key]
        self._sources.pop(number, None)

    def close(self) -> None:
        """Free all of them."""
        for number in list(self.segments):
            self.forget(number)

    async def _own(self, parcel: Parcel) -> MemorySegment:
        """The client's own segment of a parcel."""
        layout = parcel.layout
        assert layout is not None
        if parcel.number not in self.segments:

            def write() -> MemorySegment:
                segment = MemorySegment.create(layout)
                for (offset, _), frame in zip(layout.spans, parcel.frames, strict=True):
                    segment.write(offset, frame)
                segment.finish()
                return segment

            self.segments[parcel.number] = await asyncio.to_thread(write)
        return self.segments[parcel.number]

    async def _bring(self, parcel: Parcel, member: WorkerProcess) -> tuple[int, int]:
        for attempt in range(_ATTEMPTS):
            source = await self._source(parcel, member)
            try:
                if source is None:
                    await self._push(parcel, member)
                else:
                    await self._ask(member, fetch_from_peer, self.run, parcel.number, parcel.layout, source)
            except Exception:
                if attempt == _ATTEMPTS - 1 or self.members.alive.get(member.address) is not member:
                    raise
                if source in self._sources[parcel.number]:
                    self._sources[parcel.number].remove(source)
                continue
            finally:
                if source is not None:
                    self._pulls[source] -= 1
                    self._freed.set()
            break
        self._sources[parcel.number].append(member.address)
        self._freed.set()
        held: tuple[int, int] = await self._ask(member, received, self.run, parcel.number)
        return held

    async def _source(self, parcel: Parcel, member: WorkerProcess) -> str | None:
        """The worker to fetch a parcel from, None if the client has to send it."""
        sources = self._sources[parcel.number]
        while True:
            if not any(sources) and self.members.alive.get(member.address) is not member:
                raise ConnectionError(f"worker {member.address} is gone")
            async with self._locks[(parcel.number, "")]:
                if not sources:  # also if what served the first node was lost
                    near = next((m for m in self.members.alive.values() if m.node == self.node), None)
                    if near is None:
                        sources.append("")  # the first node is being served; the others wait for it
                        return None
                    segment = await self._own(parcel)
                    ticket = Ticket(segment.layout, ((os.getpid(), segment.descriptor),))
                    if not await self._ask(near, attach, self.run, parcel.number, ticket):
                        sources.append("")
                        return None
                    sources.append(near.address)
            ready = [address for address in sources if address and self._pulls[address] < _PULLS_PER_SOURCE]
            if ready:
                source = min(ready, key=lambda address: self._pulls[address])
                self._pulls[source] += 1
                return source
            self._freed.clear()
            await self._freed.wait()

    async def _push(self, parcel: Parcel, member: WorkerProcess) -> None:
        """Send a parcel from here, piece by piece, so that no process on the way holds it whole."""
        assert parcel.layout is not None
        try:
            await self._ask(member, receive, self.run, parcel.number, parcel.layout)
            for offset, piece in pieces(parcel.frames, parcel.layout, PIECE_BYTES):
                await self._ask(member, write_piece, self.run, parcel.number, offset, bytes(piece))
                self.sent += piece.nbytes
        finally:
            self._sources[parcel.number].remove("")
            self._freed.set()

    async def _ask(self, member: WorkerProcess, function: Any, *args: Any) -> Any:
        replies = await ask_workers(self.members.client, function, *args, workers=[member.address])
        return replies[member.address]
