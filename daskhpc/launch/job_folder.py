"""The folder of a job: its script, its spec, the code that runs, and what was submitted from it.

::

    daskhpc-jobs/search-20261126-094500-1f0c9a/      0700
        job.sbatch or job.pbs     the script that the scheduler runs
        spec.json                 the JobSpec, the site, the program, and the state of the code's repository
        code/                     the program and the modules beside it, as they were at submission
        submitted.jsonl           one line per submission: id, cluster, token, log, time
        marks                     what the job's script writes: one line when it begins, one when it ends
        log-<id>.txt              what the job prints; <id>_<element> for an array

A link to each folder lies in ``~/.local/state/daskhpc/jobs``, so that all jobs of a user are found from anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import LaunchError
from ..own_files import ForeignFileError, make_own_folder, open_own, own_folder, read_own, state_folder
from ..text import one_line, shortened

SPEC, SUBMITTED, MARKS, CODE = "spec.json", "submitted.jsonl", "marks", "code"
STATES = "states.json"
"""What `job_query` keeps in a job folder: the states that were seen last."""
_OWN_FILES = frozenset((SPEC, SUBMITTED, MARKS, STATES, "job.sbatch", "job.pbs"))
_OWN_FOLDERS = frozenset((CODE,))


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """One submission from a job folder, as its file of submissions keeps it.

    Attributes
    ----------
    id : str
        The scheduler's id, whole and opaque: "123", "123.server", "123[].server".
    cluster : str
        The cluster of a multi-cluster Slurm; empty if there is none.
    scheduler : str
        "slurm", "pbspro" or "torque".
    script : str
        Absolute path of the user's program.
    name : str
        The user's title of the job.
    log : str
        Path of the log, relative to the folder, or absolute if the user chose it. Of an array, a pattern in which
        ``%a`` stands for the element.
    time : float
        When it was submitted, in seconds since 1970.
    token : str
        What was sent along so that the job can be found again if the scheduler's answer was lost.
    after : str
        Of a chain, the id of the job before; empty for the first one and for a job alone.
    """

    id: str
    cluster: str
    scheduler: str
    script: str
    name: str
    log: str
    time: float
    token: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that the job's script wrote.

    Attributes
    ----------
    job : str
        The id, of an element of an array its own (``SLURM_ARRAY_JOB_ID_TASK``).
    restart : int
        0, and one more for each time that the job was requeued.
    event : str
        "began" or "ended", or "passed" for a job of a chain that had nothing to do.
    time : int
        Seconds since 1970, by the node's clock.
    value : str
        The host of "began", the exit code of "ended" and "passed".
    """

    job: str
    restart: int
    event: str
    time: int
    value: str


