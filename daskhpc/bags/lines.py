"""Files of lines, cut into pieces, read line by line, and written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputFileError
from ..files import Paths, found

BLOCK = 32 << 20
"""Bytes of text that a partition has at most."""

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

Piece = tuple[str, int, int]
"""A file, and the bytes in which its lines begin: from the first number to before the second; -1: the end."""


def pieces(paths: Paths) -> list[Piece]:
    """The pieces of files, in their order."""
    return [piece for name in found(paths, "data/*.jsonl") for piece in _cut(name)]


def _cut(path: str) -> list[Piece]:
    size = os.path.getsize(path)
    if Path(path).suffix in _OPENERS or size <= BLOCK:
        return [(path, 0, -1)]
    count = -(-size // BLOCK)
    edges = [size * i // count for i in range(count)]
    return list(zip([path] * count, edges, [*edges[1:], -1], strict=True))


def _numbered(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """The lines of a piece, counted from its beginning."""
    path, start, stop = piece
    with _OPENERS.get(Path(path).suffix, open)(path, "rb") as file:
        if start:  # the line that goes on there is of the piece before
            file.seek(start - 1)
            file.readline()
        number = 0
        while stop < 0 or file.tell() < stop:
            line = file.readline()
            if not line:
                break
            number += 1
            yield number, line.rstrip(b"\r\n")


def _before(piece: Piece) -> int:
    """How many lines of the file are before a piece."""
    path, start, _ = piece
    if start == 0:
        return 0
    count = 0
    with open(path, "rb") as file:
        while file.tell() < start:
            count += file.read(min(1 << 23, start - file.tell())).count(b"\n")
        file.seek(start - 1)
        return count if file.read(1) == b"\n" else count + 1


def _tried(line: bytes) -> tuple[Any, str]:
    """What a line says, and why it says nothing."""
    try:
        return json.loads(line), ""
    except ValueError as error:
        return None, str(error)


def records(piece: Piece, errors: str) -> list[Any]:
    """What the lines of a piece say."""
    records = []
    for number, line in _numbered(piece):
        if not line.strip():
            continue
        record, wrong = _tried(line)
        if not wrong:
            records.append(record)
        elif errors == "raise":
            raise InputFileError(
                f"{piece[0]}:{_before(piece) + number} is no JSON: {wrong}.",
                repr(line[:60].decode(errors="replace")),
                "mend that line, or errors='skip'",
            )
    return records


def bad(piece: Piece) -> list[dict[str, Any]]:
    """The lines of a piece that are no JSON."""
    tried = [(number, line, _tried(line)[1]) for number, line in _numbered(piece) if line.strip()]
    wrong = [(number, line, why) for number, line, why in tried if why]
    before = _before(piece) if wrong else 0
    return [
        {"path": piece[0], "line": before + number, "error": why, "text": line.decode(errors="replace")}
        for number, line, why in wrong
    ]


def numbered(piece: Piece) -> list[dict[str, Any]]:
    """The lines of a piece with their numbers."""
    before = _before(piece)
    lines = []
    for number, line in _numbered(piece):
        try:
            lines.append({"path": piece[0], "line": before + number, "text": line.decode()})
        except UnicodeDecodeError as error:
            raise InputFileError(
                f"{piece[0]}:{before + number} is not UTF-8.", str(error), "iconv -f latin1 -t utf-8 FILE"
            ) from None
    return lines


def write(records: Iterable[Any], path: str) -> str:
    """Write records to a file, which has its name when it is whole; returns the name."""
    unfinished = f"{path}.{os.getpid()}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    os.replace(unfinished, path)
    return path
