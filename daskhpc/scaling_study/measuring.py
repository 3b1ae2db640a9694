"""Times a function on some of the workers of a cluster, while the others rest."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from ..clients import without_client
from ..compat.distributed import pause_worker, resume_worker, worker_infos
from ..errors import SettingsError
from ..parallel.worker_set import WorkerSet
from ..text import counted
from .laws import Timing
from .plan import PLAIN

_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.01
_JOBLIB_CPUS = "LOKY_MAX_CPU_COUNT"


@dataclass(frozen=True, slots=True)
class StudyWorker:
    """A worker process, as a study chooses it.

    Attributes
    ----------
    address, name, host : str
    threads : int
    """

    address: str
    name: str
    host: str
    threads: int


def in_order(workers: Sequence[StudyWorker], placement: str) -> list[StudyWorker]:
    """The order in which workers take part.

    Parameters
    ----------
    workers : sequence of StudyWorker
    placement : {"compact", "spread"}
        Compact fills a node before the next one is used; spread takes one worker of each node in turn.

    Returns
    -------
    list of StudyWorker

    Examples
    --------
    >>> workers = [StudyWorker(name, name, name[0], 1) for name in ("b2", "a1", "b1", "a10", "a2")]
    >>> [worker.name for worker in in_order(workers, "compact")]
    ['a1', 'a2', 'a10', 'b1', 'b2']
    >>> [worker.name for worker in in_order(workers, "spread")]
    ['a1', 'b1', 'a2', 'b2', 'a10']
    """
    nodes: dict[str, list[StudyWorker]] = {}
    for worker in sorted(workers, key=lambda worker: (len(worker.name), worker.name, worker.address)):
        nodes.setdefault(worker.host, []).append(worker)
    by_node = [nodes[host] for host in sorted(nodes, key=lambda host: (len(host), host))]
    if placement == "compact":
        return [worker for node in by_node for worker in node]
    most = max(map(len, by_node), default=0)
    return [node[turn] for turn in range(most) for node in by_node if turn < len(node)]


def workers_of(client: Any) -> list[StudyWorker]:
    """All workers of a cluster."""
    return [
        StudyWorker(address, str(info["name"]), info["host"], info["nthreads"])
        for address, info in worker_infos(client).items()
    ]


class Bench:
    """A cluster on which a function is timed with any number of its workers.

    A worker that does not take part is paused: Dask gives it no task, and daskhpc no call. Its process stays, so that
    all numbers of workers find the same machine: imported modules, data in each node's memory, and idle processes.

    Parameters
    ----------
    client : distributed.Client
    placement : {"compact", "spread"}
        See `in_order`.
    """

    def __init__(self, client: Any, placement: str) -> None:
        self.client = client
        self.placement = placement
        self.taking_part: list[StudyWorker] = []

    @contextlib.contextmanager
    def open(self) -> Iterator[Bench]:
        """Let all workers work again when the block ends."""
        try:
            yield self
        finally:
            if self.client.status == "running":
                self.use(None)

    def workers(self) -> list[StudyWorker]:
        """All workers, in the order in which they take part."""
        return in_order(workers_of(self.client), self.placement)

    def use(self, count: int | None) -> None:
        """Let the first workers work from now on, and all others rest; None: all work.

        Raises
        ------
        SettingsError
            If there are fewer workers, because some were lost.
        """
        found = self.workers()  # anew each time: a worker that was lost comes back under another address
        if count is not None and count > len(found):
            fit = [n for n in (1, 2, 4, 8) if n <= len(found)]
            raise SettingsError(
                f"A time with {count} workers cannot be measured.",
                f"{counted(len(found), 'worker')} in the cluster",
                f"workers={fit} (--counts {','.join(map(str, fit))}), or a larger job",
            )
        self.taking_part = found[:count]
        resting = {worker.address for worker in found} - {worker.address for worker in self.taking_part}
        paused = set(self.client.run_on_scheduler(paused_workers))
        self._tell(resume_on, {worker.address for worker in self.taking_part} & paused)
        self._tell(pause_on, resting - paused)
        self.client.sync(WorkerSet.of(self.client).let_rest, resting)
        end = time.monotonic() + _SETTLE_SECONDS  # a worker's own report comes to the scheduler a little later
        while set(self.client.run_on_scheduler(paused_workers)) != resting and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)

    def _tell(self, what: Callable[..., None], addresses: set[str]) -> None:
        if addresses:
            self.client.run(what, workers=sorted(addresses), on_error="ignore")

    def time(self, count: int, call: Callable[[], Any]) -> tuple[Timing | None, Any]:
        """Call the function on the first workers, or without the cluster.

        Returns
        -------
        Timing or None
            None if `count` is that of plain Python, and the call used the cluster all the same.
        object
            What the call returned.
        """
        self.use(max(count, 1))
        before, last = self._cpu(), self.client.run_on_scheduler(last_begun)
        with plain_python() if count == PLAIN else contextlib.nullcontext():
            began = time.perf_counter()
            value = call()
            seconds = time.perf_counter() - began
        if count == PLAIN:
            apart = self.client.run_on_scheduler(last_begun) == last
            return (Timing(seconds) if apart else None), value
        used = [after - first for after, first in zip(self._cpu(), before, strict=True)]
        return Timing(seconds, *used), value

    def _cpu(self) -> tuple[float, float, float]:
        addresses = [worker.address for worker in self.taking_part]
        workers = self.client.run(process_cpu, workers=addresses, on_error="ignore").values()
        pid, scheduler = self.client.run_on_scheduler(process_cpu)
        here = process_cpu()[1]
        return sum(seconds for _, seconds in workers), here, 0.0 if pid == os.getpid() else scheduler


def pause_on(dask_worker: Any = None) -> None:
    """On a worker: rest."""
    pause_worker(dask_worker)


def resume_on(dask_worker: Any = None) -> None:
    """On a worker: work again."""
    resume_worker(dask_worker)


def paused_workers(dask_scheduler: Any = None) -> list[str]:
    """In the scheduler: the addresses of the workers that rest."""
    return [address for address, worker in dask_scheduler.workers.items() if worker.status.name == "paused"]


def last_begun(dask_scheduler: Any = None) -> float:
    """In the scheduler: when it last gave a task to a worker."""
    log = reversed(dask_scheduler.transition_log)
    return next((entry.timestamp for entry in log if entry.finish == "processing"), 0.0)


def process_cpu() -> tuple[int, float]:
    """This process, and the CPU seconds of it and of its children, those that have ended included."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return own.pid, total


@contextlib.contextmanager
def plain_python() -> Iterator[None]:
    """Within the block joblib, daskhpc and Dask compute in this process, in one thread."""
    import dask
    import joblib
    from threadpoolctl import threadpool_limits

    before = os.environ.get(_JOBLIB_CPUS)
    os.environ[_JOBLIB_CPUS] = "1"
    try:
        with (
            without_client(),
            threadpool_limits(1),
            dask.config.set(scheduler="synchronous"),
            joblib.parallel_config(backend="sequential"),
        ):
            yield
    finally:
        os.environ.pop(_JOBLIB_CPUS)
        if before is not None:
            os.environ[_JOBLIB_CPUS] = before
