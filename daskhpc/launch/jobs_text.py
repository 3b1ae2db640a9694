"""The lines that ``daskhpc jobs`` prints: pure functions of jobs and their states."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from ..errors import EXIT_UNFINISHED
from ..text import duration, duration_left, printable, shortened
from .find_jobs import element_of
from .job_query import ListedJob, elements
from .job_state import JobReport, JobState
from .maintenance import Maintenance, crossed
from .queues import QUEUES
from .wait_reasons import explain_waiting

_TITLE, _DAY, _NAMED = 24, 86400.0, 8

# What to do about the end of a job, if its log does not show more.
_ENDS = {
    JobState.TIMEOUT: "daskhpc resume {job}, if it has a checkpoint; or submit it with a longer --time",
    JobState.OUT_OF_MEMORY: "more --mem or more --nodes",
    JobState.NODE_FAIL: "daskhpc resume {job}; submit it with --exclude NODE if the same node fails again",
    JobState.PREEMPTED: "daskhpc resume {job}",
    JobState.DEADLINE: "a later --deadline",
    JobState.BOOT_FAIL: "daskhpc resume {job}; nodes did not boot",
}


def job_lines(
    job: ListedJob,
    now: float,
    width: int,
    progress: str = "",
    maintenances: tuple[Maintenance, ...] = (),
    followed: bool = False,
) -> list[str]:
    """One line on a job, and below it what holds it up or ended it.

    Parameters
    ----------
    job : ListedJob
    now : float
        Unix time.
    width : int
        Of the ids that are listed together.
    progress : str
        How far its work is.
    maintenances : tuple[Maintenance, ...]
        Those to come.
    followed : bool
        Whether another job of its chain goes on where it stopped.
    """
    report, submitted = job.report, job.submitted
    title = shortened(printable(submitted.name), _TITLE)
    figures = [text for text in (_when(report, now), progress) if text]
    lines = [
        f"{submitted.id:{width}}  {title:{_TITLE}}  {state_words(report)}{', ' if figures else ''}{', '.join(figures)}"
    ]
    lines += [f"    folder: {near(job.folder)}"]
    if job.elements:
        lines.append(f"    elements: {elements_words(job.elements)}")
    if report.state.waiting:
        lines += _waiting_lines(job, now, maintenances)
    elif report.state is JobState.UNKNOWN:
        lines.append(f"    {_unknown(job)}")
    elif followed:
        pass
    elif report.state in _ENDS:
        lines.append(f"    next: {_ENDS[report.state].format(job=submitted.id)}")
    elif report.state is JobState.FAILED and report.exit_code == EXIT_UNFINISHED:
        lines.append(f"    next: daskhpc resume {submitted.id}, which goes on from its checkpoint")
    elif report.state is JobState.FAILED:
        lines.append(f"    next: daskhpc logs {submitted.id}")
    return lines


def elements_words(reports: Iterable[JobReport]) -> str:
    """How many elements of an array are in which state, and which those are that did not end well, if they are few.

    Examples
    --------
    >>> states = {"7_0": JobState.COMPLETED, "7_1": JobState.FAILED, "7_[2-9%2]": JobState.PENDING}
    >>> elements_words([JobReport(job, state, "squeue") for job, state in states.items()])
    '8 pending, 1 failed (1), 1 completed'
    """
    groups: dict[JobState, list[str]] = {}
    for report in reports:
        groups.setdefault(report.state, []).append(element_of(report.job))
    order = list(JobState)
    parts = []
    for state in sorted(groups, key=lambda state: (state is JobState.COMPLETED, order.index(state))):
        names = groups[state]
        count = sum(max(1, elements(name.strip("[]"))) for name in names)
        badly = state.ended and state is not JobState.COMPLETED and len(names) <= _NAMED
        parts.append(f"{count} {state.value}" + (f" ({', '.join(names)})" if badly else ""))
    return ", ".join(parts)


def state_words(report: JobReport) -> str:
    """The state, and the exit code or the signal if the job failed.

    Examples
    --------
    >>> state_words(JobReport("7", JobState.FAILED, "job folder", exit_code=3))
    'failed with exit code 3'
    """
    words = report.state.value
    if report.state is JobState.FAILED and report.signal:
        words += f" by {_signal_name(report.signal)}"
    elif report.state in (JobState.FAILED, JobState.TIMEOUT) and report.exit_code:
        words += f" with exit code {report.exit_code}"
    if report.restarts:
        words += f" (run {report.restarts + 1})"
    return words


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _when(report: JobReport, now: float) -> str:
    if report.state.ended:
        return f"{duration(max(0.0, now - report.end))} ago" if report.end is not None else ""
    if report.state.waiting:
        waited = now - report.submitted if report.submitted is not None else None
        return f"for {duration(max(0.0, waited))}" if waited is not None else ""
    if report.start is None:
        return ""
    since = f"for {duration(max(0.0, now - report.start))}"
    if report.limit is None:
        return since
    left = report.start + report.limit - now
    return f"{since}, {duration_left(left)} left" if left > 0 else f"{since}, the time limit is over"


def _waiting_lines(job: ListedJob, now: float, maintenances: tuple[Maintenance, ...]) -> list[str]:
    report, submitted = job.report, job.submitted
    why = explain_waiting(report.reason, submitted.scheduler, submitted.id)
    reason = shortened(printable(report.reason), 60)
    lines = [f"    {f'{reason}: ' if reason and QUEUES[submitted.scheduler].reasons_are_names else ''}{why.sentence}"]
    barrier = crossed(maintenances, now, report.limit) if why.starts_alone else None
    if barrier is not None:
        lines.append(
            f"    The maintenance {barrier.name} begins {_clock(barrier.start, now)}; the job would not end before."
            f" A --time below {duration_left(barrier.start - now)} would."
        )
    elif report.start is not None and why.starts_alone and report.start > now:
        lines.append(f"    The scheduler expects it to start {_clock(report.start, now)}.")
    return [*lines, f"    next: {why.action}"]


def _unknown(job: ListedJob) -> str:
    since = datetime.fromtimestamp(job.report.seen or 0).strftime("%Y-%m-%d %H:%M")
    if job.silence:
        return f"unknown since {since}: {shortened(job.silence, 160)}"
    return f"unknown since {since}: the scheduler forgot it, and it wrote no end; next: daskhpc logs {job.submitted.id}"


def _clock(moment: float, now: float) -> str:
    """A time of the clock, with the day if that is another one.

    Examples
    --------
    >>> _clock(0.0, 0.0).startswith("at ")
    True
    """
    when, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    return f"at {when:%H:%M}" if when.date() == today.date() else f"on {when:%A, %Y-%m-%d, at %H:%M}"


def near(path: Path) -> str:
    """A path as it is shortest to type from here.

    Examples
    --------
    >>> near(Path.cwd() / "daskhpc-jobs" / "a"), near(Path("/elsewhere/a"))
    ('daskhpc-jobs/a', '/elsewhere/a')
    """
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