class JobFolder:
    """A job folder that is there.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    LaunchError
        If there is no such folder, or if others could have written to it: what is in it is believed and run. One that
        others may read is closed to them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        try:
            own_folder(self.path)
        except ForeignFileError as error:
            todo = "a folder of your own that only you write to: chmod 700"
            raise LaunchError(f"The job folder {str(path)!r} is not believed.", str(error.strerror), todo) from None
        except OSError as error:
            raise LaunchError(f"There is no job folder {str(path)!r}.", str(error), "daskhpc jobs") from None
        if not (self.path / SPEC).is_file():
            raise LaunchError(f"{str(path)!r} is no job folder.", f"it has no file {SPEC}", "daskhpc jobs")

    @classmethod
    def create(cls, path: Path, request: Mapping[str, Any]) -> JobFolder:
        """Make a new folder for a job, with mode 0700, and link it in the user's list of jobs.

        Raises
        ------
        OSError
            If there is something of that name, or the disk is full; nothing is left of the folder then.
        LaunchError
            If the user's list of jobs cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        try:
            with replacing(path / SPEC) as draft:
                # In ASCII, because a file's name may be no UTF-8.
                draft.write_text(json.dumps(request, indent=2) + "\n", encoding="ascii")
            folder = cls(path)
            folder._add_link()
        except (OSError, LaunchError):
            shutil.rmtree(path, ignore_errors=True)
            raise
        return folder

    def _add_link(self) -> None:
        links = _links()
        try:
            self._link_in(links)
        except OSError as error:
            todo = f"room in {links}, or XDG_STATE_HOME with another folder of yours"
            happened = "Nothing was submitted: the list of your jobs could not be written."
            raise LaunchError(happened, one_line(str(error)), todo) from None

    def _link_in(self, links: Path) -> None:
        make_own_folder(links)
        # Folders of other places may have the same name, and a folder that is gone may have left its link.
        for name in (self.path.name, f"{self.path.name}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"):
            with contextlib.suppress(FileExistsError):
                (links / name).symlink_to(self.path)
            if os.readlink(links / name) == str(self.path):
                return

    @classmethod
    def all(cls) -> Iterator[JobFolder]:
        """All job folders of this user that are there, oldest first; a link to a folder that is gone is passed over."""
        links = _links()
        found = []
        for link in links.iterdir() if links.is_dir() else ():
            try:
                folder = cls(os.readlink(link))
                found.append(((folder.path / SPEC).stat().st_mtime, link.name, folder))
            except (OSError, LaunchError):
                continue
        yield from (folder for _, _, folder in sorted(found, key=lambda item: item[:2]))

    def remove(self) -> None:
        """Remove the folder with all that is in it, and its link; links in it are not followed.

        What makes it a job folder goes last, so that a removal that was interrupted can be done again.
        """
        for entry in sorted(os.scandir(self.path), key=lambda entry: (entry.name in (SUBMITTED, SPEC), entry.name)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        self.path.resolve().rmdir()
        for link in _links().glob("*"):
            if link.is_symlink() and os.readlink(link) == str(self.path):
                link.unlink()

    def other_files(self) -> list[str]:
        """The names of what lies in the folder and was not written by daskhpc, such as results of the program."""
        jobs = self.submitted()
        logs = {Path(job.log).name.partition("%")[0] for job in jobs if not os.path.isabs(job.log)}
        # What PBS keeps of the output beside the log, such as search.o123.
        numbers = {job.id.partition(".")[0].partition("[")[0] for job in jobs if job.scheduler != "slurm"}
        others = [
            entry.name
            for entry in os.scandir(self.path)
            if not (
                entry.name in _OWN_FOLDERS
                if entry.is_dir(follow_symlinks=False)
                else entry.name in _OWN_FILES
                or any(entry.name.startswith(log) for log in logs)
                or any(re.search(rf"\.o{re.escape(number)}(?!\d)", entry.name) for number in numbers)
            )
        ]
        return sorted([*others, *self._written_beside_code(min((job.time for job in jobs), default=math.inf))])

    def _written_beside_code(self, since: float) -> Iterator[str]:
        """What a module writes beside itself (``Path(__file__).parent``) lies among the copies; these are older."""
        for parent, _, names in os.walk(self.path / CODE):
            for path in (Path(parent, name) for name in names if os.path.basename(parent) != "__pycache__"):
                if path.lstat().st_mtime > since:
                    yield str(path.relative_to(self.path))

    def size(self) -> int:
        """Its bytes, of files alone."""
        return sum(
            os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(self.path) for name in names
        )

    def _read(self, name: str) -> str:
        return read_own(self.path / name, closed=True).decode(errors="replace")

    @property
    def request(self) -> dict[str, Any]:
        """What `create` was given: the spec, the site, the program, the token and the state of its repository."""
        return dict(json.loads(self._read(SPEC)))

    @property
    def spec(self) -> dict[str, Any]:
        """The options of the `JobSpec`."""
        return dict(self.request["spec"])

    def submitted(self) -> tuple[SubmittedJob, ...]:
        """All submissions from this folder, the first one first; a damaged line is passed over, with one message."""
        try:
            lines = self._read(SUBMITTED).split("\n")
        except FileNotFoundError:
            return ()
        jobs = []
        for number, line in enumerate(lines, 1):
            try:
                jobs.extend([SubmittedJob(**json.loads(line))] if line else [])
            except (ValueError, TypeError):
                _tell_of_bad_line(f"line {number} of {self.path / SUBMITTED} is {shortened(line, 60)}")
        return tuple(jobs)

    def add(self, job: SubmittedJob) -> None:
        """Keep a submission, on the disk when this returns."""
        descriptor = open_own(self.path / SUBMITTED, os.O_RDWR | os.O_APPEND | os.O_CREAT, closed=True)
        with open(descriptor, "a+b") as file:
            # A line that a full disk or a kill cut off would take this one along.
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                file.write(b"\n")
            file.write(json.dumps(asdict(job)).encode("ascii") + b"\n")
            file.flush()
            os.fsync(descriptor)

    def marks(self) -> tuple[Mark, ...]:
        """What the scripts of this folder's jobs wrote; a torn line is passed over."""
        try:
            lines = self._read(MARKS).splitlines()
        except FileNotFoundError:
            return ()
        parts = [line.split() for line in lines]
        # Two nodes that write at one time to a file system such as NFS may spoil each other's lines.
        return tuple(Mark(p[0], int(p[1]), p[2], int(p[3]), p[4]) for p in parts if _is_mark(p))


def _is_mark(words: list[str]) -> bool:
    return (
        len(words) == 5 and words[1].isdecimal() and words[2] in ("began", "ended", "passed") and words[3].isdecimal()
    )


@cache  # once for each line
def _tell_of_bad_line(found: str) -> None:
    words = LaunchError(
        "A submission is not in the list of your jobs: what its folder kept of it is damaged.",
        found,
        "squeue --me, or qstat -u $USER, which lists all of your jobs",
    )
    print(f"daskhpc: {words}", file=sys.stderr)


def _links() -> Path:
    return state_folder() / "jobs"
