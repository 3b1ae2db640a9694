"""In the scheduler: tells clients which workers come and go."""

from __future__ import annotations

from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

WORKERS_TOPIC = "daskhpc-workers"


class WorkerEvents(SchedulerPlugin):  # type: ignore[misc]
    """Tells of workers that come and go on a topic of daskhpc's own.

    Dask's topic ``"all"`` has these events, too, and others that cannot be sent: for ``client.scatter(broadcast=True)``
    the scheduler puts objects of its own there. A client that listens loses its connection, and all its futures.
    """

    idempotent = True  # the next client of a scheduler does not bring a second one

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Called by the scheduler."""
        scheduler.log_event(WORKERS_TOPIC, {"action": "add-worker", "worker": worker})

    def remove_worker(self, scheduler: Any, worker: str, **details: Any) -> None:
        """Called by the scheduler."""
        scheduler.log_event(WORKERS_TOPIC, {"action": "remove-worker", "worker": worker})
