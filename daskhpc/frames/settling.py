"""The types of columns, settled over all files of a set before any of it is read for use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas

from ..errors import InputFileError, SettingsError
from .inference import dtype_holds, holds_all, seen
from .kinds import Kind, Seen, joined
from .options import Reading
from .parsing import TEXT, Dates, column_names, dates_like, lines_end, parsed
from .places import Place, at_row, failing, forcing, short, unreadable
from .sources import PIECE, Block, blocks, compression_of, content, sampled

FIRST = 1000
"""Rows of each file in which the first date is looked for, to have the format from."""

UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of the columns.

    Parameters
    ----------
    dtypes : dict
        Demanded dtypes by column.
    dates : tuple
        Columns of dates.
    """

    dtypes: Mapping[Any, Any]
    dates: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file: its column names, those that are wanted, its blocks, and its first date in each column of dates."""

    path: str
    names: tuple[Any, ...]
    wanted: tuple[Any, ...]
    blocks: tuple[Block, ...]
    sample: tuple[Block, ...]
    dates: Mapping[Any, str | None]


@dataclass(frozen=True, slots=True)
class Found:
    """What a block holds: its columns, and the resolution of those with dates."""

    columns: Mapping[Any, Seen]
    units: Mapping[Any, str]


def looked_at(
    paths: Sequence[str], reading: Reading, dates: Sequence[Any], blocksize: int | None, sample: int | None
) -> list[File | InputFileError]:
    """The files of these paths, or what is wrong with them."""
    found: list[File | InputFileError] = []
    for path in paths:
        try:
            found.append(_file(path, reading, dates, blocksize, sample))
        except InputFileError as error:
            found.append(error)
    return found


def _file(path: str, reading: Reading, dates: Sequence[Any], blocksize: int | None, sample: int | None) -> File:
    compression = compression_of(path, reading.compression)
    begin = content(path, 0, -1 if compression or not reading.can_cut else PIECE, compression)
    try:
        names = column_names(path, begin, reading)
    except (pandas.errors.ParserError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InputFileError):
            raise
        whole = Block(path, 0, -1, 0, 0, compression)
        raise unreadable(whole, begin, (), error, reading) from None
    wanted = _wanted(path, names, reading)
    head = lines_end(begin, reading)
    size = os.path.getsize(path)
    uncut = bool(compression) or not reading.can_cut
    cut = blocks(path, blocksize or size, head, reading.quote, reading.separator or "", uncut, compression)
    whole = replace(cut[0], stop=-1)
    lines = (reading.skiprows if isinstance(reading.skiprows, int) else 0) + (reading.header or 0) + 1
    looked = cut
    if sample is not None:
        looked = [whole] if uncut else sampled(whole, lines + sample, sample, reading.quote, reading.separator or "")
    return File(path, names, wanted, tuple(cut), tuple(looked), _first_dates(whole, begin, names, dates, reading))


def _wanted(path: str, names: Sequence[Any], reading: Reading) -> tuple[Any, ...]:
    """The columns that ``usecols`` chooses."""
    use = reading.usecols
    if use is None:
        return tuple(names)
    if callable(use):
        return tuple(name for name in names if use(name))
    chosen = [names[one] if isinstance(one, int) and one < len(names) else one for one in use]
    for one in chosen:
        if one not in names:
            raise _lacks(path, one, names)
    return tuple(name for name in names if name in chosen)


def _lacks(path: str, column: Any, names: Sequence[Any]) -> InputFileError:
    return InputFileError(
        f"{path} has no column {column!r}.",
        f"its columns: {short(', '.join(map(str, names)))}",
        "usecols=[the columns that all files have], or a pattern that leaves this file out",
    )


def _first_dates(
    block: Block, begin: bytes, names: Sequence[Any], dates: Sequence[Any], reading: Reading
) -> dict[Any, str | None]:
    there = [name for name in dates if name in names]
    if not there:
        return {}
    try:
        frame = parsed(block, begin, names, reading, usecols=there, dtype=str, nrows=FIRST)
    except ValueError:  # said when the blocks are looked at
        return {}
    firsts = {name: frame[name].dropna() for name in there}
    return {name: str(values.iloc[0]) if len(values) else None for name, values in firsts.items()}


def same_columns(files: Sequence[File]) -> list[File]:
    """The files, with the names of those whose columns stand in another order written into their blocks.

    Raises
    ------
    InputFileError
        Where one lacks a column that the first has, or has one more.
    """
    first = files[0]
    for file in files[1:]:
        for column in first.wanted:
            if column not in file.wanted:
                raise _lacks(file.path, column, file.names)
        for column in file.wanted:
            if column not in first.wanted:
                raise InputFileError(
                    f"{file.path} has a column {column!r}, which {first.path} has not.",
                    f"its columns: {short(', '.join(map(str, file.names)))}",
                    f"usecols={short(repr(list(first.wanted)))}",
                )
    return [file if file.names == first.names else _named(file) for file in files]


def _named(file: File) -> File:
    own = tuple(replace(block, names=file.names) for block in file.blocks)
    return replace(file, blocks=own, sample=tuple(replace(block, names=file.names) for block in file.sample))


def wish(first: File, dtype: Any, parse_dates: Any) -> Wish:
    """What a call asks of the columns, checked against those of the first file.

    Raises
    ------
    SettingsError
        Where a column is not there.
    """
    dates = tuple(_column(first, one, "parse_dates") for one in parse_dates or ())
    if dtype is not None and not isinstance(dtype, Mapping):
        dtype = {name: dtype for name in first.wanted if name not in dates}
    given = {_column(first, one, "dtype"): value for one, value in (dtype or {}).items()}
    try:
        dtypes = {name: _demanded(value) for name, value in given.items()}
    except TypeError as error:
        raise SettingsError(
            "A dtype that pandas does not have.", str(error), "dtype={'n': 'Int64', 's': 'str'}"
        ) from None
    return Wish({name: value for name, value in dtypes.items() if name not in dates}, dates)


def _demanded(dtype: Any) -> Any:
    return TEXT if dtype in (str, "str") else dtype if dtype is object else pandas.api.types.pandas_dtype(dtype)


def _column(first: File, name: Any, option: str) -> Any:
    if name in first.wanted:
        return name
    if isinstance(name, int) and 0 <= name < len(first.names) and first.names[name] in first.wanted:
        return first.names[name]
    raise SettingsError(f"{option} names a column that is not there.", repr(name), f"one of {short(str(first.wanted))}")


def formats(files: Sequence[File], dates: Sequence[Any], reading: Reading) -> dict[Any, Dates]:
    """How each column of dates is read, after its first value."""
    given, dayfirst = reading.options.get("date_format"), bool(reading.options.get("dayfirst", False))
    firsts = {c: next((f.dates[c] for f in files if f.dates.get(c) is not None), None) for c in dates}
    return {column: dates_like(value, column, given, dayfirst) for column, value in firsts.items()}


def found_in(
    part: Sequence[Block],
    names: Sequence[Any],
    wanted: Sequence[Any],
    dates: Mapping[Any, Dates],
    asked: Wish,
    reading: Reading,
) -> list[Found | InputFileError]:
    """What each of these blocks holds, or what is wrong with it."""
    found: list[Found | InputFileError] = []
    for block in part:
        own = block.names or names
        data = b""
        try:
            data = block.content()
            found.append(_found(block, data, own, wanted, dates, asked, reading))
        except InputFileError as error:
            found.append(error)
        except ValueError as error:
            found.append(unreadable(block, data, own, error, reading))
    return found


def _found(
    block: Block,
    data: bytes,
    names: Sequence[Any],
    wanted: Sequence[Any],
    dates: Mapping[Any, Dates],
    asked: Wish,
    reading: Reading,
) -> Found:
    columns, texts = seen(block, data, names, wanted, dates, reading)
    units = {c: str(dates_in(block, data, c, texts[c], how, reading).dt.unit) for c, how in dates.items()}
    for column, dtype in asked.dtypes.items():
        if not (holds_all(dtype) or dtype_holds(dtype, columns[column])):
            place = failing(block, data, names, column, dtype, reading)
            if place is not None:
                raise unfit(column, dtype, place)
    return Found(columns, units)


def dates_in(
    block: Block, data: bytes, column: Any, texts: pandas.Series, how: Dates, reading: Reading
) -> pandas.Series:
    """The dates of a block; raises InputFileError for a text that is none."""
    values = how.read(texts)
    wrong = (values.isna() & texts.notna()).to_numpy()
    if wrong.any():
        place = at_row(block, data, texts, int(wrong.argmax()) + 1, reading)
        form = "a date as in ISO 8601" if how.format == "ISO8601" else f"a date of the form {how.format}"
        raise InputFileError(
            f"Column {column!r} cannot be reconciled: {place} is not {form}.",
            repr(short(place.value)),
            f"parse_dates without {column!r}, date_format={{{column!r}: ...}}, or dayfirst=True",
        )
    return values


def unfit(column: Any, dtype: Any, place: Place) -> InputFileError:
    """What to say of a value that a demanded dtype does not hold."""
    return InputFileError(
        f"Column {column!r} cannot be reconciled: {place} does not fit {getattr(dtype, 'name', dtype)}.",
        repr(short(place.value)) if place.value else "a missing value",
        f"dtype={{{column!r}: another dtype}}, or none for this column: it is then settled over all files",
    )


def place_of(
    part: Sequence[Block], names: Sequence[Any], column: Any, before: Seen, dtype: str, reading: Reading
) -> Place | None:
    """The first value in these blocks that gave a column its dtype."""
    for block in part:
        place = forcing(block, block.content(), block.names or names, column, before, dtype, reading)
        if place is not None:
            return place
    return None


@dataclass(frozen=True, slots=True)
class Forced:
    """A column whose dtype is not that of its first rows: the block in which it changed, and what was seen before."""

    column: Any
    block: Block
    before: Seen


def forced(column: Any, parts: Sequence[tuple[Block, Found]]) -> tuple[Seen, Forced | None]:
    """A column over all blocks: what holds it, and which block made it so."""
    whole = joined(*(found.columns[column] for _, found in parts))
    so_far = Seen()
    for block, found in parts:
        here = joined(so_far, found.columns[column])
        if here.dtype == whole.dtype and here.kind is not Kind.EMPTY:
            began = so_far.kind is not Kind.EMPTY or whole.broken_at_once
            return whole, Forced(column, block, so_far) if began else None
        so_far = here
    return whole, None


def finest(units: Sequence[str]) -> str:
    """The finest of some resolutions."""
    return max(units, key=UNITS.index)
