"""The folder of a journal: its permissions, its manifest, and the names of what it holds."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..own_files import ForeignFileError, check_link, read_own
from .segment import FORMAT, SUFFIX, sync_folder, write_all

KINDS = ("search", "sweep", "calls", "training")
MANIFEST = "journal.json"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a journal is of.

    Attributes
    ----------
    format : int
    kind : str
        "search", "sweep", "calls" or "training".
    created : str
        ISO time.
    seed : int
        32 random bits that were drawn when the journal was made.
    parts : dict[str, dict]
        Per part of the work, its ``token`` and a ``text`` for people.
    """

    format: int
    kind: str
    created: str
    seed: int
    parts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where things are in a journal's folder."""

    path: Path

    @property
    def segments(self) -> Path:
        """The folder of all segments."""
        return self.path / "segments"

    @property
    def payloads(self) -> Path:
        """The folder of all payloads."""
        return self.path / "payloads"

    def segment(self, name: str) -> Path:
        """A segment by its name."""
        return self.segments / f"{name}{SUFFIX}"

    def names(self) -> list[str]:
        """All segments by name."""
        try:
            entries = os.listdir(self.segments)
        except FileNotFoundError:
            return []
        ends = len(SUFFIX)
        return sorted(name[:-ends] for name in entries if name.endswith(SUFFIX) and not name.startswith("."))


def make(folder: Folder, kind: str, parts: Mapping[str, Any]) -> Manifest:
    """Create a folder if there is none, and its manifest; of several processes the first writes the manifest.

    Raises
    ------
    JournalError
        When the folder cannot be made, is of another user, or has other things in it.
    """
    path = folder.path
    try:
        for parent in (*reversed(path.parents), path):
            if not parent.exists():
                parent.mkdir(mode=0o700, exist_ok=True)
                with contextlib.suppress(OSError):  # a folder that is not ours may be closed to reading
                    sync_folder(parent.parent)
    except OSError as error:
        raise _unusable(path, error) from error
    secure(path)
    if not (path / MANIFEST).exists():
        strange = sorted(name for name in os.listdir(path) if not name.startswith((f".{MANIFEST}.", ".nfs")))
        if strange and not (path / MANIFEST).exists():
            raise JournalError(
                f"{path} is not a journal",
                f"other things in it, such as {strange[0]!r}, and no {MANIFEST}",
                "give a new folder, or an empty one",
            )
        created = datetime.now(UTC).isoformat()
        seed = int.from_bytes(os.urandom(4), "big")
        try:
            _publish(path, Manifest(FORMAT, kind, created, seed, dict(parts)))
        except OSError as error:
            raise _unusable(path, error) from error
    return load(folder)


def _publish(path: Path, manifest: Manifest) -> None:
    temporary = path / f".{MANIFEST}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, json.dumps(asdict(manifest), indent=1).encode() + b"\n", 0)
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path / MANIFEST)
    finally:
        os.close(descriptor)
        os.unlink(temporary)
    sync_folder(path)


def existing(folder: str | os.PathLike[str]) -> tuple[Folder, Manifest]:
    """A journal's folder and manifest; nothing is written to it.

    Raises
    ------
    JournalError
        When it is none, or another user's.
    """
    place = Folder(Path(folder).absolute())
    own(place.path)
    return place, load(place)


def load(folder: Folder) -> Manifest:
    """The manifest.

    Raises
    ------
    JournalError
        When there is no journal, or none that this version can read.
    """
    path = folder.path
    try:
        data = json.loads(read_own(path / MANIFEST))
        number = data["format"]
    except FileNotFoundError:
        found = f"no {MANIFEST}" if path.exists() else "no such folder"
        todo = "look for the folder that was given to the run, or create one by a run"
        inner = sorted(manifest.parent for manifest in path.glob(f"*/{MANIFEST}"))
        if inner:
            found += f" in it, but in {len(inner)} of its folders"
            todo = "one of those: " + ", ".join(str(each) for each in inner[:_MOST_NAMED])
        raise JournalError(f"{path} is not a journal", found, todo) from None
    except ForeignFileError as error:
        raise _untrusted(path / MANIFEST, error) from None
    except OSError as error:
        raise _unusable(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"The manifest {path / MANIFEST} is damaged", f"{type(error).__name__}: {error}", "use another folder"
        ) from error
    if number != FORMAT:
        raise JournalError(
            f"The journal {path} has another format",
            f"format {number}; this version of daskhpc reads format {FORMAT}",
            "use the version of daskhpc that wrote it, or another folder",
        )
    return Manifest(number, data["kind"], data["created"], data["seed"], data["parts"])


