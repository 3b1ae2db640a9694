"""A rank's connection to its worker."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

_REPORT_SECONDS = 0.2


class StopTraining(BaseException):
    """Raised in a rank when all ranks stop at the same step; no `except Exception` of the user's catches it."""


class WorkerLink:
    """A rank's connection to its worker: its reports, and the messages that come meanwhile."""

    def __init__(self, connection: Connection[Any, Any], order: dict[str, Any]) -> None:
        self.order = order
        self.joined: dict[str, Any] = {}
        self.on_message: Callable[[dict[str, Any]], None] = lambda message: None
        self.progress: Callable[[], dict[str, Any] | None] = lambda: None
        self._connection = connection
        self._sending, self._reporting = threading.Lock(), threading.Lock()
        self._join, self.bye = threading.Event(), threading.Event()
        # A process that is forked from this one, such as a loader's, must not hold the connection after its end.
        os.register_at_fork(after_in_child=self._connection.close)

    def listen(self) -> None:
        """Begin to take messages and to report progress."""
        for run in (self._receive, self._report):
            threading.Thread(target=run, daemon=True, name="daskhpc-rank").start()

    def say(self, kind: str, **details: Any) -> None:
        """Tell the worker."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send_bytes(pickle.dumps({"kind": kind, **details}))

    def wait_for_store(self) -> tuple[str, int]:
        """Host and port of the store, as soon as rank 0 listens."""
        self._join.wait()
        return self.joined["host"], self.joined["port"]

    def report(self) -> None:
        """Send what there is of progress."""
        with self._reporting:  # what another thread has taken is sent when this returns
            progress = self.progress()
            if progress is not None:
                self.say("progress", **progress)

    def _report(self) -> None:
        while not self.bye.wait(_REPORT_SECONDS):
            self.report()

    def _receive(self) -> None:
        try:
            while True:
                message = pickle.loads(self._connection.recv_bytes())
                if message["do"] == "join":
                    self.joined = message
                    self._join.set()
                elif message["do"] == "bye":
                    self.bye.set()
                else:
                    self.on_message(message)
        except (EOFError, OSError):
            os._exit(70)  # the worker has ended
