"""``daskhpc.submit``: from a program and what it asks for to a job."""

from __future__ import annotations

import errno
import os
import re
import secrets
import site as python_site
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import LaunchError
from ..text import one_line, shortened
from .acceptance import Answer, AskedBefore, refusal
from .batch_systems import batch_system, installed_batch_system
from .batch_systems.base import BatchSystem
from .chain import submit_jobs
from .job_folder import CODE, JobFolder, SubmittedJob
from .job_script import Program, in_words, job_script
from .job_spec import JobSpec
from .limits import Excess
from .profile import Profile, load
from .program_file import check_program
from .site import Site
from .snapshot import git_state, take_snapshot
from .submission import RefusedError

JOBS = "daskhpc-jobs"
"""The folder of job folders, in the folder from which jobs are submitted."""


@dataclass(frozen=True, slots=True)
class JobDraft:
    """A job that is ready to be submitted; nothing is written yet.

    Attributes
    ----------
    spec : JobSpec
    site : Site
    system : BatchSystem
    program : Program
    folder : Path
        Where its folder will be.
    token : str
    script : str
        The text of its script.
    """

    spec: JobSpec
    site: Site
    system: BatchSystem
    program: Program
    folder: Path
    token: str
    script: str

    @property
    def words(self) -> str:
        """What it asks for, in words."""
        return in_words(self.spec)


def draft_job(
    script: str | os.PathLike[str],
    args: Sequence[str] = (),
    *,
    run_options: Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    site: Site | None = None,
    profile: str | None = None,
    **options: Any,
) -> JobDraft:
    """Prepare a job without an effect; the parameters are those of `submit`.

    Raises
    ------
    LaunchError
        If an option, the program or the batch system is not what it has to be.
    SettingsError
        If the profile is not.
    """
    check_program(os.fspath(script), args, command="daskhpc submit")
    path = Path(script).absolute()
    spec, facts = asked_for(path.stem, load(profile), site, options)
    if spec.output:
        # A batch system takes a relative name for one in the folder of the job, and a user means the folder he is in.
        spec = replace(spec, output=os.path.abspath(spec.output))
    system = batch_system(facts.scheduler)
    token = secrets.token_hex(6)
    where = Path(folder) if folder is not None else new_folder(spec.name, token)
    program = Program(str(path), tuple(args), os.getcwd(), sys.executable, tuple(run_options), interpreter_needs())
    text = job_script(spec, facts, system, program, str(where.absolute()), os.environ)
    return JobDraft(spec, facts, system, program, where.absolute(), token, text)


def asked_for(title: str, profile: Profile, site: Site | None, options: Mapping[str, Any]) -> tuple[JobSpec, Site]:
    """What a job asks for by a profile and by its own options, and at which site.

    Parameters
    ----------
    title : str
        Of the job, if the options have no name.
    profile : Profile
    site : Site or None
        In place of the profile's.
    options : Mapping[str, Any]
        Those of the job; one that is None, false or empty was not given.
    """
    empty: tuple[Any, ...] = (None, "", (), [], {})
    # 0 equals False, and is no option that was left out.
    asked = {name: value for name, value in options.items() if value not in empty and value is not False}
    given = {**profile.job, **asked}
    given["name"] = given.get("name") or shortened(re.sub(r"[^\w.+-]+", "_", title), 60)
    spec, facts = JobSpec.make(**given), site or profile.site
    if site is None and "scheduler" not in profile.sources:
        facts = replace(profile.site, scheduler=installed_batch_system())
    if facts.scheduler == "slurm" and asked.get("gpu_type") and not spec.gpus:
        raise LaunchError(
            "The type of GPUs asks for none.",
            f"--gpu-type {spec.gpu_type}, and no --gpus-per-node",
            f"--gpus-per-node 1 --gpu-type {spec.gpu_type}",
        )
    return spec, facts


