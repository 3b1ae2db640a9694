"""The end of a run: which process closes the cluster, which waits for which, and which exit code the job has.

In order: the client's program ends, its last exit handler asks rank 0 to close the scheduler, the scheduler closes
the workers, all ranks finalize MPI, the workers' processes end, then rank 0's, then the client's with the exit code
of its program. Out of order: a rank whose process ends before that ends the job with code 70 and one message.

Why it is so: a launcher reports the exit code of one process, of the first that fails or of the last that ends, and
under ``srun --kill-on-bad-exit=1`` the first failure kills all others. So every other process has ended with 0 before
the client's ends with the program's own code. Workers close before the scheduler, because clients inside their tasks
would complain about a scheduler that is gone; and no thread is started on the way, because Python 3.12 refuses that
in exit handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import queue
import socket
import threading
import time
import traceback
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from ..chunk_size import array_chunk_size
from ..compat.distributed import leave_end_to_parent, open_clients
from ..compat.python import at_exit, call_before_os_exit
from ..errors import EXIT_FAILED, DaskhpcError
from .control_channel import Loss
from .crash_report import cause_of_end, exceeded_memory_limit, remove_crash_handler
from .environment import forget_secret
from .logs import save_logs
from .output import flush_output
from .plan import CLIENT, SCHEDULER, WORKER, RankPlan, role_of
from .program_signals import answer_signals_again, leave_signals_to_program
from .quiet_end import silence_program_end
from .session import ClusterMember, session
from .unanswered_signals import UnansweredSignals
from .world import World, say

CLOSE_SECONDS = 15.0
"""Seconds within which a cluster closes once its client asked for it."""
_POLL_SECONDS = 0.02
_GRACE = 5.0
_SAVE_SECONDS = 1.0
_CLIENT_FIRST_SECONDS = 3.0
_LAUNCHER_FIRST_SECONDS = 1.0
_exit = os._exit  # before call_before_os_exit replaces it
_ROLE_NAMES = {SCHEDULER: "scheduler", CLIENT: "client", WORKER: "worker's rank"}


def end_with_program(member: ClusterMember, own_world: bool) -> None:
    """On the client: close the cluster when the program ends, after its own exit handlers, or by ``os._exit``."""
    import distributed  # noqa: F401  its exit handlers are to run after this one

    ending = _Ending(member, own_world)
    for _ in range(2):  # Ctrl-C that comes as the first begins is raised there, before it can be ignored
        at_exit(ending.run)
    call_before_os_exit(ending.run)
    leave_end_to_parent()
    if threading.current_thread() is threading.main_thread():
        ending.unanswered = UnansweredSignals(ending.turn)


class _Ending:
    """The end of the client's program.

    Parameters
    ----------
    member : ClusterMember
    own_world : bool
        Whether MPI is daskhpc's to finalize.

    Notes
    -----
    A thread keeps its deadline. It is started at once, because no thread can be started when the program ends. If C
    code keeps the GIL and holds up this thread, faulthandler ends the process after a few seconds more, silently.

    Any thread may call `run`, by ``os._exit``. So may a handler of the program, in the main thread, within `run`: until
    `begun` it takes nothing for which that thread would then wait for itself, such as the lock of an `Event`.
    """

    def __init__(self, member: ClusterMember, own_world: bool) -> None:
        self.member = member
        self.own_world = own_world
        self.turn = threading.RLock()  # of the thread that closes the cluster, for ever
        self.begun, self.done = False, threading.Event()
        self.unanswered: UnansweredSignals | None = None
        self._begins: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._keep_deadline, name="daskhpc-ending", daemon=True).start()

    def _keep_deadline(self) -> None:
        self._begins.get()
        if not self.done.wait(CLOSE_SECONDS):
            what = f"The cluster did not close within {CLOSE_SECONDS:g} s of the program's end."
            say(DaskhpcError(what, "a rank hangs, or ended meanwhile", "its last lines above"))
            _exit(EXIT_FAILED)

    def run(self) -> None:
        """Close the cluster and wait until it has closed, once. It ends in time, and so takes no interrupt."""
        if not self.begun:
            leave_signals_to_program()
            self._let_signals_end_it()
        if not self.turn.acquire(blocking=False):  # another thread closes it, perhaps since a signal came just now
            self._let_signals_end_it()
            while not self.done.is_set():  # not by `wait`, whose lock a handler of the program may find taken
                time.sleep(_POLL_SECONDS)
            return
        if self.begun:
            return
        self.begun = True
        self._begins.put(None)
        silence_program_end()
        assert self.member.connection is not None
        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(CLOSE_SECONDS + _GRACE, exit=True, file=nowhere)
            close(self.member)
            finalize(self.member, self.own_world)
            self.member.connection.wait_for_end(CLOSE_SECONDS)
            faulthandler.cancel_dump_traceback_later()
        self.done.set()
        answer_signals_again()

    def _let_signals_end_it(self) -> None:
        if self.unanswered is not None:
            self.unanswered.wait_if_one_came()


def close(member: ClusterMember | None) -> None:
    """On the client: close its Dask clients, then ask rank 0 to close the cluster."""
    if member is None:
        raise DaskhpcError("There is no cluster to close.", "initialize() was not called in this process")
    close_clients()
    array_chunk_size.restore()
    if member.connection is not None:
        member.connection.end()


def close_clients() -> None:
    """Close every Dask client of this process, so that none of them complains about a lost scheduler."""
    session.client = None
    for client in open_clients():
        with contextlib.suppress(Exception):
            client.close(timeout=CLOSE_SECONDS / 3)


def close_with_program() -> None:
    """Without ranks: close the clients and the cluster when the program ends, also by ``os._exit``."""
    for _ in range(2):  # as in end_with_program
        at_exit(_close_at_end)
    call_before_os_exit(_close_at_end)
    leave_end_to_parent()


def _close_at_end() -> None:
    leave_signals_to_program()
    silence_program_end()
    close_local()
    answer_signals_again()


def close_local() -> None:
    """Without ranks: close this machine's cluster."""
    close_clients()
    if session.local is not None:
        with contextlib.suppress(TimeoutError):
            session.local.close(timeout=CLOSE_SECONDS / 3)


