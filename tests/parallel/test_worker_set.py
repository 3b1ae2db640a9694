"""Which workers a client gives calls to, without a cluster."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from daskhpc.parallel.worker_set import WorkerSet


async def left_when_one_rests_while_the_list_is_fetched() -> set[str]:
    listed, described = asyncio.Event(), asyncio.Event()

    async def ncores() -> dict[str, int]:
        return {"works": 1, "rests": 1}

    async def run(function: Any, workers: list[str], on_error: str) -> dict[str, tuple[str, int, int]]:
        listed.set()
        await described.wait()
        return dict.fromkeys(workers, ("node", 1, 1))

    members = WorkerSet(SimpleNamespace(scheduler=SimpleNamespace(ncores=ncores), run=run))
    refreshing = asyncio.create_task(members.refresh())
    await listed.wait()
    resting = asyncio.create_task(members.let_rest(["rests"]))
    await asyncio.sleep(0)  # it has begun
    described.set()
    await asyncio.gather(refreshing, resting)
    return set(members.alive)


def test_a_worker_rests_also_if_the_list_of_workers_is_being_fetched() -> None:
    assert asyncio.run(asyncio.wait_for(left_when_one_rests_while_the_list_is_fetched(), 60)) == {"works"}


def test_threads_that_ask_first_at_once_get_the_same() -> None:
    """A client tells one alone of lost workers."""
    together = threading.Barrier(2)

    class Asked(WorkerSet):
        def __init__(self, client: Any) -> None:
            together.wait(60)
            super().__init__(client)

    class Client:
        pass

    client = Client()
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(Asked.of, [client, client])
    assert one is other is WorkerSet.of(client)
