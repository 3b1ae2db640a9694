"""What daskhpc needs of distributed beyond its public names."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import multiprocessing.process
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any


def runs_in_this_process(client: Any) -> bool:
    """Whether the thread of a client's event loop runs in this process.

    It does not in a process that was forked from the client's process: the client object is there, its thread is not,
    and every call would wait for ever. ``asyncio`` keeps the thread's identity under a private name; if a release has
    none, the client is taken for one of this process.
    """
    loop = getattr(client.loop, "asyncio_loop", None)
    thread = getattr(loop, "_thread_id", None)
    return thread is None or thread in {t.ident for t in threading.enumerate()}


@functools.cache  # a function that is called after forks stays so, and one is enough
def leave_end_to_parent() -> None:
    """Let a process that this program forks end without ending what Dask has in this one.

    Why it is so: after ``os.fork()`` the child has the parent's objects, and ``sys.exit()`` in it runs the same exit
    handlers. Dask's close clients whose thread is not in the child, and clusters. Its connections take their sockets
    out of an epoll object that both processes have, so that the parent hears no more of them. ``multiprocessing`` ends
    Dask's workers, which are daemons. What the program itself has registered runs in both, as without Dask. If a
    release has other names, the child ends as Dask lets it.
    """
    import distributed.client
    import distributed.deploy.spec

    handlers = [
        getattr(distributed.client, "_close_global_client", None),
        getattr(distributed.deploy.spec, "close_clusters", None),
    ]
    os.register_at_fork(after_in_child=lambda: _forget_exit_of_dask([each for each in handlers if each]))


def _forget_exit_of_dask(handlers: list[Callable[[], object]]) -> None:
    for handler in handlers:
        atexit.unregister(handler)
    for finalizer, info in list(getattr(weakref.finalize, "_registry", {}).items()):
        if getattr(info.func, "__module__", "").startswith("distributed."):
            finalizer.atexit = False
    children: set[Any] = getattr(multiprocessing.process, "_children", set())
    children -= {child for child in children if child.name.startswith("Dask Worker")}


def worker_infos(client: Any) -> dict[str, dict[str, Any]]:
    """What the scheduler tells of each worker, by address.

    ``Client.scheduler_info`` returns what the client keeps of its last answer. The client asks by itself every 2 s,
    without workers, and if that answer comes second, the cluster seems to have none.
    """
    infos: dict[str, dict[str, Any]] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return infos


def let_calls_find(distributed: Any, address: str, before: Callable[[], object]) -> None:
    """In a process that makes calls for a worker: let ``get_client()`` find the worker's cluster.

    Parameters
    ----------
    distributed : module
        The package, which this process has imported.
    address : str
        The scheduler's.
    before : callable
        Called before each client is given out: code that has a client may wait for tasks.

    Notes
    -----
    ``get_client`` looks for the worker whose task the thread runs, then for a client that this process has made. A call
    has neither. If a release has no such function, ``Client(address)`` in the call still works.
    """
    worker = distributed.worker
    original = getattr(worker.get_client, "__wrapped__", worker.get_client)

    @functools.wraps(original)
    def get_client(address_: str | None = None, *args: Any, **options: Any) -> Any:
        before()
        if address_ is None and not args and not options.get("address"):
            try:
                return distributed.Client.current()
            except ValueError:
                address_ = options.pop("address", None) or address
        return original(address_, *args, **options)

    distributed.get_client = worker.get_client = get_client


async def call_on_scheduler(worker: Any, function: Any) -> Any:
    """What a function returns that the scheduler of a worker calls, with itself as ``dask_scheduler``.

    A worker has no client of its own until something asks for one, which would then be counted as a client.
    """
    empty = {"args": pickle.dumps(()), "kwargs": pickle.dumps({})}
    reply = await worker.scheduler.run_function(function=pickle.dumps(function), wait=True, **empty)
    return reply["result"]


async def call_on_worker(worker: Any, address: str, function: Any, *args: Any) -> Any:
    """What a function returns that another worker calls.

    Raises
    ------
    OSError
        When the function raised there, or the other worker does not answer.
    """
    arguments = {"args": pickle.dumps(args), "kwargs": pickle.dumps({})}
    reply = await worker.rpc(address).run(function=pickle.dumps(function), **arguments)
    if reply["status"] != "OK":
        raise OSError(f"{function.__name__} failed on {address}: {reply.get('exception_text', reply)}")
    return reply["result"]


def open_clients() -> list[Any]:
    """The Dask clients of this process, the program's own included; none if distributed does not list them."""
    from distributed import Client

    return list(getattr(Client, "_instances", ()))


