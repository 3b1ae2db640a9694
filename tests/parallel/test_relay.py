"""Messages of scikit-learn's callbacks: collected where a task runs, handed on where they are waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from daskhpc.parallel import relay
from daskhpc.parallel.relay import Relay, deliver, transport

SECONDS = 30


@pytest.fixture
def carrier() -> Iterator[ModuleType]:
    """scikit-learn's transport, as it was afterwards."""
    module: Any = transport()
    if module is None:
        pytest.skip("this scikit-learn has no callbacks")
    before = module._message_consumers
    yield module
    module._message_consumers = before


def handle(carrier: ModuleType, address: str) -> Any:
    return carrier.ListenerHandle(address, b"key")


def test_the_transport_is_what_it_was(carrier: ModuleType) -> None:
    """Where this fails, see how scikit-learn's callbacks now find the process that listens, and change relay.py."""
    assert isinstance(carrier._message_consumers, dict)
    assert callable(carrier.send)
    received: list[Any] = []
    listener = carrier.open_listener(received.append)
    assert listener.address in carrier._message_consumers
    carrier.send(listener, "here")
    assert received == ["here"]
    carrier.close_listener(listener)


def test_messages_of_a_task_are_collected(carrier: ModuleType) -> None:
    with Relay(True) as collected:
        carrier.send(handle(carrier, "/nowhere"), 1)
        carrier.send(handle(carrier, "/elsewhere"), 2)
    assert collected.messages == [("/nowhere", 1), ("/elsewhere", 2)]
    with pytest.raises(OSError, match="No such file"):
        carrier.send(handle(carrier, "/nowhere"), 3)


def test_each_thread_collects_its_own(carrier: ModuleType) -> None:
    found: dict[int, Any] = {}
    together = threading.Barrier(4)

    def work(me: int) -> None:
        with Relay(True) as collected:
            for i in range(20):
                together.wait(SECONDS)
                carrier.send(handle(carrier, "/nowhere"), (me, i))
        found[me] = collected.messages

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == {me: [("/nowhere", (me, i)) for i in range(20)] for me in range(4)}


def test_messages_reach_who_waits_for_them(carrier: ModuleType) -> None:
    received: list[Any] = []
    listener = carrier.open_listener(received.append)
    deliver([(listener.address, 1), ("/gone", 2), (listener.address, 3)])
    assert received == [1, 3]
    carrier.close_listener(listener)
    deliver([(listener.address, 4)])
    assert received == [1, 3]
    deliver([])


def test_a_listener_of_this_very_process_is_told_at_once(carrier: ModuleType) -> None:
    received: list[Any] = []
    listener = carrier.open_listener(received.append)
    with Relay(True) as collected:
        carrier.send(listener, "now")
        late = carrier.open_listener(received.append)
        carrier.send(late, "too")
    assert received == ["now", "too"]
    assert collected.messages == []
    for each in (listener, late):
        carrier.close_listener(each)


def test_an_error_ends_the_collecting(carrier: ModuleType) -> None:
    collected = Relay(True)

    def task() -> None:
        with collected:
            carrier.send(handle(carrier, "/nowhere"), 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        task()
    assert collected.messages == [("/nowhere", 1)]
    assert relay._collecting.messages is None


def test_nothing_is_done_where_nobody_watches() -> None:
    program = """
import sys
from daskhpc.parallel.relay import Relay, deliver
with Relay(False) as relay:
    pass
deliver([])
print(relay.messages, "sklearn" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS)
    assert (result.stdout.strip(), result.returncode) == ("[] False", 0)


def test_nothing_happens_without_scikit_learns_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, relay._TRANSPORT, None)
    assert transport() is None
    with Relay(True) as collected:
        pass
    assert collected.messages == []
    deliver([("/nowhere", 1)])


def test_nothing_happens_where_the_transport_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, relay._TRANSPORT, ModuleType("other"))
    assert transport() is None
    with Relay(True) as collected:
        pass
    assert collected.messages == []
