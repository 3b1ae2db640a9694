"""Text files that are compressed: which are read, how large they become, what is wrong with a broken one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from pathlib import Path
from typing import Any

from ..errors import InputFileError

_OPENERS: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
EXPANSION = 4
"""How many times larger than its file a compressed text is taken to be."""


def content(path: str, start: int = 0, stop: int = -1, compression: str | None = None) -> bytes:
    """Bytes of a file, decompressed."""
    try:
        with _OPENERS.get(compression or "", open)(path, "rb") as file:
            file.seek(start)
            return bytes(file.read() if stop < 0 else file.read(stop - start))
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        broken: Exception = error
    except OSError as error:
        if compression is None or error.errno is not None:  # errors of bz2 about its data have no number
            raise
        broken = error
    raise InputFileError(
        f"{path} cannot be decompressed.",
        f"{compression}: {broken}",
        "write the file again; its name without the ending if it is not compressed",
    )


def compression_of(path: str, given: str | None = "infer") -> str | None:
    """How a file is compressed, by its name unless something is given; raises InputFileError if it cannot be read."""
    suffix = Path(path).suffix.lower()
    if suffix in _SUFFIXES and Path(path).stem.lower().endswith(".tar"):
        suffix = ".tar"  # whose text would have the archive's own lines in it
    kind = _SUFFIXES.get(suffix) if given == "infer" else given
    if (kind is not None and kind not in _OPENERS) or (given == "infer" and suffix in (".zip", ".zst", ".tar")):
        raise InputFileError(
            f"{path} is compressed in a way that daskhpc does not read.",
            f"{given}, {suffix}",
            f"one of {', '.join(_OPENERS)}",
        )
    return kind
