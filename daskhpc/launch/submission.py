"""Submits a job, once: what the scheduler's answer means is decided here, and acted upon."""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Callable
from enum import Enum

from ..errors import LaunchError
from ..text import one_line
from .batch_systems.base import BatchSystem
from .job_folder import JobFolder
from .job_spec import JobSpec
from .refusals import remedy
from .scheduler_commands import CommandAnswer, ask

TRIES = 5
SUBMIT_SECONDS = 60.0


class RefusedError(LaunchError):
    """The scheduler did not take a job: there is none."""


class SubmitOutcome(Enum):
    """What the answer of a submit command means."""

    SUBMITTED = "there is an id"
    REFUSED = "there is no job, and there will be none"
    LATER = "there is no job; the scheduler may take it later"
    UNKNOWN = "nobody knows whether there is a job"


def outcome(system: BatchSystem, answer: CommandAnswer) -> SubmitOutcome:
    """What the answer of a submit command means."""
    if answer.code is None:
        return SubmitOutcome.UNKNOWN
    text = f"{answer.err}\n{answer.out}".lower()
    if answer.code == 0:
        try:
            system.job_id(answer.out)
        except ValueError:
            return SubmitOutcome.UNKNOWN
        return SubmitOutcome.SUBMITTED
    if any(words.lower() in text for words in system.lost):
        return SubmitOutcome.UNKNOWN
    if any(words.lower() in text for words in system.transient):
        return SubmitOutcome.LATER
    return SubmitOutcome.REFUSED


def submit_once(
    system: BatchSystem,
    spec: JobSpec,
    folder: JobFolder,
    token: str,
    wait: Callable[[float], None] = time.sleep,
    after: str = "",
) -> tuple[str, str]:
    """Submit the script of a folder; it is never submitted twice.

    If the answer does not say whether there is a job, the scheduler's list is searched for the token before the next
    try. A scheduler that is not able to answer is asked again, each time after about twice as long.

    Parameters
    ----------
    system : BatchSystem
    spec : JobSpec
    folder : JobFolder
    token : str
        By which the job is found.
    wait : Callable[[float], None]
        Waits for so many seconds.
    after : str
        The id of a job at whose end this one may begin; empty for none.

    Returns
    -------
    tuple[str, str]
        The job's id, and its cluster.

    Raises
    ------
    LaunchError
        If the scheduler refuses the job: its own words come first. If it did not become known whether there is a job,
        also because the user interrupted this.
    """
    line = system.submit_line(system.script_name, spec, token, after)
    try:
        return _submit(system, spec, folder, token, line, wait)
    except KeyboardInterrupt:  # by a user for whom the scheduler is too slow, and it may have the job
        raise _not_known(system, spec, token, f"{line[0]} was interrupted") from None


def _submit(
    system: BatchSystem, spec: JobSpec, folder: JobFolder, token: str, line: list[str], wait: Callable[[float], None]
) -> tuple[str, str]:
    for attempt in range(TRIES):
        try:
            answer = ask(line, cwd=str(folder.path), timeout=SUBMIT_SECONDS)
        except LaunchError as error:  # there is no such command
            raise RefusedError(error.happened, error.found, error.todo) from None
        result = outcome(system, answer)
        if result is SubmitOutcome.SUBMITTED:
            return system.job_id(answer.out)
        if result is SubmitOutcome.REFUSED:
            todo = remedy(system.name, said(answer))
            raise RefusedError(said(answer), f"{system.title} did not take the job: {shlex.join(line)}", todo)
        if result is SubmitOutcome.LATER:
            wait(_pause(attempt))
            continue
        found = _search(system, spec, token, said(answer), wait)
        if found is not None:
            return found, spec.clusters
    raise RefusedError(
        f"{system.title} took no job in {TRIES} tries.", said(answer), "the same command again, in some minutes"
    )


def _search(system: BatchSystem, spec: JobSpec, token: str, words: str, wait: Callable[[float], None]) -> str | None:
    """The id of the job with a token; None if it surely is not there."""
    line = system.search_line(spec)
    absent = 0
    for attempt in range(TRIES):
        wait(_pause(attempt))
        listed = ask(line)
        if listed.code != 0:
            continue
        found = system.found(listed.out, token)
        if found is not None:
            return found
        absent += 1
        # Twice, since the scheduler may have been about to write the job down.
        if absent == 2:
            return None
    raise _not_known(system, spec, token, f"{words}; after that {shlex.join(line)} gave no answer: {said(listed)}")


def _not_known(system: BatchSystem, spec: JobSpec, token: str, found: str) -> LaunchError:
    look = shlex.join(system.search_line(spec))
    return LaunchError(
        "It is not known whether the job was submitted.",
        found,
        f"{look} | grep {token}; submit again only if it shows no job",
    )


def _pause(attempt: int) -> float:
    # Jitter, so that the jobs of a user who submits many do not come back all at one time.
    return float(2**attempt) * random.uniform(0.5, 1.5)


def said(answer: CommandAnswer) -> str:
    """The scheduler's own words."""
    return one_line(answer.err or answer.out) or f"no word, and the exit code {answer.code}"
