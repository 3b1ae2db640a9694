"""The running side: the cluster over MPI ranks or on one machine, from its start to its end."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bootstrap import initialize, send_close_signal

_HOMES = {"initialize": "bootstrap", "send_close_signal": "bootstrap"}

__all__ = ["initialize", "send_close_signal"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'daskhpc.cluster' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
