"""What counts the tasks of a run: in the scheduler's process and in the workers'."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dask.utils import key_split
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.metrics import time

from .memory import forget_peak, peak

MARK = "daskhpc_run"
"""The annotation that tells which run a task is of."""


class Counts(NamedTuple):
    """How far a run is."""

    total: int
    done: int
    failed: int
    workers: int


class Tally:
    """Tasks by kind: how many, and the seconds of computing, of transfer and of disk."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[float]] = {}

    def add(self, key: Any, actions: Iterable[tuple[str, float]]) -> None:
        """Count a task that was computed, with what took how long."""
        kind = self._kinds.setdefault(key_split(key), [0, 0.0, 0.0, 0.0])
        kind[0] += 1
        for action, seconds in actions:
            column = {"compute": 1, "transfer": 2, "disk-read": 3, "disk-write": 3}.get(action)
            if column:
                kind[column] += seconds

    def read(self) -> dict[str, tuple[int, float, float, float]]:
        """(count, compute, transfer, disk) by kind."""
        return {name: (int(count), *seconds) for name, (count, *seconds) in self._kinds.items()}  # type: ignore[misc]


class TaskCounter(SchedulerPlugin):  # type: ignore[misc]
    """Counts the tasks of one run inside the scheduler.

    Parameters
    ----------
    run : str
        The mark that its tasks carry.
    """

    def __init__(self, run: str) -> None:
        self.name = run
        self.tally = Tally()
        self.total, self.failed = 0, 0
        self._mine: set[Any] = set()
        self._open: set[Any] = set()

    def update_graph(self, scheduler: Any, *, annotations: Mapping[str, Mapping[Any, Any]], **others: Any) -> None:
        """Dask calls this when a graph comes."""
        new = {key for key, run in annotations.get(MARK, {}).items() if run == self.name} - self._mine
        self.total += len(new)
        self._mine |= new
        self._open |= new

    def transition(self, key: Any, start: str, finish: str, *others: Any, **details: Any) -> None:
        """Dask calls this when a task changes its state."""
        if key not in self._mine:
            return
        if start == "processing" and finish == "memory":
            spans = details.get("startstops") or ()
            self.tally.add(key, [(span["action"], span["stop"] - span["start"]) for span in spans])
        elif start == "processing" and finish == "erred":
            self.failed += 1
        if finish in ("memory", "erred", "forgotten"):
            self._open.discard(key)
        if finish == "forgotten":
            self._mine.discard(key)

    def counts(self, workers: int) -> Counts:
        """How far the run is."""
        return Counts(self.total, self.total - len(self._open), self.failed, workers)


@dataclass(frozen=True, slots=True)
class Counted:
    """What the scheduler knows of a run that is over."""

    tasks: dict[str, tuple[int, float, float, float]]
    counts: Counts
    threads: int
    hosts: int
    held: int


@dataclass(frozen=True, slots=True)
class Use:
    """What a worker process took for a run."""

    transferred: int
    spilled: int
    peak: int


def begin_counting(run: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: count the tasks of a run from now on."""
    dask_scheduler.add_plugin(TaskCounter(run))


def look(run: str, dask_scheduler: Any = None) -> Counts:
    """In the scheduler: how far a run is."""
    counts: Counts = dask_scheduler.plugins[run].counts(len(dask_scheduler.workers))
    return counts


def end_counting(run: str, held: Iterable[Any] = (), dask_scheduler: Any = None) -> Counted:
    """In the scheduler: count no more, and say what was counted; `held` are keys of results that stay there."""
    counter = dask_scheduler.plugins.pop(run)
    workers = dask_scheduler.workers.values()
    results = [dask_scheduler.tasks[key] for key in held if key in dask_scheduler.tasks]
    return Counted(
        tasks=counter.tally.read(),
        counts=counter.counts(len(workers)),
        threads=sum(worker.nthreads for worker in workers),
        hosts=len({worker.host for worker in workers}),
        held=sum(max(0, task.nbytes) for task in results),
    )


def stop_counting(run: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: forget a run."""
    dask_scheduler.plugins.pop(run, None)


def begin_use(dask_worker: Any = None) -> tuple[float, int]:
    """In a worker: when a run begins, and what was spilled until then."""
    forget_peak()
    return time() + dask_worker.scheduler_delay, _spilled(dask_worker)


def end_use(begun: Mapping[str, tuple[float, int]], dask_worker: Any = None) -> Use:
    """In a worker: what a run took; all of a worker that came while it ran."""
    since, spilled = begun.get(dask_worker.address, (0.0, 0))
    moved = 0
    with contextlib.suppress(RuntimeError):  # the log grew meanwhile: another run goes on
        moved = sum(entry["total"] for entry in dask_worker.transfer_incoming_log if entry["start"] >= since)
    return Use(moved, _spilled(dask_worker) - spilled, peak())


def _spilled(worker: Any) -> int:
    written = [
        value
        for name, value in list(worker.digests_total.items())
        if isinstance(name, tuple) and name[-2:] == ("disk-write", "bytes")
    ]
    return int(sum(written))
