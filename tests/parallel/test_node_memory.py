"""Large parcels on their way to nodes, some of which are lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from daskhpc.parallel.node_memory import NodeMemory
from daskhpc.parallel.parcel import Parcel
from daskhpc.parallel.worker_set import WorkerProcess

SECONDS = 30


class OneLost(NodeMemory):
    """Sends nothing; the worker "lost" fails when it is told to."""

    def __init__(self, *members: WorkerProcess) -> None:
        super().__init__(SimpleNamespace(alive={m.address: m for m in members}), "run")  # type: ignore[arg-type]
        self.asked: list[str] = []
        self.lose = asyncio.Event()

    async def _ask(self, member: WorkerProcess, function: Any, *args: Any) -> Any:
        self.asked.append(f"{member.address} {function.__name__}")
        if member.address == "lost":
            await self.lose.wait()
            raise OSError("no answer")
        return (member.pid, 7) if function.__name__ == "received" else None


def test_the_node_that_waited_for_a_lost_one_is_served_from_here() -> None:
    async def serve() -> None:
        lost, other = WorkerProcess("lost", "node 1", 1, 1), WorkerProcess("other", "node 2", 2, 1)
        memory = OneLost(lost, other)
        parcel = Parcel(0, np.ones(100_000))
        parcel.pack(1)
        first = asyncio.create_task(memory.ticket(parcel, lost))
        while not memory.asked:
            await asyncio.sleep(0)
        second = asyncio.create_task(memory.ticket(parcel, other))
        await asyncio.sleep(0)
        del memory.members.alive["lost"]
        memory.lose.set()
        with pytest.raises(OSError, match="no answer"):
            await first
        memory.lost(lost)
        ticket = await asyncio.wait_for(second, SECONDS)
        assert ticket.holders == ((2, 7),)
        assert memory.asked[:2] == ["lost receive", "other receive"]

    asyncio.run(serve())
