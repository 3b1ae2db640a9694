"""``daskhpc.submit``: jobs from Python, on a login node, in a script or in a notebook."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LaunchError, SettingsError
from .launch.acceptance import read_back
from .launch.find_jobs import current_job, last_chain, log_file
from .launch.job_draft import draft_job, send_draft
from .launch.job_folder import JobFolder
from .launch.job_query import FRESH_SECONDS, ListedJob, cancel_jobs, forget_answers, listed, unfinished
from .launch.job_state import JobReport, JobState, may_run_again
from .launch.scheduler_commands import ask
from .own_files import state_folder
from .settings import PREFIX, Settings

if TYPE_CHECKING:
    import pandas as pd

_UNKNOWN_AT_MOST = 3


def submit(
    script: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    run: Mapping[str, Any] | None = None,
    profile: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Job:
    """Submit a program as a job, as ``daskhpc submit`` does.

    Parameters
    ----------
    script : str or path
        The Python program.
    args : Sequence[str]
        Its arguments.
    run : Mapping[str, Any], optional
        Settings of ``daskhpc run``, such as ``{"checkpoint": "results"}``.
    profile : str, optional
        Name of the profile of the site, if there are several.
    folder : str or path, optional
        The new folder of the job. By default one in ``daskhpc-jobs`` in the working directory.
    **options
        What the job asks for: the options of ``daskhpc submit --help`` with ``_`` for ``-``, such as ``nodes=2``,
        ``time="1h"``, ``memory="180G"``, ``account="physics"``.

    Returns
    -------
    Job

    Raises
    ------
    LaunchError
        If an option is not valid, or the scheduler refuses the job: there is no job then. Also if the scheduler's
        answer was lost and does not come back; the message has the command to look for the job.
    SettingsError
        If the profile is not valid, or a setting of `run`.

    Warns
    -----
    UserWarning
        If the site changed what the job asked for, or if it asks for more than its queue has.

    Examples
    --------
    >>> import daskhpc
    >>> _ = open("search.py", "w").write("print('a search')")
    >>> daskhpc.submit("search.py", nodes=2, time="60:30")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    daskhpc.errors.LaunchError: --time does not take '60:30'.
      found: Time limit: 90m, 2h30m, 1:30:00 or 1-12:00.
      try:   --time: '1h30s' for 1 h 0 min 30 s, as Slurm and PBS read '60:30', or '60h30m' for 60 hours and ...
    """
    words = _run_words(run or {})
    texts = [os.fspath(word) for word in args]
    draft = draft_job(script, texts, run_options=words, folder=folder, profile=profile, **options)
    sent = send_draft(draft)
    for change in read_back(draft.system, draft.spec, draft.site, sent.jobs[0]):
        warnings.warn(f"job {sent.jobs[0].id}: the site changed {change}", stacklevel=2)
    for excess in sent.beyond:
        warnings.warn(f"job {sent.jobs[0].id} may wait for ever: {excess.words}", stacklevel=2)
    return Job(sent.folder.path)


def _run_words(run: Mapping[str, Any]) -> list[str]:
    """Settings of ``daskhpc run`` as its options, checked now and not when the job begins."""
    given = {name: value for name, value in run.items() if value is not None and value is not False}
    settings, declared = Settings.resolve(given, config={}), Settings.declared()
    for name, value in given.items():
        if not declared[name].option:
            options = ", ".join(other for other in declared if declared[other].option)
            todo = f"env={{'{PREFIX}{name.upper()}': {str(value)!r}}}"
            raise SettingsError(f"daskhpc run has no option for the setting {name!r}.", f"it has {options}", todo)
    values = {name: getattr(settings, name) for name in given}
    return [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in values.items()]


class Job:
    """A job that was submitted; also one of another session, by its folder.

    Parameters
    ----------
    folder : str or path
        Its folder, which ``daskhpc jobs`` shows.

    Raises
    ------
    LaunchError
        If it is no job folder of this user, or nothing was submitted from it.

    Attributes
    ----------
    folder : Path
        With the job's script, its log and the code that runs.
    id : str
        The scheduler's id, whole; of a chain that of its first job.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._home = JobFolder(folder)
        self._submitted = last_chain(self._home.submitted())
        if not self._submitted:
            raise LaunchError("Nothing was submitted from this job folder.", str(folder), "daskhpc submit ...")
        self.folder = self._home.path
        self.id = self._submitted[0].id

    def __repr__(self) -> str:
        return f"<Job {self.id} {self._submitted[0].name!r}: {self.state.value}>"

    @property
    def report(self) -> JobReport:
        """What the scheduler and the job's folder say; the answer to one question is kept for ten seconds."""
        return self._listed().report

    def _listed(self) -> ListedJob:
        """Of a chain the job that has not ended, or else the last one."""
        found = self._links()
        return (unfinished(found) or found[-1:])[0]

    def _links(self) -> list[ListedJob]:
        own = {job.id for job in self._submitted}
        found = [job for job in listed([self._home], ask, state_folder()) if job.submitted.id in own]
        if not found:
            raise LaunchError(f"Job {self.id} was resumed.", str(self.folder), f"daskhpc.Job({str(self.folder)!r})")
        return found

    @property
    def state(self) -> JobState:
        """The job's state; `JobState.UNKNOWN` if it is not known any more."""
        return self.report.state

    def wait(self, timeout: float | None = None) -> JobState:
        """Wait until the job has ended.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Returns
        -------
        JobState
            How it ended.

        Raises
        ------
        TimeoutError
            If it has not ended after `timeout`.
        LaunchError
            If neither the scheduler nor the job's folder knows the job any more.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        unknown, pause = 0, 1.0
        while True:
            forget_answers(state_folder())
            job = self._listed()
            if job.report.state.ended and not (job.silence and may_run_again(job.report)):
                return job.report.state
            # No answer of the scheduler means nothing; only an answer without the job counts.
            unknown = unknown + 1 if job.report.state is JobState.UNKNOWN and not job.silence else 0
            if unknown > _UNKNOWN_AT_MOST:
                raise LaunchError(
                    f"Nobody knows job {self.id} any more.",
                    f"the scheduler and {self.folder}",
                    f"daskhpc logs {self.id}",
                )
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"job {self.id} is {job.report.state.value} after {timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, FRESH_SECONDS)

    def cancel(self) -> None:
        """End the job; what is in a checkpoint stays.

        Raises
        ------
        LaunchError
            If the scheduler does not take it; its words are in the message.
        """
        # The scheduler refuses what has ended. Of a chain the next job would begin at the end of the one before.
        left = [job.submitted for job in unfinished(self._links())]
        refused = cancel_jobs(left[::-1], ask, state_folder())
        if refused:
            raise LaunchError(f"Job {self.id} was not cancelled.", "; ".join(refused), "daskhpc jobs")

    def tail(self, lines: int = 20, element: int | None = None) -> str:
        """The last lines of what the job printed; empty before it begins.

        Parameters
        ----------
        lines : int
        element : int, optional
            Of an array, which one.
        """
        path = log_file(self.folder, current_job(self._home), "" if element is None else str(element))
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return "".join(deque(file, maxlen=lines))
        except FileNotFoundError:
            return ""

    def results(self) -> pd.DataFrame:
        """What is in the job's checkpoint, also while it runs: see `daskhpc.report.results`.

        Raises
        ------
        LaunchError
            If the job was submitted without one.
        JournalError
            If nothing is in it yet.
        """
        from . import report

        program = self._home.request["program"]
        for option in program["run_options"]:
            name, _, value = option.partition("=")
            if name == "--checkpoint":
                return report.results(Path(program["working_directory"], value))
        raise LaunchError(
            f"Job {self.id} was submitted without a checkpoint.",
            "daskhpc keeps results of a program if its run has a checkpoint folder",
            "daskhpc.submit(..., run={'checkpoint': 'kept'}); daskhpc.report.results(FOLDER) for the program's own",
        )
