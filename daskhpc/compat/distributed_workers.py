"""Dask's Nanny and LocalCluster with what they lack when worker processes die; both override private parts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
from distributed import LocalCluster, Nanny
from distributed.core import Status
from distributed.deploy import Cluster
from distributed.diskutils import DIR_LOCK_EXT
from tornado.ioloop import PeriodicCallback

logger = logging.getLogger("distributed.nanny")

WORKER_PROCESS = "Dask Worker process"
"""How the names of the processes begin that a Nanny starts."""
_ATTEMPTS = 3
_ALIVE_MS = 1000
_MISSED = 2
_POLL_SECONDS = 0.05
_GIVE_UP_SECONDS = 5.0


class _EnvironmentGuard:
    """This process's environment, which Dask changes for each worker process that it starts, several at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: dict[str, str | None] = {}

    @contextlib.contextmanager
    def restored(self, names: Iterable[str]) -> Iterator[None]:
        """Set the variables to what they were before the first start, when the last start has ended."""
        with self._lock:
            self._users += 1
            for name in names:
                self._before.setdefault(name, os.environ.get(name))
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    for name, value in self._before.items():
                        if value is None:
                            os.environ.pop(name, None)
                        else:
                            os.environ[name] = value
                    self._before.clear()


_environment = _EnvironmentGuard()


class SupervisingNanny(Nanny):  # type: ignore[misc]
    """A Nanny whose worker process is started again whenever it dies, and that reports how it died.

    A subclass defines what counts as memory (`memory_of`) and is called when a process ended (`worker_ended`).

    Notes
    -----
    Why it is so: Dask's Nanny has two races. (1) A process that dies before its Nanny has seen it come up
    begins a second start while the first still waits; in older Dasks the first then takes the answer of the second,
    which waits for the first for ever. So starts are made one after the other. (2) A task may kill each new process
    within milliseconds; Dask then closes the Nanny for good ("nanny-instantiate-failed"), or misses the death and
    starts nothing. So that close is answered with "OK" a few times, and a periodic callback starts a process if none
    has lived for a while.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._over_limit = False
        self._refused_closes = 0
        self._one_start = asyncio.Lock()
        self._asked_to_end = self._given_up = False
        self._missed = 0
        self.periodic_callbacks["daskhpc-alive"] = PeriodicCallback(self._restart_if_gone, _ALIVE_MS)
        self._replace_memory_monitor()

    def memory_of(self, pid: int) -> int:
        """Bytes of the worker process that count against its memory limit."""
        raise NotImplementedError

    def worker_ended(self, exitcode: int, memory_limit: int | None) -> None:
        """Called when the worker process ended that was not to end; with its memory limit if that was exceeded."""

    async def instantiate(self) -> Any:
        """Start the worker process, again if it dies in its own start; its variables do not stay in this process."""
        async with self._one_start:
            return self.status if self.status in (Status.closing, Status.closed) else await self._instantiate()

    async def _instantiate(self) -> Any:
        starting = self.status in (Status.init, Status.starting)
        with _environment.restored(self.pre_spawn_env):
            for attempt in range(_ATTEMPTS if starting else 1):
                if self._given_up:
                    return Status.failed
                if attempt:
                    logger.warning("Restarting worker, which ended in its start (status=%s)", self.status)
                started = await super().instantiate()
                if started == Status.running:
                    break
            self._refused_closes = 0
            return started

    def give_up_start(self) -> None:
        """End the start of the worker process at once; called again until it has ended.

        Dask's Nanny waits for a process to come up before it closes, which takes a minute if a file system is slow.
        """
        self._given_up = self._asked_to_end = True
        if self.process is None or self.process.status != Status.starting:  # come up, and Dask closes it
            return
        process = self.process.process
        if process is None or process.pid is None or not process.is_alive():
            return
        directory = _worker_directory(process.pid)
        process.kill()
        if directory:  # Dask learns its name from a worker that has come up, and removes it when that has ended
            self.process.worker_dir = directory
            _remove_lock(directory)

    def _replace_memory_monitor(self) -> None:
        """Run Dask's check of the memory limit only when `memory_of` the process exceeds it; Dask counts all of RSS."""
        monitor = self.periodic_callbacks.pop("memory_monitor", None)
        if monitor is None:
            return

        def check() -> None:
            pid = self.process.process.pid if self.process is not None and self.process.process is not None else None
            limit = self.memory_manager.memory_limit * self.memory_manager.memory_terminate_fraction
            if pid is not None and self.memory_of(pid) > limit:
                self._over_limit = True
                self.memory_manager.memory_monitor(self)

        self.periodic_callbacks["memory_monitor"] = PeriodicCallback(check, monitor.callback_time)

    async def _restart_if_gone(self) -> None:
        gone = self.process is None or self.process.status in (Status.stopped, Status.failed)
        self._missed = self._missed + 1 if gone and self.status == Status.running else 0
        if self._missed > _MISSED:
            self._missed = 0
            with contextlib.suppress(Exception):
                await self.instantiate()

    async def _on_worker_exit(self, exitcode: int) -> None:
        asked, self._asked_to_end = self._asked_to_end, False
        limit = self.memory_manager.memory_limit if self._over_limit else None
        self._over_limit = False
        if not asked and self.status not in (Status.closing, Status.closed):
            self.worker_ended(exitcode, limit)
        await super()._on_worker_exit(exitcode)

    async def close(self, timeout: float = 5, reason: str = "nanny-close") -> Any:
        """Close, but not because a task killed a worker process before this Nanny had seen it come up (see Notes)."""
        failed = reason == "nanny-instantiate-failed" and self.status == Status.running
        if failed and self._refused_closes < _ATTEMPTS:
            self._refused_closes += 1
            return "OK"
        return await super().close(timeout=timeout, reason=reason)

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """Stop the worker process without waiting for its running tasks."""
        if self.process is not None:
            self._asked_to_end = self.process.is_alive()
            directory = self.worker_dir
            await self.process.kill(timeout=timeout, executor_wait=False, reason=reason)
            if directory:  # Dask removes it, but not its lock, if the process did not end in time by itself
                _remove_lock(directory)


