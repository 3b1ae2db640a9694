"""``daskhpc cancel``: ends jobs."""

from __future__ import annotations

from dataclasses import replace

import click

from ..errors import LaunchError
from ..launch.find_jobs import element_of, find_job
from ..launch.job_folder import JobFolder, SubmittedJob
from ..launch.job_query import cancel_jobs, listed, unfinished
from ..launch.scheduler_commands import ask
from ..own_files import state_folder
from .errors import exit_on_error


@click.command(short_help="End jobs.", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="JOB...", nargs=-1, required=True)
def cancel(names: tuple[str, ...]) -> None:
    """End each JOB: an id, also of one element of an array, a job's folder or its title.

    What is in a checkpoint stays. The exit code is 70 if the scheduler did not take one of them.
    """
    with exit_on_error():
        every = list(JobFolder.all())
        found = [find_job(name, every) for name in names]
        states = listed([folder for folder, _, _ in found], ask, state_folder())
        wanted: list[SubmittedJob] = []
        for name, (folder, job, element) in zip(names, found, strict=True):
            # Of a chain all that has not ended: the next job would begin at the end of this one.
            links = [link for link in states if link.folder == folder.path]
            if all(link.submitted.id != job.id for link in links):
                click.echo(f"{job.id} {job.name}: ended already, and was resumed as {links[0].submitted.id}")
                continue
            left = [link.submitted for link in unfinished(links)]
            if not left and not element:
                click.echo(f"{job.id} {job.name}: {links[-1].report.state.value} already")
                continue
            one = element and element_of(name)
            wanted += [replace(job, id=name.partition(";")[0])] if one else reversed(left)
        refused = cancel_jobs(wanted, ask, state_folder())
        if refused:
            raise LaunchError("Not every job was cancelled.", "; ".join(refused), "daskhpc jobs")
        for job in wanted:
            click.echo(f"{job.id} {job.name}: cancelled")
