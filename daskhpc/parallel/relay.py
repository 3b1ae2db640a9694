"""scikit-learn's callbacks, as ProgressBar, speak to the client over a local socket, which other nodes do not reach.

In a task their messages are collected instead, and go back with its results.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Iterable
from types import ModuleType, TracebackType
from typing import Any

_TRANSPORT = "sklearn.callback._transport"
_collecting = threading.local()
_lock = threading.Lock()


def transport() -> ModuleType | None:
    """scikit-learn's module that carries the messages, None where the installed version has none."""
    try:
        module = importlib.import_module(_TRANSPORT)
    except ImportError:
        return None
    return module if hasattr(module, "_message_consumers") and hasattr(module, "send") else None


class _Consumers(dict[Any, Any]):
    """In a worker process every address has a consumer: the messages of the task that runs in this thread."""

    def get(self, address: Any, default: Any = None) -> Any:
        own = super().get(address, default)
        messages = getattr(_collecting, "messages", None)
        if own is not None or messages is None:
            return own
        return lambda message: messages.append((address, message))


class Relay:
    """Within: messages of callbacks in this thread are collected.

    Parameters
    ----------
    needed : bool
        Whether callbacks watch; nothing is done else.
    """

    def __init__(self, needed: bool) -> None:
        self.needed = needed
        self.messages: list[tuple[Any, Any]] = []

    def __enter__(self) -> Relay:
        module = transport() if self.needed else None
        if module is not None:
            with _lock:
                if not isinstance(module._message_consumers, _Consumers):
                    module._message_consumers = _Consumers(module._message_consumers)  # type: ignore[attr-defined]
            _collecting.messages = self.messages
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _collecting.messages = None


def deliver(messages: Iterable[tuple[Any, Any]]) -> None:
    """On the client: hand messages to the callbacks that wait for them."""
    module = transport() if messages else None
    for address, message in messages if module is not None else ():
        consumer = module._message_consumers.get(address)  # type: ignore[union-attr]
        if consumer is not None:
            consumer(message)
