"""What Dask logs because a cluster closes is not printed; the same before the end is."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.batched import BatchedSend
from tornado.ioloop import IOLoop
from waiting import until

from daskhpc.cluster.quiet_end import drop_records_of_the_end, silence_program_end
from daskhpc.cluster.session import session
from daskhpc.cluster.worker_preload import LOOP_STOPPED
from daskhpc.cluster.workers import CappedNanny
from daskhpc.errors import WORKER_EXIT_TOPIC


def closing(name: str) -> Any:
    return SimpleNamespace(status=SimpleNamespace(name=name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("distributed.scheduler", "broadcast to tcp://127.0.0.1:1 failed: CommClosedError: in <TCP>"),
        ("distributed.nanny", "Worker process still alive after 4.0 seconds, killing"),
        ("asyncio", LOOP_STOPPED),
    ],
)
@pytest.mark.parametrize(
    ("member", "scheduler", "local", "printed"),
    [
        (None, None, None, True),
        (None, closing("running"), closing("running"), True),
        (None, closing("closing"), None, False),
        (None, None, closing("closed"), False),
        (None, closing("failed"), None, False),
        (SimpleNamespace(server=SimpleNamespace(closing=True), connection=None), None, None, False),
        (SimpleNamespace(server=None, connection=SimpleNamespace(ending=True)), None, None, False),
        (SimpleNamespace(server=None, connection=SimpleNamespace(ending=False)), None, None, True),
    ],
)
def test_records_of_the_end(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    text: str,
    member: Any,
    scheduler: Any,
    local: Any,
    printed: bool,
) -> None:
    drop_records_of_the_end()
    for part, value in (("member", member), ("scheduler", scheduler), ("local", local)):
        monkeypatch.setattr(session, part, value)
    with caplog.at_level(logging.WARNING, logger=name):
        logging.getLogger(name).error(text)
        logging.getLogger(name).error("something else")
    assert [record.getMessage() for record in caplog.records] == [text] * printed + ["something else"]


@pytest.mark.parametrize("name", ["event", "lock", "queues", "semaphore", "variable"])
def test_who_waits_at_the_end_is_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    drop_records_of_the_end()
    for state in ("running", "closing"):
        monkeypatch.setattr(session, "local", closing(state))
        logging.getLogger(f"distributed.{name}").error(asyncio.CancelledError())
    assert len(caplog.records) == 1


def test_a_worker_that_ended_is_not_told_to_a_scheduler_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    async def main() -> None:
        over = asyncio.Event()

        async def log_event(**message: Any) -> None:
            told.append(message["topic"])
            over.set()
            raise RuntimeError("ConnectionPool is closed")

        scheduler = SimpleNamespace(log_event=log_event)
        nanny: Any = SimpleNamespace(scheduler=scheduler, loop=IOLoop.current(), worker_address="tcp://there", name=1)
        nanny._tell = functools.partial(CappedNanny._tell, nanny)
        CappedNanny.worker_ended(nanny, 0, None)
        await asyncio.wait_for(over.wait(), 100)

    asyncio.run(main())
    gc.collect()
    assert told == [WORKER_EXIT_TOPIC]
    assert [record.name for record in caplog.records] == ["distributed.nanny"]


async def write(*args: Any, **options: Any) -> int:
    return 0


def stop_when_the_next_message_is_due() -> None:
    async def send_and_stop() -> None:
        sender.start(SimpleNamespace(write=write, closed=lambda: False))
        sender.send("a message")
        while not sender.waker._waiters or sender.next_deadline is None:
            await asyncio.sleep(0)
        until(lambda: time.time() > sender.next_deadline)
        loop.add_callback(loop.stop)

    loop = IOLoop(make_current=False)
    sender = BatchedSend(interval="10ms", loop=loop)
    loop.add_callback(send_and_stop)
    loop.start()
    loop.close()


def test_a_loop_that_stops_when_the_next_message_is_due(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If this fails, see what asyncio logs of distributed's BatchedSend, which waits between two messages."""
    drop_records_of_the_end()
    for state in ("running", "closing"):
        monkeypatch.setattr(session, "local", closing(state))
        stop_when_the_next_message_is_due()
        gc.collect()
    assert [record.name for record in caplog.records] == ["asyncio"]


def test_a_loop_of_the_programs_client_that_stops_when_the_next_message_is_due(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The program's own last line is to be the last. Before its end such a record is the program's to print."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", [])
    for over in (False, True):
        if over:
            silence_program_end()
        stop_when_the_next_message_is_due()
        gc.collect()
    assert [record.name for record in caplog.records] == ["asyncio"]
