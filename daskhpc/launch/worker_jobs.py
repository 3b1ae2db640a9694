"""The jobs that hold the workers of a cluster whose scheduler and client run on the login node, one job per node."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import LaunchError
from .batch_systems import batch_system
from .batch_systems.base import BatchSystem
from .job_draft import JobDraft, asked_for, interpreter_needs, new_folder
from .job_script import Program, workers_prologue
from .job_spec import JobSpec
from .profile import load
from .site import Site

_NOT_OF_WORKERS = {
    "array": "nodes, which is how many jobs there are",
    "output": "daskhpc logs JOB",
    "chain": "a longer time, or daskhpc submit --chain for the program itself",
    "live": "nothing: the workers get the functions as they are when they are called",
    "no_requeue": "nothing: a job of workers is not requeued, since the cluster goes on without it",
}


@dataclass(frozen=True, slots=True)
class WorkerJobs:
    """What the jobs of a cluster's workers ask for; nothing is written or submitted yet.

    Attributes
    ----------
    spec : JobSpec
        Of each job: one node.
    count : int
        How many jobs.
    site : Site
    system : BatchSystem
    program : Program
        The interpreter of the workers, and the program that they belong to.
    directives : tuple[str, ...]
        The directives of each job's script, without ``#SBATCH`` or ``#PBS``.
    prologue : str
        The lines of the script between these and the command of the workers.
    """

    spec: JobSpec
    count: int
    site: Site
    system: BatchSystem
    program: Program
    directives: tuple[str, ...]
    prologue: str

    def draft(self, script: str) -> JobDraft:
        """One of the jobs, with the text of its script, ready to be submitted."""
        token = secrets.token_hex(6)
        folder = new_folder(self.spec.name, token)
        return JobDraft(self.spec, self.site, self.system, self.program, folder, token, script)


def draft_worker_jobs(
    title: str, options: Mapping[str, Any], profile: str | None = None, env: Mapping[str, str] | None = None
) -> WorkerJobs:
    """Prepare jobs of workers without an effect.

    Parameters
    ----------
    title : str
        Of the jobs, if the options have no name.
    options : Mapping[str, Any]
        Those of ``daskhpc submit``; ``nodes`` is the number of jobs.
    profile : str, optional
        Name of the profile of the site, if there are several.
    env : Mapping[str, str], optional
        This process's environment by default.

    Raises
    ------
    LaunchError
        If an option, or what it asks for, is not what it has to be; if there is no batch system.
    SettingsError
        If the profile is not valid.
    """
    for name, instead in _NOT_OF_WORKERS.items():
        if options.get(name):
            raise LaunchError(f"Jobs of workers have no {name}.", f"{name}={options[name]!r}", instead)
    chosen = load(profile)
    chosen = replace(chosen, job={name: value for name, value in chosen.job.items() if name not in _NOT_OF_WORKERS})
    asked, site = asked_for(title, chosen, None, options)
    spec = replace(asked, nodes=1, live=True, no_requeue=True)
    system = batch_system(site.scheduler)
    script = os.path.abspath(sys.argv[0] or "python")
    program = Program(script, (), os.getcwd(), sys.executable, (), interpreter_needs())
    lines = [line.split(None, 1)[1] for line in system.directive_lines(spec, site)]
    prologue = workers_prologue(spec, site, system, program, os.environ if env is None else env)
    return WorkerJobs(spec, asked.nodes, site, system, program, tuple(lines), prologue)
