"""daskhpc.start: a Dask client with all its workers, over MPI ranks or on this machine."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask

from ..config import Settings
from ..errors import EXIT_FAILED, StartError
from ..runtime import Runtime, discover
from ..runtime.ask import with_end_time
from .bootstrap import initialize, tell_ignored
from .ending import catch_exit, close_clients, close_local
from .environment import calm, cap, check_directory, interactive, quiet, suit_chunks
from .local import plan_local, start_local
from .logs import keep_log, run_name
from .network import check_interface, with_usable_interface
from .plan import CLIENT, WORKER, RankPlan
from .session import Member, session
from .table import StartTable, show, show_warnings
from .timelimit import watch_time_limit
from .world import say

if TYPE_CHECKING:
    from distributed import Client

_POLL_SECONDS = 0.02


def start(
    *,
    interface: str | None = None,
    nthreads: int | None = None,
    processes: int | None = None,
    memory_limit: int | float | str | None = None,
    local_directory: str | None = None,
    blas_threads: int | None = None,
    dashboard: bool | None = None,
    dashboard_address: str | None = None,
    protocol: str | None = None,
    headroom: float | None = None,
    start_deadline: float | None = None,
    worker_deadline: float | None = None,
    time_margin: float | None = None,
    log_level: str | None = None,
    logs: str | None = None,
    bootstrap: str | None = None,
    workers: int | None = None,
) -> Client:
    """Start the cluster of this program, wait for its workers, print the start table, return the client.

    Over MPI ranks this is `initialize`; elsewhere, and as a single rank, it is a LocalCluster on what this machine
    grants. The client is a context manager; the cluster ends with the program.

    Parameters
    ----------
    interface, nthreads, processes, memory_limit, local_directory, blas_threads
        As in `initialize`.
    dashboard, dashboard_address, protocol, headroom, start_deadline, log_level, logs, bootstrap
        As in `initialize`.
    worker_deadline : float, optional
        Seconds to wait for the workers; 60 by default.
    time_margin : float, optional
        Seconds before the end of the job at which the program ends with code 75, where a checkpoint has what it did;
        90 by default.
    workers : int, optional
        Worker processes on one machine without MPI; over MPI the launcher says how many ranks there are.

    Returns
    -------
    distributed.Client
        The same one, while it is open, when called again.

    Raises
    ------
    StartError
        When workers are missing after `worker_deadline`, naming their ranks and hosts. Over MPI ranks it is printed and
        the program ends with code 70, unless a person types at it; see `initialize` for what ends before that.
    """
    arguments: dict[str, Any] = dict(locals())
    client = session.client
    if client is not None and client.status == "running":
        tell_ignored("start", arguments)
        return client
    if session.member is None and _is_rank():
        here = {k: v for k, v in arguments.items() if k not in ("worker_deadline", "workers")}
        initialize(**here)
    if session.member is not None and session.member.world is not None:
        session.client = _client_of_ranks(session.member, arguments)
    else:
        session.client = _local_client(arguments)
    return session.client


def _is_rank() -> bool:
    """Whether something launched this process as one of several ranks."""
    runtime = discover()
    return runtime.world_size.value > 1 or (runtime.mpi_size.value or 1) > 1


def _client_of_ranks(member: Member, arguments: dict[str, Any]) -> Any:
    from distributed import Client

    given = {name: arguments[name] for name in ("worker_deadline", "time_margin") if arguments[name] is not None}
    settings = Settings.resolve({"time_margin": member.settings.time_margin, **given})
    started = sum(plan.role == WORKER for plan in member.plans)
    if arguments["workers"] not in (None, started):
        say(f"start(workers={arguments['workers']}): the launcher started {started} worker ranks, which are used.")
    client = Client()
    try:
        wait_for_workers(client, member.plans, settings.worker_deadline)
    except StartError as error:
        if interactive():
            raise
        say(error)
        raise SystemExit(EXIT_FAILED) from None
    client.scheduler_info()  # asking refreshes what the client shows of itself
    dashboard = client.dashboard_link if member.settings.dashboard else None
    runtime = with_end_time(member.runtime)
    show(StartTable(member.plans, runtime, dashboard))
    watch_time_limit(runtime.end_time, settings.time_margin)
    return client


def _local_client(arguments: dict[str, Any]) -> Any:
    from distributed import Client
    from distributed.core import Status

    if session.local is not None and session.local.status == Status.running:
        tell_ignored("start", arguments)
        return Client(session.local)
    settings = Settings.resolve(arguments)
    problem = check_interface(settings.interface) or check_directory(settings.local_directory)
    if problem is not None:
        raise problem
    runtime = with_usable_interface(with_end_time(discover(headroom=settings.headroom)))
    plan = plan_local(runtime, settings)
    quiet(settings.log_level)
    problem = keep_log(settings.logs, run_name(runtime), CLIENT)
    if problem is not None:
        raise problem
    cap(runtime.cpus.value)
    calm()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        session.local = start_local(plan, settings)
    suit_chunks((plan,))
    client = Client(session.local)
    dask.config.set(scheduler_address=session.local.scheduler_address)
    atexit.register(close_clients)
    catch_exit(close_local)
    session.member = Member(runtime, settings, (plan,))
    show_warnings((plan,))
    show(StartTable((plan,), runtime, client.dashboard_link if settings.dashboard else None, unused_nodes(runtime)))
    watch_time_limit(runtime.end_time, settings.time_margin)
    return client


def unused_nodes(runtime: Runtime) -> str | None:
    """What to say where an allocation of several nodes runs a program on one of them."""
    nodes = runtime.nodes.value
    if len(nodes) < 2:
        return None
    name = os.path.basename(sys.argv[0])
    script = "script.py" if name in ("", "ipykernel_launcher.py") else shlex.quote(name)
    return f"1 of {len(nodes)} nodes used; all of them: daskhpc run {script}"


def wait_for_workers(client: Any, plans: Sequence[RankPlan], deadline: float) -> None:
    """Wait until every worker of every rank has registered.

    Raises
    ------
    StartError
        After `deadline` seconds, with the ranks and hosts whose workers are missing.
    """
    wanted = sum(plan.processes.value for plan in plans)
    end = time.monotonic() + deadline
    while len(client.ncores()) < wanted:
        if time.monotonic() > end:
            raise _missing(client, plans, wanted, deadline)
        time.sleep(_POLL_SECONDS)


def _missing(client: Any, plans: Sequence[RankPlan], wanted: int, deadline: float) -> StartError:
    def names(dask_scheduler: Any) -> list[str]:
        return [str(state.name).partition("-")[0] for state in dask_scheduler.workers.values()]

    came = client.run_on_scheduler(names)
    late = [p for p in plans if came.count(str(p.rank)) < p.processes.value]
    ranks = ", ".join(f"rank {p.rank} on {p.host}" for p in late)
    return StartError(
        f"Not all workers came within {deadline:g} s.",
        f"{len(came)} of {wanted} workers; missing: {ranks}",
        "look at those hosts; DASK_DASKHPC__WORKER_DEADLINE=300 to wait longer",
    )
