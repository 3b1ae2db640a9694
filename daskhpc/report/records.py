"""What is in a journal's folder, line by line, as it was written: nothing is decoded, nothing but lines is read."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..errors import JournalError
from ..journal.codec import TAG, decode
from ..journal.folder import Folder
from ..journal.segment import END, HEADER, OK, Parts, check_header, gone, scan, take_apart

_LONGEST = 60


class Record(NamedTuple):
    """One record: its key, whether the call returned, and its fields in the journal's form."""

    key: bytes
    ok: bool
    fields: dict[str, Any]

    @property
    def about(self) -> dict[str, Any]:
        """What was said about the call, in the journal's form; nothing where that is a payload."""
        about = self.fields.get("about")
        return about if isinstance(about, dict) and TAG not in about else {}


class Note(NamedTuple):
    """One note, with its contents in the journal's form."""

    name: str
    id: str
    time: float
    data: Any


class Segment(NamedTuple):
    """A segment after its last line: who wrote it, and whether that process closed it or has ended otherwise.

    Notes
    -----
    `ended` is None where this machine cannot know. `touched` is the Unix time of the last sign of life.
    """

    host: str
    closed: bool
    ended: bool | None
    touched: float
    damages: int


Entry = Record | Note | Segment


def entries(folder: Folder) -> Iterator[Entry]:
    """Every record and note of a folder, and each segment after its own; copies come more than once.

    Raises
    ------
    JournalError
        When a segment has another format.
    """
    read: set[str] = set()
    # again until nothing is new: another process may have put segments together meanwhile
    while names := [name for name in folder.names() if name not in read]:
        for name in names:
            read.add(name)
            with contextlib.suppress(FileNotFoundError):
                yield from _segment(folder.segment(name))


def _segment(path: Path) -> Iterator[Entry]:
    touched = path.stat().st_mtime
    header: dict[str, Any] = {}
    closed, damages = False, 0
    for _, line, good in scan(path):
        parts = take_apart(line) if good else None
        if parts is None:
            damages += 1
        elif isinstance(parts.key, bytes):
            yield Record(parts.key, parts.sign == OK, json.loads(parts.text.decode("ascii")))
        elif parts.key == HEADER:
            header = check_header(path, parts.text)
        elif parts.key == END:
            closed = True
        else:
            yield _note(parts)
    ended = True if closed else gone(header) if header else None
    yield Segment(str(header.get("host", "an unknown machine")), closed, ended, touched, damages)


def _note(parts: Parts) -> Note:
    fields = json.loads(parts.text)
    return Note(str(parts.key).removeprefix("note:"), fields["id"], fields["time"], fields["data"])


def distinct(found: Iterable[Entry]) -> Iterator[Entry]:
    """Entries without the copies of notes."""
    seen: set[str] = set()
    for entry in found:
        if isinstance(entry, Note):
            if entry.id in seen:
                continue
            seen.add(entry.id)
        yield entry


def number(data: Any) -> float | None:
    """A number in the journal's form; None for anything else."""
    if isinstance(data, dict) and data.get(TAG) in ("float", "int", "scalar"):
        with contextlib.suppress(TypeError, ValueError):
            return float(decode(data, _unread))
    return float(data) if isinstance(data, int | float) else None


def texts(params: Any) -> dict[str, str]:
    """Parameters in the journal's form as short texts for people; of objects in payloads only that they are there."""
    if not isinstance(params, dict) or TAG in params:
        return {}
    return {name: _short(_text(value)) for name, value in params.items()}


def _text(data: Any) -> str:
    if isinstance(data, dict) and data.get(TAG) == "pickle":
        return "(object)"
    try:
        value = decode(data, _unread)
    except JournalError:
        return "(objects)"
    return repr(value.item() if isinstance(data, dict) and data.get(TAG) == "scalar" else value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _unread(digest: str, size: int) -> NoReturn:
    raise JournalError("Payloads are not read here", digest)


def cause(record: Record) -> str:
    """Why a call failed, in one line: ``ValueError: gamma must be positive``."""
    value = record.fields.get("value")
    trace = value.get("fit_error") if isinstance(value, dict) and TAG not in value else None
    return last_error(trace) if isinstance(trace, str) else printable(str(record.fields.get("error") or "no cause"))


def last_error(trace: str) -> str:
    """The line of a traceback that names the exception, without the exception's module."""
    lines = [line for line in trace.splitlines() if line.strip()]
    after = max((n for n, line in enumerate(lines) if line.startswith('  File "')), default=-1)
    named = next((line for line in lines[after + 1 :] if not line.startswith(" ")), lines[-1] if lines else "no cause")
    return printable(re.sub(r"^(?:\w+\.)+(?=\w+(?::|$))", "", named.strip()))


def printable(text: str) -> str:
    """A line without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
