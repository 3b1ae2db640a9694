"""A Dask client with all its workers, over MPI ranks or on this machine."""

from __future__ import annotations

import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask

from ..errors import EXIT_FAILED, StartError
from ..runtime import Runtime, discover
from ..runtime.commands import asked_end_time, with_end_time
from ..settings import Settings
from .bootstrap import tell_ignored
from .dashboard_link import DashboardLink, keep_link
from .encryption import Encryption, choose_protocol
from .ending import close_with_program
from .environment import (
    cap_blas_threads,
    check_directory,
    interactive,
    reduce_dask_polling,
    set_dask_log_level,
    suit_chunks,
)
from .http_door import new_secret
from .local_cluster import plan_local, start_local
from .logs import run_name, start_log
from .network import check_interface, check_loopback, with_usable_interface
from .plan import CLIENT, WORKER, RankPlan
from .session import ClusterMember, session
from .start_table import StartTable, show, show_warnings
from .timelimit import watch_end_of_job, watch_time_limit
from .world import say

_POLL_SECONDS = 0.02


def is_rank() -> bool:
    """Whether something launched this process as one of several ranks."""
    runtime = discover()
    return runtime.world_size.value > 1 or (runtime.mpi_size.value or 1) > 1


def client_of_ranks(
    member: ClusterMember, workers: int | None, worker_deadline: float | None, time_margin: float | None
) -> Any:
    """The client, once all workers are there; the program may have called `initialize` itself before `start`."""
    from distributed import Client

    margin = member.settings.time_margin if time_margin is None else time_margin
    settings = Settings.resolve({"worker_deadline": worker_deadline, "time_margin": margin})
    started = sum(plan.role == WORKER for plan in member.plans)
    if workers not in (None, started):
        say(f"start(workers={workers}): the launcher started {started} worker ranks, which are used.")
    client = Client()
    try:
        wait_for_workers(client, member.plans, settings.worker_deadline)
    except StartError as error:
        if interactive():
            raise
        say(error)
        raise SystemExit(EXIT_FAILED) from None
    client.scheduler_info()  # asking refreshes what the client shows of itself
    watch_end_of_job(member, settings.time_margin)
    show(StartTable(member.plans, member.runtime, dashboard_of(client, member), protocol=member.encryption.protocol))
    return client


def client_of_running(given: dict[str, object]) -> Any:
    """A new client of the cluster without ranks if that still runs: its client alone was closed. Else None."""
    if session.local is None or session.local.status.name != "running":
        return None
    from distributed import Client

    tell_ignored("start", given)
    return Client(session.local)


def local_client(arguments: dict[str, object]) -> Any:
    from distributed import Client

    settings = Settings.resolve(arguments)
    problem = check_interface(settings.interface) or check_directory(settings.local_directory)
    problem = problem or (check_loopback() if settings.interface is None else None)
    if problem is not None:
        raise problem
    runtime = with_usable_interface(with_end_time(discover(headroom=settings.headroom)))
    plan = plan_local(runtime, settings)
    protocol = choose_protocol(settings, runtime, [runtime.host.value])
    set_dask_log_level(settings.log_level)
    problem = start_log(settings.logs, run_name(runtime), CLIENT)
    if problem is not None:
        raise problem
    cap_blas_threads(runtime.cpus.value)
    reduce_dask_polling()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        secret = new_secret()
        session.local = start_local(plan, settings, secret, protocol.value, runtime.end_time.value)
    suit_chunks((plan,))
    client = Client(session.local)
    dask.config.set(scheduler_address=session.local.scheduler_address)
    close_with_program()
    session.member = ClusterMember(runtime, settings, (plan,), secret=secret, encryption=Encryption(protocol))
    show_warnings((plan,))
    show(StartTable((plan,), runtime, dashboard_of(client, session.member), unused_nodes(runtime), protocol))
    watch_time_limit(runtime.end_time, settings.time_margin, partial(asked_end_time, runtime))
    return client


def dashboard_of(client: Any, member: ClusterMember) -> DashboardLink | None:
    """The link to the dashboard of a client's cluster; None if there is no dashboard."""
    if not member.settings.dashboard or not client.dashboard_link:
        return None
    runtime = member.runtime
    return keep_link(client.dashboard_link, runtime.host.value, runtime.submit_host.value, run_name(runtime))


def unused_nodes(runtime: Runtime) -> str | None:
    """The message if a program runs on one node of an allocation of several."""
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