def secure(path: Path) -> None:
    """See that a folder is this user's alone.

    Raises
    ------
    JournalError
        When it is no folder, of another user, or stays open to others.
    """
    own(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        with contextlib.suppress(OSError):
            path.chmod(mode & ~0o077)
    if mode := stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise JournalError(
            f"The folder {path} is open to other users",
            f"permission bits {mode:03o} for group and others, which could not be removed",
            f"chmod go-rwx {path}, or use a folder on another file system",
        )


def own(path: Path) -> None:
    """See that a folder is one, and of this user.

    Raises
    ------
    JournalError
        Otherwise.
    """
    try:
        check_link(path)
        found = path.stat()
    except ForeignFileError as error:
        raise _untrusted(path, error) from None
    except FileNotFoundError:
        raise JournalError(f"{path} is not a journal", "no such folder", "the folder that `checkpoint` named") from None
    except OSError as error:
        raise _unusable(path, error) from error
    if not stat.S_ISDIR(found.st_mode):
        todo = f"its folder: {path.parent}" if path.name == MANIFEST else "give a folder"
        raise JournalError(f"{path} is not a journal", "a file, not a folder", todo)
    if found.st_uid != os.geteuid():
        raise JournalError(
            f"The folder {path} belongs to another user",
            f"user {found.st_uid}; this process runs as user {os.geteuid()}",
            "use a folder of your own",
        )


def prepare(folder: Folder) -> None:
    """Make what a writer needs in a journal's folder.

    Raises
    ------
    JournalError
        When it cannot be written to.
    """
    try:
        for part in (folder.segments, folder.payloads):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700)
                sync_folder(folder.path)
            if not os.access(part, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(None, "it cannot be written to", str(part))
    except OSError as error:
        raise _unusable(folder.path, error) from error


def same_work(path: Path, manifest: Manifest, kind: str, parts: Mapping[str, Any] | None) -> None:
    """See that a journal is of this kind and these parts; None for whatever parts it has.

    Raises
    ------
    JournalError
        That names the kinds, or each part that differs, from what to what.
    """
    todo = f"use another folder, or remove {path} if its results are not needed"
    if manifest.kind != kind:
        raise JournalError(
            f"The journal {path} is of another kind", f"a journal of kind {manifest.kind!r}, not {kind!r}", todo
        )
    found = "; ".join(_differences(manifest.parts, parts)) if parts is not None else ""
    if found:
        raise JournalError(f"The journal {path} is of other work", found, todo)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for name in dict.fromkeys((*old, *new)):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            known = before or after or {}
            where = "only in the journal" if after is None else "not in the journal"
            found.append(f"{name}: {known.get('text', '')} is {where}")
        elif before["token"] != after["token"]:
            texts = before.get("text", ""), after.get("text", "")
            changed = f"from {texts[0]} to {texts[1]}"
            found.append(f"{name}: {changed}" if texts[0] != texts[1] else f"{name}: {texts[0]}, with other contents")
    return found


def _untrusted(path: Path, error: ForeignFileError) -> JournalError:
    todo = "a journal of your own; if you trust what is in this one: chmod -R go-w"
    return JournalError(f"{path} is not trusted", str(error.strerror), todo)


def _unusable(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"The folder {path} cannot be used for a journal",
        error.strerror or str(error),
        "give a folder that this user can write to on a file system with room",
    )
