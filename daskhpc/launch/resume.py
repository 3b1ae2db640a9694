"""Submits a job again from its own folder, with the script and the code that are there."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import LaunchError
from .batch_systems import batch_system
from .chain import submit_jobs
from .job_folder import SUBMITTED, JobFolder, SubmittedJob
from .job_query import ListedJob
from .job_script import Program
from .job_spec import JobSpec
from .job_state import JobState
from .jobs_text import state_words


def check_resumable(folder: JobFolder, found: Sequence[ListedJob]) -> None:
    """Refuse a job that has not ended, or has nothing left to do.

    Parameters
    ----------
    folder : JobFolder
    found : Sequence[ListedJob]
        What was submitted last from it, of a chain all jobs, with their states.

    Raises
    ------
    LaunchError
    """
    for job in found:
        number, words = job.submitted.id, state_words(job.report)
        if job.silence:
            raise LaunchError(
                "Whether the job still runs is not known.", f"{number} {words}; {job.silence}", "this again later"
            )
        if not job.report.state.ended and job.report.state is not JobState.UNKNOWN:
            raise LaunchError(
                "The job has not ended.",
                f"{number} {words}",
                f"nothing, and it goes on by itself; daskhpc cancel {number} would end it",
            )
    if folder.spec.get("array"):
        raise LaunchError(
            "An array is not resumed as a whole.",
            f"--array {folder.spec['array']}",
            f"daskhpc submit with the --array of what is missing, which daskhpc jobs {found[-1].submitted.id} tells",
        )
    if found[-1].report.state is JobState.COMPLETED:
        raise LaunchError(
            "The job is done.", f"{found[-1].submitted.id} completed with exit code 0", "daskhpc submit, to run it anew"
        )


def resume_job(folder: JobFolder, known: Sequence[SubmittedJob]) -> tuple[SubmittedJob, ...]:
    """Submit the script of a folder again; of a chain as many jobs as before.

    Parameters
    ----------
    folder : JobFolder
    known : Sequence[SubmittedJob]
        What had been submitted from it when its state was asked for.

    Raises
    ------
    LaunchError
        If the scheduler does not take it. If another process has resumed the same job since, or does so at this moment.
    """
    request = folder.request
    system = batch_system(request["site"]["scheduler"])
    with _alone(folder):
        if folder.submitted() != tuple(known):
            raise LaunchError("The job was resumed a moment ago.", str(folder.path), "daskhpc jobs")
        spec, program = JobSpec(**_with_tuples(request["spec"])), Program(**_with_tuples(request["program"]))
        return submit_jobs(system, spec, program, folder, secrets.token_hex(6))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON gives as lists, as the tuples that they were."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


@contextlib.contextmanager
def _alone(folder: JobFolder) -> Iterator[None]:
    """Keep other processes of this user from resuming the job, or that of a file system without locks."""
    with open(folder.path / SUBMITTED, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(
                "Another process resumes this job now.", str(folder.path), "daskhpc jobs, in a moment"
            ) from None
        except OSError:
            pass  # a file system without locks: the submissions are compared all the same
        yield
