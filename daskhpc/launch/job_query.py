"""Asks the scheduler for the states of jobs: one question for all of them, its answer kept for some seconds.

The deciding is `job_state.settled`; here files are read, and squeue, qstat and sacct are run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import LaunchError
from ..own_files import make_own_folder, read_own
from .find_jobs import element_of, newest_jobs
from .job_folder import STATES, JobFolder, SubmittedJob
from .job_state import JobReport, JobState, of_one_array, reports_of_marks, same_job, settled
from .queues import QUEUES
from .scheduler_commands import CommandAnswer

FRESH_SECONDS = 10.0
_SEEN_EVERY = 60.0
_SILENT_SECONDS = 600.0  # how long accounting that did not answer is left alone


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed.

    Attributes
    ----------
    time : float
        When, in Unix time.
    out : str or None
        None if there is no answer: the command failed and printed nothing, or took too long.
    error : str
        Its own words if it failed; a job that `out` does not list may then be there for all that.
    """

    time: float
    out: str | None
    error: str


Ask = Callable[[Sequence[str]], CommandAnswer]
"""Runs a command of a scheduler, as `scheduler_commands.ask` does."""


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job, its folder and its state.

    Attributes
    ----------
    submitted : SubmittedJob
    folder : Path
    report : JobReport
        Its state; `JobState.UNKNOWN` with `seen`, the time since when it is not known.
    silence : str
        Why the queue gave no answer, in its own words; empty if it gave one.
    elements : tuple[JobReport, ...]
        Of an array what is known of its elements; waiting elements may share one report. Empty for other jobs.
    """

    submitted: SubmittedJob
    folder: Path
    report: JobReport
    silence: str = ""
    elements: tuple[JobReport, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it has ended, or the scheduler answers and does not know it any more."""
        return self.report.state.ended or (self.report.state is JobState.UNKNOWN and not self.silence)

    def of_element(self, element: str) -> ListedJob:
        """One element of an array as a job of its own; this job if nothing is known of that element."""
        own = [report for report in self.elements if element_of(report.job) == element]
        return ListedJob(replace(self.submitted, id=own[0].job), self.folder, own[0], self.silence) if own else self


def listed(
    folders: Iterable[JobFolder], ask: Ask, cache: Path, now: Callable[[], float] = time.time
) -> list[ListedJob]:
    """The last job of each folder, or its last chain of jobs, with states, by one question for all of them.

    Parameters
    ----------
    folders : Iterable[JobFolder]
    ask : Ask
        Runs a command.
    cache : Path
        Folder in which answers are kept for `FRESH_SECONDS`, for all processes of the user.
    now : Callable[[], float]
    """
    newest = newest_jobs(folders)
    open_jobs, lasts, since = [], {}, 0.0
    for folder, job in newest:
        lasts[folder.path, job.id] = last = last_seen(folder, job.id)
        if last is None or not last.state.ended:
            open_jobs.append(job)
            # An answer from before a job was submitted, began or ended does not count for it. Marks have whole seconds.
            since = max(since, job.time, *(mark.time + 1.0 for mark in folder.marks()))
    queue, silence = _queue(open_jobs, since, ask, cache, now)
    found: list[tuple[JobFolder, SubmittedJob, JobReport | None]] = []
    unsettled: list[tuple[int, SubmittedJob]] = []
    for folder, job in newest:
        report = _settled(folder, job, queue, None, lasts[folder.path, job.id])
        if report is None:
            unsettled.append((len(found), job))
        found.append((folder, job, report))
    accounting = _accounting([job for _, job in unsettled], ask, cache, now)
    for index, job in unsettled:
        folder = found[index][0]
        found[index] = folder, job, _settled(folder, job, queue, accounting, lasts[folder.path, job.id])
    return [
        ListedJob(
            job,
            folder.path,
            _kept(folder, job, report, lasts[folder.path, job.id], now(), bool(silence.get(_asked_with(job)))),
            silence.get(_asked_with(job), ""),
            _elements_of(folder, job, queue, accounting) if folder.spec.get("array") else (),
        )
        for folder, job, report in found
    ]