def pause_worker(worker: Any) -> None:
    """On a worker: start no further task, until the worker ends."""
    from distributed.core import Status

    worker.memory_manager.memory_pause_fraction = False  # or Dask's look at the memory would let it run again
    worker.status = Status.paused


def resume_worker(worker: Any) -> None:
    """On a worker that `pause_worker` paused: start tasks again."""
    import dask
    from distributed.core import Status

    worker.memory_manager.memory_pause_fraction = dask.config.get("distributed.worker.memory.pause")
    worker.status = Status.running


def measure_memory_by(worker: Any, memory: Callable[[], int]) -> None:
    """Let `memory` say how many bytes a worker process uses, in place of its RSS."""
    worker.monitor.get_process_memory = memory


def last_fetch(worker: Any) -> float:
    """When the last transfer from another worker began that a worker has in its log; 0 if it has none."""
    try:
        return float(worker.transfer_incoming_log[-1]["start"])
    except (AttributeError, KeyError, IndexError):
        return 0.0


def bytes_fetched_since(worker: Any, last: float) -> int:
    """Bytes of the results that a worker fetched from other workers after the transfer that `last_fetch` gave.

    A worker keeps a log of its transfers, and has no public way to ask for it. It is 0 if a release has no such log.
    The times in it only tell entries apart: the worker's idea of the scheduler's clock changes with each heartbeat, by
    half a second if the machine stands still for one.
    """
    try:
        entries = list(worker.transfer_incoming_log)
        later = itertools.takewhile(lambda entry: entry["start"] != last, reversed(entries))
        return sum(entry["total"] for entry in later)
    except (AttributeError, KeyError, RuntimeError):  # RuntimeError: the log grew meanwhile
        return 0


def bytes_written_to_disk(worker: Any) -> int:
    """Bytes that a worker wrote to disk for want of memory, since it began; 0 if a release does not count them."""
    totals = getattr(worker, "digests_total", {})
    return int(
        sum(
            value
            for name, value in list(totals.items())
            if isinstance(name, tuple) and name[-2:] == ("disk-write", "bytes")
        )
    )


def keep_replicas(key: str, dask_scheduler: Any) -> None:
    """On a scheduler: let every worker that has a key's value keep it for as long as the key is in use.

    Every two seconds the scheduler takes copies away that no task waits for. What was sent to all workers ahead of the
    tasks would then travel again to all workers but one.
    """
    from distributed.active_memory_manager import ReduceReplicas

    class ReduceOtherReplicas(ReduceReplicas):  # type: ignore[misc]
        def __init__(self) -> None:
            self.kept: set[str] = set()

        def run(self) -> Any:
            return (step for step in super().run() if step.ts.key not in self.kept)

    manager = dask_scheduler.extensions.get("amm")
    for policy in list(manager.policies) if manager is not None else ():
        if type(policy) is ReduceReplicas:
            manager.policies.remove(policy)
            manager.add_policy(policy := ReduceOtherReplicas())
        if hasattr(policy, "kept"):
            policy.kept.add(key)


def hear_workers_before_counting_them_silent(scheduler: Any) -> None:
    """Before workers are restarted that the scheduler has not heard of for long, let each tell that it is alive.

    Dask restarts workers that were silent for ``worker-ttl``, 5 minutes. If the whole cluster was stopped for longer
    (``scontrol suspend``, SIGSTOP, a laptop asleep), no worker was heard, and Dask would restart all of them at once.
    """
    from distributed.scheduler import heartbeat_interval

    look = scheduler.periodic_callbacks.get("worker-ttl")
    if look is None:
        return
    restart_silent = look.callback

    async def wait_for_heartbeats_then_look() -> None:
        pause, slept = 10 * heartbeat_interval(len(scheduler.workers)), float("inf")
        while slept > 1.5 * pause:  # the cluster was stopped meanwhile
            began = time.time()
            await asyncio.sleep(pause)
            slept = time.time() - began
        await restart_silent()

    look.callback = wait_for_heartbeats_then_look
