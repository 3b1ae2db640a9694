"""``daskhpc chain``, which the script of a job of a chain calls: has this job work to do?"""

from __future__ import annotations

import time

import click

from ..launch.chain import before_in_chain, next_step
from ..launch.job_folder import JobFolder, SubmittedJob
from .errors import exit_on_error
from .job_progress import journals_saved

_PATIENCE, _POLL_SECONDS = 20.0, 0.5


@click.command(hidden=True)
@click.argument("folder")
@click.argument("job")
def chain(folder: str, job: str) -> None:
    """Print whether JOB of a chain has work to do: go, done, or stop."""
    with exit_on_error():
        home = JobFolder(folder)
        step, why = next_step(_before(home, job), home.marks(), journals_saved(home.request, home.path))
        if why:
            click.echo(f"daskhpc: job {job} has nothing to do: {why}.", err=True)
        click.echo(step.value)


def _before(home: JobFolder, job: str) -> SubmittedJob | None:
    """The job before; a job may begin before its submission is written down, or before this node sees that."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return before_in_chain(job, home.submitted())
        except LookupError:
            if time.monotonic() > deadline:
                return None  # such as a script that was submitted by hand
            time.sleep(_POLL_SECONDS)
