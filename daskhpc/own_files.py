"""Files and folders that are this user's alone, looked at before anything in them is believed.

What daskhpc reads back may be unpickled, run, or taken for the address of rank 0. So a file counts only if its owner is
this user alone may write to it. The question is put to the open file and not to its name, which others could
exchange in between. A symbolic link counts only if this user or root made it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_OTHERS, _OTHERS_WRITE = 0o077, 0o022


class ForeignFileError(PermissionError):
    """A file or a folder that another user made, or could have written to."""


def foreign(status: os.stat_result) -> str | None:
    """Why a file or a folder is not believed; None if it is.

    Parameters
    ----------
    status : os.stat_result

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> foreign(os.stat(folder)) is None
    True
    >>> os.chmod(folder, 0o777)
    >>> foreign(os.stat(folder))
    'others may write to it (mode 777)'
    """
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}; this process runs as user {os.geteuid()}"
    mode = stat.S_IMODE(status.st_mode)
    return f"others may write to it (mode {mode:o})" if mode & _OTHERS_WRITE else None


def check_link(path: str | os.PathLike[str]) -> None:
    """See that a path is no symbolic link of another user; one of root is as good as one's own.

    Raises
    ------
    ForeignFileError
        If it is.
    OSError
        If there is nothing.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) and status.st_uid not in (os.geteuid(), 0):
        raise ForeignFileError(None, f"it is a symbolic link of user {status.st_uid}", str(path))


def own_folder(path: str | os.PathLike[str]) -> None:
    """See that a folder is this user's and that no other user could have written to it, and close it to all others.

    Raises
    ------
    ForeignFileError
        If it is another user's, or a link of another user, or if others may write to it.
    OSError
        If there is no such folder, or it stays open to others.
    """
    check_link(path)
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(None, "it is no folder", str(path))
    reason = foreign(status)
    if reason is not None:
        raise ForeignFileError(None, reason, str(path))
    if stat.S_IMODE(status.st_mode) & _OTHERS:
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~_OTHERS)


def make_own_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder with mode 0700 if there is none, with those above it, and see that it is this user's alone.

    Raises
    ------
    OSError
        As `own_folder`, or if it cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp(), "a", "b")
    >>> make_own_folder(folder)
    >>> oct(folder.stat().st_mode)[-3:]
    '700'
    """
    for part in (*reversed(Path(path).absolute().parents), Path(path)):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
    own_folder(path)


def open_own(path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, closed: bool = False) -> int:
    """Open a regular file of this user, to which no other user can write; its descriptor.

    Parameters
    ----------
    path : str or path
        No symbolic link is followed.
    flags : int
        With ``os.O_CREAT`` the file is made with mode 0600.
    closed : bool
        The file's folder has been closed to others since it was made, so that only the owner of the file matters: a
        job's script makes files that a group may write to, if the user's umask allows it.

    Raises
    ------
    ForeignFileError
        If it is another user's, or others may write to it.
    OSError
        If it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is no regular file", str(path))
        reason = foreign(status)
        if reason is not None and not (closed and status.st_uid == os.geteuid()):
            raise ForeignFileError(None, reason, str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_own(path: str | os.PathLike[str], *, closed: bool = False) -> bytes:
    """The content of a file that is this user's alone; parameters and exceptions are those of `open_own`."""
    with open(open_own(path, closed=closed), "rb") as file:
        return file.read()


def own_scratch(base: str) -> str:
    """A folder for Dask's own files below a directory that all users share, such as ``/tmp``.

    Dask would take ``dask-scratch-space`` there, whichever user made it; its owner can put another folder in place of a
    worker's, whose modules the worker imports and whose spilled data it unpickles. The name here is the one that Dask
    takes if it cannot write to the first.

    Examples
    --------
    >>> import tempfile
    >>> base = tempfile.mkdtemp()
    >>> own_scratch(base) == f"{base}/dask-scratch-space-{os.geteuid()}"
    True
    """
    name = f"dask-scratch-space-{os.geteuid()}"
    folder = os.path.join(base, name)
    try:
        make_own_folder(folder)
    except ForeignFileError:  # another user's file or folder has the name
        return tempfile.mkdtemp(prefix=f"{name}-", dir=base)
    except OSError:
        return base  # Dask reports what is wrong
    return folder


def state_folder() -> Path:
    """Where daskhpc keeps what it knows of all runs of this user: ``$XDG_STATE_HOME/daskhpc``."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "daskhpc"