def new_folder(title: str, token: str) -> Path:
    """Where the folder of a new job is, below the working directory."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    # A leading dash or dot would be taken for an option, or hide the folder.
    stem = re.sub(r"[^A-Za-z0-9_.+-]", "_", title).lstrip("-.") or "job"
    return Path(JOBS).absolute() / f"{stem[:40]}-{stamp}-{token}"


@dataclass(frozen=True, slots=True)
class SentDraft:
    """What became of a draft that the scheduler took.

    Attributes
    ----------
    folder : JobFolder
    jobs : tuple[SubmittedJob, ...]
        One, or those of a chain in their order.
    beyond : tuple[Excess, ...]
        What they ask for beyond the limits of their queue; such a job may wait for ever.
    """

    folder: JobFolder
    jobs: tuple[SubmittedJob, ...]
    beyond: tuple[Excess, ...] = ()


def send_draft(draft: JobDraft) -> SentDraft:
    """Write the folder of a job and submit it; of a chain all of its jobs.

    Raises
    ------
    LaunchError
        If it was not submitted; nothing of its folder stays then. If it is not known whether it was; the folder stays.
    """
    asked = AskedBefore.start(draft.system, draft.spec, draft.site)
    _make_folder_of_log(draft.spec.output)
    folder, test = _write_folder(draft, asked)
    beyond: tuple[Excess, ...] = ()
    try:
        beyond = asked.refuse(folder, test)
        return SentDraft(folder, submit_jobs(draft.system, draft.spec, draft.program, folder, draft.token), beyond)
    except RefusedError as error:
        folder.remove()
        raise refusal(draft.system, error.happened, error.found, beyond) if beyond else error from None


def _write_folder(draft: JobDraft, asked: AskedBefore) -> tuple[JobFolder, Answer]:
    """Write the folder of a job, of which nothing stays if that fails; with the scheduler's answer to its script."""
    path = Path(draft.program.script)
    kept = {
        "spec": asdict(draft.spec),
        "site": asdict(draft.site),
        "program": {**asdict(draft.program), "environment": dict(draft.program.environment)},
        "token": draft.token,
        "git": git_state(path.parent),
    }
    try:
        folder = JobFolder.create(draft.folder, kept)
    except OSError as error:
        raise _no_folder(error) from None
    try:
        (folder.path / draft.system.script_name).write_text(draft.script, encoding="utf-8", errors="surrogateescape")
        test = asked.test(folder)
        if not draft.spec.live:
            take_snapshot(path, folder.path / CODE)
    except (OSError, LaunchError) as error:
        folder.remove()
        raise _no_folder(error) if isinstance(error, OSError) else error from None
    return folder, test


def _no_folder(error: OSError) -> LaunchError:
    """The error if the folder of a job was not written."""
    if error.errno == errno.EEXIST:
        todo = "--folder with a name that is not taken"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        todo = "--folder on another disk, or fewer files on this one"
    else:
        todo = "--folder in a folder that you can write to"
    return LaunchError("The job was not submitted: its folder could not be written.", one_line(str(error)), todo)


def _make_folder_of_log(log: str) -> None:
    """Make the folder of a log, without which a job fails at its start, with no message."""
    if os.path.isdir(log):
        raise LaunchError(
            "The log is a file.", f"--output {log} is a folder", f"--output {os.path.join(log, 'log.txt')}"
        )
    folder = os.path.dirname(log)
    if folder and "%" not in folder:  # such a name only the scheduler knows
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise LaunchError("The folder of the log cannot be made.", str(error), "--output FILE") from None


def interpreter_needs() -> Mapping[str, str]:
    """The variables with which the interpreter finds on a node what it finds here, without a login shell."""
    needs = {}
    in_user_site = Path(__file__).is_relative_to(python_site.getusersitepackages())
    if not in_user_site:
        # Packages in ~/.local come before the ones of the environment, and are other ones for each Python.
        needs["PYTHONNOUSERSITE"] = "1"
    if (Path(sys.prefix) / "conda-meta").is_dir():
        needs["CONDA_PREFIX"] = sys.prefix
    elif sys.prefix != sys.base_prefix:
        needs["VIRTUAL_ENV"] = sys.prefix
    return needs
