"""The one reader of a journal: status, results, checks and resumed runs all ask it, and it decides which record counts.

The contract, on which everything else rests:

- **Appending alone.** A process writes to a segment of its own, which no other writes to, and only at its end. A
  line that was written is never changed. So there are no locks, and none is needed: any number of processes write to
  one folder, on any number of machines, while others read.
- **The union counts.** What a journal has is what all of its segments have together, whatever their number and order.
  Segments that are copied from the folder of the same work, with their payloads, are part of it.
- **Of several records of a key one counts**: the first successful one, else the first, by segment name and offset;
  if it cannot be read back exactly, the next one. Two jobs that computed the same call lose nothing but time.
- **A line counts if its checksum is right.** A torn last line is still being written, or was being written when its
  process was killed; it is passed over in silence. A damaged line elsewhere is reported, and costs no other line.
- **A record follows its payloads**: those are durable before the line that names them is written. A payload that is
  missing or damaged makes its record unreadable, and the call is computed again.
- **Network file systems** may show a file's new length before its contents, and keep an old view of an open file. So
  the end of a segment is read again after damage, a line that is wrong is read again from the file opened anew, and
  a file that became shorter is read from its beginning. A reader may see a record late, but never a wrong one.
- **Nothing is trusted that another user could have written**: payloads are pickles, and reading one runs what is in it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from . import payloads
from .codec import TAG, decode
from .folder import Folder, Manifest, existing
from .index import Index
from .segment import NOTE, OK, Damage, Parts, check_note_name, gone, take_apart

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What a journal has of one call, read back.

    Attributes
    ----------
    ok : bool
        Whether the call returned.
    value : object
        What it returned, or the exception that it raised.
    error : str or None
        Of a call that failed: "ValueError: ...", one line.
    seconds : float
        That the call took.
    host : str
    time : float
        When the call ended, in Unix time.
    about : dict
        What the caller noted about the call.
    """

    ok: bool
    value: Any
    error: str | None
    seconds: float
    host: str
    time: float
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was written: nothing is decoded until `decoded` or `result` is called.

    Attributes
    ----------
    key : str
        32 hexadecimal digits.
    ok : bool
        Whether the call returned.
    fields : mapping
        In the journal's form (`codec`): "value", "error", "seconds", "host", "time", "about".
    """

    key: str
    ok: bool
    fields: Mapping[str, Any]
    _load: Callable[[str, int], bytes] = field(repr=False, compare=False)

    @property
    def about(self) -> dict[str, Any]:
        """What was noted about the call, in the journal's form; nothing if all of it is one payload."""
        about = self.fields.get("about")
        return about if isinstance(about, dict) and TAG not in about else {}

    def decoded(self, name: str) -> Any:
        """A field's value, made anew each time; None if there is no such field.

        Raises
        ------
        JournalError
            When its payload is missing, damaged, or belongs to another user.
        Exception
            Whatever unpickling it raises.
        """
        return self.decode(self.fields.get(name))

    def decode(self, data: Any) -> Any:
        """A part of a field, such as one parameter of `about`; raises what `decoded` raises."""
        return decode(data, self._load)

    def result(self) -> Result:
        """All of it, read back; raises what `decoded` raises."""
        return Result(self.ok, *map(self.decoded, ("value", "error", "seconds", "host", "time", "about")))


@dataclass(frozen=True, slots=True)
class Note:
    """One note: its name, when it was written (Unix time), and its contents in the journal's form."""

    name: str
    time: float
    data: Any
    _load: Callable[[str, int], bytes] = field(repr=False, compare=False)

    def decoded(self) -> Any:
        """Its contents; raises what `Record.decoded` raises."""
        return decode(self.data, self._load)


class SegmentState(NamedTuple):
    """The state of a segment, and of the process that writes or wrote it.

    Attributes
    ----------
    name, host : str
    closed : bool
        Whether its process marked it as complete.
    ended : bool or None
        Whether its process has ended; None if this machine cannot know.
    touched : float
        The Unix time of the last sign of life.
    damages : int
        Lines that cannot be read.
    """

    name: str
    host: str
    closed: bool
    ended: bool | None
    touched: float
    damages: int


