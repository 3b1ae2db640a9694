"""What is wrong in a CSV file and on which line: pandas itself is asked how many lines it takes to go wrong."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas

from ..errors import InputFileError
from ..text import shortened
from .column_types import ColumnContent, joined
from .csv_block import CsvBlock, LongRowsError

SHOWN = 60
"""Characters of a value or line that a message shows."""


@dataclass(frozen=True, slots=True)
class Location:
    """A value in a file.

    Parameters
    ----------
    path : str
        The file.
    line : int or None
        The line on which its record begins, from 1; None if that is not known.
    value : str
        The text there, empty for a gap.
    """

    path: str
    line: int | None
    value: str

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


def first_number(is_so: Callable[[int], bool], most: int, beyond: int = 0) -> int | None:
    """The smallest number above `beyond` for which something is so that stays so up to `most`; None if it never is.

    Examples
    --------
    >>> first_number(lambda number: number**2 > 1000, most=100)
    32
    """
    low, step = beyond, 1
    while not is_so(min(low + step, most)):
        if low + step >= most:
            return None
        low, step = low + step, step * 8
    high = min(low + step, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_so(middle) else (middle, high)
    return high


def location_of_change(csv: CsvBlock, column: Any, before: ColumnContent, dtype: str) -> Location | None:
    """The first value of a block that gives a column a dtype which it had not after the blocks before."""

    def changed(rows: int) -> bool:
        return joined(before, csv.column(column, rows)).dtype == dtype

    return _location_of_first(csv, column, changed)


def location_of_misfit(csv: CsvBlock, column: Any, dtype: Any) -> Location | None:
    """The first value of a block that a demanded dtype does not hold."""

    def fails(rows: int) -> bool:
        try:
            csv.parsed(usecols=[column], nrows=rows, dtype={column: dtype})
        except (ValueError, TypeError, OverflowError):
            return True
        return False

    return _location_of_first(csv, column, fails)


def _location_of_first(csv: CsvBlock, column: Any, is_so: Callable[[int], bool]) -> Location | None:
    texts = csv.parsed(usecols=[column], dtype=str)[column]
    row = first_number(is_so, len(texts)) if len(texts) else None
    return None if row is None else location(csv, texts, row)


def location(csv: CsvBlock, texts: pandas.Series, row: int) -> Location:
    """The value of a row of a block; rows are counted from 1, without the header."""
    value = texts.iloc[row - 1]
    return Location(csv.block.path, line_of_row(csv, row), "" if pandas.isna(value) else str(value))


# pandas does not say on which line a row begins. But a row is there as soon as the text goes up to the end of its
# first line, provided that a quote which is open there is closed. So the line of a row is the smallest number of lines
# in which pandas finds that many rows, whatever it makes of blank lines, comments, quotes and escapes.


def line_of_row(csv: CsvBlock, row: int) -> int | None:
    """The line of the file on which a row of a block begins; rows are counted from 1, without the header."""
    lines = _lines(csv)
    try:
        number = first_number(lambda n: _count_rows(csv, lines[:n]) >= row, len(lines), beyond=min(row, len(lines)) - 1)
    except ValueError:
        return None
    return None if number is None else csv.block.first_line() - 1 + number


def _lines(csv: CsvBlock) -> list[str]:
    """The lines of a block with their ends."""
    text = csv.data.decode(csv.options.encoding, errors="replace")
    end = csv.options.options.get("lineterminator")
    return list(io.StringIO(text, newline="")) if end is None else [f"{line}{end}" for line in text.split(end)]


def _count_rows(csv: CsvBlock, lines: list[str]) -> int:
    first = {"usecols": [csv.names[0]]} if csv.names else {"usecols": [0], "names": None}
    return len(_parsed_lines(csv, lines, **first, dtype=str, index_col=False))


def _parsed_lines(csv: CsvBlock, lines: list[str], **more: Any) -> pandas.DataFrame:
    """Some lines of a block as pandas reads them, within quotes at their end or not."""
    text = "".join(lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pandas.errors.ParserWarning)
        try:
            return replace(csv, data=text.encode()).parsed(encoding="utf-8", **more)
        except pandas.errors.ParserError:
            if csv.options.quote is None:
                raise
            return replace(csv, data=(text + csv.options.quote).encode()).parsed(encoding="utf-8", **more)


def unreadable(csv: CsvBlock, error: Exception) -> InputFileError:
    """What to say of a block that pandas cannot parse."""
    path = csv.block.path
    if isinstance(error, UnicodeDecodeError):
        return _undecodable(csv)
    if re.search(r"Expected \d+ fields in line \d+, saw \d+", str(error)):
        return _overlong(csv, str(error))
    if "EOF inside string" in str(error) or "unexpected end of data" in str(error):
        lines = _lines(csv)
        line = line_of_row(csv, _count_rows(csv, lines))
        return InputFileError(
            f"{path}:{line} has a quote that nothing closes.",
            shortened("".join(lines[(line or 1) - csv.block.first_line() :]), SHOWN),
            f"mend line {line}, or quoting=csv.QUOTE_NONE if quotes are part of the values",
        )
    if isinstance(error, LongRowsError):
        return InputFileError(
            f"{path}:{line_of_row(csv, 1)} has more values than there are columns.",
            f"{error}: {', '.join(map(str, csv.names))}",
            _separator_advice(csv.names)
            or "a name for each value: names=[...], with header=0 if the file has names too",
        )
    return InputFileError(
        f"{path} cannot be read from line {csv.block.first_line()} on.",
        shortened(str(error), SHOWN),
        "the file in a text editor",
    )


def other_separator(names: Sequence[Any]) -> str | None:
    """What seems to stand between the names of columns that a comma does not part.

    Examples
    --------
    >>> other_separator(["date;value"]), other_separator(["date", "value"])
    (';', None)
    """
    return next((mark for mark in ";\t|" if any(mark in str(name) for name in names)), None)


def _separator_advice(names: Sequence[Any]) -> str:
    mark = other_separator(names)
    return (
        "" if mark is None else f"sep={mark!r}, which stands between the names (and decimal=',' if numbers have commas)"
    )


def _overlong(csv: CsvBlock, said: str) -> InputFileError:
    """What to say of a row with more values than the rows before.

    The line number of pandas' own message does not count newlines within quotes, so it is only the place to begin with.
    """
    lines = _lines(csv)

    def has_it(number: int) -> bool:
        try:
            _parsed_lines(csv, lines[:number])
        except pandas.errors.ParserError:
            return True
        return False

    columns, record, values = map(int, re.findall(r"\d+", said[said.index("Expected") :])[:3])
    end = first_number(has_it, len(lines), beyond=min(record, len(lines)) - 1)
    line = line_of_row(csv, _count_rows(csv, lines[:end]))
    return InputFileError(
        f"{csv.block.path}:{line} has {values} values, and there are {len(csv.names) or columns} columns.",
        shortened("".join(lines[(line or 1) - csv.block.first_line() : end]), SHOWN),
        _separator_advice(csv.names) or f"mend line {line}, or read_csv(..., on_bad_lines='skip')",
    )


def _undecodable(csv: CsvBlock) -> InputFileError:
    path, encoding, todo = csv.block.path, csv.options.encoding, "encoding='latin-1', or encoding_errors='replace'"
    try:
        csv.data.decode(encoding)
    except UnicodeDecodeError as error:
        before = csv.data[: error.start].decode(encoding)
        line = csv.block.first_line() + len(list(io.StringIO(before + "x", newline=""))) - 1
        column, value = _first_replaced(csv)
        return InputFileError(f"{path}:{line} is not {encoding}{column}.", value, todo)
    return InputFileError(f"{path} is not {encoding}.", "", todo)


def _first_replaced(csv: CsvBlock) -> tuple[str, str]:
    """The column of the first value with a byte that cannot be decoded, in words, and that value."""
    names = {} if csv.names else {"names": None}
    try:
        frame = csv.parsed(dtype=str, encoding_errors="replace", **names)
    except ValueError:
        return "", ""
    for values in frame.itertuples(index=False, name=None):
        for name, value in zip(frame, values, strict=True):
            if isinstance(value, str) and "\N{REPLACEMENT CHARACTER}" in value:
                return f", in column {name!r}", repr(shortened(value, SHOWN))
    return "", ""
