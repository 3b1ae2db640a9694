"""``daskhpc cancel``: ends jobs."""

from __future__ import annotations

from dataclasses import replace

import click

from ..errors import LaunchError
from ..launch.find_jobs import element_of, find_job
from ..launch.job_folder import JobFolder
from ..launch.job_query import cancel_jobs, listed
from ..launch.scheduler_commands import ask
from ..own_files import state_folder
from .errors import exit_on_error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="JOB...", nargs=-1, required=True)
def cancel(names: tuple[str, ...]) -> None:
    """End each JOB: an id, also of one element of an array, a job's folder or its title.

    What is in a checkpoint stays. The exit code is 70 if the scheduler did not take one of them.
    """
    with exit_on_error():
        every = list(JobFolder.all())
        found = [find_job(name, every) for name in names]
        states = {
            job.folder: job.report.state for job in listed([folder for folder, _, _ in found], ask, state_folder())
        }
        wanted = []
        for name, (folder, job, element) in zip(names, found, strict=True):
            if states[folder.path].ended and not element:
                click.echo(f"{job.id} {job.name}: {states[folder.path].value} already")
                continue
            wanted.append(replace(job, id=name.partition(";")[0]) if element and element_of(name) else job)
        refused = cancel_jobs(wanted, ask, state_folder())
        if refused:
            raise LaunchError("Not every job was cancelled.", "; ".join(refused), "daskhpc jobs")
        for job in wanted:
            click.echo(f"{job.id} {job.name}: cancelled")
