"""What Dask logs because a cluster closes is not printed; the same before the end is."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from daskhpc.cluster.quiet_end import drop_records_of_the_end
from daskhpc.cluster.session import session


def closing(name: str) -> Any:
    return SimpleNamespace(status=SimpleNamespace(name=name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("distributed.scheduler", "broadcast to tcp://127.0.0.1:1 failed: CommClosedError: in <TCP>"),
        ("distributed.nanny", "Worker process still alive after 4.0 seconds, killing"),
    ],
)
@pytest.mark.parametrize(
    ("member", "scheduler", "local", "printed"),
    [
        (None, None, None, True),
        (None, closing("running"), closing("running"), True),
        (None, closing("closing"), None, False),
        (None, None, closing("closed"), False),
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
