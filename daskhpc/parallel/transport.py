"""How a task gets to its worker and its result comes back: as a task of Dask, or as a plain request if it is short."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import pickle
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dask.utils import funcname

from ..clients import ask_workers
from .sent_task import SentTask
from .slots import run_task, run_without_dask_task
from .task import TaskResult, TaskSpec
from .worker_set import WorkerProcess, WorkerSet

_CLIENT_SECONDS = 0.01
_tasks = itertools.count()


class Transport:
    """Sends the tasks of one run.

    Parameters
    ----------
    client : distributed.Client
    members : WorkerSet
    """

    def __init__(self, client: Any, members: WorkerSet) -> None:
        self._client, self._members = client, members
        self._departure = Departure()
        self.prepare = self._departure.prepare

    def send(self, member: WorkerProcess, task: SentTask, order: TaskSpec) -> Awaitable[TaskResult | None]:
        """Send a task, in a block of `prepare`; what is returned gives its result, None if the worker was lost.

        Dask passes messages about a task on together, every 2 to 10 ms: with them a call of 1 ms takes some 15 ms. A
        request takes some 3 ms, but Dask's scheduler does not know that the worker is busy.
        """
        payload = pickle.dumps(order, protocol=5)
        reply = self._request(member, task, payload) if task.short else self._dask_task(member, task, payload)
        return wait_or_lost(reply, task.gone)

    async def _request(self, member: WorkerProcess, task: SentTask, payload: bytes) -> TaskResult | None:
        try:
            told = await ask_workers(self._client, run_without_dask_task, payload, workers=[member.address])
        except OSError:  # the connection broke; if the worker is lost, Dask tells it
            with self.prepare():
                reply = self._dask_task(member, task, payload)
            return await reply
        result: TaskResult = told[member.address]
        return result

    def _dask_task(self, member: WorkerProcess, task: SentTask, payload: bytes) -> Awaitable[TaskResult | None]:
        name = funcname(getattr(task.calls[0].function, "function", task.calls[0].function))
        submit = functools.partial(
            self._client.submit,
            run_task,
            payload,
            workers=[member.address],
            key=f"{name}-{uuid.uuid4().hex}",
            pure=False,
            # Dask breaks ties by name, and what was sent first is to run first.
            priority=-1e-9 * next(_tasks),
        )
        return self._result(self._departure.submit(submit))

    async def _result(self, sent: Awaitable[Any]) -> TaskResult | None:
        future = await sent
        try:
            result: TaskResult | None = await fetch(self._client, future)
            return result
        finally:
            self._members.release_later(future)


class Departure:
    """Lets tasks that are made ready at the same time leave together.

    Dask's client sends nothing for 10 ms after a message: a task that is ready a moment after another would wait so
    long.
    """

    def __init__(self) -> None:
        self._preparing = 0
        self._ready: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    @contextlib.contextmanager
    def prepare(self) -> Iterator[None]:
        """Within the block a task is made ready and submitted."""
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1
            asyncio.get_running_loop().call_soon(self._leave, False)

    def submit(self, send: Callable[[], Any]) -> asyncio.Future[Any]:
        """What `send` returns, which is called together with that of all tasks that are made ready now."""
        loop = asyncio.get_running_loop()
        sent = loop.create_future()
        self._ready.append((send, sent))
        loop.call_later(_CLIENT_SECONDS, self._leave, True)
        return sent

    def _leave(self, in_any_case: bool) -> None:
        if self._preparing and not in_any_case:
            return
        ready, self._ready = self._ready, []
        for send, sent in ready:
            if not sent.done():  # or its task was cancelled
                try:
                    sent.set_result(send())
                except Exception as error:
                    sent.set_exception(error)


async def wait_or_lost(work: Awaitable[Any], gone: asyncio.Event) -> Any:
    """What `work` gives, None if `gone` is set first."""
    first, second = asyncio.ensure_future(work), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        return await first if first.done() else None
    finally:
        first.cancel()
        second.cancel()


async def fetch(client: Any, future: Any) -> Any:
    """The result of a task; None if Dask has given it up, because it lost several workers with it."""
    from distributed import KilledWorker, wait

    await wait([future])
    try:
        # Never cancelled: the client hands a gather that was cancelled before it began to all that come after it.
        gather = asyncio.ensure_future(client.gather([future]))
        gather.add_done_callback(lambda done: done.cancelled() or done.exception())
        (result,) = await asyncio.shield(gather)
    except KilledWorker:
        return None
    return result