def close_scheduler() -> None:
    """On rank 0, from a channel's thread: close the scheduler once the workers' ranks have closed theirs."""
    scheduler = session.scheduler
    if scheduler is not None:
        scheduler.loop.add_callback(_close_after_workers, scheduler)


async def _close_after_workers(scheduler: Any) -> None:
    """Let workers close while their scheduler is there, so that neither they nor clients in tasks miss it."""
    member = session.member
    if member is not None and member.server is not None and member.own_workers:
        end = time.monotonic() + CLOSE_SECONDS / 2
        while not member.server.workers_left() and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)
    await scheduler.close(reason="client-ended")


def close_workers() -> None:
    """On a worker's rank, from a channel's thread: the cluster closes, perhaps while it still starts."""
    if session.workers is not None:
        session.workers.close_soon()


def leave(member: ClusterMember, exit: bool, own_world: bool) -> bool:
    """On the other ranks, when the cluster has closed: leave in order.

    Returns
    -------
    bool
        False, if ``exit`` is False.

    Raises
    ------
    SystemExit
        With code 0, if ``exit`` is True.
    """
    if member.server is not None:
        member.server.leave()
    if member.connection is not None:
        member.connection.leave()
    if not exit:
        forget_cluster()
        return False
    session.member = None
    finalize(member, own_world)
    if member.server is not None:
        member.server.wait_for_workers(CLOSE_SECONDS)
    raise SystemExit(0)


def forget_cluster() -> None:
    """After a cluster that was started with ``exit=False``: this rank goes on, and may call `initialize` again."""
    session.member = None
    forget_secret()
    remove_crash_handler()
    answer_signals_again()


