"""``daskhpc resume``: a job that ended before its work was done, submitted again from its folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from ..launch.find_jobs import find_job
from ..launch.job_folder import CODE, JobFolder
from ..launch.job_query import listed
from ..launch.jobs_text import state_words
from ..launch.resume import check_resumable, resume_job
from ..launch.scheduler_commands import ask
from ..launch.snapshot import changed_since
from ..own_files import state_folder
from ..text import shortened
from .errors import exit_on_error
from .job_progress import progress_words


@click.command(
    short_help="Submit a job again that was not done.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.argument("name", metavar="[JOB]", required=False)
def resume(name: str | None) -> None:
    """Submit JOB again, from its own folder: an id, a job's folder or its title; by default the last job.

    The same code runs with the same options, and goes on from its checkpoint. The new id is printed on standard
    output, all else on standard error.
    """
    with exit_on_error():
        folder, _, _ = find_job(name, list(JobFolder.all()))
        earlier = folder.submitted()
        found = listed([folder], ask, state_folder())
        check_resumable(folder, found)
        last = found[-1]
        begun = [float(mark.time) for mark in folder.marks() if mark.event == "began"]
        # What any of its runs left, and not only the last one.
        runs = replace(last.report, start=min(begun, default=None))
        done = progress_words(folder.request, folder.path, runs)
        jobs = resume_job(folder, earlier)
        for job in jobs:
            click.echo(job.id + (f";{job.cluster}" if job.cluster else ""))
        log = os.path.relpath(folder.path / jobs[0].log)
        known = done or "no checkpoint with results is known, so it begins anew"
        before = f"{last.submitted.id} {state_words(last.report)}"
        click.echo(f"daskhpc: {before}; {known}; submission {len(earlier) + 1}; the log: {log}", err=True)
        changed = changed_since(folder.path / CODE, Path(jobs[0].script))
        if changed:
            click.echo(
                f"daskhpc: changed since the job was submitted first: {shortened(', '.join(changed), 80)}; "
                "the job runs the copies of then\n"
                f"  try:   daskhpc cancel {jobs[0].id}, then daskhpc submit, to run the files of now",
                err=True,
            )