def _settled(
    folder: JobFolder,
    job: SubmittedJob,
    queue: Iterable[JobReport],
    accounting: Iterable[JobReport] | None,
    last: JobReport | None,
) -> JobReport | None:
    """The state of a job by all sources; of an array, element by element, then of all together.

    `accounting` is None if it was not asked yet: then what only it may know is left open.
    """
    array = str(folder.spec.get("array") or "")
    if not array:
        marks, queued, accounted = _sources(folder, job, queue, accounting or ())
        return settled(of_one_array(marks), of_one_array(queued), of_one_array(accounted), last)
    known = _known_elements(folder, job, queue, accounting or ())
    names = {report.job for source in _sources(folder, job, queue, accounting or ()) for report in source}
    complete = len(known) == len(names)
    if any(not report.state.ended for report in known):
        return of_one_array(known) if complete or accounting is not None else None
    whole = len(known) >= elements(array) or any(not element_of(report.job) for report in known)
    return of_one_array(known) if whole and complete else last if last and last.state.ended else None


_Reports = Iterable[JobReport]


def _sources(
    folder: JobFolder, job: SubmittedJob, queue: _Reports, accounting: _Reports
) -> tuple[list[JobReport], list[JobReport], list[JobReport]]:
    """What the folder, the queue and the accounting say of a job, or of the elements of an array."""
    marks = [report for report in reports_of_marks(folder.marks()) if same_job(job.id, report.job)]
    queued, accounted = ([report for report in source if _is_of(job, report)] for source in (queue, accounting))
    return marks, queued, accounted


def _known_elements(
    folder: JobFolder, job: SubmittedJob, queue: _Reports, accounting: _Reports
) -> tuple[JobReport, ...]:
    """The state of each element of an array that one of the sources knows, and of the whole if qstat lists that."""
    sources = _sources(folder, job, queue, accounting)
    array = next((report for report in sources[1] if not element_of(report.job)), None)
    names = dict.fromkeys(report.job for source in sources for report in source)
    reports = []
    for name in names:
        own, queued, accounted = (next((r for r in source if r.job == name), None) for source in sources)
        if queued is None and array is not None and own is not None and not own.state.ended:
            queued = replace(array, job=name, start=None)  # it runs as long as its array does
        reports.append(settled(own, queued, accounted))
    return tuple(report for report in reports if report is not None)


def _elements_of(folder: JobFolder, job: SubmittedJob, queue: _Reports, accounting: _Reports) -> tuple[JobReport, ...]:
    """The same without the array itself."""
    return tuple(report for report in _known_elements(folder, job, queue, accounting) if element_of(report.job))


def _is_of(job: SubmittedJob, report: JobReport) -> bool:
    return same_job(job.id, report.job) and job.cluster == report.cluster


def elements(array: str) -> int:
    """How many elements ``--array`` asks for.

    Examples
    --------
    >>> elements("0-9"), elements("0-9:2%4"), elements("1,3,5-6")
    (10, 5, 4)
    """
    count = 0
    for part in array.partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match:
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            count += len(range(first, last + 1, max(1, step)))
    return count


def _asked_with(job: SubmittedJob) -> tuple[str, str]:
    """The scheduler and the cluster: an id is of one cluster, and ``--clusters`` leaves out the one of this machine."""
    return job.scheduler, job.cluster


def _queue(
    jobs: Sequence[SubmittedJob], since: float, ask: Ask, cache: Path, now: Callable[[], float]
) -> tuple[list[JobReport], dict[tuple[str, str], str]]:
    """The queue's answer about all jobs, and by scheduler and cluster why there is none, or not all of one."""
    reports: list[JobReport] = []
    silence: dict[tuple[str, str], str] = {}
    for scheduler, cluster in sorted({_asked_with(job) for job in jobs}):
        asked = [job for job in jobs if _asked_with(job) == (scheduler, cluster)]
        queue = QUEUES[scheduler]
        command = queue.queue_command(asked, _user())
        answer = _asked(command, ask, cache, now, FRESH_SECONDS, since)
        if answer.error:
            silence[scheduler, cluster] = answer.error
        listed_jobs = queue.parse_queue(answer.out) if answer.out is not None else ()
        reports += [replace(report, cluster=cluster, seen=answer.time) for report in listed_jobs]
    return reports, silence


def _accounting(jobs: Sequence[SubmittedJob], ask: Ask, cache: Path, now: Callable[[], float]) -> list[JobReport]:
    reports: list[JobReport] = []
    for scheduler, cluster in sorted({_asked_with(job) for job in jobs}):
        queue, asked = QUEUES[scheduler], [job for job in jobs if _asked_with(job) == (scheduler, cluster)]
        if queue.accounting_command is None or queue.parse_accounting is None:
            continue
        since = max(job.time for job in asked)
        answer = _asked(queue.accounting_command(asked), ask, cache, now, FRESH_SECONDS, since)
        told = queue.parse_accounting(answer.out) if answer.out is not None else ()
        reports += [replace(report, cluster=cluster) for report in told]
    return reports


