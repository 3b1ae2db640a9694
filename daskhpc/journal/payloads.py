"""Payloads: pickles in files that are named by their contents."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from ..errors import JournalError
from ..own_files import ForeignFileError, open_own
from .segment import sync_folder, write_all

_NAME = re.compile(r"[0-9a-f]{64}")


class PayloadError(JournalError):
    """A payload that is missing, damaged, or not to be trusted."""


def path_of(folder: Path, digest: str) -> Path:
    """The path of a payload, below the folder of all payloads."""
    if not _NAME.fullmatch(digest):
        raise PayloadError(f"{digest!r} names no payload")
    return folder / digest[:2] / digest


def read(folder: Path, digest: str, size: int) -> bytes:
    """A payload's bytes.

    Raises
    ------
    PayloadError
        Unless it is a regular file of this user with that size, and its contents have the digest in its name.
    """
    path = path_of(folder, digest)
    try:
        descriptor = open_own(path)
    except ForeignFileError as error:
        raise PayloadError(f"The payload {path} is not trusted", str(error.strerror)) from None
    except OSError as error:
        raise PayloadError(f"The payload {path} cannot be read", error.strerror or str(error)) from error
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if found.st_size != size:
            raise PayloadError(f"The payload {path} is damaged", f"{found.st_size} bytes; {size} were written")
        data = file.readall()
    if hashlib.sha256(data).hexdigest() != digest:
        raise PayloadError(f"The payload {path} is damaged", "its contents are others than its name says")
    return data


def sound(folder: Path, digest: str, size: int) -> bool:
    """Whether a payload can be read."""
    try:
        read(folder, digest, size)
    except (PayloadError, OSError):
        return False
    return True


def write(folder: Path, digest: str, data: bytes) -> Path:
    """Write a payload unless it is there.

    Returns
    -------
    Path
        The folder that has to be synced before the payload counts as saved.
    """
    path = path_of(folder, digest)
    try:
        os.mkdir(path.parent, 0o700)
    except FileExistsError:
        pass
    else:
        sync_folder(folder)
    if sound(folder, digest, len(data)):
        return path.parent
    temporary = path.with_name(f".{digest}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return path.parent
