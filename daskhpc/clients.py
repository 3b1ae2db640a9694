"""The Dask client that a call would use, whether the call runs inside a Dask task, and requests to workers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .compat.distributed import runs_in_this_process


def current_worker() -> Any:
    """The Dask worker whose task this thread runs, None outside of tasks; imports nothing."""
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


_call_process = False


def enter_call_process() -> None:
    """Note that this process makes calls for a Dask worker."""
    global _call_process
    _call_process = True


def inside_task() -> bool:
    """Whether this thread runs a task of a Dask worker, or this process a call for one."""
    return _call_process or current_worker() is not None


def is_open(client: Any) -> bool:
    """Whether a client is connected, and is this process's own rather than that of the process it was forked from."""
    return client.status == "running" and runs_in_this_process(client)


def current_client() -> Any:
    """The current client, if Dask could compute with it now.

    Returns
    -------
    distributed.Client or None
        None if there is no client, if it is closed or asynchronous, and in a process that was forked from the client's
        own. Nothing is imported to find this out.
    """
    if _hidden or "distributed" not in sys.modules:
        return None
    from distributed import Client

    try:
        client = Client.current(allow_global=True)
    except ValueError:
        return None
    return client if is_open(client) and not client.asynchronous else None


_hidden = False


@contextlib.contextmanager
def without_client() -> Iterator[None]:
    """Within the block `current_client` gives None, in all threads: what daskhpc computes, it computes here."""
    global _hidden
    before, _hidden = _hidden, True
    try:
        yield
    finally:
        _hidden = before


async def ask_workers(
    client: Any, function: Callable[..., Any], *args: Any, workers: Iterable[str], on_error: str = "raise"
) -> Any:
    """As ``Client.run``, for tasks that may be cancelled: the answer then comes, and no code waits for it.

    A connection that Dask is about to make when its task is cancelled would stay open until the process ends.
    """
    work = asyncio.ensure_future(client.run(function, *args, workers=[*workers], on_error=on_error))
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(work)