def finalize(member: ClusterMember, own_world: bool) -> None:
    """Finalize MPI if daskhpc was given the whole world.

    A rank that waits in MPI_Finalize keeps a processor busy, which the ranks that still close need. So all ranks first
    wait on the control channel, and then call it together.
    """
    if not own_world or member.world is None or not member.world.mpi:
        return
    if member.server is not None:
        member.server.meet()
    if member.connection is not None:
        member.connection.meet(CLOSE_SECONDS / 2)
    member.world.finalize()


def survives(world: World, hosts: Sequence[str], loss: Loss, left: Set[int]) -> bool:
    """On rank 0, from a channel's thread: whether the others go on without a rank, which has to be a worker's.

    They go on if the user asked for ranks that meet without MPI, as long as any worker's rank is left.
    """
    if not world.survives or role_of(loss.rank) != WORKER or not any(role_of(rank) == WORKER for rank in left):
        return False
    what = "fell silent" if loss.silent else f"ended ({cause_of_end(loss.last_lines, 0)})"
    say(
        f"rank {loss.rank} on {hosts[loss.rank]} {what}; the job goes on without its workers,"
        " and what they had is computed again."
    )
    return True


def lost(world: World, hosts: Sequence[str], loss: Loss) -> None:
    """On rank 0, from a channel's thread: a rank's process ended while the cluster was running."""
    host = hosts[loss.rank]
    member = session.member
    limit = 0
    if not any(loss.last_lines) and not loss.silent:
        beside = [rank for rank, other in enumerate(hosts) if other == host and rank not in (0, loss.rank)]
        server = member.server if member else None
        limit = (exceeded_memory_limit() if host == hosts[0] else 0) or (
            server.exceeded_memory_limit(beside) if server else 0
        )
    cause = "its node has not answered for a while" if loss.silent else cause_of_end(loss.last_lines, limit)
    say(
        DaskhpcError(
            f"The {_ROLE_NAMES[role_of(loss.rank)]} ended, so the job ends.",
            f"rank {loss.rank} on {host}, process {loss.pid}: {cause}",
            _where_to_read(),
        )
    )
    # A launcher that sees the death of that rank first reports how it died; an abort of this rank would hide that.
    time.sleep(_LAUNCHER_FIRST_SECONDS)
    world.comm.Abort(EXIT_FAILED)


def on_scheduler_lost(world: World, host: str, told: bool, last_lines: Sequence[str]) -> None:
    """On every other rank, from a channel's thread: rank 0 ended while the cluster ran; if `told`, it prints why."""
    where = _where_to_read()
    if role_of(world.rank) == CLIENT and not told:
        limit = exceeded_memory_limit() if host == socket.gethostname() else 0
        found = f"rank 0 on {host}: {cause_of_end(last_lines, limit)}"
        say(DaskhpcError("The scheduler ended, so the job ends.", found, where))
    elif not told:  # a launcher may end the client with this rank, before the client has printed the cause
        time.sleep(_CLIENT_FIRST_SECONDS)
    flush_output()
    _exit(EXIT_FAILED)


def _where_to_read() -> str:
    """Save the log of this rank, unless the file system hangs; the text that names its folder."""
    saved: list[Path | None] = []
    saving = threading.Thread(target=lambda: saved.append(save_logs()), daemon=True)
    with contextlib.suppress(RuntimeError):  # none can be started any more when the program is at its end
        saving.start()
        saving.join(_SAVE_SECONDS)
    return f"what each rank did last: {saved[0]}" if saved and saved[0] else "the last lines above"


def abort(world: World, plan: RankPlan, error: BaseException) -> None:
    """A rank could not do its role: say why, once, and end every rank."""
    reason = "".join(traceback.format_exception(error)) if not isinstance(error, DaskhpcError) else str(error)
    say(f"rank {plan.rank} ({plan.role}) on {plan.host} failed, so the job ends.\n{reason}")
    save_logs()
    flush_output()
    world.comm.Abort(EXIT_FAILED)
