"""daskhpc.start: a Dask client with all its workers, over MPI ranks or on this machine."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dask

from ..compat.python import call_before_os_exit
from ..config import Settings
from ..errors import EXIT_FAILED, StartError
from ..runtime import Runtime, discover
from ..runtime.commands import asked_end_time, with_end_time
from .bootstrap import refuse_unknown, start_ranks, tell_ignored
from .dashboard_link import DashboardLink, keep_link
from .encryption import Encryption, choose_protocol
from .ending import close_clients, close_local
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
from .network import check_interface, with_usable_interface
from .plan import CLIENT, WORKER, RankPlan
from .session import ClusterMember, session
from .start_table import StartTable, show, show_warnings
from .timelimit import watch_time_limit
from .world import say

if TYPE_CHECKING:
    from distributed import Client

_POLL_SECONDS = 0.02


@refuse_unknown
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
    interface : str, optional
        Network interface, such as 'ib0'. Default: InfiniBand, Slingshot or Omni-Path, or else the interface that
        reaches the other nodes.
    nthreads : int, optional
        Threads per worker process. Default: the CPUs granted to the rank, divided by its processes.
    processes : int, optional
        Worker processes per worker rank. Default: 1.
    memory_limit : int, float or str, optional
        Bytes per worker process, or a text such as '4GB'; a fraction such as 0.5 is a part of the memory granted to the
        rank, 0 sets no limit. Default: auto, an equal share of the memory granted to the rank.
    local_directory : str, optional
        Folder on a local disk in which workers spill data. Default: the first of SLURM_TMPDIR, TMPDIR and /tmp that is
        writable.
    blas_threads : int, optional
        BLAS and OpenMP threads in a worker process. Default: the CPUs of the process, divided by its threads.
    dashboard : bool, optional
        Whether the scheduler serves Dask's dashboard. Default: true.
    dashboard_address : str, optional
        Address of the dashboard; if its port is in use, another port is taken. Default: :8787.
    protocol : str, optional
        Protocol of Dask's communication: 'tls', which is encrypted and lets in only processes of this run, or 'tcp',
        which is open to everybody who reaches a node. Default: tls in a batch job and on several nodes, else tcp.
    headroom : float, optional
        Fraction of a node's memory that no worker gets; the scheduler, the client and the system use it. Default: 0.1.
    start_deadline : float, optional
        Seconds within which every rank must have arrived. Default: 60.
    worker_deadline : float, optional
        Seconds within which `start` must have every worker. Default: 60.
    time_margin : float, optional
        Seconds before the end of the job at which a program with a checkpoint ends with code 75, to be run again.
        Default: 90.
    log_level : str, optional
        Level of Dask's loggers: debug, info, warning, error or critical. Default: warning.
    logs : str, optional
        Folder in which every process writes its full log to a file of its own. Default: no files; each process keeps
        the end of its log in memory.
    bootstrap : {"auto", "mpi", "slurm"}, optional
        How the ranks meet: 'mpi'; 'slurm', by what srun says, without MPI, which survives lost nodes; 'auto' is 'mpi',
        but 'slurm' under srun if no MPI library talks to it. Default: auto.
    workers : int, optional
        Worker ranks that `daskhpc run` starts; worker processes of `start` without MPI. Default: one per task of the
        allocation, or what fits this machine.

    Returns
    -------
    distributed.Client
        The same one, while it is open, when called again.

    Raises
    ------
    SettingsError
        If an argument is no setting, or a setting does not take its value. Ranks end with that message, all together.
    StartError
        When workers are missing after `worker_deadline`, naming their ranks and hosts. Over MPI ranks it is printed and
        the program ends with code 70, unless a person types at it; see `initialize` for what ends before that.

    Examples
    --------
    One program for a laptop, an allocation and a notebook::

        import daskhpc

        with daskhpc.start(memory_limit="4GB") as client:
            print(client.submit(sum, [1, 2, 3]).result())
    """
    arguments: dict[str, object] = {
        "interface": interface,
        "nthreads": nthreads,
        "processes": processes,
        "memory_limit": memory_limit,
        "local_directory": local_directory,
        "blas_threads": blas_threads,
        "dashboard": dashboard,
        "dashboard_address": dashboard_address,
        "protocol": protocol,
        "headroom": headroom,
        "start_deadline": start_deadline,
        "worker_deadline": worker_deadline,
        "time_margin": time_margin,
        "log_level": log_level,
        "logs": logs,
        "bootstrap": bootstrap,
        "workers": workers,
    }
    client = session.client
    if client is not None and client.status == "running":
        tell_ignored("start", arguments)
        return client
    if session.member is None and _is_rank():
        start_ranks(arguments)
    if session.member is not None and session.member.world is not None:
        session.client = _client_of_ranks(session.member, workers, worker_deadline, time_margin)
    else:
        session.client = _local_client(arguments)
    return session.client


def _is_rank() -> bool:
    """Whether something launched this process as one of several ranks."""
    runtime = discover()
    return runtime.world_size.value > 1 or (runtime.mpi_size.value or 1) > 1


def _client_of_ranks(
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
    runtime = with_end_time(member.runtime)
    show(StartTable(member.plans, runtime, _dashboard(client, member), protocol=member.encryption.protocol))
    watch_time_limit(runtime.end_time, settings.time_margin, partial(asked_end_time, runtime))
    return client


def _local_client(arguments: dict[str, object]) -> Any:
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
    atexit.register(close_clients)
    call_before_os_exit(close_local)
    session.member = ClusterMember(runtime, settings, (plan,), secret=secret, encryption=Encryption(protocol))
    show_warnings((plan,))
    show(StartTable((plan,), runtime, _dashboard(client, session.member), unused_nodes(runtime), protocol))
    watch_time_limit(runtime.end_time, settings.time_margin, partial(asked_end_time, runtime))
    return client


def _dashboard(client: Any, member: ClusterMember) -> DashboardLink | None:
    if not member.settings.dashboard or not client.dashboard_link:
        return None
    runtime = member.runtime
    return keep_link(client.dashboard_link, runtime.host.value, runtime.submit_host.value, run_name(runtime))


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
