"""Which job folders may be removed: those of jobs that have ended, and only with files that daskhpc wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import LaunchError
from .job_folder import JobFolder
from .job_query import ListedJob
from .job_state import ENDED, JobState


class Kept(Enum):
    """Why a job folder stays."""

    RUNNING = "its job has not ended"
    SILENT = "it is not known whether its job has ended"
    UNKNOWN = "it is not known how its job ended; --state unknown removes it"
    OTHER_STATE = "its job has another state than --state"
    YOUNG = "its job ended more recently than --older-than"
    OTHER_FILES = "it has files that daskhpc did not write; to remove them too: rm -r"


@dataclass(frozen=True, slots=True)
class CleanRule:
    """Which jobs are meant.

    Attributes
    ----------
    older_than : float
        Seconds since their end, at least.
    states : frozenset[JobState]
        How they ended.
    """

    older_than: float = 0.0
    states: frozenset[JobState] = ENDED


def job_states(names: Iterable[str]) -> frozenset[JobState]:
    """The ends of jobs that words stand for; all but `JobState.UNKNOWN` if there are no words.

    Raises
    ------
    LaunchError
        If a word is none; the message lists them.

    Examples
    --------
    >>> job_states(["completed", "OUT_OF_MEMORY"]) == {JobState.COMPLETED, JobState.OUT_OF_MEMORY}
    True
    """
    ends = {state.name: state for state in JobState if state.ended or state is JobState.UNKNOWN}
    words = [word for name in names for word in name.split(",")]
    for word in words:
        if _name(word) not in ends:
            listed = ", ".join(name.lower() for name in ends)
            raise LaunchError(f"A job does not end as {word!r}.", f"the ends are {listed}", "--state completed")
    return frozenset(ends[_name(word)] for word in words) or ENDED


def _name(word: str) -> str:
    return word.strip().upper().replace(" ", "_").replace("-", "_")


def sorted_out(
    folders: Iterable[JobFolder], jobs: Sequence[ListedJob], rule: CleanRule, now: float
) -> tuple[list[JobFolder], list[tuple[JobFolder, Kept]]]:
    """The folders that may be removed, and the folders that stay, each with the reason.

    Parameters
    ----------
    folders : Iterable[JobFolder]
    jobs : Sequence[ListedJob]
        What was submitted last from them. A folder without a submission is in neither list: it may be of a job whose
        submission that was not confirmed.
    rule : CleanRule
    now : float
        Unix time.
    """
    chosen: list[JobFolder] = []
    kept: list[tuple[JobFolder, Kept]] = []
    for folder in folders:
        own = [job for job in jobs if job.folder == folder.path]
        if not own:
            continue
        why = next((why for job in own if (why := _stays(job, rule, now))), None)
        why = why or (Kept.OTHER_FILES if folder.other_files() else None)
        if why is None:
            chosen.append(folder)
        else:
            kept.append((folder, why))
    return chosen, kept


def _stays(job: ListedJob, rule: CleanRule, now: float) -> Kept | None:
    report = job.report
    if report.state is JobState.UNKNOWN:
        if job.silence:
            return Kept.SILENT
        if JobState.UNKNOWN not in rule.states:
            return Kept.UNKNOWN
    elif not report.state.ended:
        return Kept.RUNNING
    elif report.state not in rule.states:
        return Kept.OTHER_STATE
    end = next((moment for moment in (report.end, report.seen) if moment is not None), job.submitted.time)
    return Kept.YOUNG if now - end < rule.older_than else None
