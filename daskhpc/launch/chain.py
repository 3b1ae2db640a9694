"""Jobs that follow one another in one folder: how they are submitted, and whether the next one has work to do."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import EXIT_FAILED, EXIT_UNFINISHED, LaunchError
from ..text import counted
from .batch_systems.base import BatchSystem
from .job_folder import JobFolder, Mark, SubmittedJob
from .job_script import Program
from .job_spec import JobSpec
from .job_state import SIGNALLED, same_job
from .queues import QUEUES
from .submission import RefusedError, submit_once


def submit_jobs(
    system: BatchSystem, spec: JobSpec, program: Program, folder: JobFolder, token: str
) -> tuple[SubmittedJob, ...]:
    """Submit the script of a folder: once, or as a chain of jobs each of which begins after the end of the one before.

    Returns
    -------
    tuple[SubmittedJob, ...]
        In their order; each is kept in the folder.

    Raises
    ------
    RefusedError
        If the scheduler takes none.
    LaunchError
        If it takes some and not all, or if it is not known whether it took one. If it took one and the folder could not
        keep it.
    """
    jobs: list[SubmittedJob] = []
    count = spec.chain or 1
    for link in range(count):
        own = f"{token}-{link + 1}" if count > 1 else token
        try:
            number, cluster = submit_once(system, spec, folder, own, after=jobs[-1].id if jobs else "")
        except RefusedError as error:
            if not jobs:
                raise
            taken = " ".join(job.id for job in jobs)
            raise LaunchError(
                f"{system.title} took {len(jobs)} of {count} jobs of the chain.",
                f"{taken}; then: {error.happened}",
                f"nothing, if {counted(len(jobs), 'job')} will do; or daskhpc cancel {jobs[0].id}",
            ) from None
        jobs.append(
            SubmittedJob(
                id=number,
                cluster=cluster,
                scheduler=system.name,
                script=program.script,
                name=spec.name,
                log=_log_path(system, spec, number),
                time=time.time(),
                token=own,
                after=jobs[-1].id if jobs else "",
            )
        )
        try:
            folder.add(jobs[-1])
        except OSError as error:
            cancel = " && ".join(shlex.join(line) for line in QUEUES[system.name].cancel_commands(jobs))
            raise LaunchError(
                f"Job {number} was submitted, and its folder could not keep that.",
                str(error),
                f"{cancel}; then the same command again, with --folder on another disk or fewer files on this one",
            ) from None
    return tuple(jobs)


def _log_path(system: BatchSystem, spec: JobSpec, number: str) -> str:
    """The path of a job's log: relative to its folder, or absolute if the user gave an absolute path."""
    if spec.output:
        return spec.output
    form = system.array_log_name if spec.array else system.log_name
    # PBS names an array 123[].server, and an element of it 123[4].server.
    return form.format(id=number.replace("[]", "[%a]"))


class ChainStep(Enum):
    """What a job of a chain does; its script reads the value."""

    GO = "go"
    DONE = "done"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class JournalsSaved:
    """What the journals that a program writes to say of its last result.

    Attributes
    ----------
    count : int
        How many journals there are.
    last : float or None
        When the last result was saved, in Unix time.
    """

    count: int = 0
    last: float | None = None


def next_step(before: SubmittedJob | None, marks: Sequence[Mark], saved: JournalsSaved) -> tuple[ChainStep, str]:
    """Whether a job of a chain has work to do, and why not.

    Parameters
    ----------
    before : SubmittedJob or None
        The job before it in the chain; None for the first one.
    marks : Sequence[Mark]
        Of the job folder.
    saved : JournalsSaved

    Notes
    -----
    A run that wrote no end was killed with its node or at its time limit; so was a program that a signal ended. An exit
    code of the program's own would come again. Code 70 is daskhpc's: a lost worker, or a time limit at which nothing
    was saved. So after a kill, 70 and 75 the journal decides. Without a journal only 75 tells that something was kept.
    """
    if before is None:
        return ChainStep.GO, ""
    own = [mark for mark in marks if same_job(before.id, mark.job)]
    began = [mark for mark in own if mark.event == "began"]
    if not began:
        # It was cancelled while it waited, or it never reached its program: this job may not reach it either.
        return ChainStep.STOP, f"job {before.id} did not begin"
    ends = [mark for mark in own if mark.event == "ended" and mark.restart == began[-1].restart]
    code = int(ends[-1].value) if ends and ends[-1].value.isdigit() else None
    if code == 0:
        return ChainStep.DONE, f"job {before.id} ended with exit code 0: the work is done"
    if any(mark.event == "passed" for mark in own):
        return ChainStep.STOP, f"job {before.id} stopped the chain"
    if code is not None and code < SIGNALLED and code not in (EXIT_FAILED, EXIT_UNFINISHED):
        return ChainStep.STOP, f"job {before.id} ended with exit code {code}, as it would again"
    if saved.count:
        if saved.last is not None and saved.last >= began[0].time:
            return ChainStep.GO, ""
        return ChainStep.STOP, f"job {before.id} saved nothing in its checkpoint, and so would this one"
    if code == EXIT_UNFINISHED:
        return ChainStep.GO, ""
    return ChainStep.STOP, f"job {before.id} did not end by itself and left no checkpoint to go on from"


def before_in_chain(job: str, jobs: Iterable[SubmittedJob]) -> SubmittedJob | None:
    """The job that a job of a chain follows; None for the first one.

    Raises
    ------
    LookupError
        If the job is not among them: its submission is not written down yet.
    """
    every = list(jobs)
    own = next((other for other in reversed(every) if same_job(other.id, job)), None)
    if own is None:
        raise LookupError(job)
    return next((other for other in reversed(every) if own.after and other.id == own.after), None)
