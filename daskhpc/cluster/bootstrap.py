"""daskhpc.initialize: dask_mpi.initialize, with what was granted, and with an agreement of all ranks before it."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Container
from typing import Any, ParamSpec, TypeVar

from ..compat.dask_mpi import original_initialize
from ..errors import EXIT_FAILED, DaskhpcError, SettingsError, StartError
from ..own_files import own_scratch
from ..runtime import Runtime, discover
from ..settings import PREFIX, Settings
from . import ending
from .control_channel import ControlServer
from .crash_report import install_crash_handler
from .encryption import TLS, choose_protocol, share_keys
from .environment import check_directory, interactive, prepare, set_dask_log_level
from .http_door import new_secret
from .logs import run_name, start_log
from .network import check_addresses, check_interface, with_usable_interface
from .plan import SMALLEST_WORLD, WORKER, plan_rank, ranks_on_host
from .session import ClusterMember, session
from .start_channel import open_channel
from .start_table import show_warnings
from .world import World, agree, end_together, join, say

P = ParamSpec("P")
T = TypeVar("T")
_NANNIES = "daskhpc.cluster.workers.Nannies"
_PLANNED = ("nthreads", "memory_limit", "local_directory", "processes", "blas_threads")


def refuse_unknown(function: Callable[P, T], others: Container[str] = ()) -> Callable[P, T]:
    """Let a function that starts a cluster refuse an unknown setting; the message names the known ones.

    Over ranks all of them refuse it together, with one message. `others` are names that it takes besides settings.
    """
    known = [name for name in inspect.signature(function).parameters if name in Settings.names()]

    @functools.wraps(function)
    def checked(*args: P.args, **given: P.kwargs) -> T:
        takes = inspect.signature(function).parameters
        unknown = [name for name in given if name not in takes and name not in others]
        if unknown:
            if unknown[0] not in Settings.names() and session.member is None and discover().world_size.value > 1:
                start_ranks({unknown[0]: given[unknown[0]] or "?"})
            close = difflib.get_close_matches(unknown[0], known, n=1)
            raise SettingsError(
                f"{function.__name__}() has no setting {unknown[0]!r}.",
                f"argument; its settings are {', '.join(known)}",
                close[0] if close else "one of those, or an option of daskhpc run",
            )
        return function(*args, **given)

    return checked


@refuse_unknown
def initialize(
    interface: str | None = None,
    nthreads: int | None = None,
    local_directory: str | None = None,
    memory_limit: int | float | str | None = None,
    nanny: bool | None = None,
    dashboard: bool | None = None,
    dashboard_address: str | None = None,
    protocol: str | None = None,
    worker_class: str | None = None,
    worker_options: dict[str, Any] | None = None,
    comm: Any = None,
    exit: bool = True,
    *,
    processes: int | None = None,
    blas_threads: int | None = None,
    headroom: float | None = None,
    start_deadline: float | None = None,
    time_margin: float | None = None,
    log_level: str | None = None,
    logs: str | None = None,
    bootstrap: str | None = None,
) -> bool:
    """Start a Dask cluster on the MPI ranks of this job; a drop-in for ``dask_mpi.initialize``.

    Rank 0 becomes the scheduler and rank 1 the client, which returns from this call and runs the rest of the program;
    every further rank holds workers. What is not given comes from `Settings`, and from what the scheduler granted.

    Parameters
    ----------
    interface : str, optional
        Network interface, such as 'ib0'. Default: InfiniBand, Slingshot or Omni-Path, or else the interface that
        reaches the other nodes.
    nthreads : int, optional
        Threads per worker process. Default: the CPUs granted to the rank, divided by its processes.
    local_directory : str, optional
        Folder on a local disk in which workers spill data. Default: the first of SLURM_TMPDIR, TMPDIR and /tmp that is
        writable.
    memory_limit : int, float or str, optional
        Bytes per worker process, or a text such as '4GB'; a fraction such as 0.5 is a part of the memory granted to the
        rank, 0 sets no limit. Default: auto, an equal share of the memory granted to the rank.
    nanny : bool, optional
        False runs the worker inside the rank's own process, without a Nanny to restart it.
    dashboard : bool, optional
        Whether the scheduler serves Dask's dashboard. Default: true.
    dashboard_address : str, optional
        Address of the dashboard; if its port is in use, another port is taken. Default: :8787.
    protocol : str, optional
        Protocol of Dask's communication: 'tls', which is encrypted and lets in only processes of this run, or 'tcp',
        which is open to every process that reaches a node. Default: tls in a batch job and on several nodes, else tcp.
    worker_class : str, optional
        As in dask_mpi; given one, ``processes`` and ``blas_threads`` do not apply.
    worker_options : dict, optional
        Further options of the worker class.
    comm : mpi4py.MPI.Intracomm, optional
        Communicator in place of COMM_WORLD.
    exit : bool
        Whether the scheduler's and the workers' ranks end here. False makes them return False when the cluster has
        closed, which the client then has to ask for with `send_close_signal`.
    processes : int, optional
        Worker processes per worker rank. Default: 1.
    blas_threads : int, optional
        BLAS and OpenMP threads in a worker process. Default: the CPUs of the process, divided by its threads.
    headroom : float, optional
        Fraction of a node's memory that no worker gets; the scheduler, the client and the system use it. Default: 0.1.
    start_deadline : float, optional
        Seconds within which every rank must have arrived. Default: 60.
    time_margin : float, optional
        Seconds before the end of the job at which a program with a checkpoint ends with code 75, to be run again.
        Default: 90.
    log_level : str, optional
        Level of Dask's loggers: debug, info, warning, error or critical. Default: warning.
    logs : str, optional
        Folder in which every process writes its full log to a file of its own. Default: no files; each process keeps
        the end of its log in memory.
    bootstrap : {"auto", "mpi", "slurm"}, optional
        How the ranks meet: 'mpi'; 'slurm', by srun's variables without MPI, which survives lost nodes; 'auto' is 'mpi',
        but 'slurm' under srun if no MPI library talks to it. Default: auto.

    Returns
    -------
    bool
        True on the client's rank; False on the others, if ``exit`` is False.

    Raises
    ------
    SystemExit
        With code 70 on every rank, after one message, when a rank cannot take part; a session that is interactive
        gets the StartError itself.

    Notes
    -----
    A program without an ``if __name__ == "__main__"`` guard works: worker processes never import it.
    A second call finds the cluster of the first one and returns True. After ``exit=False`` and `send_close_signal` all
    ranks may call it again, for another cluster.

    Examples
    --------
    In a program that ``srun --ntasks=4 python program.py`` or ``mpiexec -n 4 python program.py`` starts::

        import daskhpc
        from distributed import Client

        daskhpc.initialize(interface="ib0", memory_limit="4GB")
        client = Client()  # rank 1 alone gets here
        print(client.submit(sum, [1, 2, 3]).result())
    """
    arguments: dict[str, object] = {
        "interface": interface,
        "nthreads": nthreads,
        "local_directory": local_directory,
        "memory_limit": memory_limit,
        "dashboard": dashboard,
        "dashboard_address": dashboard_address,
        "protocol": protocol,
        "processes": processes,
        "blas_threads": blas_threads,
        "headroom": headroom,
        "start_deadline": start_deadline,
        "time_margin": time_margin,
        "log_level": log_level,
        "logs": logs,
        "bootstrap": bootstrap,
    }
    return start_ranks(arguments, nanny, worker_class, worker_options, comm, exit)


def start_ranks(
    arguments: dict[str, object],
    nanny: bool | None = None,
    worker_class: str | None = None,
    worker_options: dict[str, Any] | None = None,
    comm: Any = None,
    exit: bool = True,
) -> bool:
    """What `initialize` does; `arguments` are the settings that it or `start` was given, by name."""
    if session.member is not None:
        tell_ignored("initialize", arguments)
        return True
    own_workers = worker_class is None and nanny is not False
    if own_workers and worker_options:
        arguments, worker_options = with_planned_options(arguments, worker_options)
    session.member = member = _meet(arguments, comm, own_workers)
    member.exit = exit
    prepare(member)
    is_client = _run_dask_mpi(member, worker_arguments(member, nanny, worker_class, worker_options))
    if is_client:
        show_warnings(member.plans)
    else:
        return ending.leave(member, exit=exit, own_world=comm is None)
    if exit:
        ending.end_with_program(member, own_world=comm is None)
        from .timelimit import watch_end_of_job  # the client alone needs the journal

        watch_end_of_job(member, member.settings.time_margin)
    return True


def with_planned_options(
    arguments: dict[str, object], options: dict[str, Any]
) -> tuple[dict[str, object], dict[str, Any]]:
    """The arguments, with what `worker_options` say of values that are planned, and the options that are left.

    So the start table, the size of chunks and the warnings have what the workers have.

    Examples
    --------
    >>> with_planned_options({"nthreads": None}, {"nthreads": 3, "resources": {"GPU": 1}})
    ({'nthreads': 3}, {'resources': {'GPU': 1}})
    """
    planned = {name: value for name, value in options.items() if name in _PLANNED and value is not None}
    return {**arguments, **planned}, {name: value for name, value in options.items() if name not in planned}


def send_close_signal() -> None:
    """Close the cluster from the client; needed only after ``initialize(exit=False)``.

    The ranks of the scheduler and the workers then return from `initialize`.

    Raises
    ------
    DaskhpcError
        If `initialize` was not called in this process.

    Examples
    --------
    A program in which every rank goes on after the cluster has closed::

        if daskhpc.initialize(exit=False):
            with Client() as client:
                client.submit(sum, [1, 2, 3]).result()
            daskhpc.send_close_signal()
    """
    ending.close(session.member)
    if session.member is not None and not session.member.exit:
        ending.forget_cluster()


def tell_ignored(call: str, arguments: dict[str, object]) -> None:
    """Say that a running cluster does not change with the arguments of a second call."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if not given:
        return
    jobs = [name for name in given if name not in Settings.names()]
    names = [name for name in given if name not in jobs]
    if session.program_folder:  # as under daskhpc run
        todo = " ".join(["give daskhpc run", *(f"--{name.replace('_', '-')}=..." for name in names)])
    else:
        todo = f"set {' '.join(f'{PREFIX}{name.upper()}=...' for name in names)} before its start"
    if jobs:
        todo = f"call client.cluster.close() before it, for jobs with {', '.join(jobs)}"
        todo = todo if session.local is not None else f"leave out {', '.join(jobs)}: they are for a login node"
    values = ", ".join(f"{name}={value!r}" for name, value in given.items())
    say(f"{call}({values}): the cluster already runs and is used as it is; {todo}.")


