"""Text files in blocks that are read independently of each other: cut at ends of records, never within quotes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from ..errors import InputFileError
from .compression import EXPANSION, compression_of, content

PIECE = 1 << 23
"""Bytes that are held at a time while a file is cut."""


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Lines of a file.

    Parameters
    ----------
    path : str
        The file.
    start, stop : int
        Its bytes; a `stop` of -1 is the end, after decompression.
    size, changed : int
        Bytes and time of change of the file when it was cut.
    compression : str or None
        How it is compressed: gzip, bz2, xz.
    names : tuple or None
        Its column names, if they stand in another order than in the first file.
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
        """Whether the file begins with this block."""
        return self.start == 0

    @property
    def nbytes(self) -> int:
        """Bytes of text, an estimate for a compressed file."""
        size = self.size * EXPANSION if self.compression else self.size
        return (size if self.stop < 0 else self.stop) - self.start

    def content(self) -> bytes:
        """The bytes, decompressed; raises InputFileError if the file is not the one that was cut."""
        now = os.stat(self.path)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.changed):
            raise InputFileError(
                f"{self.path} has changed since its column types were settled.",
                f"{now.st_size:,} bytes, {self.size:,} then",
                "read the files again when nothing writes to them",
            )
        return content(self.path, self.start, self.stop, self.compression)

    def begin(self, nbytes: int) -> bytes:
        """The first so many bytes, decompressed."""
        stop = self.start + nbytes if self.stop < 0 else min(self.start + nbytes, self.stop)
        return content(self.path, self.start, stop, self.compression)

    def first_line(self) -> int:
        """The number of its first line in the file, from 1."""
        line = 1
        with open(self.path, "rb") as file:
            for start in range(0, self.start, PIECE):
                line += file.read(min(PIECE, self.start - start)).count(b"\n")
        return line


def blocks_of_lines(paths: Sequence[str], blocksize: int | None) -> list[TextBlock]:
    """Files in which each line is a record, in blocks of about `blocksize` bytes; None: a block per file.

    A cut is found by one short read, so that cutting costs little however large a file is.
    """
    blocks: list[TextBlock] = []
    for path in paths:
        compression = compression_of(path)
        size = os.path.getsize(path)
        cuts = [] if compression else list(_line_starts(path, blocksize or size, size))
        blocks += _between(path, cuts, compression)
    return blocks


def _line_starts(path: str, blocksize: int, size: int) -> Iterator[int]:
    """The first line starts that are a block size or more apart."""
    at = blocksize
    with open(path, "rb") as file:
        while at < size:
            file.seek(at - 1)
            file.readline()
            at = file.tell()
            if at < size:
                yield at
            at += blocksize


def blocks_of_records(
    path: str, blocksize: int, *, head: int = 0, quote: str | None = None, separator: str = ""
) -> list[TextBlock]:
    """A file of records, whose quoted values may hold newlines, in blocks of about `blocksize` bytes.

    Parameters
    ----------
    path : str
        A file that is not compressed.
    blocksize : int
        Bytes.
    head : int
        Bytes that the first block has at least.
    quote : str, optional
        The quote character.
    separator : str
        The character between values.

    Returns
    -------
    list of TextBlock
        One block if quotes stand within values, so that the ends of records cannot be found.
    """
    size = os.path.getsize(path)
    cuts = [] if size <= blocksize else _record_starts(path, max(blocksize, head), blocksize, _Quotes(quote, separator))
    return _between(path, [cut for cut in cuts if cut < size], None)


def whole_file(path: str, compression: str | None = None) -> TextBlock:
    """A file as one block."""
    return _between(path, [], compression)[0]


def _between(path: str, cuts: Sequence[int], compression: str | None) -> list[TextBlock]:
    stat = os.stat(path)
    edges = [0, *cuts, stat.st_size if cuts else -1]
    return [
        TextBlock(path, start, stop, stat.st_size, stat.st_mtime_ns, compression) for start, stop in pairwise(edges)
    ]


class _Quotes:
    """Tells the newlines that end a record from those within quotes, in pieces of a file given one after another.

    A place is within quotes after an odd number of quote characters, provided that they open and close values in turn,
    or are one of two. A quote elsewhere makes that count useless: `stray` shows it. NumPy counts, as a loop over
    lines would take longer than parsing them.
    """

    def __init__(self, quote: str | None, separator: str) -> None:
        self.quote = (quote or "").encode()
        self.beside = np.frombuffer(b"\r\n" + separator.encode() + self.quote, np.uint8)
        self.count = 0
        self.stray = False

    def line_ends(self, piece: bytes, before: bytes = b"\n", after: bytes = b"\n") -> np.ndarray:
        """The newlines of a piece that are not within quotes; `before` and `after` are the bytes around it."""
        array = np.frombuffer(piece, np.uint8)
        newlines = np.flatnonzero(array == ord("\n"))
        if not self.quote or self.quote not in piece:
            return newlines if self.count % 2 == 0 else newlines[:0]
        places = np.flatnonzero(array == ord(self.quote))
        around = np.frombuffer(before + piece + after, np.uint8)
        opens, closes = np.isin(around[places], self.beside), np.isin(around[places + 2], self.beside)
        opening = (self.count + np.arange(places.size)) % 2 == 0
        self.stray = self.stray or not bool(np.all(np.where(opening, opens, closes)))
        within = (self.count + np.searchsorted(places, newlines)) % 2 == 1
        self.count += places.size
        return cast(np.ndarray, newlines[~within])


def _record_starts(path: str, at: int, blocksize: int, quotes: _Quotes) -> list[int]:
    """The first record starts from `at` on that are a block size or more apart; none if quotes are not clear."""
    cuts: list[int] = []
    start, before = 0, b"\n"
    with open(path, "rb") as file:
        piece = file.read(PIECE)
        while piece:
            following = file.read(PIECE)
            ends = start + 1 + quotes.line_ends(piece, before, following[:1] or b"\n")
            while len(ends) and ends[-1] >= at:
                cuts.append(int(ends[np.searchsorted(ends, at)]))
                at = cuts[-1] + blocksize
            start, before, piece = start + len(piece), piece[-1:], following
    return [] if quotes.stray or quotes.count % 2 else cuts


def ends_of_file(block: TextBlock, first: int, last: int, quote: str | None, separator: str) -> list[TextBlock]:
    """The first and the last lines of a file, within 8 MiB each; all of it if it has no more, or quotes forbid to tell.

    Parameters
    ----------
    block : TextBlock
        The whole file.
    first, last : int
        How many lines, the header included.
    quote, separator : str
        As in `blocks_of_records`.
    """
    if block.size <= 2 * PIECE and content(block.path).count(b"\n") <= first + last:
        return [block]
    quotes = _Quotes(quote, separator)
    ends = quotes.line_ends(content(block.path, 0, PIECE))
    tail = content(block.path, max(0, block.size - PIECE))
    unclear = bool(quote) and any(line.count(quotes.quote) % 2 for line in tail.split(b"\n")[1:])
    if quotes.stray or unclear or not len(ends):
        return [block]
    stop = int(ends[min(first, len(ends)) - 1]) + 1
    newlines = np.flatnonzero(np.frombuffer(tail.removesuffix(b"\n"), np.uint8) == ord("\n"))
    start = block.size - len(tail) + int(newlines[-min(last, len(newlines))]) + 1
    return [replace(block, stop=stop), replace(block, start=start, stop=block.size)] if start > stop else [block]


def packed(blocks: Sequence[TextBlock], nbytes: int | None) -> list[tuple[TextBlock, ...]]:
    """Neighbouring blocks put together up to a number of bytes; None: each stays alone."""
    packs: list[list[TextBlock]] = []
    held = 0
    for block in blocks:
        if packs and held + block.nbytes <= (nbytes or 0):
            packs[-1].append(block)
            held += block.nbytes
        else:
            packs.append([block])
            held = block.nbytes
    return [tuple(pack) for pack in packs]