def _worker_directory(pid: int) -> str | None:
    """The scratch folder of a worker process, known by the lock beside it that the process has open; None before."""
    with contextlib.suppress(psutil.Error):
        for file in psutil.Process(pid).open_files():
            if file.path.endswith(DIR_LOCK_EXT):
                return str(file.path.removesuffix(DIR_LOCK_EXT))
    return None


def _remove_lock(directory: str) -> None:
    Path(f"{directory}{DIR_LOCK_EXT}").unlink(missing_ok=True)


class ResilientLocalCluster(LocalCluster):  # type: ignore[misc]
    """A LocalCluster whose worker processes may die any number of times, and whose start may be interrupted.

    Notes
    -----
    Why it is so: Dask forgets the workers that still come up when Ctrl-C interrupts its start, and raises an
    AssertionError at the program's end. 15 s after a worker process died Dask's own looks whether the worker is back,
    and if it has died again at that moment, closes its Nanny for good. It also trips over the death of a worker that
    its list lacks. Both are in ``_update_worker_status`` of LocalCluster's parent, which is passed over here.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            super().__init__(*args, **options)
        except (KeyboardInterrupt, SystemExit):
            with contextlib.suppress(TimeoutError):
                if getattr(self, "_created", None):
                    self.sync(self._give_up_start, callback_timeout=_GIVE_UP_SECONDS)
                    self.close(timeout=_GIVE_UP_SECONDS)
            raise

    async def _give_up_start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # nobody waits for these starts any more
        while any(nanny.status in (Status.init, Status.starting) for nanny in self._created):
            for nanny in self._created:
                nanny.give_up_start()
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.gather(*(nanny.close() for nanny in self._created), return_exceptions=True)

    def _update_worker_status(self, op: str, message: Any) -> None:
        if op != "remove" or message in self.scheduler_info["workers"]:
            Cluster._update_worker_status(self, op, message)
