"""Where in a file something is: the line of a record, and the first record of which something is so."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from ..errors import InputFileError
from .inference import first_row, of_column
from .kinds import Seen, joined
from .options import Reading
from .parsing import parsed
from .sources import Block

SHOWN = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a file.

    Parameters
    ----------
    path : str
        The file.
    line : int or None
        The line on which its record begins, from 1; None where that cannot be told.
    value : str
        The text there.
    """

    path: str
    line: int | None
    value: str

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


def forcing(
    block: Block, data: bytes, names: Sequence[Any], column: Any, before: Seen, dtype: str, reading: Reading
) -> Place | None:
    """The first value of a block that gives a column a dtype that it had not before."""

    def wide(rows: int) -> bool:
        frame = parsed(block, data, names, reading, usecols=[column], nrows=rows)
        return joined(before, of_column(frame[column])).dtype == dtype

    return _place(block, data, names, column, wide, reading)


def failing(block: Block, data: bytes, names: Sequence[Any], column: Any, dtype: Any, reading: Reading) -> Place | None:
    """The first value of a block that a demanded dtype does not hold."""

    def fails(rows: int) -> bool:
        try:
            parsed(block, data, names, reading, usecols=[column], nrows=rows, dtype={column: dtype})
        except (ValueError, TypeError, OverflowError):
            return True
        return False

    return _place(block, data, names, column, fails, reading)


def _place(
    block: Block, data: bytes, names: Sequence[Any], column: Any, is_so: Callable[[int], bool], reading: Reading
) -> Place | None:
    texts = parsed(block, data, names, reading, usecols=[column], dtype=str)[column]
    row = first_row(is_so, len(texts)) if len(texts) else None
    return None if row is None else at_row(block, data, texts, row, reading)


def at_row(block: Block, data: bytes, texts: pandas.Series, row: int, reading: Reading) -> Place:
    """The value of a row, counted from 1, of a block."""
    value = texts.iloc[row - 1]
    return Place(block.path, line_of(block, data, row, reading), "" if pandas.isna(value) else str(value))


def line_of(block: Block, data: bytes, row: int, reading: Reading) -> int | None:
    """The line on which a row of a block begins; rows are counted from 1, without the header."""
    head = 0 if reading.header is None or not block.first else reading.header + 1
    try:
        for number, (line, _) in enumerate(_records(block, data, reading), 1):
            if number == head + row:
                return block.first_line() - 1 + line
    except (csv.Error, LookupError):
        pass
    return None


def _records(block: Block, data: bytes, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """All records that pandas reads, header included, and the lines on which they begin."""
    options = reading.options
    text = data.decode(options.get("encoding") or "utf-8", errors="replace")
    if "lineterminator" in options:
        text = text.replace(options["lineterminator"], "\n")
    quoting: Any = csv.QUOTE_NONE if reading.quote is None else csv.QUOTE_MINIMAL
    lines = io.StringIO(text, newline="")
    skipped = 0
    while block.first and _skips(reading.skiprows, skipped):
        lines.readline()
        skipped += 1
    reader = csv.reader(
        lines, delimiter=reading.separator or ",", quotechar=reading.quote, quoting=quoting,
        escapechar=options.get("escapechar"), doublequote=options.get("doublequote", True),
    )  # fmt: skip
    comment, blanks = options.get("comment"), options.get("skip_blank_lines", True)
    line = skipped + 1
    for record in reader:
        blank = not record or (len(record) == 1 and record[0].isspace())
        if not (blank and blanks) and not (comment and record and record[0].startswith(comment)):
            yield line, record
        line = skipped + reader.line_num + 1


def _skips(skiprows: Any, line: int) -> bool:
    if callable(skiprows):
        return bool(skiprows(line))
    return line < skiprows if isinstance(skiprows, int) else line in skiprows


def unreadable(block: Block, data: bytes, names: Sequence[Any], error: Exception, reading: Reading) -> InputFileError:
    """What to say where pandas cannot parse a block."""
    if isinstance(error, UnicodeDecodeError):
        return _undecodable(block, data, names, reading)
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found:
        line = block.first_line() - 1 + int(found[2])
        text = data.splitlines()[int(found[2]) - 1 : int(found[2])]
        return InputFileError(
            f"{block.path}:{line} has {found[3]} values, and there are {len(names)} columns.",
            short(text[0].decode(errors="replace")) if text else "",
            f"mend line {line}, or read_csv(..., on_bad_lines='skip')",
        )
    if "EOF inside string" in str(error):
        *_, (begins, record) = _records(block, data, reading)
        line = block.first_line() - 1 + begins
        return InputFileError(
            f"{block.path}:{line} has a quote that nothing closes.",
            short(",".join(record)),
            f"mend line {line}, or quoting=csv.QUOTE_NONE where quotes are part of the values",
        )
    if not isinstance(error, pandas.errors.ParserError) and "values, " in str(error):
        line_of_first = line_of(block, data, 1, reading)
        return InputFileError(
            f"{block.path}:{line_of_first} has more values than there are columns.",
            f"{error}: {', '.join(map(str, names))}",
            "a name for each value: names=[...], with header=0 where the file has names too",
        )
    return InputFileError(
        f"{block.path} cannot be read from line {block.first_line()} on.",
        short(str(error)),
        "the file in a text editor",
    )


def _undecodable(block: Block, data: bytes, names: Sequence[Any], reading: Reading) -> InputFileError:
    encoding = reading.options.get("encoding") or "utf-8"
    for number, (line, record) in enumerate(_records(block, data, reading)):
        if not names and number == reading.header:
            names = record
        for name, value in zip(names, record, strict=False):
            if "\N{REPLACEMENT CHARACTER}" in value:
                return InputFileError(
                    f"{block.path}:{block.first_line() - 1 + line} is not {encoding}, in column {name!r}.",
                    repr(short(value)),
                    "encoding='latin-1', or encoding_errors='replace'",
                )
    return InputFileError(f"{block.path} is not {encoding}.", "", "encoding='latin-1', or encoding_errors='replace'")


def short(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
