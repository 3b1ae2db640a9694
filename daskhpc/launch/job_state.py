"""What state a job is in, from the answers of all sources; never guessed, no effects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from ..errors import EXIT_UNFINISHED
from .job_folder import Mark

SIGNALLED = 128
"""A shell gives the exit code 128 + N for a process that signal N ended."""


class JobState(Enum):
    """The state of a job, in the words of Slurm if it has one.

    ``REQUEUED`` is a job that ran and waits to run again. ``UNKNOWN`` is a job of which no source knows any more.
    """

    PENDING = "pending"
    REQUEUED = "requeued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETING = "completing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    NODE_FAIL = "node failed"
    PREEMPTED = "preempted"
    DEADLINE = "past its deadline"
    BOOT_FAIL = "boot failed"
    UNKNOWN = "unknown"

    @property
    def waiting(self) -> bool:
        """Whether the job has yet to start, for the first time or again."""
        return self in (JobState.PENDING, JobState.REQUEUED)

    @property
    def ended(self) -> bool:
        """Whether the job will not run any more. `UNKNOWN` is not an end."""
        return self in ENDED


ENDED = frozenset(
    (
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
        JobState.PREEMPTED,
        JobState.DEADLINE,
        JobState.BOOT_FAIL,
    )
)


@dataclass(frozen=True, slots=True)
class JobReport:
    """The answer of one source about one job.

    Attributes
    ----------
    job : str
        The id as that source has it: ``123``, ``123_4``, ``123_[5-9%2]``, ``123.server``.
    state : JobState
    source : str
        ``"squeue"``, ``"qstat"``, ``"sacct"``, ``"job folder"``, or ``"nobody"``.
    cluster : str
        The cluster of a multi-cluster Slurm, if the source names it.
    reason : str
        The scheduler's own reason: of waiting, or of the end.
    name : str
    exit_code : int or None
    signal : int or None
        The signal that ended the job.
    submitted, start, end : float or None
        Unix time; for a job that waits, `start` is when the scheduler expects it to start.
    limit : float or None
        The time limit in seconds.
    nodes : str
        The nodes in the scheduler's notation.
    restarts : int
        How often the job ran before this run, as far as the source shows it.
    seen : float or None
        The time of the answer, in Unix time.
    """

    job: str
    state: JobState
    source: str
    cluster: str = ""
    reason: str = ""
    name: str = ""
    exit_code: int | None = None
    signal: int | None = None
    submitted: float | None = None
    start: float | None = None
    end: float | None = None
    limit: float | None = None
    nodes: str = ""
    restarts: int = 0
    seen: float | None = None


def clock_seconds(text: str) -> float | None:
    """Seconds from ``D-HH:MM:SS``, ``HH:MM:SS`` or ``MM:SS`` as squeue and qstat print them; None if there is no limit.

    Examples
    --------
    >>> clock_seconds("1-12:00:00"), clock_seconds("5:00"), clock_seconds("UNLIMITED")
    (129600.0, 300.0, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def moment(text: str) -> float | None:
    """Unix time from an ISO time, PBS's ``Thu Nov 26 09:40:15 2026``, or seconds; None for N/A and the like."""
    text = text.strip()
    if text.isdigit():
        return float(text)
    for parse in (datetime.fromisoformat, lambda text: datetime.strptime(text, "%a %b %d %H:%M:%S %Y")):
        try:
            return parse(text).timestamp()
        except ValueError:
            continue
    return None


def whole_number(text: str) -> int | None:
    """A whole number; None if the text is none."""
    text = text.strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def same_job(wanted: str, reported: str) -> bool:
    """Whether a report is of a job, or of an element of an array: ``12`` is never ``123``.

    Examples
    --------
    >>> same_job("123", "123_[4-9]"), same_job("123[].server", "123[4].server"), same_job("12", "123")
    (True, True, False)
    >>> same_job("123.server.site", "123.server"), same_job("123;cluster", "123")
    (True, True)
    """
    wanted, reported = wanted.partition(";")[0], reported.partition(";")[0]
    if wanted == reported:
        return True
    number, _, element, server = _parts(wanted)
    other, _, other_element, other_server = _parts(reported)
    if number != other or (server and other_server and not _one_host(server, other_server)):
        return False
    return not element or element == other_element


def _parts(job: str) -> tuple[str, str, str, str]:
    """The number, the sign of an array, its element and the server of an id."""
    match = re.fullmatch(r"(\d+)(?:(_|\[)([^].]*)\]?)?(?:\.(.+))?", job)
    if match is None:
        return job, "", "", ""
    number, sign, element, server = match.groups()
    return number, sign or "", element or "", server or ""


def _one_host(one: str, other: str) -> bool:
    """Whether two names are of one host, with or without its domain; qstat cuts long ones."""
    return one.startswith(other) or other.startswith(one)


# The state of an array, whose elements may wait, run and have ended at the same time: the first of these that any has.
_OF_ARRAY = (
    JobState.RUNNING,
    JobState.COMPLETING,
    JobState.SUSPENDED,
    JobState.PENDING,
    JobState.REQUEUED,
    JobState.UNKNOWN,
    JobState.NODE_FAIL,
    JobState.BOOT_FAIL,
    JobState.OUT_OF_MEMORY,
    JobState.FAILED,
    JobState.TIMEOUT,
    JobState.DEADLINE,
    JobState.PREEMPTED,
    JobState.CANCELLED,
    JobState.COMPLETED,
)


def of_one_array(reports: Iterable[JobReport]) -> JobReport | None:
    """The report that stands for all elements of an array: it runs while one runs, and is completed if all are."""
    return min(reports, key=lambda report: _OF_ARRAY.index(report.state), default=None)


def reports_of_marks(marks: Iterable[Mark]) -> tuple[JobReport, ...]:
    """What the marks in a job folder say of the last run of each job, and of each element of an array.

    Notes
    -----
    A job that began and did not end is reported as running; whether it still runs only the scheduler knows.
    """
    runs: dict[str, dict[str, Mark]] = {}
    for mark in marks:
        last = runs.setdefault(mark.job, {})
        if mark.event == "began":
            last.clear()
        last[mark.event] = mark
    return tuple(_of_marks(job, last.get("began"), last.get("ended")) for job, last in runs.items())


def _of_marks(job: str, began: Mark | None, ended: Mark | None) -> JobReport:
    code = whole_number(ended.value) if ended is not None else None
    state = JobState.RUNNING if ended is None else JobState.COMPLETED if code == 0 else JobState.FAILED
    return JobReport(
        job=job,
        state=state,
        source="job folder",
        exit_code=code,
        start=float(began.time) if began is not None else None,
        end=float(ended.time) if ended is not None else None,
        nodes=began.value if began is not None else "",
        restarts=began.restart if began is not None else 0,
    )


def settled(
    folder: JobReport | None,
    queue: JobReport | None,
    accounting: JobReport | None = None,
    last: JobReport | None = None,
) -> JobReport | None:
    """The state of a job by all sources: its folder's own marks, then the queue, then accounting.

    Parameters
    ----------
    folder : JobReport or None
        What the marks in the job folder say; None if there are none yet.
    queue : JobReport or None
        The answer of squeue or qstat; None if it does not list the job, or did not answer.
    accounting : JobReport or None
        The answer of sacct.
    last : JobReport or None
        What was known when it was asked before.

    Returns
    -------
    JobReport or None
        None if no source knows the job. The job has then not ended: its state is unknown.

    Notes
    -----
    A job that wrote its own end has ended, unless the queue has a later run of it: a job that is requeued keeps its id.
    One that may be requeued has not ended as long as the queue has it.
    A job that began and wrote no end may still run, or its batch shell was killed: only the scheduler knows. Why a job
    ended only the scheduler knows too: its script sees SIGTERM at the time limit, and an exit code after that.
    """
    told = next((report for report in (queue, accounting, last) if report is not None and report.state.ended), None)
    own = folder if folder is not None and folder.state.ended else None
    if queue is not None and not queue.state.ended and queue.state is not JobState.UNKNOWN:
        if own is not None and not _runs_again(own, queue):
            if not may_run_again(own):
                return told or own  # the scheduler still cleans up, or its answer is some seconds old
            restarts = max(own.restarts, queue.restarts)
            return replace(queue, state=JobState.COMPLETING, exit_code=own.exit_code, restarts=restarts)
        again = queue.state is JobState.PENDING and folder is not None and folder.start is not None
        restarts = folder.restarts if folder is not None else 0
        start = folder.start if queue.start is None and folder is not None and not queue.state.waiting else queue.start
        state = JobState.REQUEUED if again else queue.state
        return replace(queue, state=state, start=start, restarts=max(restarts, queue.restarts))
    if told is not None and not (own is not None and _later(own, told)):
        code = told.exit_code if told.exit_code is not None else own.exit_code if own is not None else None
        return replace(told, exit_code=code, restarts=max(told.restarts, folder.restarts if folder else 0))
    return own


def may_run_again(report: JobReport) -> bool:
    """Whether a job that ended so may be requeued: by its script, or because it was preempted or lost a node."""
    code = report.exit_code or 0
    return report.state is JobState.FAILED and (code == EXIT_UNFINISHED or code >= SIGNALLED)


def _runs_again(own: JobReport, queue: JobReport) -> bool:
    """Whether the queue has a later run of the job than the one whose end the folder tells."""
    if queue.state.waiting:
        return True  # nothing waits that has ended for good
    return own.end is not None and queue.start is not None and queue.start >= own.end


def _later(own: JobReport, told: JobReport) -> bool:
    """Whether the folder shows the end of a run that began after the end in the scheduler's answer.

    The first run never did, whatever the clock of its node shows.
    """
    return own.restarts > 0 and own.start is not None and told.end is not None and own.start > told.end
