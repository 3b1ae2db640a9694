"""Files and folders that are complete or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there takes the name `path` when the block ends.

    Parameters
    ----------
    path : str or path
        The file or the folder. One that is there already stays until the new one is complete.
    sync : bool
        Whether file and folder are on the disk before the block's end returns (``fsync``), as what must survive a crash
        of the node has to be.

    Yields
    ------
    pathlib.Path
        The temporary path, hidden, in the same folder; nothing is there yet.

    Raises
    ------
    OSError
        The one of writing or renaming. On this and on any other exception what is at the temporary path is removed,
        and what is at `path` is as it was.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "table.csv"
    >>> with replacing(target) as draft:
    ...     _ = draft.write_text("a,b\\n1,2\\n")
    >>> target.read_text()
    'a,b\\n1,2\\n'
    """
    target = Path(path)
    # A name of its own, no longer than any file name may be, so that two writers of one file do not meet.
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield draft
        if sync:
            sync_path(draft)
        if target.is_dir():
            # A folder cannot take the place of another one in one step.
            old = target.with_name(f"{draft.name}-old")
            os.replace(target, old)
            os.replace(draft, target)
            _remove(old)
        else:
            os.replace(draft, target)
        if sync:
            sync_path(target.parent)
    finally:
        _remove(draft)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sync_path(path: str | os.PathLike[str]) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