class JournalReader:
    """What a journal's folder has, for any thread; nothing is ever written.

    Parameters
    ----------
    folder : path
    manifest : Manifest, optional
        What was read of it already.

    Attributes
    ----------
    folder : Path
    manifest : Manifest

    Raises
    ------
    JournalError
        When the folder is no journal, another user's, or of a format that this version does not read.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpc.journal.journal import Journal
    >>> folder = tempfile.mkdtemp()
    >>> with Journal.open(folder, "calls") as journal:
    ...     journal.append("0" * 32, True, [1, 2.5], seconds=0.1, host="node1", about={"index": 0})
    >>> reader = JournalReader(folder)
    >>> len(reader)
    1
    >>> reader.get("0" * 32).value
    [1, 2.5]
    >>> [record.about for record in reader.records()]
    [{'index': 0}]
    """

    def __init__(self, folder: str | os.PathLike[str], manifest: Manifest | None = None) -> None:
        self._folder, self.manifest = existing(folder) if manifest is None else (Folder(Path(folder)), manifest)
        self.folder: Path = self._folder.path
        self._index = Index(self._folder)
        self._index.update()
        self._damages: dict[tuple[str, int], Damage] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._index

    @property
    def seed(self) -> int:
        """32 random bits, the same ever since the journal was made."""
        return self.manifest.seed

    @property
    def damages(self) -> list[Damage]:
        """All that was found unreadable so far."""
        with self._lock:
            return [*self._index.damages, *self._damages.values()]

    @property
    def unreadable(self) -> int:
        """Records whose payloads could not be read so far."""
        return len(self._damages)

    def refresh(self) -> None:
        """Take in what was appended by others since.

        Raises
        ------
        JournalError
            When a segment has another format.
        """
        with self._lock:
            self._index.update()

    def take_in(self, segment: str, key: str, sign: str, offset: int) -> None:
        """Take in a record or note that this process has saved, without reading it."""
        with self._lock:
            if sign == NOTE:
                self._index.add_note(segment, key, offset)
            else:
                self._index.add(segment, bytes.fromhex(key), sign == OK, offset)

    def get(self, key: str) -> Result | None:
        """The result of a key; None if none can be read back exactly."""
        with self._lock:
            result = self._readable(bytes.fromhex(key), Record.result)
            if result is None:
                self._index.drop(bytes.fromhex(key))
            return result

    def records(self) -> Iterator[Record]:
        """Of every key the record that counts, in the order in which the keys were written."""
        for key in self._keys():
            with self._lock:
                record = next(self._records(key), None)
            if record is not None:
                yield record[1]

    def every_record(self) -> Iterator[Record]:
        """All records; of each key first the record that counts."""
        for key in self._keys():
            with self._lock:
                records = [record for _, record in self._records(key)]
            yield from records

    def each(self, read: Callable[[Record], T]) -> Iterator[T]:
        """Of every key what `read` makes of the record that counts.

        Parameters
        ----------
        read : callable
            Given a record; if it raises, the record counts as damaged, and the next one of the key is tried.
        """
        for key in self._keys():
            with self._lock:
                value = self._readable(key, read)
            if value is not None:
                yield value

    def notes(self, *names: str) -> list[Note]:
        """All notes of some names, in order; without names all that there are."""
        with self._lock:
            lines = [self._index.line(place) for place in self._index.notes(*map(check_note_name, names))]
        found = [take_apart(line) for line in lines if line is not None]
        return [self._note(parts) for parts in found if parts is not None]

    def segments(self) -> list[SegmentState]:
        """The state of each segment, by name; whether a process has ended is known if it ran on this machine."""
        with self._lock:
            segments = list(self._index.segments())
        return [
            SegmentState(
                segment.name,
                str((segment.header or {}).get("host", "an unknown machine")),
                segment.closed,
                True if segment.closed else gone(segment.header) if segment.header else None,
                segment.touched,
                len(segment.damages),
            )
            for segment in segments
        ]

    def close_files(self) -> None:
        """Close the files; they are opened again when they are needed."""
        with self._lock:
            self._index.close()

    def after_fork(self) -> None:
        """Begin anew with a lock that no thread holds."""
        self._lock = threading.RLock()

    def _keys(self) -> list[bytes]:
        with self._lock:
            return list(self._index)

    def _records(self, key: bytes) -> Iterator[tuple[int, Record]]:
        """Place and contents of each intact record of a key, first the record that counts."""
        for place in self._index.places(key):
            line = self._index.line(place)
            parts = take_apart(line) if line is not None else None
            if parts is not None and parts.key == key:
                yield place, Record(key.hex(), parts.sign == OK, json.loads(parts.text), self._load)

    def _readable(self, key: bytes, read: Callable[[Record], T]) -> T | None:
        for place, record in self._records(key):
            try:
                return read(record)
            except Exception as error:  # whatever unpickling raises
                segment, offset = self._index.where(place)
                path = str(self._folder.segment(segment))
                self._damages[path, offset] = Damage(path, offset, str(error))
        return None

    def _note(self, parts: Parts) -> Note:
        fields = json.loads(parts.text)
        return Note(str(parts.key).removeprefix("note:"), fields["time"], fields["data"], self._load)

    def _load(self, digest: str, size: int) -> bytes:
        return payloads.read(self._folder.payloads, digest, size)
