"""Counts the tasks of a run in the scheduler's process, and what a run takes in each worker's process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dask.utils import key_split
from distributed.diagnostics.plugin import SchedulerPlugin

from ..compat.distributed import bytes_fetched_since, bytes_written_to_disk, last_fetch
from .figures import Tasks

MARK = "daskhpc_run"
"""The annotation that tells which run a task is of."""

_PROCESS = Path("/proc/self")
_COLUMNS = {"compute": "compute", "transfer": "transfer", "disk-read": "disk", "disk-write": "disk"}


class Counts(NamedTuple):
    """How far a run is."""

    total: int
    done: int
    failed: int
    workers: int


class TaskTimes:
    """Tasks by kind: how many, and the seconds of computing, of transfer and of disk."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, float]] = {}

    def add(self, key: Any, actions: Iterable[tuple[str, float]]) -> None:
        """Count a task that was computed, with what took how long."""
        times = self._kinds.setdefault(key_split(key), {"count": 0, "compute": 0.0, "transfer": 0.0, "disk": 0.0})
        times["count"] += 1
        for action, seconds in actions:
            if action in _COLUMNS:
                times[_COLUMNS[action]] += seconds

    def tasks(self) -> tuple[Tasks, ...]:
        """By kind, those that took most time first."""
        kinds = [
            Tasks(name, int(times["count"]), times["compute"], times["transfer"], times["disk"])
            for name, times in self._kinds.items()
        ]
        return tuple(sorted(kinds, key=lambda kind: (-(kind.compute + kind.transfer + kind.disk), kind.name)))


class TaskCounter(SchedulerPlugin):  # type: ignore[misc]
    """Counts the tasks of one run inside the scheduler.

    Dask's own task stream keeps the last tasks of all runs together, so that two runs at a time would be mixed up, and
    a long one would lose its beginning.

    Parameters
    ----------
    run : str
        The mark that its tasks carry.
    """

    def __init__(self, run: str) -> None:
        self.name = run
        self.times = TaskTimes()
        self.total, self.failed = 0, 0
        self._known: set[Any] = set()
        self._open: set[Any] = set()

    def update_graph(self, scheduler: Any, *, annotations: Mapping[str, Mapping[Any, Any]], **others: Any) -> None:
        """Dask calls this when a graph comes."""
        new = {key for key, run in annotations.get(MARK, {}).items() if run == self.name} - self._known
        self.total += len(new)
        self._known |= new
        self._open |= new

    def transition(self, key: Any, start: str, finish: str, *others: Any, **details: Any) -> None:
        """Dask calls this when a task changes its state."""
        if key not in self._known:
            return
        if start == "processing" and finish == "memory":
            spans = details.get("startstops") or ()
            self.times.add(key, [(span["action"], span["stop"] - span["start"]) for span in spans])
        elif start == "processing" and finish == "erred":
            self.failed += 1
        if finish in ("memory", "erred", "forgotten"):
            self._open.discard(key)
        if finish == "forgotten":
            self._known.discard(key)

    def counts(self, workers: int) -> Counts:
        """How far the run is."""
        return Counts(self.total, self.total - len(self._open), self.failed, workers)


@dataclass(frozen=True, slots=True)
class SchedulerCounts:
    """What the scheduler knows of a run that is over; `held` are the bytes of results that stay on the workers."""

    tasks: tuple[Tasks, ...]
    counts: Counts
    threads: int
    hosts: int
    held: int


@dataclass(frozen=True, slots=True)
class WorkerUse:
    """What a worker process took for a run, in bytes."""

    transferred: int
    spilled: int
    peak: int


def begin_counting(run: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: count the tasks of a run from now on."""
    dask_scheduler.add_plugin(TaskCounter(run))


def counts_now(run: str, dask_scheduler: Any = None) -> Counts:
    """In the scheduler: how far a run is."""
    counts: Counts = dask_scheduler.plugins[run].counts(len(dask_scheduler.workers))
    return counts


def end_counting(run: str, held: Iterable[Any] = (), dask_scheduler: Any = None) -> SchedulerCounts:
    """In the scheduler: count no more, and give what was counted; `held` are keys of results that stay there."""
    counter = dask_scheduler.plugins.pop(run)
    workers = dask_scheduler.workers.values()
    results = [dask_scheduler.tasks[key] for key in held if key in dask_scheduler.tasks]
    return SchedulerCounts(
        tasks=counter.times.tasks(),
        counts=counter.counts(len(workers)),
        threads=sum(worker.nthreads for worker in workers),
        hosts=len({worker.host for worker in workers}),
        held=sum(max(0, task.nbytes) for task in results),
    )


def stop_counting(run: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: forget a run."""
    dask_scheduler.plugins.pop(run, None)


def begin_use(dask_worker: Any = None) -> tuple[float, int]:
    """In a worker: the last transfer before a run begins, and what was written to disk until then."""
    forget_peak()
    return last_fetch(dask_worker), bytes_written_to_disk(dask_worker)


def end_use(begun: Mapping[str, tuple[float, int]], dask_worker: Any = None) -> WorkerUse:
    """In a worker: what a run took; all of a worker that came while it ran."""
    last, spilled = begun.get(dask_worker.address, (0.0, 0))
    return WorkerUse(bytes_fetched_since(dask_worker, last), bytes_written_to_disk(dask_worker) - spilled, peak())


# Linux keeps the peak of a process's memory itself. distributed's MemorySampler samples the memory of all workers
# together: it misses what is taken and given back between two samples, and does not tell which worker needed most.


def forget_peak() -> None:
    """Measure the peak of this process anew from now on; of its whole life, if the kernel does not allow that."""
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak() -> int:
    """The most bytes of this process that were resident since then; 0 if the kernel does not tell."""
    with contextlib.suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
