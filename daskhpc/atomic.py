"""Files that are complete or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there takes the name `path` when the block ends.

    Parameters
    ----------
    path : str or path
        The file. One that is there already stays until the new one is complete.
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
        The one of writing or renaming. On this and on any other exception the temporary file is removed, and the file
        at `path` is as it was.

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
        os.replace(draft, target)
        if sync:
            sync_path(target.parent)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def sync_path(path: str | os.PathLike[str]) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
