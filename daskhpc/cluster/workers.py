"""The worker processes of a rank: one Nanny for each, with caps for BLAS and an environment set before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from socket import gethostname
from types import TracebackType
from typing import Any

from distributed import Security

from ..compat.distributed_security import SecurityInMemory
from ..compat.distributed_workers import WORKER_PROCESS, SupervisingNanny
from ..compat.python import ignore_warnings_of_children, spawn_apart
from ..errors import WORKER_EXIT_TOPIC
from ..runtime.blas_threads import blas_variables, lowered_by_user
from . import http_door
from .children import own_variables
from .crash_report import cause_of_exit
from .logs import worker_environment
from .session import session
from .worker_preload import PROGRAM_FOLDER, private_memory

logger = logging.getLogger("distributed.nanny")

# Dask's own default makes glibc give every array above 128 kB back to the kernel at once, and fault its pages in anew:
# a fit on slices of a few MB then takes up to twice as long.
_DASKS_TRIM_THRESHOLD = "65536"
_KEPT_FREE_BYTES, _KEPT_FREE_PART = 64 << 20, 16  # what glibc comes to keep by itself, left alone
_TRACKER_WARNING = "ignore::UserWarning:multiprocessing.resource_tracker"
_ATTEMPTS = 3
_GIVE_UP_SECONDS = 0.1


def malloc_variables(limit: int | None, threads: int) -> dict[str, str]:
    """The environment that lets glibc keep freed memory: 64 MB a thread, a sixteenth of the worker's limit at most."""
    kept = min(_KEPT_FREE_BYTES, limit // (_KEPT_FREE_PART * threads)) if limit else _KEPT_FREE_BYTES
    return {"MALLOC_TRIM_THRESHOLD_": str(kept), "MALLOC_MMAP_THRESHOLD_": str(kept // 2)}


class CappedNanny(SupervisingNanny):
    """A Nanny whose worker process has its BLAS caps before NumPy is imported, and leaves ``__main__`` alone.

    Parameters
    ----------
    blas_threads : int
        BLAS and OpenMP threads of the worker process.
    **options
        Those of ``distributed.Nanny``.
    """

    def __init__(self, *args: Any, blas_threads: int = 1, **options: Any) -> None:
        preload = options.pop("preload", None) or http_door.other_preloads("distributed.worker.preload")
        security = SecurityInMemory.of_worker(options.pop("security", None) or Security())
        preload = [http_door.PRELOAD, *preload, "daskhpc.cluster.worker_preload"]
        super().__init__(*args, preload=preload, security=security, **options)
        spawn_apart(WORKER_PROCESS, lambda: session.program_folder)
        # multiprocessing's tracker of semaphores would warn when it cleans up after a worker process that was killed.
        ignore_warnings_of_children(_TRACKER_WARNING)
        if self.pre_spawn_env.get("MALLOC_TRIM_THRESHOLD_") == _DASKS_TRIM_THRESHOLD:
            self.pre_spawn_env.update(malloc_variables(self.memory_manager.memory_limit, self.nthreads))
        # What daskhpc has set for this process is no word of the user's.
        users = {name: value for name, value in os.environ.items() if own_variables.get(name) != value}
        self.pre_spawn_env.update(lowered_by_user(blas_variables(blas_threads), users))
        self.env.update({**self.pre_spawn_env, **worker_environment(self.name)})
        if session.program_folder:
            self.env[PROGRAM_FOLDER] = session.program_folder

    def memory_of(self, pid: int) -> int:
        """What is the process's own: RSS also holds, once in each process, what processes of the node share."""
        return private_memory(pid)

    def worker_ended(self, exitcode: int, memory_limit: int | None) -> None:
        """Log how the worker process ended, and tell the client."""
        host, cause = gethostname(), cause_of_exit(exitcode, memory_limit)
        logger.warning("Worker process %s on %s: %s", self.worker_address or self.name, host, cause)
        self.loop.add_callback(self._tell, {"worker": self.worker_address, "host": host, "cause": cause})

    async def _tell(self, ended: Mapping[str, str]) -> None:
        """Tell the client, unless the scheduler is gone: Dask's own way would then leave a traceback of asyncio."""
        with contextlib.suppress(Exception):
            await self.scheduler.log_event(topic=WORKER_EXIT_TOPIC, msg=ended)


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

    async def __aenter__(self) -> Nannies:
        session.workers = self
        connection = session.member.connection if session.member is not None else None
        if connection is not None and connection.ending:  # the order to end came before the workers were there
            self._closing.set()
        starts = [asyncio.create_task(self._start(name)) for name in self.names]
        closing = asyncio.create_task(self._closing.wait())
        await asyncio.wait({asyncio.create_task(_all(starts)), closing}, return_when=asyncio.FIRST_COMPLETED)
        if not self._closing.is_set():
            closing.cancel()
            await asyncio.gather(*starts)
        while any(not start.done() for start in starts):
            for nanny in self.nannies:
                nanny.give_up_start()
            await asyncio.wait(starts, timeout=_GIVE_UP_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(nanny.close() for nanny in self.nannies))

    async def _start(self, name: int | str) -> None:
        """Start one; a worker may already be killed by its first task, before its Nanny has seen it come up."""
        for left in reversed(range(_ATTEMPTS)):
            nanny = CappedNanny(name=name, **self.options)
            self.nannies.append(nanny)
            try:
                await nanny
                return
            except Exception:
                self.nannies.remove(nanny)
                if self._closing.is_set():
                    return
                if not left:
                    raise

    def close_soon(self) -> None:
        """From any thread: the cluster closes, and these workers before their scheduler."""
        self._loop.call_soon_threadsafe(self._closing.set)

    async def finished(self) -> None:
        """Wait until every Nanny has closed, or the cluster is being closed."""
        if self._closing.is_set():
            return
        waits = [asyncio.create_task(nanny.finished()) for nanny in self.nannies]
        closing = asyncio.create_task(self._closing.wait())
        await asyncio.wait({asyncio.create_task(_all(waits)), closing}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*waits, closing):
            task.cancel()


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)
