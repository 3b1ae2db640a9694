"""daskhpc.start: over MPI ranks, on this machine, or with jobs of a batch system as workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..cluster.bootstrap import refuse_unknown, start_ranks, tell_ignored
from ..cluster.client import client_of_ranks, client_of_running, is_rank, local_client
from ..cluster.session import session
from ..launch.job_spec import JobSpec

if TYPE_CHECKING:
    from distributed import Client

_OF_A_CLIENT = ("workers", "worker_deadline", "time_margin")
"""What `start` takes after `initialize` too."""


@partial(refuse_unknown, others=frozenset(JobSpec.declared()))
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
    nodes: int | None = None,
    time: int | str | None = None,
    profile: str | None = None,
    **job: Any,
) -> Client:
    """Start the cluster of this program, wait for its workers, print the start table, return the client.

    Over MPI ranks this is `initialize`; elsewhere, and as a single rank, it is a LocalCluster on what this machine
    grants. On a login node, with `nodes` or another option of a job, its workers are jobs of one node each, which
    dask-jobqueue submits. The client is a context manager; the cluster ends with the program.

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
        which is open to every process that reaches a node. Default: tls in a batch job and on several nodes, else tcp.
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
        How the ranks meet: 'mpi'; 'slurm', by srun's variables without MPI, which survives lost nodes; 'auto' is 'mpi',
        but 'slurm' under srun if no MPI library talks to it. Default: auto.
    workers : int, optional
        Worker ranks that `daskhpc run` starts; without MPI worker processes, each as many as `processes` says. Default:
        one per task of the allocation, or what fits this machine.
    nodes : int, optional
        Jobs to submit from this login node, each of one node. Default: 1 if another option of a job is given; else no
        job is submitted.
    time : int or str, optional
        Time limit of these jobs: "90m", "2h30m", "1:30:00" or "1-12:00".
    profile : str, optional
        Name of the profile of the site, if there are several.
    **job
        What else these jobs ask for: the options of ``daskhpc submit --help`` with ``_`` for ``-``, such as
        ``account="physics"``, ``memory="180G"``, ``gpus=2``.

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
        the program ends with code 70, unless a person types at it; see `initialize` for what ends before that. If jobs
        are asked for within a job, if there is no batch system or no dask-jobqueue, or if a job ended early.
    LaunchError
        If an option of the jobs is not valid, or the scheduler refuses them; its own words come first.

    Examples
    --------
    One program for a laptop, an allocation and a notebook::

        import daskhpc

        with daskhpc.start(memory_limit="4GB") as client:
            print(client.submit(sum, [1, 2, 3]).result())

    From a login node, with two nodes for an hour::

        client = daskhpc.start(nodes=2, time="1h", account="physics")
    """
    arguments: dict[str, Any] = {
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
    job |= {"nodes": nodes, "time": time, "profile": profile}
    return _client(arguments, {name: value for name, value in job.items() if value is not None})


def _client(arguments: dict[str, Any], asked: dict[str, Any]) -> Client:
    """The client for the arguments of `start` that are settings, and for what it was asked of jobs."""
    client, member = session.client, session.member
    if client is not None and client.status == "running":
        tell_ignored("start", {**arguments, **asked})
        return client
    if member is None and is_rank():
        start_ranks(arguments)
    elif member is not None and member.world is not None:
        tell_ignored("start", {name: value for name, value in arguments.items() if name not in _OF_A_CLIENT})
    session.client = client_of_running({**arguments, **asked})
    if session.client is not None:
        return session.client
    if asked:
        from .job_client import client_of_jobs

        session.client = client_of_jobs(arguments, asked, asked.pop("profile", None))
    elif session.member is not None and session.member.world is not None:
        session.client = client_of_ranks(session.member, *(arguments[name] for name in _OF_A_CLIENT))
    else:
        session.client = local_client(arguments)
    return session.client
