"""Checking a journal: all of it is read, payloads included."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import payloads
from .codec import TAG
from .folder import Folder
from .reader import JournalReader
from .segment import Damage


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What there is in a journal.

    Attributes
    ----------
    segments, records, duplicates, failures : int
        `records` are keys; `duplicates` are records of a key that has another.
    damages : tuple[Damage, ...]
        Unreadable records, then missing or damaged payloads.
    missing : tuple[str, ...]
        Payloads that records refer to and that cannot be read.
    orphans : tuple[str, ...]
        Payloads that no record refers to.
    bytes : int
        Of all segments and payloads.
    """

    segments: int
    records: int
    duplicates: int
    failures: int
    damages: tuple[Damage, ...]
    missing: tuple[str, ...]
    orphans: tuple[str, ...]
    bytes: int


def check(folder: str | os.PathLike[str]) -> CheckReport:
    """Read all of a journal, payloads included.

    Parameters
    ----------
    folder : path

    Raises
    ------
    JournalError
        When it is none, or another user's.

    Examples
    --------
    >>> import tempfile
    >>> from daskhpc.journal.journal import Journal
    >>> folder = tempfile.mkdtemp()
    >>> with Journal.open(folder, "calls") as journal:
    ...     journal.append("0" * 32, True, 1, seconds=0.1, host="node1", about={})
    >>> report = check(folder)
    >>> report.records, report.damages
    (1, ())
    """
    reader = JournalReader(folder)
    place = Folder(reader.folder)
    records = list(reader.every_record())
    written = [*(record.fields for record in records), *(note.data for note in reader.notes())]
    used = dict(_pickles(written))
    there = dict(_payloads(place))
    missing = sorted(digest for digest, size in used.items() if not payloads.sound(place.payloads, digest, size))
    broken = [Damage(str(payloads.path_of(place.payloads, d)), 0, "the payload is missing or damaged") for d in missing]
    segments = [place.segment(name) for name in place.names()]
    return CheckReport(
        segments=len(segments),
        records=len(reader),
        duplicates=len(records) - len(reader),
        failures=sum(not record.ok for record in reader.records()),
        damages=(*reader.damages, *broken),
        missing=tuple(missing),
        orphans=tuple(sorted(there.keys() - used.keys())),
        bytes=sum(path.stat().st_size for path in (*segments, *there.values())),
    )


def _pickles(data: Any) -> Iterator[tuple[str, int]]:
    """The payloads, by SHA-256 and size, that something in the journal's form refers to."""
    if isinstance(data, list):
        for item in data:
            yield from _pickles(item)
    elif isinstance(data, Mapping):
        if data.get(TAG) == "pickle":
            yield data["hash"], data["size"]
        else:
            yield from _pickles(list(data.values()))


def _payloads(place: Folder) -> Iterator[tuple[str, Path]]:
    """Every file among the payloads, by its name."""
    with contextlib.suppress(FileNotFoundError):
        for part in sorted(place.payloads.iterdir()):
            yield from ((path.name, path) for path in sorted(part.iterdir()))
