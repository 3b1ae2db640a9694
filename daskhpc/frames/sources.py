"""Text files and the blocks that they are read in: cut where a line ends, never within quotes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import InputFileError

PIECE = 1 << 23
"""Bytes that are looked at together when a file is cut."""

_OPENERS: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
PACKED = 4
"""How many times larger a compressed file is taken to be."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of a file.

    Parameters
    ----------
    path : str
        The file.
    start, stop : int
        Its bytes; a `stop` of -1 is the end, after decompression.
    size, changed : int
        Bytes and time of change of the file when its types were settled.
    compression : str or None
        How it is compressed: gzip, bz2, xz.
    names : tuple or None
        Its column names where they stand in another order than in the first file.
    """

    path: str
    start: int
    stop: int
    size: int
    changed: int
    compression: str | None = None
    names: tuple[Any, ...] | None = None

    @property
    def first(self) -> bool:
        """Whether the file begins here."""
        return self.start == 0

    @property
    def nbytes(self) -> int:
        """Bytes, guessed where they are compressed."""
        size = self.size * PACKED if self.compression else self.size
        return (size if self.stop < 0 else self.stop) - self.start

    def content(self) -> bytes:
        """The bytes, decompressed."""
        now = os.stat(self.path)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.changed):
            raise InputFileError(
                f"{self.path} has changed since its column types were settled.",
                f"{now.st_size:,} bytes, {self.size:,} then",
                "read the files again when nothing writes to them",
            )
        return content(self.path, self.start, self.stop, self.compression)

    def first_line(self) -> int:
        """The number of its first line, from 1."""
        line = 1
        with open(self.path, "rb") as file:
            for start in range(0, self.start, PIECE):
                line += file.read(min(PIECE, self.start - start)).count(b"\n")
        return line


def content(path: str, start: int = 0, stop: int = -1, compression: str | None = None) -> bytes:
    """Bytes of a file, decompressed."""
    if compression:
        with _OPENERS[compression](path, "rb") as file:
            return bytes(file.read())
    with open(path, "rb") as file:
        file.seek(start)
        return file.read() if stop < 0 else file.read(stop - start)


def compression_of(path: str, given: str | None) -> str | None:
    """How a file is compressed, by its name where nothing is given."""
    suffix = Path(path).suffix
    kind = _SUFFIXES.get(suffix) if given == "infer" else given
    if (kind is not None and kind not in _OPENERS) or (given == "infer" and suffix in (".zip", ".zst", ".tar")):
        raise InputFileError(
            f"{path} is compressed in a way that is not read here.",
            f"{given}, {suffix}",
            f"one of {', '.join(_OPENERS)}",
        )
    return kind


def blocks(
    path: str,
    blocksize: int,
    head: int = 0,
    quote: str | None = None,
    separator: str = "",
    whole: bool = False,
    compression: str | None = None,
) -> list[Block]:
    """A file in blocks of about `blocksize` bytes.

    Parameters
    ----------
    path : str
        The file.
    blocksize : int
        Bytes.
    head : int
        Bytes that the first block has at least.
    quote : str, optional
        What quotes; a line that ends within quotes is no place to cut.
    separator : str
        What is between values.
    whole : bool
        Not to cut at all.
    compression : str, optional
        How it is compressed.
    """
    stat = os.stat(path)
    quotes = _Quotes(quote.encode() if quote else b"", b"\r\n" + separator.encode())
    cuts = [] if whole or stat.st_size <= blocksize else _cuts(path, max(blocksize, head), blocksize, quotes)
    edges = [0, *(cut for cut in cuts if cut < stat.st_size), stat.st_size if cuts else -1]
    return [Block(path, start, stop, stat.st_size, stat.st_mtime_ns, compression) for start, stop in pairwise(edges)]


@dataclass(slots=True)
class _Quotes:
    """Where a file is within quotes: after an odd number of them, if each of them opens or closes a value."""

    quote: bytes
    beside: bytes
    count: int = 0
    stray: bool = False

    def lines(self, piece: bytes, before: bytes, after: bytes) -> np.ndarray:
        """The newlines of a piece that are not within quotes."""
        array = np.frombuffer(piece, np.uint8)
        newlines = np.flatnonzero(array == ord("\n"))
        if not self.quote or self.quote not in piece:
            return newlines if self.count % 2 == 0 else newlines[:0]
        places = np.flatnonzero(array == ord(self.quote))
        around = np.frombuffer(before + piece + after, np.uint8)
        allowed = np.frombuffer(self.beside + self.quote, np.uint8)
        opens, closes = np.isin(around[places], allowed), np.isin(around[places + 2], allowed)
        self.stray = self.stray or not bool(np.all(opens | closes))
        within = (self.count + np.searchsorted(places, newlines)) % 2 == 1
        self.count += places.size
        return cast(np.ndarray, newlines[~within])


def _cuts(path: str, goal: int, blocksize: int, quotes: _Quotes) -> list[int]:
    """The first bytes of all blocks but the first one, from `goal` on."""
    cuts: list[int] = []
    for start, piece, before, after in _pieces(path):
        ends = quotes.lines(piece, before, after)
        while True:
            at = int(np.searchsorted(ends, goal - 1 - start))
            if at == len(ends):
                break
            cut = int(ends[at]) + 1
            cuts.append(start + cut)
            goal = start + cut + blocksize
    return [] if quotes.stray or quotes.count % 2 else cuts


def _pieces(path: str) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """A file piece by piece: where it starts, its bytes, the byte before it and the one after it."""
    before, start = b"\n", 0
    with open(path, "rb") as file:
        piece = file.read(PIECE)
        while piece:
            following = file.read(PIECE)
            yield start, piece, before, following[:1] or b"\n"
            start, before, piece = start + len(piece), piece[-1:], following


def packed(parts: Sequence[Block], nbytes: int) -> list[tuple[Block, ...]]:
    """Neighbouring blocks put together up to a number of bytes."""
    packs: list[list[Block]] = []
    held = 0
    for part in parts:
        if packs and held + part.nbytes <= nbytes:
            packs[-1].append(part)
            held += part.nbytes
        else:
            packs.append([part])
            held = part.nbytes
    return [tuple(pack) for pack in packs]


def sampled(block: Block, lines: int, last: int, quote: str | None, separator: str) -> list[Block]:
    """The first and the last lines of a file, within 8 MiB each; all of it where they are no less, or cannot be told.

    Parameters
    ----------
    block : Block
        The whole file.
    lines, last : int
        How many lines, header included.
    quote, separator : str
        As in `blocks`.
    """
    if block.size <= 2 * PIECE and content(block.path).count(b"\n") <= lines + last:
        return [block]
    quotes = _Quotes(quote.encode() if quote else b"", b"\r\n" + separator.encode())
    begin = content(block.path, 0, PIECE)
    ends = quotes.lines(begin, b"\n", b"\n")
    end = content(block.path, max(0, block.size - PIECE))
    unclear = bool(quote) and any(line.count(quotes.quote) % 2 for line in end.split(b"\n")[1:] if quotes.quote in end)
    if quotes.stray or unclear or not len(ends):
        return [block]
    cut = int(ends[min(lines, len(ends)) - 1]) + 1
    newlines = np.flatnonzero(np.frombuffer(end.removesuffix(b"\n"), np.uint8) == ord("\n"))
    start = block.size - len(end) + int(newlines[-min(last, len(newlines))]) + 1
    if start <= cut:
        return [block]
    return [replace(block, stop=cut), replace(block, start=start, stop=block.size)]
