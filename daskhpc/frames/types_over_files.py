"""The types of CSV columns, settled over all files of a set before any of it is read for use."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from csv import QUOTE_ALL
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas

from ..errors import InputFileError, SettingsError
from ..text import shortened
from .column_types import TEXT, ColumnContent, Kind, joined, open_categories, surely_holds
from .compression import compression_of, content
from .csv_block import CsvBlock, column_names, header_bytes
from .csv_dates import NO_DATE, DateFormat, finest
from .csv_errors import SHOWN, Location, location_of_change, location_of_misfit, unreadable
from .csv_options import CsvOptions
from .text_blocks import PIECE, TextBlock, blocks_of_records, ends_of_file, whole_file

ROWS_FOR_A_DATE = 1000
"""Rows of each file in which its first date is looked for."""

MOST_CATEGORIES = 10_000
"""Categories that every task of a frame is given."""

OF_VALUES = ("decimal", "thousands", "true_values", "false_values", "float_precision")
"""Options that say what a text means."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """What the beginning of a file tells.

    Parameters
    ----------
    path : str
        The file.
    names, columns : tuple
        The names of all its columns, and of those that are wanted.
    blocks : tuple of TextBlock
        What is read for use.
    type_blocks : tuple of TextBlock
        What is read for the types: the same, or its first and last lines.
    first_dates : dict
        The first text in each column of dates; None if there is none.
    """

    path: str
    names: tuple[Any, ...]
    columns: tuple[Any, ...]
    blocks: tuple[TextBlock, ...]
    type_blocks: tuple[TextBlock, ...]
    first_dates: Mapping[Any, str | None]


@dataclass(frozen=True, slots=True)
class BlockTypes:
    """What a block holds in each column.

    Of its columns of dates the resolution, the first and the last date; of its columns of open categories the texts,
    or None for too many.
    """

    columns: Mapping[Any, ColumnContent]
    dates: Mapping[Any, tuple[str, Any, Any]]
    categories: Mapping[Any, frozenset[str] | None]


def examined_file(
    path: str, options: CsvOptions, dates: Sequence[Any], blocksize: int | None, sample: int | None
) -> CsvFile:
    """What the beginning of a file tells; raises InputFileError for what is wrong there."""
    compression = compression_of(path, options.compression)
    uncut = bool(compression) or not options.can_cut
    whole = whole_file(path, compression)
    begin = content(path, 0, -1 if uncut else PIECE, compression)
    try:
        names = column_names(path, begin, options)
    except (pandas.errors.ParserError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InputFileError):
            raise
        raise unreadable(CsvBlock(whole, begin, (), options), error) from None
    columns = _chosen(path, names, options.usecols)
    quotes: dict[str, Any] = {"quote": options.quote, "separator": options.separator or ""}
    blocks = type_blocks = [whole]
    if not uncut:
        size = os.path.getsize(path)
        blocks = blocks_of_records(path, blocksize or size, head=header_bytes(begin, options), **quotes)
        head = options.lines_to_skip + (options.header or 0) + 1
        type_blocks = blocks if sample is None else ends_of_file(whole, head + sample, sample, **quotes)
    firsts = _first_dates(CsvBlock(whole, begin, names, options), [_by_number(columns, name) for name in dates])
    return CsvFile(path, names, columns, tuple(blocks), tuple(type_blocks), firsts)


def _chosen(path: str, names: Sequence[Any], usecols: Any) -> tuple[Any, ...]:
    """The columns that ``usecols`` chooses."""
    if usecols is None:
        return tuple(names)
    if callable(usecols):
        return tuple(name for name in names if usecols(name))
    chosen = [_by_number(names, name) for name in usecols]
    for name in chosen:
        if name not in names:
            raise _lacks(path, name, names)
    return tuple(name for name in names if name in chosen)


def _by_number(names: Sequence[Any], name: Any) -> Any:
    """The name of a column that is given by its number among some; another name as it is."""
    by_number = name not in names and isinstance(name, int | np.integer) and 0 <= name < len(names)
    return names[int(name)] if by_number else name


def _lacks(path: str, column: Any, names: Sequence[Any]) -> InputFileError:
    return InputFileError(
        f"{path} has no column {column!r}.",
        f"its columns: {shortened(', '.join(map(str, names)), SHOWN)}",
        "usecols=[the columns that all files have], or a pattern that leaves this file out",
    )


def _first_dates(csv: CsvBlock, dates: Sequence[Any]) -> dict[Any, str | None]:
    columns = [name for name in dates if name in csv.names]
    if not columns:
        return {}
    try:
        frame = csv.parsed(usecols=columns, dtype=str, nrows=ROWS_FOR_A_DATE)
    except ValueError:  # the message comes when the types of the blocks are looked at
        return {}
    firsts = {name: frame[name][frame[name].notna() & (frame[name] != NO_DATE)] for name in columns}
    return {name: str(values.iloc[0]) if len(values) else None for name, values in firsts.items()}


def with_same_columns(files: Sequence[CsvFile]) -> list[CsvFile]:
    """The files; blocks of those whose columns stand in another order say so.

    Raises
    ------
    InputFileError
        If one lacks a column that the first has, or has one more.
    """
    first = files[0]
    for file in files[1:]:
        for column in first.columns:
            if column not in file.columns:
                raise _lacks(file.path, column, file.names)
        for column in file.columns:
            if column not in first.columns:
                raise InputFileError(
                    f"{file.path} has a column {column!r}, which {first.path} has not.",
                    f"its columns: {shortened(', '.join(map(str, file.names)), SHOWN)}",
                    f"usecols={shortened(repr(list(first.columns)), SHOWN)}",
                )
    return [file if file.names == first.names else _with_names(file) for file in files]


def _with_names(file: CsvFile) -> CsvFile:
    blocks, type_blocks = (
        tuple(replace(block, names=file.names) for block in some) for some in (file.blocks, file.type_blocks)
    )
    return replace(file, blocks=blocks, type_blocks=type_blocks)


def demands(first: CsvFile, dtype: Any, parse_dates: Sequence[Any] | None) -> tuple[dict[Any, Any], tuple[Any, ...]]:
    """The demanded dtypes by column, and the columns of dates.

    Raises
    ------
    SettingsError
        If the first file has no such column, or pandas no such dtype.
    """
    # As in pandas: a number counts the chosen columns for dates, and all for dtypes.
    dates = tuple(_named_column(first, _by_number(first.columns, name), "parse_dates") for name in parse_dates or ())
    if dtype is not None and not isinstance(dtype, Mapping):
        dtype = {name: dtype for name in first.columns if name not in dates}
    if isinstance(dtype, defaultdict) and dtype.default_factory is not None:  # as in pandas: for all other columns
        dtype = {name: dtype.default_factory() for name in first.columns if name not in dates} | dtype
    dtypes = {}
    for name, value in (dtype or {}).items():
        column = _by_number(first.names, name)
        if column in first.names and column not in first.columns:
            continue  # as in pandas: it is not read
        _named_column(first, column, "dtype")
        try:
            if column not in dates:
                dtypes[column] = TEXT if value in (str, "str") else pandas.api.types.pandas_dtype(value)
        except TypeError as error:
            raise SettingsError(
                "A dtype that pandas does not have.", str(error), "dtype={'n': 'Int64', 's': 'str'}"
            ) from None
        if getattr(dtypes.get(column), "kind", "") == "M":
            raise SettingsError(
                "Dates are no dtype of read_csv.", f"dtype={{{name!r}: {value!r}}}", f"parse_dates=[{name!r}]"
            )
    return dtypes, dates


def _named_column(first: CsvFile, name: Any, option: str) -> Any:
    if name in first.columns:
        return name
    columns = shortened(str(first.columns), SHOWN)
    raise SettingsError(f"{option} names a column that is not there.", repr(name), f"one of {columns}")


def block_types(
    block: TextBlock, first: CsvFile, dates: Mapping[Any, DateFormat], dtypes: Mapping[Any, Any], options: CsvOptions
) -> BlockTypes:
    """What a block holds.

    Parameters
    ----------
    block : TextBlock
    first : CsvFile
        The first file, for the columns.
    dates : dict
        The formats of columns of dates.
    dtypes : dict
        Demanded dtypes.
    options : CsvOptions

    Raises
    ------
    InputFileError
        For what is wrong in it.
    """
    csv = CsvBlock(block, block.content(), block.names or first.names, options)
    some = {} if options.usecols is None else {"usecols": list(first.columns)}
    open_columns = [column for column, dtype in dtypes.items() if open_categories(dtype)]
    try:
        frame = csv.parsed_with_texts([*dates, *open_columns], **some)
    except ValueError as error:
        raise unreadable(csv, error) from None
    values = {column: how.dates(csv, column, frame[column]) for column, how in dates.items()}
    ends = {column: (str(series.dt.unit), series.min(), series.max()) for column, series in values.items()}
    columns = {column: csv.content(frame[column]) for column in first.columns if column not in dates}
    for column, dtype in dtypes.items():
        if not surely_holds(dtype, columns[column]):
            at = location_of_misfit(csv, column, dtype)
            if at is not None:
                raise misfit(column, dtype, at)
    texts = {column: frozenset(frame[column].dropna()) for column in open_columns}
    return BlockTypes(
        columns, ends, {name: held if len(held) <= MOST_CATEGORIES else None for name, held in texts.items()}
    )


def categories_of(
    dtypes: Mapping[Any, Any], types: Sequence[BlockTypes], options: CsvOptions
) -> dict[Any, pandas.Series]:
    """The category of each text in the columns of open categories: what pandas makes of all the texts together.

    Every task gets them, so a column of more than `MOST_CATEGORIES` is left out.
    """
    of_values = {name: options.options[name] for name in OF_VALUES if name in options.options}
    found = {}
    for column, dtype in dtypes.items():
        held = [block.categories[column] for block in types] if open_categories(dtype) else [None]
        texts = sorted(frozenset().union(*(some or () for some in held)))
        if None not in held and len(texts) <= MOST_CATEGORIES:
            rows = pandas.Series(texts, dtype=object).to_csv(index=False, header=False, quoting=QUOTE_ALL)
            values = pandas.Series([], dtype=dtype)
            if texts:
                how: dict[str, Any] = {"names": ["x"], "na_filter": False, "low_memory": False, **of_values}
                values = pandas.read_csv(io.StringIO(rows), dtype=dtype, **how)["x"]
            found[column] = values.set_axis(pandas.Index(texts, dtype=object))
    return found


def misfit(column: Any, dtype: Any, at: Location) -> InputFileError:
    """What to say of a value that a demanded dtype does not hold."""
    return InputFileError(
        f"Column {column!r} cannot be reconciled: {at} does not fit {getattr(dtype, 'name', dtype)}.",
        repr(shortened(at.value, SHOWN)) if at.value else "a missing value",
        f"dtype={{{column!r}: another dtype}}, or none for this column: it is then settled over all files",
    )


def settled_unit(column: Any, blocks: Sequence[TextBlock], types: Sequence[BlockTypes]) -> str:
    """The resolution of a column of dates over all blocks.

    Raises
    ------
    InputFileError
        If a file has digits that need one in which a date of another file is out of range.
    """
    unit = finest([found.dates[column][0] for found in types])
    for block, found in zip(blocks, types, strict=True):
        for date in found.dates[column][1:]:
            try:
                date.as_unit(unit)
            except pandas.errors.OutOfBoundsDatetime:
                raise InputFileError(
                    f"Column {column!r} cannot be reconciled: other files have fractions of seconds down to {unit}.",
                    f"{date} in {block.path}, which is out of range in {unit}",
                    f"parse_dates without {column!r}",
                ) from None
    return unit


def settled_type(
    column: Any, blocks: Sequence[TextBlock], types: Sequence[BlockTypes]
) -> tuple[str, tuple[TextBlock, ColumnContent] | None]:
    """The dtype of a column over all blocks; the block in which it became that, and what the blocks before it held.

    There is no such block if the first rows alone have that dtype, as they do in most columns.
    """
    whole = joined(*(found.columns[column] for found in types))
    before = ColumnContent()
    for block, found in zip(blocks, types, strict=True):
        after = joined(before, found.columns[column])
        if after.dtype == whole.dtype and after.kind is not Kind.EMPTY:
            changed = before.kind is not Kind.EMPTY or whole.broken_at_once
            return whole.dtype, (block, before) if changed else None
        before = after
    return whole.dtype, None


def location_of_settling(
    change: tuple[TextBlock, ColumnContent], names: tuple[Any, ...], column: Any, dtype: str, options: CsvOptions
) -> Location:
    """The value that gave a column its dtype."""
    block, before = change
    csv = CsvBlock(block, block.content(), block.names or names, options)
    return location_of_change(csv, column, before, dtype) or Location(block.path, None, "")
