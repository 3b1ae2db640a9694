"""A journal that is written to: results of calls by key, in a folder, for any number of writers and readers at once."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import one_line
from .folder import KINDS, Folder, Manifest, load, make, own, prepare, same_work, secure
from .reader import JournalReader
from .segment import FAILED, NOTE, OK, check_note_name
from .writer import SavedRecord, Writer, tell_of_forks

# A list, which any thread may append to and copy without a lock, and a forked child finds whole.
_open: list[weakref.ref[Journal]] = []


def open_journals() -> list[Journal]:
    """The journals that this process writes to; the watcher of the time limit makes them safe."""
    return [journal for reference in list(_open) if (journal := reference()) is not None]


class Journal(JournalReader):
    """Results by key; made by `open`.

    Attributes
    ----------
    folder : Path
    manifest : Manifest

    Notes
    -----
    Any thread may use it. A record is in the journal from when it is saved. In a forked child, what the parent had
    appended stays the parent's, and what the child appends goes to a segment of its own.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with Journal.open(folder, "calls") as journal:
    ...     journal.append("0" * 32, True, {"loss": 0.5}, seconds=1.5, host="node1", about={})
    >>> with Journal.open(folder, "calls") as journal:
    ...     journal.get("0" * 32).value
    {'loss': 0.5}
    """

    def __init__(self, folder: Folder, manifest: Manifest, on_problem: Callable[[str], None] | None) -> None:
        super().__init__(folder.path, manifest)
        self._writer = Writer(folder, self._committed, on_problem)
        self._results_saved = 0
        tell_of_forks(self)
        _open.append(weakref.ref(self))

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
        kind : {"search", "sweep", "calls", "training"}
        parts : mapping, optional
            Per part of the work ``{"token": ..., "text": ...}``; those of a journal that exists have to have the same
            tokens. By default, whatever it has.
        create : bool
            Whether to make the folder if there is none; a folder that exists has to be empty, or a journal.
        on_problem : callable, optional
            Called with the cause when records begin to stay unsaved, in the writer's thread.

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
        return cls(place, manifest, on_problem)

    @property
    def saved(self) -> int:
        """Records that this process has saved."""
        return self._writer.saved

    @property
    def results_saved(self) -> int:
        """Results, notes apart, that this process has saved."""
        return self._results_saved

    @property
    def pending(self) -> int:
        """Records that this process has still to save."""
        return self._writer.pending

    @property
    def lost(self) -> int:
        """Records of this process that cannot be saved, because they cannot be pickled."""
        return self._writer.lost

    @property
    def problem(self) -> str | None:
        """Why records stay unsaved now."""
        return self._writer.problem

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
        """Hand over a result, which is encoded at once, to be saved.

        Parameters
        ----------
        key : str
            32 hex digits, as `call_key` gives.
        ok : bool
            Whether the call returned.
        value : object
            What it returned, or the exception that it raised; it may be changed from now on.
        seconds : float
        host : str
        about : mapping
            What tables of results show of the call.
        on_saved : callable, optional
            Called with the key in the writer's thread when the result is durable.
        error : str, optional
            Of a call that failed without raising: why, in one line.

        Raises
        ------
        ValueError
            When `key` has another form.
        JournalError
            When the journal was closed.
        """
        name = bytes.fromhex(key)
        if len(name) != 16:
            raise ValueError(f"key is {key!r}; it has to be 32 hex digits")
        fields: dict[str, Any] = {"ok": ok, "value": value, "seconds": seconds, "host": host, "time": time.time()}
        if not ok:
            fields["error"] = error or one_line(value)
        fields["about"] = dict(about)
        self._writer.append(name.hex(), OK if ok else FAILED, fields, on_saved)

    def note(self, name: str, data: Any, on_saved: Callable[[str], None] | None = None) -> None:
        """Hand over a note to be saved; those of one name are all kept.

        Raises
        ------
        ValueError
            When a note cannot have that name.
        JournalError
            When the journal was closed.
        """
        fields = {"id": os.urandom(8).hex(), "time": time.time(), "data": data}
        self._writer.append(check_note_name(name), NOTE, fields, on_saved)

    def sync(self, timeout: float | None = None) -> bool:
        """Wait until all is saved that was appended; False when that takes longer than `timeout` seconds."""
        return self._writer.sync(timeout)

    def close(self, timeout: float | None = 30.0) -> int:
        """Save what is left, and end; how many records could not be saved within `timeout` seconds."""
        with contextlib.suppress(ValueError):
            _open.remove(weakref.ref(self))
        unsaved = self._writer.close(timeout)
        self.close_files()
        return unsaved

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """Begin anew with locks that no thread holds."""
        super().after_fork()
        self._results_saved = 0

    def _committed(self, segment: str, records: list[SavedRecord]) -> None:
        for record in records:
            self.take_in(segment, record.key, record.sign, record.offset)
        self._results_saved += sum(record.sign != NOTE for record in records)
