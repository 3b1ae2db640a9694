"""What computes a run and counts meanwhile: a cluster, or Dask's schedulers of one machine."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import dask
import dask.local
import dask.multiprocessing
from dask.callbacks import Callback
from dask.sizeof import sizeof
from dask.system import CPU_COUNT
from distributed import as_completed, futures_of, rejoin, secede

from ..clients import inside_task
from .counting import (
    MARK,
    Counts,
    TaskTimes,
    begin_counting,
    begin_use,
    counts_now,
    end_counting,
    end_use,
    forget_peak,
    peak,
    stop_counting,
)
from .figures import Figures

_STOP_SECONDS = 5.0


class RunScheduler(Protocol):
    """Computes as one of Dask's schedulers, which is what ``dask.compute(scheduler=...)`` takes, and counts.

    Notes
    -----
    In order: `begin`, one call, and then `end`, or `drop` if it failed; `counts_now` at any time in between, from any
    thread.
    """

    def begin(self) -> None:
        """Begin to count."""

    def __call__(self, expr: Any, keys: Sequence[Any], **options: Any) -> Any:
        """Compute these keys of a graph."""

    def counts_now(self) -> Counts:
        """How far it is."""

    def end(self, name: str, seconds: float) -> tuple[Figures, Counts]:
        """Give the figures of a run that took so long."""

    def drop(self) -> None:
        """Leave nothing behind of a run that failed."""


class ClusterScheduler:
    """Computes with a client.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._run = f"daskhpc-run-{uuid.uuid4().hex[:12]}"
        self._begun: dict[str, tuple[float, int]] = {}
        self._result = 0
        self._held: list[Any] = []

    def begin(self) -> None:
        self.client.run_on_scheduler(begin_counting, self._run)
        self._begun = self.client.run(begin_use, on_error="ignore")

    def __call__(self, expr: Any, keys: Sequence[Any], **options: Any) -> Any:
        with dask.annotate(**{MARK: self._run}):
            futures_in_place = self.client.get(expr, keys, sync=False, **options)
        futures = futures_of(futures_in_place, client=self.client)
        try:
            with _thread_given_back():
                _wait_for_all(self.client, futures)
                results = self.client.gather(futures_in_place)
        finally:
            _release(futures)
        self._result = sizeof(results)
        return results

    def persist(self, collections: Sequence[Any]) -> Any:
        """What stays on the cluster; waits until it is there."""
        with dask.annotate(**{MARK: self._run}):
            persisted = self.client.persist(collections)
        futures = futures_of(persisted, client=self.client)
        try:
            with _thread_given_back():
                _wait_for_all(self.client, futures)
        except BaseException:
            _release(futures)
            raise
        self._held = [future.key for future in futures]
        return persisted

    def counts_now(self) -> Counts:
        counts: Counts = self.client.run_on_scheduler(counts_now, self._run)
        return counts

    def end(self, name: str, seconds: float) -> tuple[Figures, Counts]:
        counted = self.client.run_on_scheduler(end_counting, self._run, self._held)
        uses = self.client.run(end_use, self._begun, on_error="ignore")
        figures = Figures(
            name=name,
            seconds=seconds,
            tasks=counted.tasks,
            transferred=sum(use.transferred for use in uses.values()),
            spilled=sum(use.spilled for use in uses.values()),
            peak_memory={worker: use.peak for worker, use in uses.items()},
            result=counted.held if self._held else self._result,
            workers=counted.counts.workers,
            threads=counted.threads,
            hosts=counted.hosts,
        )
        return figures, counted.counts

    def drop(self) -> None:
        with contextlib.suppress(Exception):
            # At an interrupt the scheduler may be gone: the client waits for it only so long.
            self.client.sync(self._stop_counting, callback_timeout=_STOP_SECONDS)

    async def _stop_counting(self) -> None:
        await self.client.run_on_scheduler(stop_counting, self._run)


def _wait_for_all(client: Any, futures: Sequence[Any]) -> None:
    """Wait until all are there, or raise what the first that failed raised.

    Notes
    -----
    A gather that is interrupted logs a traceback for each future that it waited for; this does not.
    """
    for future in as_completed(futures, loop=client.loop, raise_errors=False):
        if future.status != "finished":
            future.result()


def _release(futures: Sequence[Any]) -> None:
    for future in futures:
        future.release()


@contextlib.contextmanager
def _thread_given_back() -> Iterator[None]:
    """Inside a task: give its thread to the tasks that it waits for."""
    inside = inside_task()
    try:
        if inside:
            secede()
    except (KeyError, ValueError):  # it is given back already, as by worker_client; or this process has no such thread
        inside = False
    try:
        yield
    finally:
        if inside:
            rejoin()


class LocalScheduler:
    """Computes by one of Dask's schedulers for one machine.

    Parameters
    ----------
    get : callable
        The scheduler: of threads, of processes, or in order.
    """

    def __init__(self, get: Callable[..., Any]) -> None:
        self._get = get
        self._times = TaskTimes()
        self._total = self._done = self._result = 0
        self._started: dict[Any, float] = {}

    def begin(self) -> None:
        forget_peak()

    def __call__(self, expr: Any, keys: Sequence[Any], **options: Any) -> Any:
        with Callback(start_state=self._count_new, pretask=self._start, posttask=self._stop):
            results = self._get(expr, keys, **options)
        self._result = sizeof(results)
        return results

    def _count_new(self, graph: Any, state: Any) -> None:
        self._total += sum(len(state[name]) for name in ("ready", "waiting"))

    def _start(self, key: Any, graph: Any, state: Any) -> None:
        self._started[key] = time.perf_counter()

    def _stop(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        self._done += 1
        self._times.add(key, [("compute", time.perf_counter() - self._started.pop(key))])

    def counts_now(self) -> Counts:
        return Counts(self._total, self._done, 0, 1)

    def end(self, name: str, seconds: float) -> tuple[Figures, Counts]:
        pool = dask.config.get("num_workers", None) or CPU_COUNT
        threads = 1 if self._get is dask.local.get_sync else pool
        figures = Figures(
            name=name,
            seconds=seconds,
            tasks=self._times.tasks(),
            transferred=0,
            spilled=0,
            peak_memory={"here": peak()},
            result=self._result,
            workers=pool if self._get is dask.multiprocessing.get else 1,
            threads=threads,
            hosts=1,
        )
        return figures, self.counts_now()

    def drop(self) -> None:
        """Nothing is left."""
