"""The worker side of a rank: Nannies, several of them when asked, that never run the user's script again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing.spawn
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from socket import gethostname
from types import TracebackType
from typing import Any

import dask
from distributed import LocalCluster, Nanny
from distributed.core import Status
from distributed.deploy import Cluster
from tornado.ioloop import PeriodicCallback

from ..errors import WORKER_EXIT_TOPIC
from .accounting import cause_of_exit, private_memory
from .logs import worker_environment
from .session import session

logger = logging.getLogger("distributed.nanny")

CAP_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# Dask's own default makes glibc give every array above 128 kB back to the kernel at once, and fault its pages in anew:
# a fit on slices of a few MB then takes up to twice as long.
_DASKS_TRIM_THRESHOLD = "65536"
_KEPT_BYTES, _KEPT_PART = 64 << 20, 16  # what glibc comes to keep by itself, left alone
_WORKER_PROCESS = "Dask Worker process"
_NO_WARNING = "ignore::UserWarning:multiprocessing.resource_tracker"
_ATTEMPTS = 3
_ALIVE_MS = 1000
_MISSED = 2


def caps(threads: int) -> dict[str, str]:
    """The environment that caps BLAS and OpenMP libraries at `threads`."""
    return dict.fromkeys(CAP_VARIABLES, str(threads))


def allocator(limit: int | None, threads: int) -> dict[str, str]:
    """The environment that lets glibc keep freed memory: 64 MB a thread, a sixteenth of the worker's limit at most."""
    kept = min(_KEPT_BYTES, limit // (_KEPT_PART * threads)) if limit else _KEPT_BYTES
    return {"MALLOC_TRIM_THRESHOLD_": str(kept), "MALLOC_MMAP_THRESHOLD_": str(kept // 2)}


class _Borrowed:
    """This process's environment, which Dask changes for each worker process that it starts, several at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._borrowers = 0
        self._before: dict[str, str | None] = {}

    @contextlib.contextmanager
    def environment(self, names: Iterable[str]) -> Iterator[None]:
        """Give it back as it was before the first, when the last has started its process."""
        with self._lock:
            self._borrowers += 1
            for name in names:
                self._before.setdefault(name, os.environ.get(name))
        try:
            yield
        finally:
            with self._lock:
                self._borrowers -= 1
                if not self._borrowers:
                    for name, value in self._before.items():
                        if value is None:
                            os.environ.pop(name, None)
                        else:
                            os.environ[name] = value
                    self._before.clear()


_borrowed = _Borrowed()


class CappedNanny(Nanny):  # type: ignore[misc]
    """A Nanny whose worker process has its BLAS caps before NumPy is imported, and leaves ``__main__`` alone.

    Parameters
    ----------
    blas_threads : int
        BLAS and OpenMP threads of the worker process.
    **options
        Those of ``distributed.Nanny``.
    """

    def __init__(self, *args: Any, blas_threads: int = 1, **options: Any) -> None:
        preload = options.pop("preload", None) or dask.config.get("distributed.worker.preload")
        super().__init__(*args, preload=[*preload, "daskhpc.cluster.interrupts"], **options)
        leave_main_alone()
        leave_no_warning()
        self._over_limit = False
        self._failures = 0
        self._one_start = asyncio.Lock()
        self._private_memory_only()
        self._missed = 0
        self._asked = False
        self.periodic_callbacks["daskhpc-alive"] = PeriodicCallback(self._see_that_it_lives, _ALIVE_MS)
        if self.pre_spawn_env.get("MALLOC_TRIM_THRESHOLD_") == _DASKS_TRIM_THRESHOLD:
            self.pre_spawn_env.update(allocator(self.memory_manager.memory_limit, self.nthreads))
        self.pre_spawn_env.update(_least(caps(blas_threads)))
        self.env.update({**self.pre_spawn_env, **worker_environment(self.name)})

    async def instantiate(self) -> Any:
        """Start the worker process, once more where it dies in its own start; its caps do not stay in this process.

        One start after the other: the end of a process that this Nanny has not seen come up begins another, and in
        older Dasks the first start then takes the word of the second, which waits for it for ever.
        """
        async with self._one_start:
            return self.status if self.status in (Status.closing, Status.closed) else await self._instantiate()

    async def _instantiate(self) -> Any:
        starting = self.status in (Status.init, Status.starting)
        with _borrowed.environment(self.pre_spawn_env):
            for attempt in range(_ATTEMPTS if starting else 1):
                if attempt:
                    logger.warning("Restarting worker, which ended in its start (status=%s)", self.status)
                started = await super().instantiate()
                if started == Status.running:
                    break
            self._failures = 0
            return started

    def _private_memory_only(self) -> None:
        """Let the limit count what is this process's own: RSS holds what processes of the node share once in each."""
        monitor = self.periodic_callbacks.pop("memory_monitor", None)
        if monitor is None:
            return

        def check() -> None:
            pid = self.process.process.pid if self.process is not None and self.process.process is not None else None
            limit = self.memory_manager.memory_limit * self.memory_manager.memory_terminate_fraction
            if pid is not None and private_memory(pid) > limit:
                self._over_limit = True
                self.memory_manager.memory_monitor(self)

        self.periodic_callbacks["memory_monitor"] = PeriodicCallback(check, monitor.callback_time)

    async def _see_that_it_lives(self) -> None:
        """Start the worker process where it has been gone for a while: Dask misses some deaths during a start."""
        gone = self.process is None or self.process.status in (Status.stopped, Status.failed)
        self._missed = self._missed + 1 if gone and self.status == Status.running else 0
        if self._missed > _MISSED:
            self._missed = 0
            with contextlib.suppress(Exception):
                await self.instantiate()

    async def _on_worker_exit(self, exitcode: int) -> None:
        """Say how the worker process ended before another is started, unless it was to end."""
        asked, self._asked = self._asked, False
        limit = self.memory_manager.memory_limit if self._over_limit else None
        self._over_limit = False
        host, cause = gethostname(), cause_of_exit(exitcode, limit)
        message = {"worker": self.worker_address, "host": host, "cause": cause}
        if not asked and self.status not in (Status.closing, Status.closed):
            logger.warning("Worker process %s on %s: %s", self.worker_address or self.name, host, cause)
            with contextlib.suppress(Exception):
                self.log_event(WORKER_EXIT_TOPIC, message)
        await super()._on_worker_exit(exitcode)

    async def close(self, timeout: float = 5, reason: str = "nanny-close") -> Any:
        """Close, but not because a worker process was killed by a task before this Nanny had seen it come up again.

        The end of that process starts the next one, a few times in a row at most.
        """
        if reason == "nanny-instantiate-failed" and self.status == Status.running and self._failures < _ATTEMPTS:
            self._failures += 1
            return "OK"
        return await super().close(timeout=timeout, reason=reason)

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """Stop the worker process without waiting for its running tasks."""
        if self.process is not None:
            self._asked = self.process.is_alive()
            await self.process.kill(timeout=timeout, executor_wait=False, reason=reason)


def _least(limits: Mapping[str, str]) -> dict[str, str]:
    """The caps, lowered where the user's own environment asks for fewer threads."""

    def least(name: str, limit: str) -> str:
        asked = os.environ.get(name, "")
        return asked if asked.isdigit() and 0 < int(asked) < int(limit) else limit

    return {name: least(name, limit) for name, limit in limits.items()}


class Nannies:
    """The worker processes of one rank, each kept by a Nanny: a ``worker_class`` for dask_mpi.initialize.

    Parameters
    ----------
    name : int or str
        Name of the rank; with several processes they are called ``name-0``, ``name-1`` and so on.
    processes : int
        How many worker processes.
    **options
        Those of `CappedNanny`, for each of them.
    """

    def __init__(self, *, name: int | str, processes: int = 1, **options: Any) -> None:
        self.names = [name] if processes == 1 else [f"{name}-{i}" for i in range(processes)]
        self.options = options
        self.nannies: list[CappedNanny] = []
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if session.member is not None and session.member.line is not None and session.member.line.ending:
            self._closing.set()

    async def __aenter__(self) -> Nannies:
        session.workers = self
        self.nannies = await asyncio.gather(*(self._start(name) for name in self.names))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(nanny.close() for nanny in self.nannies))

    async def _start(self, name: int | str) -> CappedNanny:
        """Start one; a worker may already be killed by its first task, before its Nanny has seen it come up."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(Exception):
                return await _started(CappedNanny(name=name, **self.options))
        return await _started(CappedNanny(name=name, **self.options))

    def close_soon(self) -> None:
        """From any thread: the cluster closes, and these workers before their scheduler."""
        self._loop.call_soon_threadsafe(self._closing.set)

    async def finished(self) -> None:
        """Wait until every Nanny has closed, or the cluster is being closed."""
        waits = [asyncio.create_task(nanny.finished()) for nanny in self.nannies]
        closing = asyncio.create_task(self._closing.wait())
        await asyncio.wait({asyncio.create_task(_all(waits)), closing}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*waits, closing):
            task.cancel()


def leave_no_warning() -> None:
    """Let what cleans up after a process that was killed do so quietly: multiprocessing's tracker of semaphores."""
    if _NO_WARNING not in sys.warnoptions:
        sys.warnoptions.append(_NO_WARNING)


class SteadyCluster(LocalCluster):  # type: ignore[misc]
    """A LocalCluster whose workers' processes may die as often as they do.

    Notes
    -----
    Dask's own looks at a worker 15 s after its process has died, and where it is dead again at that moment, closes its
    Nanny for good. It also asks for all workers anew while it waits for them, and then trips over the death of one
    that the answer lacked.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"worker_class": CappedNanny, **options})

    def _update_worker_status(self, op: str, message: Any) -> None:
        if op != "remove" or message in self.scheduler_info["workers"]:
            Cluster._update_worker_status(self, op, message)


async def _started(nanny: CappedNanny) -> CappedNanny:
    await nanny
    return nanny


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


def leave_main_alone() -> None:
    """Keep Dask's worker processes from importing the user's script, which is why it needs no guard.

    ``multiprocessing`` tells a spawned process to import the parent's ``__main__``; that is right for the user's own
    processes and wrong for a worker, to which functions of ``__main__`` travel by value.
    """
    original = multiprocessing.spawn.get_preparation_data
    if getattr(original, "leaves_main_alone", False):
        return

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        if name.startswith(_WORKER_PROCESS):
            data.pop("init_main_from_path", None)
            data.pop("init_main_from_name", None)
        return data

    get_preparation_data.leaves_main_alone = True  # type: ignore[attr-defined]
    multiprocessing.spawn.get_preparation_data = get_preparation_data