def _asked(
    command: Sequence[str], ask: Ask, cache: Path, now: Callable[[], float], fresh: float, since: float
) -> Answer:
    """The answer to a command: a fresh one from the cache, or a new one, which is kept there."""
    path = cache / f"{command[0]}.json"
    kept = _read(path)
    if kept is not None and kept.get("command") == list(command):
        age = now() - kept["time"]
        limit = _SILENT_SECONDS if kept["error"] and command[0] == "sacct" else fresh
        if 0 <= age < limit and kept["time"] > since:
            return Answer(kept["time"], kept["out"], kept["error"])
    began = now()
    try:
        said = ask(command)
    except LaunchError as error:
        said = CommandAnswer(1, "", error.found)
    # qstat exits with an error if it has forgotten one of the jobs, and answers for the others. After any other error
    # a job may run that is not listed: what was printed may be a site's greeting.
    failed = said.code != 0 and not (command[0] == "qstat" and _only_unknown(said.err))
    words = said.err.strip() or f"{command[0]} gave no answer"
    nothing = failed and (said.code is None or not said.out.strip())  # what was cut off may be read wrongly
    answer = Answer(began, None if nothing else said.out, words if failed else "")
    with contextlib.suppress(OSError):  # a quota that is used up hides no state
        make_own_folder(cache)
        with replacing(path) as draft:
            draft.write_text(json.dumps({"command": list(command), **asdict(answer)}), encoding="utf-8")
    return answer


def cancel_jobs(jobs: Sequence[SubmittedJob], ask: Ask, cache: Path) -> list[str]:
    """End jobs; returns the schedulers' words, one for each command that was refused."""
    refused = []
    for scheduler in sorted({job.scheduler for job in jobs}):
        own = [job for job in jobs if job.scheduler == scheduler]
        for command in QUEUES[scheduler].cancel_commands(own):
            answer = ask(command)
            if answer.code != 0:
                refused.append(answer.err.strip() or f"{command[0]} gave no answer")
    forget_answers(cache)
    return refused


def unfinished(links: Sequence[ListedJob]) -> list[ListedJob]:
    """What has not ended of a job, or of a chain: one of which nobody knows has, if a later one is known."""
    left = [link for link in links if not link.report.state.ended]
    return [link for link in left if link.report.state is not JobState.UNKNOWN] or left


def forget_answers(cache: Path) -> None:
    """Ask anew from now on: what was answered before does not hold any more."""
    for name in ("squeue", "qstat", "sacct"):
        with contextlib.suppress(OSError):  # there is none, or the home directory is read-only, as on some nodes
            (cache / f"{name}.json").unlink()


def _only_unknown(error: str) -> bool:
    """Whether qstat complains of nothing but jobs that it does not know."""
    lines = [line for line in error.splitlines() if line.strip()]
    return bool(lines) and all(re.search(r"Unknown Job|has finished", line, re.IGNORECASE) for line in lines)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(read_own(path, closed=True)))
    except (OSError, ValueError):
        return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


# What was seen before


def last_seen(folder: JobFolder, job: str) -> JobReport | None:
    """What was known of a job when it was asked about before; None if that does not hold any more."""
    data = (_read(folder.path / STATES) or {}).get(job)
    try:
        last = JobReport(**{**data, "state": JobState[data["state"]]}) if data else None
    except (KeyError, TypeError):
        return None  # of another version
    # After its end it may have been requeued by hand (scontrol requeue), and runs again under its id.
    if last is not None and last.state.ended:
        again = any(mark.job == job and mark.restart > last.restarts for mark in folder.marks())
        return None if again else last
    return last


def _kept(
    folder: JobFolder, job: SubmittedJob, report: JobReport | None, last: JobReport | None, now: float, silent: bool
) -> JobReport:
    """The report, kept in the folder; if there is none, that the job is unknown, and since when.

    An end that is kept is not asked for again, so it is not kept if the queue is silent: the job may be run again.
    """
    if report is None:
        since = last.seen if last is not None and last.seen is not None else job.time
        return JobReport(job.id, JobState.UNKNOWN, "nobody", name=job.name, seen=since)
    report = replace(report, job=job.id, seen=report.seen or now)
    new = last is None or (last.state, last.restarts) != (report.state, report.restarts)
    if silent and report.state.ended:
        return report
    if new or (not report.state.ended and (report.seen or 0) - (last.seen or 0 if last else 0) > _SEEN_EVERY):
        kept = {**(_read(folder.path / STATES) or {}), job.id: {**asdict(report), "state": report.state.name}}
        with contextlib.suppress(OSError), replacing(folder.path / STATES) as draft:  # a full disk hides no state
            draft.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    return report