def _meet(arguments: dict[str, object], comm: Any, own_workers: bool) -> ClusterMember:
    """All ranks agree that the cluster can start, or all of them end here."""
    settings, problem = _resolve(arguments, own_workers)
    runtime = with_usable_interface(discover(headroom=settings.headroom))
    world: World | None = None
    try:
        encrypted = choose_protocol(settings, runtime).value == TLS
        world, watch = join(runtime, os.environ, settings.start_deadline, comm, settings.bootstrap, encrypted)
        with watch:
            member = _agree(world, runtime, settings, problem)
            member.own_workers = own_workers
            return member
    except StartError as error:
        if interactive():
            raise
        end_together(error, world, runtime)
        raise SystemExit(EXIT_FAILED) from None


def _resolve(arguments: dict[str, object], own_workers: bool) -> tuple[Settings, SettingsError | None]:
    try:
        settings = Settings.resolve(arguments)
    except SettingsError as error:
        return Settings(), error
    if settings.processes > 1 and not own_workers:
        found = f"processes={settings.processes} ({settings.sources['processes']})"
        todo = "leave out worker_class and nanny, or processes"
        return settings, SettingsError("Several processes per rank need daskhpc's own workers.", found, todo)
    return settings, None


def _agree(world: World, runtime: Runtime, settings: Settings, problem: DaskhpcError | None) -> ClusterMember:
    problem = problem or cannot_take_part(world.size, runtime, settings)
    reports = agree(world, {"host": runtime.host.value, "run": run_name(runtime), "secret": new_secret()}, problem)
    hosts = [report["host"] for report in reports]
    plan = plan_rank(runtime, settings, world.rank, ranks_on_host(hosts, world.rank))
    protocol = choose_protocol(settings, runtime, hosts)
    channel, problem = open_channel(world, hosts, plan.interface.value, encrypted=protocol.value == TLS)
    encryption, no_keys = share_keys(world, protocol, runtime.end_time.value)
    set_dask_log_level(settings.log_level)
    problem = problem or no_keys or start_log(settings.logs, reports[1]["run"], plan.role, world.rank)
    try:
        plans = tuple(report["plan"] for report in agree(world, {"host": plan.host, "plan": plan}, problem))
    except StartError:
        if channel is not None:
            channel.leave()  # the end of a rank is no loss any more
        raise
    member = ClusterMember(runtime, settings, plans, world, secret=reports[0]["secret"], encryption=encryption)
    if isinstance(channel, ControlServer):
        channel.stop_listening()
        member.server = channel
        install_crash_handler(channel.descriptor_of(1))  # rank 0 tells the client how it ended,
    elif channel is not None:
        member.connection = channel
        install_crash_handler(channel.fileno())  # every other rank tells rank 0
    return member


