"""Segments: files of framed, checked records, each written by one process alone."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
from binascii import unhexlify
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from ..errors import JournalError
from ..own_files import open_own
from .codec import to_text

FORMAT = 1
SUFFIX = ".jsonl"
OK, FAILED, NOTE = "+", "-", "."
HEADER, END = "note:header", "note:end"

_CHUNK = 8 << 20
_CRC = 8
_BODY = _CRC + 1
_KEY = 32
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a journal that cannot be read.

    Attributes
    ----------
    path : str
    offset : int
        In bytes; 0 for a payload.
    reason : str
    """

    path: str
    offset: int
    reason: str


class Parts(NamedTuple):
    """A line taken apart: the key as 16 bytes or a note's ``note:<name>``, the sign, and the JSON."""

    key: bytes | str
    sign: str
    text: bytes


def frame(key: str, sign: str, text: str) -> bytes:
    """The bytes of one record.

    Notes
    -----
    A newline before as well as after: neither a damaged byte, newlines included, nor a torn record before it takes a
    neighbouring record with it.
    """
    body = f"{key} {sign} {text}".encode("ascii")
    return b"\n%08x %s\n" % (crc32(body), body)


def intact(line: bytes) -> bool:
    """Whether a line is as it was written, by its checksum."""
    return line[_CRC:_BODY] == b" " and b"%08x" % crc32(line[_BODY:]) == line[:_CRC]


def scan(path: Path, start: int = 0) -> Iterator[tuple[int, bytes, bool]]:
    """The lines of a segment from an offset on: offset, line, and whether it is intact.

    Raises
    ------
    ForeignFileError
        If it is another user's, or others may write to it.

    Notes
    -----
    Blank lines are left out, as is a last line without an end that is not intact: it may be in the course of writing.
    """
    with open(open_own(path), "rb", buffering=0) as file:
        file.seek(start)
        offset, rest = start, b""
        while chunk := file.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield offset, line, intact(line)
                offset += len(line) + 1
        if rest and intact(rest):
            yield offset, rest, True


def take_apart(line: bytes) -> Parts | None:
    """The parts of an intact line; None if it is of no known form."""
    end = line.find(b" ", _BODY)
    key, sign, text = line[_BODY:end], line[end + 1 : end + 2], line[end + 3 :]
    if key.startswith(b"note:"):
        return Parts(key.decode("ascii"), NOTE, text)
    if len(key) == _KEY and sign in (b"+", b"-"):
        with contextlib.suppress(ValueError):
            return Parts(unhexlify(key), sign.decode("ascii"), text)
    return None


def check_note_name(name: str) -> str:
    """The key of the notes of a name.

    Raises
    ------
    ValueError
        When a note cannot have that name.
    """
    key = f"note:{name}"
    if not name.isascii() or not name.isprintable() or " " in name or key in (HEADER, END):
        raise ValueError(f"{name!r} cannot be a note's name")
    return key


def check_header(path: Path, text: bytes) -> dict[str, Any]:
    """The fields of a header.

    Raises
    ------
    JournalError
        When the segment is of another format.
    """
    header: dict[str, Any] = json.loads(text)
    if header.get("format") != FORMAT:
        raise JournalError(
            f"The segment {path} has another format",
            f"format {header.get('format')}; this version of daskhpc reads format {FORMAT}",
            f"use the version of daskhpc that wrote it ({header.get('program', 'unknown')}), or another folder",
        )
    return header


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write at an offset, in as many steps as it takes."""
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, if the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def new_name() -> str:
    """A name that no other process and no other opening has: time, host, process id, nonce."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{moment}-{host}-{os.getpid()}-{os.urandom(4).hex()}"


def header_frame() -> bytes:
    """The first frame of a segment of this process."""
    header = {
        "format": FORMAT,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(),
        "program": f"daskhpc {_version()}",
        **process(os.getpid()),
    }
    return frame(HEADER, NOTE, to_text(header))


def end_frame() -> bytes:
    """The last frame of a segment that was closed."""
    return frame(END, NOTE, "{}")


@cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("daskhpc")
    except PackageNotFoundError:
        return "unknown"


def process(pid: int) -> dict[str, str | None]:
    """By what a process is known: its system (boot and namespace of process ids) and when it was born."""
    try:
        system = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return {"system": None, "born": None}
    try:
        born = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return {"system": system, "born": None}
    return {"system": system, "born": born}


def gone(header: Mapping[str, Any]) -> bool | None:
    """Whether the process that wrote a header has ended; None if that cannot be known here."""
    now = process(header.get("pid", 0))
    if not header.get("system") or header["system"] != now["system"]:
        return None
    return header.get("born") != now["born"]


class SegmentWriter:
    """A segment of this process, made when it is first written to.

    Parameters
    ----------
    folder : Path
        Of all segments.

    Attributes
    ----------
    name : str
    usable : bool
        Whether more may be written; another segment is needed after most errors.

    Notes
    -----
    What is committed again after an error is written at the same offset, so that no torn frame stays.
    """

    def __init__(self, folder: Path) -> None:
        self.name = new_name()
        self.usable = True
        self._folder = folder
        self._path = folder / f"{self.name}{SUFFIX}"
        self._descriptor = -1
        self._size = 0

    def commit(self, frames: list[bytes]) -> list[int]:
        """Write frames and make them durable.

        Returns
        -------
        list[int]
            The offset of each frame's line.

        Raises
        ------
        OSError
            When that did not succeed; nothing of it counts as written.
        """
        try:
            if self._descriptor < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
            first = header_frame() if self._size == 0 else b""
            write_all(self._descriptor, first + b"".join(frames), self._size)
            os.fsync(self._descriptor)
            if self._size == 0:
                sync_folder(self._folder)
            if os.fstat(self._descriptor).st_nlink == 0:
                raise OSError(errno.ESTALE, "the segment was removed", str(self._path))
        except OSError as error:
            self._give_up(error)
            raise
        offset = self._size + len(first)
        offsets = []
        for each in frames:
            offsets.append(offset + 1)
            offset += len(each)
        self._size = offset
        return offsets

    def _give_up(self, error: OSError) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
        self.usable = error.errno in _FULL and self._size > 0
        if not self.usable:
            self._leave()

    def _leave(self) -> None:
        if self._descriptor >= 0 and self._size == 0:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self.forget()

    def touch(self) -> None:
        """Show others that this segment is still in use."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)

    def forget(self) -> None:
        """Close the file and write no more."""
        self.usable = False
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        """Mark the segment as complete, and close it."""
        if self._descriptor >= 0 and self._size > 0:
            with contextlib.suppress(OSError):
                self.commit([end_frame()])
        self.forget()
