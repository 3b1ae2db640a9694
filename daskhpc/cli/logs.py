"""``daskhpc logs``: what a job printed, the first traceback first; also while it runs."""

from __future__ import annotations

import codecs
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from ..errors import LaunchError
from ..launch.find_jobs import element_of, find_job, log_file
from ..launch.job_folder import JobFolder, SubmittedJob
from ..launch.job_query import ListedJob, last_seen, listed
from ..launch.job_state import JobReport, JobState, reports_of_marks, same_job
from ..launch.jobs_text import near, state_words
from ..launch.log_text import LogRun, explained_lines, first_traceback, log_runs
from ..launch.scheduler_commands import ask
from ..own_files import state_folder
from ..text import counted
from .errors import exit_on_error

_MOST_BYTES = 64 * 1024**2
_LINES = 200
_POLL_SECONDS, _STATE_SECONDS = 0.5, 10.0


@click.command(
    short_help="Print what a job wrote, its first traceback first.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--run", "number", type=click.IntRange(min=1), help="Of a job that ran several times: this run.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=_LINES, show_default=True, help="How many last lines."
)
@click.argument("name", metavar="[JOB]", required=False)
def logs(name: str | None, follow: bool, number: int | None, lines: int) -> None:
    """Print what JOB wrote, by default the last job: an id, also of an array's element, a job's folder or its title.

    If the job did not end well, the first traceback stands before the end of the log, and with it what the scheduler's
    words mean. All that is not the log itself goes to standard error.
    """
    with exit_on_error():
        folder, job, element = find_job(name, list(JobFolder.all()))
        if not element.isdigit():  # squeue has several elements that wait in one line, as 123_[4-9]
            element = _element(folder, job)
        state = _state(folder, job, element)
        path = log_file(folder.path, job, element)
        if not path.is_file():
            raise _no_log(folder, job, state, path)
        text, size = _read(path)
        runs = log_runs(text)
        chosen = next((run for run in runs if run.number == number), None) if number else runs[-1]
        if chosen is None:
            raise LaunchError(
                f"The job has no run {number}.", f"{counted(len(runs), 'run')}", f"--run {runs[-1].number}"
            )
        _heading(state, path, chosen, len(runs), element)
        if state.report.state not in (JobState.COMPLETED, JobState.PENDING):
            _cause(chosen)
        shown = chosen.text.splitlines()[-lines:] if lines else []
        if len(shown) < len(chosen.text.splitlines()):
            click.echo(f"daskhpc: the last {counted(len(shown), 'line')} of the log:", err=True)
        for line in shown:
            click.echo(line)
        going = not state.over
        if follow and going:
            ended = _follow(folder, job, element, path, size)
            click.echo(f"daskhpc: {job.id} {job.name}, {state_words(ended.report)}", err=True)
        elif going and not shown:
            click.echo(f"daskhpc: nothing is in it yet; daskhpc logs -f {job.id} prints what comes", err=True)


def _state(folder: JobFolder, job: SubmittedJob, element: str) -> ListedJob:
    """The state of a job of a folder, or of an element of it; of one that was resumed, what was seen last."""
    last = listed([folder], ask, state_folder())
    state = next((link for link in last if link.submitted.id == job.id), None)
    if state is None:  # it was resumed, so it has ended
        marks = (mark for mark in reports_of_marks(folder.marks()) if same_job(job.id, mark.job))
        known = (report for report in (last_seen(folder, job.id), *marks) if report is not None and report.state.ended)
        report = next(known, JobReport(job.id, JobState.UNKNOWN, "nobody", seen=job.time))
        state = ListedJob(job, folder.path, report)
    return replace(state, report=state.of_element(element).report) if element else state


def _element(folder: JobFolder, job: SubmittedJob) -> str:
    """Of an array, the element that failed first; if none did, the one that began last."""
    if "%a" not in job.log:
        return ""
    reports = sorted(reports_of_marks(folder.marks()), key=lambda report: (report.end or 0.0, report.start or 0.0))
    failed = next((report for report in reports if report.state is JobState.FAILED), None)
    shown = failed or (reports[-1] if reports else None)
    return element_of(shown.job) if shown else ""


def _no_log(folder: JobFolder, job: SubmittedJob, state: ListedJob, path: Path) -> LaunchError:
    words = state_words(state.report)
    if state.report.state.waiting:
        return LaunchError("The job has not begun.", words, f"daskhpc jobs {job.id}")
    if state.report.state.ended and not any(same_job(job.id, mark.job) for mark in folder.marks()):
        before = [other.id for other in folder.submitted() if other.time < job.time]
        earlier = f"; daskhpc logs {before[-1]} has the log of the submission before" if before else ""
        return LaunchError(
            "The job ended before it began, so it has no log.", words, f"daskhpc resume {job.id}{earlier}"
        )
    return LaunchError(
        "The job has no log.", f"{words}; no file {path}", f"daskhpc jobs {job.id}; does the node see that folder?"
    )


def _read(path: Path) -> tuple[str, int]:
    """The log, of a very long one the end, and its size."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _MOST_BYTES))
        content = file.read(_MOST_BYTES)
    return content.decode(errors="replace"), size


def _heading(state: ListedJob, path: Path, run: LogRun, runs: int, element: str) -> None:
    job = state.submitted
    parts = [f"{job.id} {job.name}", f"element {element}" if element else "", state_words(state.report)]
    parts += [f"run {run.number} of {runs}" if runs > 1 else "", f"log: {near(path)}"]
    click.echo(f"daskhpc: {', '.join(part for part in parts if part)}", err=True)


def _cause(run: LogRun) -> None:
    """What to read first."""
    traceback = first_traceback(run.text)
    if traceback:
        click.echo("daskhpc: the first traceback:", err=True)
        click.echo(traceback)
        click.echo("")
    for explained in explained_lines(run.text):
        click.echo(f"daskhpc: {explained.meaning}\n  found: {explained.line}\n  try:   {explained.action}", err=True)


def _follow(folder: JobFolder, job: SubmittedJob, element: str, path: Path, size: int) -> ListedJob:
    """Print what is added until the job, or its element, has ended and nothing more comes; how it ended."""
    asked = time.monotonic()
    ended: ListedJob | None = None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a part may end within a character
    while True:
        # Opened anew each time, because a network file system shows what other machines wrote when a file is opened.
        with open(path, "rb") as file:
            file.seek(size)
            content = file.read()
        if content:
            size += len(content)
            sys.stdout.write(decoder.decode(content))
            sys.stdout.flush()
        elif ended is not None:
            return ended
        reports = reports_of_marks(folder.marks())
        own = [report for report in reports if not element or element_of(report.job) == element]
        marks = [report for report in own if report.state.ended and same_job(job.id, report.job)]
        if ended is None and (marks or time.monotonic() - asked > _STATE_SECONDS):
            asked = time.monotonic()
            state = _state(folder, job, element)
            ended = state if state.over else None
        time.sleep(_POLL_SECONDS)
