"""Which job a user means by an id, a folder or a title."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import LaunchError
from .job_folder import SPEC, JobFolder, SubmittedJob
from .job_state import same_job


def newest_jobs(folders: Iterable[JobFolder]) -> list[tuple[JobFolder, SubmittedJob]]:
    """What was submitted last from each folder, of a chain all jobs; folders without a submission are left out."""
    return [(folder, job) for folder in folders for job in last_chain(folder.submitted())]


def last_chain(jobs: Sequence[SubmittedJob]) -> tuple[SubmittedJob, ...]:
    """The jobs that were submitted together last: one, or the jobs of a chain in their order."""
    first = len(jobs) - 1
    while first > 0 and jobs[first].after and jobs[first].after == jobs[first - 1].id:
        first -= 1
    return tuple(jobs[max(0, first) :])


def current_job(folder: JobFolder) -> SubmittedJob:
    """The job of a folder that ran its program last; before any did, the first of those that were submitted last."""
    jobs, marks = last_chain(folder.submitted()), folder.marks()
    idle = [mark.job for mark in marks if mark.event == "passed"]
    began = [mark.job for mark in marks if mark.event == "began"]
    ran = [job for job in jobs if any(same_job(job.id, name) for name in began if name not in idle)]
    return ran[-1] if ran else jobs[0]


def find_job(name: str | None, folders: Sequence[JobFolder]) -> tuple[JobFolder, SubmittedJob, str]:
    """The job that is meant.

    Parameters
    ----------
    name : str or None
        An id, also of one element of an array; a job folder; the title of a job, of which the newest counts. None
        is the job that was submitted last.
    folders : Sequence[JobFolder]
        All job folders.

    Returns
    -------
    tuple[JobFolder, SubmittedJob, str]
        The element of the array, ``"4"`` of ``123_4``, is last; it is empty for a whole job.

    Raises
    ------
    LaunchError
        If there is none, or if two clusters have the same id.
    """
    if name and (os.sep in name or name in (".", "..") or (Path(name) / SPEC).is_file()):
        folder = JobFolder(name)
        if not folder.submitted():
            raise LaunchError("Nothing was submitted from this job folder.", str(folder.path), "daskhpc submit ...")
        return folder, current_job(folder), ""
    every = sorted(
        ((folder, job) for folder in folders for job in folder.submitted()), key=lambda pair: pair[1].time, reverse=True
    )
    if name is None:
        if not every:
            raise _no_jobs()
        return every[0][0], current_job(every[0][0]), ""
    by_id = [pair for pair in every if same_job(pair[1].id, name)]
    cluster = name.partition(";")[2]
    if cluster:
        by_id = [pair for pair in by_id if pair[1].cluster == cluster]
    if len({job.cluster for _, job in by_id}) > 1:
        ids = ", ".join(f"'{job.id};{job.cluster}'" for _, job in by_id)
        raise LaunchError(f"Several clusters have a job {name}.", ids, f"one of {ids}")
    if by_id:
        folder, job = by_id[0]
        return folder, job, element_of(name) if not element_of(job.id) else ""
    for folder, job in every:
        if name in (job.name, folder.path.name):
            return folder, current_job(folder), ""
    if not every:
        raise _no_jobs()
    known = ", ".join(job.id for _, job in every[:5])
    raise LaunchError(f"You have no job {name!r} of daskhpc.", f"the last ones are {known}", "daskhpc jobs")


def _no_jobs() -> LaunchError:
    return LaunchError("You have no jobs of daskhpc.", "no job folder", "daskhpc submit --nodes 2 --time 1h script.py")


def element_of(job: str) -> str:
    """The element of an array that an id names: ``"4"`` of ``123_4`` and of ``123[4].server``.

    Several that wait are named as squeue lists them.

    Examples
    --------
    >>> element_of("123_4"), element_of("123[4].server"), element_of("123[].server"), element_of("123")
    ('4', '4', '', '')
    >>> element_of("123_[5-9%2]")
    '[5-9%2]'
    """
    plain = job.partition(";")[0].partition(".")[0]
    return plain.partition("_")[2] if "_" in plain else plain.partition("[")[2].rstrip("]")


def log_file(folder: Path, job: SubmittedJob, element: str = "") -> Path:
    """The path of a job's log; ``%a`` is put in for an element of an array."""
    number = job.id.partition(".")[0].partition("[")[0]
    text = job.log.replace("%a", element).replace("%j", number).replace("%A", number).replace("%x", job.name)
    return folder / text
