"""Which record is where: read from the segments, kept small, brought up to date by what was appended since."""

from __future__ import annotations

import contextlib
import os
from binascii import unhexlify
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from .folder import Folder
from .segment import END, HEADER, NOTE, Damage, check_header, intact, scan, take_apart

_OFFSET_BITS = 40
_OFFSET = (1 << _OFFSET_BITS) - 1
_OPEN = 64
_LINE = 4096
_AGAIN = 1 << 20


@dataclass(slots=True)
class _Segment:
    name: str
    read: int = 0
    headed: bool = False
    damages: list[Damage] = field(default_factory=list)


class Index:
    """The records of a folder by key.

    Parameters
    ----------
    folder : Folder

    Notes
    -----
    A place is an integer: the segment's number, the offset, and as lowest bit whether the record is a successful one.
    Of several records with one key the first successful one counts, else the first, by segment name and offset.
    Not for several threads at once.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._segments: list[_Segment] = []
        self._numbers: dict[str, int] = {}
        self._best: dict[bytes, int] = {}
        self._more: dict[bytes, list[int]] = {}
        self._notes: dict[bytes, tuple[str, int]] = {}
        self._descriptors: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._best)

    def __contains__(self, key: bytes) -> bool:
        return key in self._best

    @property
    def extra(self) -> int:
        """Records of a key that has another one, which counts."""
        return sum(map(len, self._more.values()))

    @property
    def failures(self) -> int:
        """Keys that have no successful record."""
        return sum(not place & 1 for place in self._best.values())

    @property
    def damages(self) -> list[Damage]:
        """All that could not be read."""
        return [damage for segment in self._segments for damage in segment.damages]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._best)

    def places(self, key: bytes) -> list[int]:
        """Where the records of a key are, the one that counts first."""
        best, more = self._best.get(key), self._more.get(key, ())
        if best is None:
            return []
        return sorted([best, *more], key=self._rank) if more else [best]

    def notes(self, name: str) -> list[int]:
        """Where the notes of a name are, in order."""
        places = [place for own, place in self._notes.values() if own == name]
        return sorted(places, key=self._rank)

    def drop(self, key: bytes) -> None:
        """Forget the records of a key."""
        self._best.pop(key, None)
        self._more.pop(key, None)

    def every_note(self) -> list[int]:
        """Where all notes are, each once."""
        return [place for _, place in self._notes.values()]

    def where(self, place: int) -> tuple[str, int]:
        """Segment name and offset of a place."""
        return self._segments[place >> (_OFFSET_BITS + 1)].name, place >> 1 & _OFFSET

    def _rank(self, place: int) -> tuple[bool, str, int]:
        return (not place & 1, *self.where(place))

    def add(self, name: str, key: bytes, ok: bool, offset: int) -> None:
        """Take in a record that this process has written."""
        self._take(key, self._number(name) << (_OFFSET_BITS + 1) | offset << 1 | ok)

    def add_note(self, name: str, note: str, line: bytes, offset: int) -> None:
        """Take in a note that this process has written."""
        self._take_note(note, line, self._number(name) << (_OFFSET_BITS + 1) | offset << 1 | 1)

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._segments)
            self._segments.append(_Segment(name))
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

    def _take_note(self, name: str, line: bytes, place: int) -> None:
        # a line again is a copy, of a compaction that did not end or of a merge: each note has an id of its own
        self._notes.setdefault(_digest(line), (name, place))

    def has_note(self, line: bytes) -> bool:
        """Whether a note's line is here."""
        return _digest(line) in self._notes

    def update(self) -> None:
        """Take in what was appended since, new segments included.

        Raises
        ------
        JournalError
            When a segment has another format.
        """
        sizes = self._sizes()
        if any(sizes.get(segment.name, -1) < segment.read - 1 for segment in self._segments):
            self.close()
            self.clear()
        for name, size in sizes.items():
            segment = self._segments[self._number(name)]
            if size != segment.read:
                with contextlib.suppress(FileNotFoundError):
                    self._update(segment)

    def _sizes(self) -> dict[str, int]:
        sizes = {}
        for name in self.folder.names():
            with contextlib.suppress(FileNotFoundError):
                sizes[name] = os.stat(self.folder.segment(name)).st_size
        return sizes

    def _update(self, segment: _Segment) -> None:
        path = self.folder.segment(segment.name)
        # what was written before a later part can arrive after it where the file system is a network's
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
            if not segment.headed:
                self._headless(segment, str(path))

    def _other(self, segment: _Segment, offset: int, line: bytes, place: int) -> None:
        path, parts = self.folder.segment(segment.name), take_apart(line)
        if parts is None or parts.sign != NOTE:
            segment.damages.append(Damage(str(path), offset, "a record of unknown form"))
        elif parts.key == HEADER:
            check_header(path, parts.text)
            segment.headed = True
        elif parts.key != END:
            self._take_note(str(parts.key), line, place)

    def _headless(self, segment: _Segment, path: str) -> None:
        segment.headed = True
        if not segment.damages:
            segment.damages.append(Damage(path, 0, "the header is missing"))

    def line(self, place: int) -> bytes | None:
        """An intact line; None where there is none (any more)."""
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
            descriptor = os.open(self.folder.segment(self._segments[number].name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1
        self._descriptors[number] = descriptor
        return descriptor

    def _close(self, number: int) -> None:
        if (descriptor := self._descriptors.pop(number, -1)) >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Close the files; they are opened again where needed."""
        for number in list(self._descriptors):
            self._close(number)


def _digest(line: bytes) -> bytes:
    return blake2b(line, digest_size=16).digest()


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
