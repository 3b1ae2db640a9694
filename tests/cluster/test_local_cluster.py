"""The LocalCluster of one machine: its workers' processes may die, twice in a row too."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dask
import pytest
from clusters import start_cluster
from distributed import Client
from distributed.comm import CommClosedError

FAILED = "Failed to communicate with scheduler during heartbeat"


@pytest.fixture(autouse=True)
def _environment_is_left_alone() -> Iterator[None]:
    before = variables()
    yield
    assert variables() == before


def variables() -> dict[str, str]:
    """Those that say how a worker's process uses threads and memory."""
    return {name: value for name, value in os.environ.items() if name.endswith(("_NUM_THREADS", "_THRESHOLD_"))}


def test_workers_that_start_at_once_leave_their_caps_to_nobody() -> None:
    with start_cluster(4, threads=2) as cluster, Client(cluster, set_as_default=False) as client:
        assert {found["OMP_NUM_THREADS"] for found in client.run(variables).values()} == {"1"}


def die(client: Any) -> int:
    """Kill the one worker process; its id."""
    (pid,) = client.run(os.getpid).values()
    os.kill(pid, signal.SIGKILL)
    return int(pid)


def thresholds() -> list[str | None]:
    return [os.environ.get(name) for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")]


@pytest.mark.parametrize(("asked", "found"), [(None, [str(32 << 20), str(16 << 20)]), ("100000", ["100000", None])])
def test_workers_keep_some_of_the_memory_that_they_freed(
    asked: str | None, found: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sixteenth of their 2 GiB, shared among four threads."""
    if asked:
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", asked)
    with start_cluster(1, threads=4) as cluster, Client(cluster, set_as_default=False) as client:
        assert list(client.run(thresholds).values()) == [found]


def comes_back(client: Any, pid: int) -> None:
    assert client.submit(os.getpid, pure=False).result(timeout=120) != pid


@pytest.mark.parametrize("after", [lambda cluster: None, lambda cluster: cluster.scheduler_info["workers"].clear()])
def test_a_worker_that_is_away_when_looked_for_comes_back(after: Callable[[Any], None]) -> None:
    """At once rather than after 15 s, in which it would have to die again; and where nothing was known of it."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}),
        start_cluster(1) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for _ in range(2):
            after(cluster)
            comes_back(client, die(client))


def test_a_worker_process_that_ends_is_named_unless_it_was_to_end(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("distributed.nanny")  # what Dask's loggers say goes no further
    logger.addHandler(caplog.handler)
    try:
        with start_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
            (pid,) = client.run(os.getpid).values()
            client.restart()
            comes_back(client, pid)
            assert "Worker process" not in caplog.text
            comes_back(client, die(client))
            assert "SIGKILL" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def beat(dask_worker: Any) -> None:
    dask_worker.loop.add_callback(dask_worker.heartbeat)


def test_a_heartbeat_that_is_under_way_at_the_end_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """But one that fails before is."""
    begun = threading.Event()

    async def unanswered(**_: Any) -> None:
        begun.set()
        await asyncio.sleep(30)

    async def lost(**_: Any) -> None:
        raise CommClosedError

    with start_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        handlers = cluster.scheduler.handlers
        handlers["heartbeat_worker"] = lost
        client.run(beat)
        deadline = time.monotonic() + 100
        said = ""
        while FAILED not in said:
            assert time.monotonic() < deadline
            said += capfd.readouterr().err
        handlers["heartbeat_worker"] = unanswered
        client.run(beat)
        assert begun.wait(100)
        capfd.readouterr()  # another one may have failed until the handler was there
    assert FAILED not in capfd.readouterr().err
