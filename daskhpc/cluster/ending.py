"""One place owns the end of a run: who closes the cluster, who waits for whom, which exit code is the last word.

In order: the client's program ends, its last exit handler asks rank 0 to close the scheduler, the scheduler closes
the workers, all ranks finalize MPI, the workers' processes end, then rank 0's, then the client's with the exit code
of its program. Out of order: a rank whose process ends before that ends the job with code 70 and one message.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from typing import Any

from ..errors import EXIT_FAILED, DaskhpcError
from .plan import CLIENT, RankPlan, role_of
from .session import Member, session
from .world import World, say

CLOSE_SECONDS = 15.0
"""Seconds within which a cluster closes once its client asked for it."""
_POLL_SECONDS = 0.02


def end_with_program(member: Member, own_world: bool) -> None:
    """On the client: close the cluster when the program ends, after its own exit handlers."""
    import distributed  # noqa: F401  its exit handlers are to run after this one

    atexit.register(_end_of_client, member, own_world)


def _end_of_client(member: Member, own_world: bool) -> None:
    assert member.line is not None
    # No thread can be started any more; faulthandler needs none.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(CLOSE_SECONDS, exit=True, file=nowhere)
        close(member)
        finalize(member.world, own_world)
        member.line.wait_for_hub(CLOSE_SECONDS)
        faulthandler.cancel_dump_traceback_later()


def close(member: Member | None) -> None:
    """On the client: close its Dask clients, then ask rank 0 to close the cluster."""
    if member is None:
        raise DaskhpcError("There is no cluster to close.", "initialize() was not called in this process")
    close_clients()
    if member.line is not None:
        member.line.end()


def close_clients() -> None:
    """Close every Dask client of this process, so that none of them complains about a lost scheduler."""
    from distributed import Client

    session.client = None
    for client in list(Client._instances):
        with contextlib.suppress(Exception):
            client.close(timeout=CLOSE_SECONDS / 3)


def close_scheduler() -> None:
    """On rank 0, from the hub's thread: close the scheduler, once the workers' ranks have closed their workers."""
    scheduler = session.scheduler
    if scheduler is not None:
        scheduler.loop.add_callback(_close_after_workers, scheduler)


async def _close_after_workers(scheduler: Any) -> None:
    """Let workers close while their scheduler is there, so that neither they nor clients in tasks miss it."""
    member = session.member
    if member is not None and member.hub is not None and member.own_workers:
        end = time.monotonic() + CLOSE_SECONDS / 2
        while not member.hub.workers_left() and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)
    await scheduler.close(reason="client-ended")


def close_workers() -> None:
    """On a worker's rank, from its line's thread: the cluster closes, perhaps while it still starts."""
    if session.workers is not None:
        session.workers.close_soon()


def leave(member: Member, exit: bool, own_world: bool) -> bool:
    """On the other ranks, when the cluster has closed: leave in order.

    Returns
    -------
    bool
        False, where ``exit`` is False.

    Raises
    ------
    SystemExit
        With code 0, where ``exit`` is True.
    """
    if member.hub is not None:
        member.hub.closing()
    if member.line is not None:
        member.line.leave()
    session.member = None
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not exit:
        return False
    finalize(member.world, own_world)
    if member.hub is not None:
        member.hub.wait_for_workers(CLOSE_SECONDS)
    raise SystemExit(0)


def finalize(world: World | None, own_world: bool) -> None:
    """Finalize MPI where daskhpc was given the whole world."""
    if own_world and world is not None:
        world.finalize()


def lost(world: World, rank: int, host: str) -> None:
    """On rank 0, from the hub's thread: a rank's process ended while the cluster was running."""
    say(
        DaskhpcError(
            f"The {role_of(rank)} ended without word, so the job ends.",
            f"rank {rank} on {host}; it was killed, ran out of memory, or crashed",
            "its last lines above; the table at the start shows its memory",
        )
    )
    world.comm.Abort(EXIT_FAILED)


def lost_scheduler(world: World, told: bool) -> None:
    """On every other rank, from its thread: rank 0 ended while the cluster was running, and perhaps told why."""
    if role_of(world.rank) == CLIENT and not told:
        say(DaskhpcError("The scheduler ended without word, so the job ends.", "rank 0 was killed, or crashed"))
    sys.stdout.flush()
    os._exit(EXIT_FAILED)


def abort(world: World, plan: RankPlan, error: BaseException) -> None:
    """A rank could not do its role: say why, once, and end every rank."""
    reason = "".join(traceback.format_exception(error)) if not isinstance(error, DaskhpcError) else str(error)
    say(f"rank {plan.rank} ({plan.role}) on {plan.host} failed, so the job ends.\n{reason}")
    sys.stdout.flush()
    world.comm.Abort(EXIT_FAILED)
