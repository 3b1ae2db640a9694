"""The place of each record: read from the segments, kept small, brought up to date by what was appended since."""

from __future__ import annotations

import contextlib
import os
from binascii import unhexlify
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..own_files import ForeignFileError, open_own
from .folder import Folder
from .segment import END, HEADER, NOTE, Damage, check_header, intact, scan, take_apart

_OFFSET_BITS = 40
_OFFSET = (1 << _OFFSET_BITS) - 1
_OPEN = 64
_LINE = 4096
_AGAIN = 1 << 20
_GONE = (-1, 0.0)


@dataclass(slots=True)
class IndexedSegment:
    """A segment as far as it was read: its header once that was seen, and its file's last change (Unix time)."""

    name: str
    read: int = 0
    header: dict[str, Any] | None = None
    closed: bool = False
    touched: float = 0.0
    damages: list[Damage] = field(default_factory=list)


class Index:
    """The records of a folder by key.

    Parameters
    ----------
    folder : Folder

    Notes
    -----
    A place is an integer: the segment's number, the offset, and as lowest bit whether the record is a successful one.
    Of several records with one key the first successful one counts, else the first, by segment name and offset; `_rank`
    decides that, and nothing else does.
    Not for several threads at once.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._segments: list[IndexedSegment] = []
        self._numbers: dict[str, int] = {}
        self._best: dict[bytes, int] = {}
        self._more: dict[bytes, list[int]] = {}
        self._notes: dict[str, dict[int, None]] = {}
        self._descriptors: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._best)

    def __contains__(self, key: bytes) -> bool:
        return key in self._best

    @property
    def damages(self) -> list[Damage]:
        """All that could not be read."""
        return [damage for segment in self._segments for damage in segment.damages]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._best)

    def places(self, key: bytes) -> list[int]:
        """The places of the records of a key, first that of the record that counts."""
        best, more = self._best.get(key), self._more.get(key, ())
        if best is None:
            return []
        return sorted([best, *more], key=self._rank) if more else [best]

    def notes(self, *names: str) -> list[int]:
        """The places of the notes of some names, in order; of all notes if no name is given."""
        return sorted((place for name in names or self._notes for place in self._notes.get(name, ())), key=self._rank)

    def segments(self) -> list[IndexedSegment]:
        """All segments, by name."""
        return sorted(self._segments, key=lambda segment: segment.name)

    def drop(self, key: bytes) -> None:
        """Forget the records of a key."""
        self._best.pop(key, None)
        self._more.pop(key, None)

    def where(self, place: int) -> tuple[str, int]:
        """Segment name and offset of a place."""
        return self._segments[place >> (_OFFSET_BITS + 1)].name, place >> 1 & _OFFSET

    def _rank(self, place: int) -> tuple[bool, str, int]:
        return (not place & 1, *self.where(place))

    def add(self, name: str, key: bytes, ok: bool, offset: int) -> None:
        """Take in a record that this process has written."""
        self._take(key, self._number(name) << (_OFFSET_BITS + 1) | offset << 1 | ok)

    def add_note(self, name: str, note: str, offset: int) -> None:
        """Take in a note that this process has written."""
        self._take_note(note, self._number(name) << (_OFFSET_BITS + 1) | offset << 1 | 1)

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._segments)
            self._segments.append(IndexedSegment(name))
        return number

    def _take(self, key: bytes, place: int) -> None:
        other = self._best.setdefault(key, place)
        if other == place:
            return
        more = self._more.setdefault(key, [])
        if place in more:
            return
        if self._rank(place) < self._rank(other):
            self._best[key], place = place, other
        more.append(place)

    def _take_note(self, name: str, place: int) -> None:
        # what this process wrote is met again when the segment is read
        self._notes.setdefault(name, {})[place] = None

    def update(self) -> None:
        """Take in what was appended since, new segments included.

        Raises
        ------
        JournalError
            When a segment has another format.
        """
        states = self._states()
        if any(states.get(segment.name, _GONE)[0] < segment.read - 1 for segment in self._segments):
            self.close()
            self.clear()
        for name, (size, touched) in states.items():
            segment = self._segments[self._number(name)]
            segment.touched = touched
            if size != segment.read:
                try:
                    self._update(segment)
                except FileNotFoundError:
                    pass
                except ForeignFileError as error:  # nothing of it counts
                    path = str(self.folder.segment(name))
                    segment.damages = [Damage(path, 0, f"it is not trusted: {error.strerror}")]

    def _states(self) -> dict[str, tuple[int, float]]:
        """Size and time of the last change of each segment's file."""
        states = {}
        for name in self.folder.names():
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(self.folder.segment(name))
                states[name] = found.st_size, found.st_mtime
        return states

    def _update(self, segment: IndexedSegment) -> None:
        path = self.folder.segment(segment.name)
        # On a network's file system, what was written before a later part can arrive after it. So what was damaged near
        # the end is read again.
        again = [damage.offset for damage in segment.damages if damage.offset >= segment.read - _AGAIN]
        start = min([segment.read, *again])
        segment.damages = [damage for damage in segment.damages if damage.offset < start]
        first = self._number(segment.name) << (_OFFSET_BITS + 1)
        best, take = self._best, self._take
        for offset, line, good in scan(path, start):
            segment.read = offset + len(line) + 1
            if not good:
                segment.damages.append(Damage(str(path), offset, "the checksum does not match"))
            elif line[41:43] == b" +" or line[41:43] == b" -":
                key, place = unhexlify(line[9:41]), first | offset << 1 | (line[42] == 43)
                if best.setdefault(key, place) != place:
                    take(key, place)
            else:
                self._other(segment, offset, line, first | offset << 1 | 1)
            if segment.header is None:
                self._headless(segment, str(path))

    def _other(self, segment: IndexedSegment, offset: int, line: bytes, place: int) -> None:
        path, parts = self.folder.segment(segment.name), take_apart(line)
        if parts is None or parts.sign != NOTE:
            segment.damages.append(Damage(str(path), offset, "a record of unknown form"))
        elif parts.key == HEADER:
            segment.header = check_header(path, parts.text)
        elif parts.key == END:
            segment.closed = True
        else:
            self._take_note(str(parts.key), place)

    def _headless(self, segment: IndexedSegment, path: str) -> None:
        segment.header = {}
        if not segment.damages:
            segment.damages.append(Damage(path, 0, "the header is missing"))

    def line(self, place: int) -> bytes | None:
        """An intact line; None if there is none (any more)."""
        number, offset = place >> (_OFFSET_BITS + 1), place >> 1 & _OFFSET
        for _ in range(2):
            descriptor = self._descriptors.get(number)
            if descriptor is None:
                descriptor = self._open(number)
            line = _line(descriptor, offset) if descriptor >= 0 else b""
            if intact(line):
                return line
            self._close(number)  # a file that is open on a network's file system may show only what it was
        return None

    def _open(self, number: int) -> int:
        if len(self._descriptors) >= _OPEN:
            self.close()
        try:
            descriptor = open_own(self.folder.segment(self._segments[number].name))
        except OSError:
            return -1
        self._descriptors[number] = descriptor
        return descriptor

    def _close(self, number: int) -> None:
        if (descriptor := self._descriptors.pop(number, -1)) >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        for number in list(self._descriptors):
            self._close(number)


def _line(descriptor: int, offset: int) -> bytes:
    """What is between an offset and the end of its line."""
    data, size = b"", _LINE
    while True:
        try:
            piece = os.pread(descriptor, size, offset + len(data))
        except OSError:
            return b""
        end = piece.find(b"\n")
        if end >= 0 or not piece:
            return data + (piece[:end] if end >= 0 else b"")
        data, size = data + piece, size * 4
