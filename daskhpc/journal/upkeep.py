"""Looking after journals: checking one, making one segment of many, taking in the records of others."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import JournalError
from . import payloads
from .folder import Folder, Manifest, existing, make, prepare, same_work, secure
from .index import Index
from .segment import (
    END,
    HEADER,
    Damage,
    check_header,
    end_frame,
    gone,
    header_frame,
    new_name,
    scan,
    sync_folder,
    take_apart,
    write_all,
)

_IDLE_SECONDS = 3600.0
_BUFFER = 1 << 20
_REFERENCE = re.compile(rb'"~":"pickle","hash":"([0-9a-f]{64})","size":(\d+)')


@dataclass(frozen=True, slots=True)
class Report:
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


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did: segments made one, those left alone, and orphan payloads removed."""

    segments: int
    left: int
    payloads: int


def check(folder: str | os.PathLike[str]) -> Report:
    """Read all of a journal, payloads included.

    Raises
    ------
    JournalError
        When it is none, or another user's.
    """
    place, _ = existing(folder)
    index = Index(place)
    index.update()
    names = place.names()
    used = _references(place, names)
    found = dict(_payloads(place))
    missing = sorted(digest for digest, size in used.items() if not payloads.sound(place.payloads, digest, size))
    broken = [Damage(str(payloads.path_of(place.payloads, d)), 0, "the payload is missing or damaged") for d in missing]
    sizes = [path.stat().st_size for path in (*map(place.segment, names), *found.values())]
    report = Report(
        segments=len(names),
        records=len(index),
        duplicates=index.extra,
        failures=index.failures,
        damages=(*index.damages, *broken),
        missing=tuple(missing),
        orphans=tuple(sorted(found.keys() - used.keys())),
        bytes=sum(sizes),
    )
    index.close()
    return report


def compact(folder: str | os.PathLike[str], force: bool = False) -> Compacted:
    """Make one segment of all that are finished, and remove payloads that no record refers to.

    Parameters
    ----------
    folder : path
    force : bool
        Take in also what another system wrote to within the last hour. Only when no job uses the journal.

    Notes
    -----
    A segment is finished when its writer closed it or, of this system, has ended; otherwise after an hour without a
    sign of life. It may end at any point: the old segments go when the new one is durable, and what is there twice
    until then counts once. Payloads stay until they are an hour old: their records may be on their way.
    """
    place, _ = existing(folder)
    secure(place.path)
    prepare(place)
    now = _file_system_time(place)
    names = place.names()
    done = {name: place.segment(name).stat().st_size for name in names if _finished(place.segment(name), now, force)}
    if len(done) > 1:
        old = Index(_Some(place.path, tuple(done)))
        old.update()
        _write_segment(place, _lines(old))
        old.close()
        for name, size in reversed(done.items()):  # the last first, so that the order of notes stays the same
            path = place.segment(name)
            if path.stat().st_size == size:
                path.unlink()
        sync_folder(place.segments)
    return Compacted(len(done), len(names) - len(done), _remove_orphans(place, now))


def merge(target: str | os.PathLike[str], *sources: str | os.PathLike[str]) -> int:
    """Take the records of other journals, of the same work, into one; it is made where there is none.

    Returns
    -------
    int
        The records that it did not have.

    Raises
    ------
    JournalError
        When a source is of another kind, or a part of it differs; nothing is taken in then.
    """
    if not sources:
        return 0
    found = [existing(source) for source in sources]
    places, manifests = [place for place, _ in found], [manifest for _, manifest in found]
    place = Folder(Path(target).absolute())
    manifest = make(place, manifests[0].kind, manifests[0].parts)
    for source, other in zip(places, manifests, strict=True):
        _mergeable(place, manifest, source, other)
    prepare(place)
    taken = 0
    for source in places:
        own_index, other_index = Index(place), Index(source)
        own_index.update()
        other_index.update()
        lines = [line for line in _lines(other_index) if not _has(own_index, line)]
        if lines:
            _copy_payloads(place, source, lines)
            _write_segment(place, iter(lines))
        taken += sum(not line[9:].startswith(b"note:") for line in lines)
        own_index.close()
        other_index.close()
    return taken


@dataclass(frozen=True, slots=True)
class _Some(Folder):
    """A folder of which only some segments are looked at."""

    only: tuple[str, ...]

    def names(self) -> list[str]:
        return sorted(self.only)


