"""What a fit does besides: the warnings that it shows, the random numbers that it draws."""

from __future__ import annotations

import pickle
import random
import sys
import threading
import warnings
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..compat.python import set_warning_hook, warning_hook, warnings_reach


class RecordedWarning(NamedTuple):
    message: Any
    category: type[Warning]
    filename: str
    lineno: int
    module: ModuleType

    def replay(self) -> None:
        registry = vars(self.module).setdefault("__warningregistry__", {})
        warnings.warn_explicit(*self[:4], module=self.module.__name__, registry=registry)


class SideEffects:
    """What one fit does besides: the warnings that it shows, and whether it draws from a global generator.

    ``warnings.catch_warnings`` is for one thread at a time; this only listens where warnings are shown.
    """

    _lock = threading.Lock()
    _all: dict[int, list[SideEffects]] = {}  # noqa: RUF012
    _show: Any = None
    callers: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.warned: list[RecordedWarning] = []
        self.reproducible = warning_hook() is not None
        self._shown = warnings_reach()
        self._state = self._generators()

    @staticmethod
    def _generators() -> tuple[Any, bytes]:
        return random.getstate(), pickle.dumps(np.random.get_state(legacy=False))

    def __enter__(self) -> SideEffects:
        with self._lock:
            if not self._all and self.reproducible:
                SideEffects._show = warning_hook()
                set_warning_hook(_showing)
            self._all.setdefault(threading.get_ident(), []).append(self)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            mine = self._all[threading.get_ident()]
            mine.remove(self)
            if not mine:
                del self._all[threading.get_ident()]
            if not self._all and warning_hook() is _showing:
                set_warning_hook(SideEffects._show)
        self.reproducible = self.reproducible and self._state == self._generators()

    def note(self, shown: Any) -> None:
        """Note a warning; unsure where it may have been swallowed, or where its place is not known."""
        if self._shown != warnings_reach():
            self.reproducible = False
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get("__file__") == shown.filename:
                self.warned.append(RecordedWarning(shown.message, shown.category, shown.filename, shown.lineno, module))
                return
        self.reproducible = False


def _showing(message: Any) -> None:
    mine = SideEffects._all.get(threading.get_ident(), [])
    for watch in mine:
        watch.note(message)
    if (
        not mine and threading.get_ident() not in SideEffects.callers
    ):  # a thread that one of these fits may have started
        for watch in [w for watches in list(SideEffects._all.values()) for w in watches]:
            watch.reproducible = False
    SideEffects._show(message)
