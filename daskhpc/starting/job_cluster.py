"""A cluster whose workers are jobs: the scheduler and the program run on the login node, by dask-jobqueue."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dask
from dask.utils import natural_sort_key

from ..cluster import http_door
from ..cluster.encryption import TLS, Encryption, choose_protocol, local_security, new_identities
from ..cluster.job_worker import SETTINGS
from ..cluster.network import address_towards, addresses
from ..cluster.plan import CLIENT
from ..compat.dask_jobqueue import jobqueue_class, worker_job_class
from ..compat.python import at_exit
from ..errors import DaskhpcError, LaunchError, SettingsError, StartError
from ..launch.batch_systems import NoBatchSystemError
from ..launch.job_draft import JOBS, send_draft
from ..launch.job_folder import JobFolder, SubmittedJob
from ..launch.job_query import ListedJob, cancel_jobs, listed
from ..launch.scheduler_commands import ask
from ..launch.worker_jobs import WorkerJobs, draft_worker_jobs
from ..own_files import state_folder
from ..runtime import Runtime, Sourced
from ..settings import Settings

_MODULE = "daskhpc.cluster.job_worker"
_INSTALL = f"{shlex.quote(sys.executable)} -m pip install 'daskhpc[jobqueue]'"


@dataclass(slots=True)
class SubmittedWorkers:
    """The jobs of a cluster that were submitted, and why another one was not.

    Attributes
    ----------
    jobs : WorkerJobs
    folders : list[JobFolder]
    under_way : list[str]
        The scripts of those that are being submitted.
    problem : DaskhpcError or None
        Why a job was not submitted.
    """

    jobs: WorkerJobs
    folders: list[JobFolder] = field(default_factory=list)
    under_way: list[str] = field(default_factory=list)
    problem: DaskhpcError | None = None

    def submit(self, script: str) -> str:
        """Submit one more; returns its id, or nothing if it was refused."""
        self.under_way.append(script)
        try:
            sent = send_draft(self.jobs.draft(script))
            self.folders.append(sent.folder)
        except (DaskhpcError, OSError) as error:
            known = isinstance(error, DaskhpcError)
            self.problem = error if known else LaunchError("A job was not submitted.", str(error))  # type: ignore[assignment]
            return ""
        finally:
            self.under_way.remove(script)
        return sent.jobs[0].id

    def cancel(self, job: str) -> None:
        """End one of them."""
        mine = [submitted for folder in self.folders for submitted in folder.submitted() if submitted.id == job]
        cancel_jobs(mine, ask, state_folder())

    def states(self) -> list[ListedJob]:
        """What the scheduler and the jobs' folders say of them."""
        return listed(self.folders, ask, state_folder())

    @property
    def ids(self) -> str:
        """Their ids in one text; Dask submits them at the same time, in any order."""
        return ", ".join(sorted((job.id for job in self.submitted), key=natural_sort_key))

    @property
    def submitted(self) -> list[SubmittedJob]:
        """All that were submitted, in the order of their submission."""
        return [folder.submitted()[-1] for folder in self.folders]


def start_jobs(
    runtime: Runtime, settings: Settings, options: Mapping[str, Any], profile: str | None, secret: str
) -> tuple[Any, SubmittedWorkers, Encryption]:
    """Start the scheduler here, and submit the jobs of its workers.

    Parameters
    ----------
    runtime : Runtime
        Of the login node.
    settings : Settings
    options : Mapping[str, Any]
        What the jobs ask for: options of ``daskhpc submit``.
    profile : str or None
        Name of the profile of the site.
    secret : str
        That opens the HTTP servers of the scheduler.

    Returns
    -------
    tuple[Any, SubmittedWorkers, Encryption]
        dask-jobqueue's cluster, its jobs, of which none has to run yet, and what this process shows of itself.

    Raises
    ------
    StartError
        If this is a job, if there is no batch system, or if dask-jobqueue is not installed.
    LaunchError
        If an option is not valid.
    """
    if runtime.job.value is not None:
        raise StartError(
            "start() was asked to submit jobs, and this program runs within one.",
            f"job {runtime.job.value} on {runtime.host.value} ({runtime.job.source})",
            "daskhpc.start() without nodes and time, which uses what this job has",
        )
    if settings.workers is not None:
        found = f"workers={settings.workers} ({settings.sources['workers']})"
        todo = "nodes, with tasks_per_node or processes for several on each node"
        raise SettingsError("Jobs of workers are not counted by workers.", found, todo)
    title = os.path.splitext(os.path.basename(sys.argv[0]))[0] or "session"
    try:
        jobs = draft_worker_jobs(f"workers-of-{title}", options, profile)
    except NoBatchSystemError as error:
        todo = "this on a login node of the cluster; daskhpc.start() without nodes and time uses this machine"
        raise StartError(error.happened, error.found, todo) from None
    sent = SubmittedWorkers(jobs)
    system = jobs.system.jobqueue
    try:
        cluster_class, base = jobqueue_class(f"{system}Cluster"), jobqueue_class(f"{system}Job")
    except ImportError as error:
        raise StartError("A cluster of jobs needs dask-jobqueue.", str(error), _INSTALL) from None
    protocol = choose_protocol(settings, runtime, (runtime.host.value, *map(str, range(jobs.count))))
    identities = new_identities(protocol.value, None)
    security = local_security(identities) if protocol.value == TLS else None
    words = (str(settings.nthreads or "auto"), shlex.quote(str(settings.memory_limit)))
    job_class = worker_job_class(base, sent.submit, sent.cancel, words)
    with dask.config.set(http_door.scheduler_configuration(secret, settings.dashboard)):
        cluster = http_door.guarded(cluster_class, secret)(
            job_cls=job_class, **_arguments(jobs, settings, protocol, security)
        )
    cluster.scale(jobs=jobs.count)
    return cluster, sent, Encryption(protocol, identities.get(CLIENT))


