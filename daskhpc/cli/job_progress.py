"""How far the work of a job is, from the journals that it writes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DaskhpcError, LaunchError
from ..launch.chain import JournalsSaved
from ..launch.find_jobs import find_job
from ..launch.job_folder import JobFolder
from ..launch.job_state import JobReport
from ..launch.jobs_text import near

_MOST_FOLDERS = 200


def progress_words(request: dict[str, Any], folder: Path, report: JobReport) -> str:
    """``checkpoint: 340 of 1,000 done``, for the journals that the job wrote to; empty if there are none.

    Parameters
    ----------
    request : dict[str, Any]
        What is kept in the job's folder.
    folder : Path
        That folder.
    report : JobReport
        The state of the job; one that did not begin has no progress.
    """
    if report.start is None or report.state.waiting:
        return ""
    from ..journal.reader import JournalReader
    from ..report.run_progress import run_progress

    words = []
    named, journals = _named(request, folder), list(_journals(request, folder))
    # Another job of the working directory may write to the other ones.
    for journal in [named] if named in journals else journals:
        if not _written(journal, report):
            continue
        try:
            run = run_progress(JournalReader(journal), time.time())
        except (DaskhpcError, OSError, ValueError):
            continue  # `daskhpc status` shows what is wrong with it
        done, known = sum(place.done for place in run.places), [place.known for place in run.places]
        total = None if None in known or not known else sum(filter(None, known))
        failed = sum(place.failed for place in run.places)
        text = f"{journal.name}: {done:,} of {total:,} done" if total is not None else f"{journal.name}: {done:,} done"
        words.append(text + (f", {failed:,} failed" if failed else ""))
    return "; ".join(words)


def journal_of(name: str) -> str:
    """The folder of a journal: that folder, or the journal of the job that is meant by an id or a title.

    Raises
    ------
    LaunchError
        If the job has no journal, or several of which none is the one that ``--checkpoint`` named.
    """
    every = [] if os.path.lexists(name) else list(JobFolder.all())
    try:
        folder, job, _ = find_job(name, every)
    except LaunchError:
        if not os.path.lexists(name):
            raise LaunchError(
                f"There is no checkpoint folder {name!r}, and no job of that name.",
                "a job makes the folder when its program begins to compute",
                "daskhpc jobs",
            ) from None
        return name
    named = _named(folder.request, folder.path)
    found = [path for path in _journals(folder.request, folder.path) if named in (None, path)]
    if len(found) == 1:
        return near(found[0])
    if found:
        raise LaunchError(
            f"Job {job.id} has several folders of results.", ", ".join(map(near, found)), "one of these folders"
        )
    words = f"no journal {near(named)} yet" if named else "it was submitted without --checkpoint"
    raise LaunchError(f"Job {job.id} has no results in a checkpoint.", words, f"daskhpc logs {job.id}")


def journals_saved(request: dict[str, Any], folder: Path) -> JournalsSaved:
    """How many journals the program of a job has, and when one of them got its last result."""
    from ..journal.reader import JournalReader
    from ..report.run_progress import run_progress

    count, saved = 0, []
    for journal in _journals(request, folder):
        try:
            run = run_progress(JournalReader(journal), time.time())
        except (DaskhpcError, OSError, ValueError):
            continue
        count += 1
        saved += [run.saved] if run.saved is not None else []
    return JournalsSaved(count, max(saved, default=None))


def _journals(request: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The journals in the job's folder, in its working directory, and the one that ``--checkpoint`` names."""
    here = _working_directory(request, folder)
    named = _named(request, folder)
    found: dict[Path, None] = {named: None} if named else {}
    for parent in (folder, here):
        try:
            entries = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())[:_MOST_FOLDERS]
        except OSError:
            continue
        found |= dict.fromkeys(parent / name for name in entries)
    yield from (path for path in found if (path / "journal.json").is_file())


def _named(request: dict[str, Any], folder: Path) -> Path | None:
    """The folder that ``--checkpoint`` names."""
    for option in (request.get("program") or {}).get("run_options") or ():
        name, _, value = str(option).partition("=")
        if name == "--checkpoint" and value:
            return _working_directory(request, folder) / value
    return None


def _working_directory(request: dict[str, Any], folder: Path) -> Path:
    return Path((request.get("program") or {}).get("working_directory") or folder)


def _written(journal: Path, report: JobReport) -> bool:
    """Whether a file of a journal was written while the job ran."""
    try:
        last = max(entry.stat().st_mtime for entry in os.scandir(journal))
    except (OSError, ValueError):
        return False
    return last >= (report.start or 0.0) and (report.end is None or last <= report.end + 60.0)