def cannot_take_part(size: int, runtime: Runtime, settings: Settings) -> DaskhpcError | None:
    """Why this rank cannot be part of a cluster, None if it can."""
    if size < SMALLEST_WORLD:
        launched = runtime.world_size.source if runtime.world_size.value > 1 else "no launcher"
        return StartError(
            f"A cluster needs at least {SMALLEST_WORLD} MPI ranks: a scheduler, a client and a worker.",
            f"{size} rank{'s' * (size > 1)} ({launched})",
            "daskhpc run script.py; or mpiexec -n 4 python script.py; or daskhpc.start() without a launcher",
        )
    try:
        import dask_mpi  # noqa: F401
    except ImportError as error:
        return StartError(
            "A module that the cluster needs is missing.", str(error), f"{sys.executable} -m pip install dask-mpi"
        )
    problem = check_interface(settings.interface) or check_addresses(runtime)
    return problem or check_directory(settings.local_directory)


def worker_arguments(
    member: ClusterMember, nanny: bool | None, worker_class: str | None, options: dict[str, Any] | None
) -> dict[str, Any]:
    """The arguments of dask_mpi.initialize that say what a worker is."""
    if worker_class is None and nanny is False:
        worker_class = "distributed.Worker"
    if worker_class is not None:
        return {"worker_class": worker_class, "worker_options": options}
    plan = member.plan
    ours = {"processes": plan.processes.value, "blas_threads": plan.blas_threads.value}
    return {"worker_class": _NANNIES, "worker_options": {**ours, **(options or {})}}


def _run_dask_mpi(member: ClusterMember, workers: dict[str, Any]) -> bool:
    """Take this rank's role; returns at once on the client, after the cluster has closed elsewhere."""
    assert member.world is not None
    settings, plan = member.settings, member.plan
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        try:
            return bool(
                original_initialize()(
                    interface=plan.interface.value,
                    nthreads=plan.nthreads.value if plan.role == WORKER else 1,
                    local_directory=own_scratch(plan.local_directory.value) if plan.role == WORKER else None,
                    memory_limit=plan.memory_limit.value,
                    dashboard=False,  # the preload adds it
                    dashboard_address=settings.dashboard_address if settings.dashboard else "127.0.0.1:0",
                    protocol=member.encryption.protocol.value,
                    comm=member.world.comm,
                    exit=False,
                    **workers,
                )
            )
        except BaseException as error:
            ending.abort(member.world, plan, error)
            raise
