"""A journal: results of calls by key, in a folder, for any number of writers and readers at once."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import JournalError, one_line
from . import payloads
from .codec import decode
from .folder import KINDS, Folder, Manifest, existing, load, make, own, prepare, same_work, secure
from .index import Index
from .segment import END, FAILED, HEADER, NOTE, OK, Damage, Parts, take_apart
from .writer import Saved, Writer, tell_of_forks
from .writing import begun, ended


@dataclass(frozen=True, slots=True)
class Result:
    """What a journal has of one call.

    Attributes
    ----------
    ok : bool
        Whether the call returned.
    error : str or None
        Of a call that raised: "ValueError: ...", one line.
    seconds : float
        That the call took.
    host : str
    time : float
        When the call ended, in Unix time.
    about : dict
        What the caller said about the call.
    """

    ok: bool
    error: str | None
    seconds: float
    host: str
    time: float
    about: dict[str, Any]
    _decode: Callable[[], Any] = field(repr=False, compare=False)

    @property
    def value(self) -> Any:
        """What the call returned, or the exception that it raised; made anew each time.

        Raises
        ------
        JournalError
            When its payload is missing, damaged, or belongs to another user.
        """
        return self._decode()


class Journal:
    """Results by key; made by `open` or `read`.

    Attributes
    ----------
    folder : Path
    manifest : Manifest

    Notes
    -----
    Any thread may use it. A record is in the journal from when it is saved. In a forked child, what the parent had
    appended stays the parent's, and what the child appends goes to a segment of its own.
    """

    def __init__(self, folder: Folder, manifest: Manifest, writer: Writer | None) -> None:
        self.folder = folder.path
        self.manifest = manifest
        self._folder = folder
        self._writer = writer
        self._index = Index(folder)
        self._index.update()
        self._damages: dict[tuple[str, int], Damage] = {}
        self._lock = threading.RLock()
        self._results_saved = 0
        tell_of_forks(self)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        kind: str,
        parts: Mapping[str, Any] | None = None,
        create: bool = True,
        on_problem: Callable[[str], None] | None = None,
    ) -> Journal:
        """Open a journal to read and write.

        Parameters
        ----------
        folder : path
        kind : {"search", "sweep", "calls"}
        parts : mapping, optional
            Per part of the work ``{"token": ..., "text": ...}``; those of a journal that exists have to have the same
            tokens. By default, whatever it has.
        create : bool
            Whether to make the folder where there is none; one that exists has to be empty, or a journal.
        on_problem : callable, optional
            Told what is wrong when records begin to stay unsaved, in the writer's thread.

        Raises
        ------
        JournalError
            When the folder cannot be used, or its journal is of other work.
        """
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; it can be {', '.join(map(repr, KINDS))}")
        place = Folder(Path(folder).absolute())
        if create:
            manifest = make(place, kind, parts or {})
        else:
            own(place.path)
            manifest = load(place)
            secure(place.path)
        same_work(place.path, manifest, kind, parts)
        prepare(place)
        journal = cls(place, manifest, None)
        journal._writer = Writer(place, journal._committed, on_problem)
        begun(journal)
        return journal

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Journal:
        """Open a journal to read only; nothing is ever written.

        Raises
        ------
        JournalError
            When it is none, or another user's.
        """
        return cls(*existing(folder), None)

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
    def saved(self) -> int:
        """Records that this process has saved."""
        return self._writer.saved if self._writer is not None else 0

    @property
    def results_saved(self) -> int:
        """Results, notes apart, that this process has saved."""
        return self._results_saved

    @property
    def pending(self) -> int:
        """Records that this process has still to save."""
        return self._writer.pending if self._writer is not None else 0

    @property
    def lost(self) -> int:
        """Records of this process that cannot be saved, because they cannot be pickled."""
        return self._writer.lost if self._writer is not None else 0

    @property
    def problem(self) -> str | None:
        """Why records stay unsaved now."""
        return self._writer.problem if self._writer is not None else None

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._index

    def refresh(self) -> None:
        """Take in what was appended by others since."""
        with self._lock:
            self._index.update()

    def get(self, key: str) -> Result | None:
        """The result of a key; None where there is none that can be read back exactly."""
        name = bytes.fromhex(key)
        with self._lock:
            lines = self._lines(name)
            if not lines and name in self._index:
                self._index.update()  # the segment may be gone into another one
                lines = self._lines(name)
            for place, parts in lines:
                try:
                    result = self._result(parts)
                    value = result.value
                except Exception as error:
                    self._unreadable(place, error)
                else:
                    return replace(result, _decode=_giving(value))
            self._index.drop(name)
            return None

    def results(self) -> Iterator[tuple[str, Result]]:
        """Every key with its result, whose value is decoded when it is asked for."""
        with self._lock:
            keys = list(self._index)
        for key in keys:
            result = None
            with self._lock:
                for place, parts in self._lines(key)[:1]:
                    try:
                        result = self._result(parts)
                    except Exception as error:
                        self._unreadable(place, error)
            if result is not None:
                yield key.hex(), result

    def notes(self, name: str) -> list[Any]:
        """All notes of a name, in order."""
        with self._lock:
            lines = [self._index.line(place) for place in self._index.notes(name_of(name))]
        found = [take_apart(line) for line in lines if line is not None]
        return [decode(json.loads(parts.text)["data"], self._load) for parts in found if parts is not None]

    def append(
        self,
        key: str,
        ok: bool,
        value: Any,
        seconds: float,
        host: str,
        about: Mapping[str, Any],
        on_saved: Callable[[str], None] | None = None,
        error: str | None = None,
    ) -> None:
        """Hand over a result to be saved; returns at once.

        Parameters
        ----------
        key : str
            32 hex digits.
        ok : bool
            Whether the call returned.
        value : object
            What it returned, or the exception that it raised; not changed any more from now on.
        seconds : float
        host : str
        about : mapping
            What tables of results show of the call.
        on_saved : callable, optional
            Called with the key in the writer's thread when the result is durable.
        error : str, optional
            Of a call that failed without raising: why, in one line.
        """
        name = bytes.fromhex(key)
        if len(name) != 16:
            raise ValueError(f"key is {key!r}; it has to be 32 hex digits")
        fields: dict[str, Any] = {"ok": ok, "value": value, "seconds": seconds, "host": host, "time": time.time()}
        if not ok:
            fields["error"] = error or one_line(value)
        fields["about"] = dict(about)
        self._writing().append(name.hex(), OK if ok else FAILED, fields, on_saved)

    def note(self, name: str, data: Any, on_saved: Callable[[str], None] | None = None) -> None:
        """Hand over a note to be saved; those of one name are all kept."""
        fields = {"id": os.urandom(8).hex(), "time": time.time(), "data": data}
        self._writing().append(name_of(name), NOTE, fields, on_saved)

    def sync(self, timeout: float | None = None) -> bool:
        """Wait until all is saved that was appended; False when that takes longer than `timeout` seconds."""
        return self._writer.sync(timeout) if self._writer is not None else True

    def close(self, timeout: float | None = 30.0) -> int:
        """Save what is left, and end; how many records could not be saved within `timeout` seconds."""
        ended(self)
        unsaved = self._writer.close(timeout) if self._writer is not None else 0
        with self._lock:
            self._index.close()
        return unsaved

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """Begin anew with locks that no thread holds."""
        self._lock = threading.RLock()
        self._results_saved = 0

    def _writing(self) -> Writer:
        if self._writer is None:
            raise JournalError(f"The journal {self.folder} was opened to read", todo="open it with Journal.open")
        return self._writer

    def _committed(self, segment: str, records: list[Saved]) -> None:
        with self._lock:
            for record in records:
                if record.sign == NOTE:
                    self._index.add_note(segment, record.key, record.line, record.offset)
                else:
                    self._index.add(segment, bytes.fromhex(record.key), record.sign == OK, record.offset)
                    self._results_saved += 1

    def _lines(self, key: bytes) -> list[tuple[int, Parts]]:
        """Place and parts of each record of a key, the one that counts first."""
        found = []
        for place in self._index.places(key):
            line = self._index.line(place)
            parts = take_apart(line) if line is not None else None
            if parts is not None and parts.key == key:
                found.append((place, parts))
        return found

    def _unreadable(self, place: int, error: Exception) -> None:
        segment, offset = self._index.where(place)
        path = str(self._folder.segment(segment))
        self._damages[path, offset] = Damage(path, offset, str(error))

    def _result(self, parts: Parts) -> Result:
        data = json.loads(parts.text)
        load, value = self._load, data["value"]
        names = ("error", "seconds", "host", "time", "about")
        error, seconds, host, ended, about = [decode(data.get(name), load) for name in names]
        return Result(parts.sign == OK, error, seconds, host, ended, about, lambda: decode(value, load))

    def _load(self, digest: str, size: int) -> bytes:
        return payloads.read(self._folder.payloads, digest, size)


def _giving(value: Any) -> Callable[[], Any]:
    return lambda: value


def name_of(name: str) -> str:
    """The key of the notes of a name."""
    key = f"note:{name}"
    if not name.isascii() or not name.isprintable() or " " in name or key in (HEADER, END):
        raise ValueError(f"{name!r} cannot be a note's name")
    return key
