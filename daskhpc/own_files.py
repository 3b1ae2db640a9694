"""Files and folders that are this user's alone, looked at before anything in them is believed.

What daskhpc reads back may be unpickled, run, or taken for the address of rank 0. So a file counts only if its owner is
this user and nobody else may write to it. The question is put to the open file and not to its name, which others could
exchange in between. A symbolic link counts only if this user or root made it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS, _OTHERS_WRITE = 0o077, 0o022


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
        return f"it belongs to user {status.st_uid}, where this process runs as user {os.geteuid()}"
    mode = stat.S_IMODE(status.st_mode)
    return f"others may write to it (mode {mode:o})" if mode & _OTHERS_WRITE else None


def check_link(path: str | os.PathLike[str]) -> None:
    """See that a path is no symbolic link of another user.

    Raises
    ------
    PermissionError
        If it is.
    OSError
        If there is nothing.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) and status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(None, f"it is a symbolic link of user {status.st_uid}", str(path))


def own_folder(path: str | os.PathLike[str], *, close: bool = True) -> None:
    """See that a folder is this user's, and that nobody else can write to it.

    Parameters
    ----------
    path : str or path
    close : bool
        Take the rights to read away from others, too (mode 0700).

    Raises
    ------
    PermissionError
        If it is another user's or a link of another user, others may write to it, or it stays open to them.
    OSError
        If there is no such folder.
    """
    check_link(path)
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(None, "it is no folder", str(path))
    reason = foreign(status)
    if reason is not None:
        raise PermissionError(None, reason, str(path))
    if close and stat.S_IMODE(status.st_mode) & _OTHERS:
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~_OTHERS)


def make_own_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder with mode 0700 if there is none, with the folders above it, and see that it is this user's alone.

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


def open_own(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """Open a regular file of this user, to which nobody else can write; its descriptor.

    With ``os.O_CREAT`` in the flags it is made with mode 0600.

    Raises
    ------
    PermissionError
        If it is another user's, or others may write to it; for a symbolic link of another user, too.
    OSError
        If it cannot be opened, or is no regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        check_link(path)  # a link of this user, which may be followed, or the one error that is meant
        descriptor = os.open(path, (flags & ~os.O_CREAT) | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(None, "it is no regular file", str(path))
        reason = foreign(status)
        if reason is not None:
            raise PermissionError(None, reason, str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_own(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that is this user's alone; raises what `open_own` raises."""
    with open(open_own(path), "rb") as file:
        return file.read()


def state_folder() -> Path:
    """Where daskhpc keeps what it knows of all runs of this user: ``$XDG_STATE_HOME/daskhpc``."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "daskhpc"
