"""``daskhpc jobs``: all jobs with their states, why they wait, and how far they are."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from ..errors import LaunchError
from ..launch.find_jobs import find_job
from ..launch.job_folder import JobFolder
from ..launch.job_query import ListedJob, listed
from ..launch.jobs_text import job_lines
from ..launch.maintenance import Maintenance
from ..launch.queues import QUEUES
from ..launch.scheduler_commands import ask
from ..own_files import state_folder
from ..text import counted
from .errors import exit_on_error
from .job_progress import progress_words

_RECENT_SECONDS = 3 * 86400.0
_PROGRESS_SECONDS = 2.0


@click.command(
    short_help="List your jobs, their states and why they wait.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--all", "show_all", is_flag=True, help="Also jobs that ended more than three days ago.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.argument("names", metavar="[JOB]...", nargs=-1)
def jobs(names: tuple[str, ...], show_all: bool, as_json: bool) -> None:
    """List your jobs, or only each JOB: an id, also of an array's element, a job's folder or its title.

    The state comes from the scheduler and the job's own folder. A job that neither knows any more is unknown, not done.
    """
    with exit_on_error():
        every = list(JobFolder.all())
        named = [find_job(name, every) for name in names]
        asked = list({folder.path: folder for folder, _, _ in named}.values())
        found = listed(asked or every, ask, state_folder())
        if named:
            # A chain is several jobs of one folder; of an array several elements may be asked for.
            found = [
                job.of_element(element) if element else job
                for folder, _, element in named
                for job in found
                if job.folder == folder.path
            ]
        shown = found if show_all or names else [job for job in found if _is_recent(job)]
        progress = _progress(shown)
        if as_json:
            click.echo(json.dumps([_plain(job, progress.get(job.submitted.id, "")) for job in shown]))
            return
        _print(shown, progress)
        if len(shown) < len(found):
            click.echo(f"{counted(len(found) - len(shown), 'older job')}: daskhpc jobs --all")


def _is_recent(job: ListedJob) -> bool:
    last = job.report.end or job.report.seen or job.submitted.time
    return not job.report.state.ended or last > time.time() - _RECENT_SECONDS


def _progress(found: Sequence[ListedJob]) -> dict[str, str]:
    """How far each job is; a long journal takes long to read, so there is an end to it."""
    deadline = time.monotonic() + _PROGRESS_SECONDS
    words = {}
    for job in reversed(found):
        if time.monotonic() < deadline and job.report.start is not None:
            words[job.submitted.id] = progress_words(JobFolder(job.folder).request, job.folder, job.report)
    return words


def _print(shown: Sequence[ListedJob], progress: dict[str, str]) -> None:
    if not shown:
        click.echo("No jobs. To submit one: daskhpc submit --nodes 2 --time 1h script.py")
        return
    planned = _maintenances(shown)
    width = max(len(job.submitted.id) for job in shown)
    followed = {job.submitted.after for job in shown}
    for job in shown:
        number = job.submitted.id
        for line in job_lines(job, time.time(), width, progress.get(number, ""), planned, number in followed):
            click.echo(line)
    for words in sorted({job.silence for job in shown if job.silence}):
        click.echo(f"daskhpc: the scheduler gave no answer: {words}", err=True)


def _maintenances(shown: Sequence[ListedJob]) -> tuple[Maintenance, ...]:
    """Those to come; a scheduler is asked only if a job of it waits."""
    found: list[Maintenance] = []
    for scheduler in sorted({job.submitted.scheduler for job in shown if job.report.state.waiting}):
        queue = QUEUES[scheduler]
        if queue.maintenance_command is None or queue.parse_maintenances is None:
            continue
        with contextlib.suppress(LaunchError):  # there is no such command here; the list of jobs is worth more
            found += queue.parse_maintenances(ask(queue.maintenance_command).out)
    return tuple(found)


def _plain(job: ListedJob, progress: str) -> dict[str, object]:
    report = {**asdict(job.report), "state": job.report.state.name}
    del report["job"]
    return {**report, **asdict(job.submitted), "folder": str(job.folder), "progress": progress}