def workers_per_job(jobs: WorkerJobs, settings: Settings) -> int:
    """Worker processes of each job."""
    return jobs.spec.tasks_per_node * settings.processes


def given_settings(jobs: WorkerJobs, settings: Settings) -> dict[str, Any]:
    """The settings that a job's command carries."""
    given = {name: getattr(settings, name) for name in SETTINGS if settings.given(name)}
    return {**given, "processes": workers_per_job(jobs, settings)}


def _arguments(jobs: WorkerJobs, settings: Settings, protocol: Sourced[str], security: Any) -> dict[str, Any]:
    """The options for dask-jobqueue: every line of the job's script is the one that ``daskhpc submit`` writes."""
    processes = workers_per_job(jobs, settings)
    elsewhere = ("nthreads", "memory_limit", "interface", "local_directory")  # dask-jobqueue writes these itself
    extra = [f"--program-folder={shlex.quote(_program_folder())}"]
    for name, value in given_settings(jobs, settings).items():
        if name not in elsewhere:
            extra.append(f"--{name.replace('_', '-')}={shlex.quote(str(value))}")
    directory = settings.local_directory
    return {
        "cores": processes,  # dask-jobqueue wants both, and nothing is made of them here
        "memory": "1GB",
        "processes": processes,
        "python": f"{shlex.quote(sys.executable)} -P",
        "worker_command": _MODULE,
        "worker_extra_args": extra,
        "job_directives_skip": [jobs.system.directive_mark],
        "job_extra_directives": list(jobs.directives),
        "job_script_prologue": [jobs.prologue],
        "shebang": "#!/bin/bash",
        "local_directory": shlex.quote(directory) if directory else None,
        "death_timeout": settings.worker_deadline,
        "interface": settings.interface,
        "protocol": f"{protocol.value}://",
        "security": security,
        "shared_temp_directory": _folder_of_keys() if security is not None else None,
        "silence_logs": False,
        "scheduler_options": _scheduler_options(jobs, settings),
    }


def _scheduler_options(jobs: WorkerJobs, settings: Settings) -> dict[str, Any]:
    """The scheduler's options: it listens on the network of the batch system's nodes."""
    here: dict[str, Any] = {
        "dashboard": False,  # the door adds it
        "dashboard_address": settings.dashboard_address if settings.dashboard else "127.0.0.1:0",
        "preload": [http_door.PRELOAD, *http_door.other_preloads("distributed.scheduler.preload")],
    }
    if settings.interface in addresses():
        return {**here, "interface": settings.interface}
    try:
        server = jobs.system.controller(ask(jobs.system.controller_line()).out)
    except LaunchError:
        server = ""  # Dask's own choice is left
    address = address_towards(server) if server else ""
    return {**here, "host": address} if address else {**here, "interface": None}


def _folder_of_keys() -> str:
    """A new folder that only this user can read, and that the nodes see; it is removed with the program's end.

    Relative to the working directory, in which the jobs run too: dask-jobqueue does not quote the paths of keys.
    """
    os.makedirs(JOBS, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=".keys-", dir=JOBS)
    at_exit(shutil.rmtree, os.path.abspath(folder), True)
    return os.path.relpath(folder)


def _program_folder() -> str:
    """The folder of the program's own modules: of the script, or the working directory of a session."""
    return os.path.abspath(sys.path[0] if sys.path and not sys.flags.safe_path else os.getcwd())