def _mergeable(place: Folder, manifest: Manifest, source: Folder, other: Manifest) -> None:
    if place.path.samefile(source.path):
        raise JournalError(f"{place.path} cannot be merged into itself", todo="name other journals")
    same_work(source.path, other, manifest.kind, manifest.parts)


def _file_system_time(place: Folder) -> float:
    """The time by the clock of the file system, which may be another machine's."""
    path = place.segments / f".{new_name()}.now"
    path.touch(0o600)
    try:
        return path.stat().st_mtime
    finally:
        path.unlink()


def _finished(path: Path, now: float, force: bool) -> bool:
    """Whether nobody writes to a segment any more."""
    ended: bool | None = None
    for _, line, good in scan(path):
        parts = take_apart(line) if good else None
        if parts is not None and parts.key == HEADER:
            ended = gone(check_header(path, parts.text))
        if parts is not None and parts.key == END:
            return True
    if ended is not None:
        return ended
    return force or now - path.stat().st_mtime > _IDLE_SECONDS


def _lines(index: Index) -> Iterator[bytes]:
    """Each line that counts, in the order of the files; of several records of a key, one whose payloads are there."""
    chosen = list(index.every_note())
    for key in index:
        places = index.places(key)
        chosen.append(places[0] if len(places) == 1 else _readable(index, places))
    for place in sorted(chosen):  # segments have their numbers by name
        line = index.line(place)
        if line is not None:
            yield line


def _readable(index: Index, places: list[int]) -> int:
    for place in places:
        line = index.line(place)
        if line is not None and all(payloads.sound(index.folder.payloads, d, s) for d, s in _referred(line)):
            return place
    return places[0]


def _has(index: Index, line: bytes) -> bool:
    """Whether an index has a note, or a readable record of the same key that is as good."""
    parts = take_apart(line)
    if parts is None or isinstance(parts.key, str):
        return parts is None or index.has_note(line)
    places = index.places(parts.key)
    if not places:
        return False
    best = index.line(_readable(index, places))
    mine = take_apart(best) if best is not None else None
    sound = best is not None and all(payloads.sound(index.folder.payloads, d, s) for d, s in _referred(best))
    return mine is not None and sound and mine.sign <= parts.sign  # "+" is less than "-"


def _write_segment(place: Folder, lines: Iterator[bytes]) -> None:
    """Make a segment of lines, complete before it has its name."""
    name = new_name()
    temporary = place.segments / f".{name}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            written, buffer = 0, bytearray(header_frame())
            for line in lines:
                buffer += b"\n" + line + b"\n"
                if len(buffer) > _BUFFER:
                    write_all(descriptor, bytes(buffer), written)
                    written += len(buffer)
                    buffer.clear()
            write_all(descriptor, bytes(buffer + end_frame()), written)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, place.segment(name))
        sync_folder(place.segments)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _copy_payloads(place: Folder, source: Folder, lines: list[bytes]) -> None:
    changed = set()
    for digest, size in {reference for line in lines for reference in _referred(line)}:
        with contextlib.suppress(payloads.PayloadError):  # what the source lacks, the record lacks here, too
            changed.add(payloads.write(place.payloads, digest, payloads.read(source.payloads, digest, size)))
    for folder in changed:
        sync_folder(folder)


def _referred(line: bytes) -> list[tuple[str, int]]:
    """The payloads that a line refers to, by their SHA-256 and size."""
    return [(digest.decode(), int(size)) for digest, size in _REFERENCE.findall(line)]


def _references(place: Folder, names: list[str]) -> dict[str, int]:
    return {
        digest: size
        for name in names
        for _, line, good in scan(place.segment(name))
        if good
        for digest, size in _referred(line)
    }


def _payloads(place: Folder) -> Iterator[tuple[str, Path]]:
    """Every file among the payloads, by its name."""
    with contextlib.suppress(FileNotFoundError):
        for part in sorted(place.payloads.iterdir()):
            yield from ((path.name, path) for path in sorted(part.iterdir()))


def _remove_orphans(place: Folder, now: float) -> int:
    """Remove what no record refers to and what was never finished, when it is an hour old."""
    files = dict(_payloads(place))
    used = _references(place, place.names())
    removed = 0
    unfinished = [path for path in place.segments.iterdir() if path.name.startswith(".")]
    for path in (*(path for name, path in files.items() if name not in used), *unfinished):
        with contextlib.suppress(OSError):
            if now - path.stat(follow_symlinks=False).st_mtime > _IDLE_SECONDS:
                path.unlink()
                removed += 1
    return removed
