"""CSV files as a Dask dataframe whose column types are settled over all of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.dataframe
import pandas
from dask.dataframe.utils import clear_known_categories
from dask.delayed import delayed

from .. import files
from ..errors import InputFileError, SettingsError
from ..files import Paths
from ..text import shortened
from .column_types import TEXT, gapped_integers, open_categories, pandas_dtype, types_as_they_are
from .csv_block import CsvBlock
from .csv_dates import DateFormat, formats_of
from .csv_errors import SHOWN, location_of_misfit, other_separator, unreadable
from .csv_options import CsvOptions, checked_options
from .partitions import text_block_bytes
from .text_blocks import TextBlock, packed
from .types_over_files import (
    BlockTypes,
    block_types,
    categories_of,
    demands,
    examined_file,
    location_of_settling,
    misfit,
    settled_type,
    settled_unit,
    with_same_columns,
)


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """How partitions are read.

    Parameters
    ----------
    options : CsvOptions
        How the text is read.
    names : tuple
        All columns of the first file.
    columns : tuple
        Those of the frame.
    dtypes : dict
        The dtype of each column that is not of dates.
    dates : dict
        For each column of dates its format, and its resolution.
    categories : dict
        For columns of categories that the call does not list the category of each text; empty for a sample.
    sampled : bool
        Whether the types are those of a sample.
    """

    options: CsvOptions
    names: tuple[Any, ...]
    columns: tuple[Any, ...]
    dtypes: Mapping[Any, Any]
    dates: Mapping[Any, tuple[DateFormat, str]]
    categories: Mapping[Any, pandas.Series]
    sampled: bool


def read_csv(
    paths: Paths,
    *,
    blocksize: int | str | None = "auto",
    sample: int | None = None,
    dtype: Any = None,
    parse_dates: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """Read CSV files, their column types settled over all files before anything else is done with them.

    The types are those that pandas.read_csv finds when the files are one; `column_types` shows their sources.

    Parameters
    ----------
    paths : str, path, or list of them
        Files or patterns such as ``data/*.csv``, on a file system that all nodes see; compressed ones by their names.
    blocksize : int, str or None
        Bytes of text per partition; larger files are cut at ends of records, smaller ones put together. ``"auto"``:
        for this cluster; None: a partition per file.
    sample : int, optional
        Look for types only at this many rows at the beginning and at the end of each file, within 8 MiB each. By
        default at all rows.
    dtype : dtype or dict, optional
        Demanded dtypes, as in pandas.
    parse_dates : list, optional
        Columns of dates; one format, that of the first date, holds for all files. Dates that say their offset are
        given in UTC.
    **options
        Options of pandas.read_csv.

    Returns
    -------
    dask.dataframe.DataFrame
        Text is ``string``, as elsewhere in Dask; whole numbers with gaps are ``float64``, as in pandas, or ``Int64`` if
        ``float64`` would change one of them; true, false and gaps are ``boolean``.

    Raises
    ------
    InputFileError
        Before anything is computed: if the files do not have the same columns, a row has more values than there are
        columns, a value is not of the dtype or no date that was demanded, bytes cannot be decoded, or a file is empty.
        Names file, line and column.
    SettingsError
        For an option that makes no sense for a set of files.

    Warns
    -----
    UserWarning
        If a single text made text of a column of numbers, or there is one column because ``sep`` is missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("a.csv").write_text("id,x\\n1,2\\n2,3\\n")
    >>> _ = Path("b.csv").write_text("id,x\\n3,\\n")
    >>> read_csv("*.csv").compute()
       id    x
    0   1  2.0
    1   2  3.0
    2   3  NaN
    """
    plan, packs, report = _settled(paths, blocksize, sample, dtype, parse_dates, options)
    broken = report[(report["dtype"] == "string") & (report["forced_by"] != "")]
    if len(broken):
        said = [f"{row.column!r} by {shortened(row.value, SHOWN)!r} in {row.forced_by}" for row in broken.itertuples()]
        warnings.warn(
            f"These columns are text because of single values: {'; '.join(said)}. For numbers: "
            "na_values=[these values], or dtype={column: 'float64'} if digits beyond the 16th do not matter. "
            "For text without this warning: dtype={column: 'str'}.",
            stacklevel=2,
        )
    mark = other_separator(plan.names) if len(plan.names) == 1 and plan.options.separator == "," else None
    if mark is not None:
        warnings.warn(f"There is one column, {plan.names[0]!r}. For several: sep={mark!r}.", stacklevel=2)
    with types_as_they_are():
        return dask.dataframe.from_map(_partition, packs, plan=plan, meta=_meta(plan), label="read-csv")


def column_types(
    paths: Paths,
    *,
    sample: int | None = None,
    dtype: Any = None,
    parse_dates: Sequence[Any] | None = None,
    **options: Any,
) -> pandas.DataFrame:
    """The dtypes that `read_csv` settles on, and what forced them.

    Parameters
    ----------
    paths, sample, dtype, parse_dates, **options
        As in `read_csv`.

    Returns
    -------
    pandas.DataFrame
        A row per column: ``column``, ``dtype``, ``forced_by`` (file:line of the first value that made the type
        another one than that of the rows before it; may be empty), ``value`` (that value; empty for a gap).

    Raises
    ------
    InputFileError, SettingsError
        As `read_csv`.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("a.csv").write_text("id,x\\n1,2\\n")
    >>> _ = Path("b.csv").write_text("id,x\\n3,2.5\\n")
    >>> types = column_types("*.csv").set_index("column")
    >>> types.loc["x", "dtype"], types.loc["x", "forced_by"].endswith("b.csv:2"), types.loc["x", "value"]
    ('float64', True, '2.5')
    """
    return _settled(paths, "auto", sample, dtype, parse_dates, options)[2]


def _settled(
    paths: Paths, blocksize: int | str | None, sample: int | None, dtype: Any, parse_dates: Any, options: Any
) -> tuple[ReadingPlan, list[tuple[TextBlock, ...]], pandas.DataFrame]:
    """How the files are read, the blocks of each partition, and the report of the types."""
    if parse_dates is not None and not isinstance(parse_dates, list | tuple):
        raise SettingsError("parse_dates is a list of columns.", repr(parse_dates), "parse_dates=['time']")
    how = checked_options(options)
    paths = files.matching(paths, "data/*.csv")
    size = text_block_bytes(blocksize, paths)
    looked = files.examined(examined_file, files.groups_of(paths), how, list(parse_dates or ()), size, sample)
    looked = with_same_columns(looked)
    first = looked[0]
    demanded, date_columns = demands(first, dtype, parse_dates)
    dates = formats_of(date_columns, [file.first_dates for file in looked], how.options)
    blocks = [block for file in looked for block in file.type_blocks]
    types = files.examined(block_types, packed(blocks, size), first, dates, demanded, how)
    units = {column: settled_unit(column, blocks, types) for column in dates}
    free = [column for column in first.columns if column not in dates and column not in demanded]
    settled, causes = _settled_types(free, blocks, types, first.names, how)
    categories = categories_of(demanded, types, how) if sample is None else {}
    demanded |= {column: values.dtype for column, values in categories.items()}
    dtypes = demanded | {column: pandas_dtype(name) for column, name in settled.items()}
    resolved = {column: (form, units[column]) for column, form in dates.items()}
    plan = ReadingPlan(how, first.names, first.columns, dtypes, resolved, categories, sample is not None)
    names = {column: str(getattr(value, "name", value)) for column, value in demanded.items()} | settled
    names |= {column: form.dtype(unit) for column, (form, unit) in resolved.items()}
    report = {
        "column": list(first.columns),
        "dtype": [names[column] for column in first.columns],
        "forced_by": [causes.get(column, ("", ""))[0] for column in first.columns],
        "value": [causes.get(column, ("", ""))[1] for column in first.columns],
    }
    packs = packed([block for file in looked for block in file.blocks], size)
    return plan, packs, pandas.DataFrame(report)


def _settled_types(
    columns: Sequence[Any],
    blocks: Sequence[TextBlock],
    types: Sequence[BlockTypes],
    names: tuple[Any, ...],
    how: CsvOptions,
) -> tuple[dict[Any, str], dict[Any, tuple[str, str]]]:
    """The dtype of each column, and the place and the value that made it another one than that of the first rows."""
    settled = {column: settled_type(column, blocks, types) for column in columns}
    find = delayed(location_of_settling, pure=False)
    changed = {column: (dtype, change) for column, (dtype, change) in settled.items() if change is not None}
    found = dask.compute(*(find(change, names, column, dtype, how) for column, (dtype, change) in changed.items()))
    causes = {column: (str(at), at.value) for column, at in zip(changed, found, strict=True)}
    return {column: dtype for column, (dtype, _) in settled.items()}, causes


def _meta(plan: ReadingPlan) -> pandas.DataFrame:
    dtypes = {name: plan.dates[name][0].dtype(plan.dates[name][1]) for name in plan.dates} | {**plan.dtypes}
    columns = {name: pandas.Series(dtype=dtypes[name]) for name in plan.columns}
    return clear_known_categories(pandas.DataFrame(columns), cols=_categories(plan, plan.columns))


def _categories(plan: ReadingPlan, columns: Sequence[Any]) -> list[Any]:
    """The columns whose categories are those that each file has: of a sample, or of more than 10,000."""
    return [name for name in columns if open_categories(plan.dtypes.get(name))]


def _partition(pack: Sequence[TextBlock], plan: ReadingPlan, columns: Sequence[Any] | None = None) -> pandas.DataFrame:
    """One partition: its blocks, one below the other."""
    wanted = plan.columns if columns is None else columns
    frames = [_read(block, plan, wanted) for block in pack]
    frame = frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)
    categories = _categories(plan, wanted)
    return frame.astype(dict.fromkeys(categories, "category")) if categories else frame


def _read(block: TextBlock, plan: ReadingPlan, wanted: Sequence[Any]) -> pandas.DataFrame:
    csv = CsvBlock(block, block.content(), block.names or plan.names, plan.options)
    gapped = {name for name in wanted if name not in plan.dates and gapped_integers(plan.dtypes[name])}
    as_text = {*_categories(plan, wanted), *plan.categories, *plan.dates, *gapped}
    dtypes = {name: str if name in as_text else plan.dtypes[name] for name in wanted}
    texts = [name for name in wanted if dtypes[name] in (str, TEXT) and name not in gapped]
    some = {} if set(wanted) == set(csv.names) else {"usecols": list(wanted)}
    try:
        # of two columns called x, pandas gives the second, x.1, the dtype of the first unless another one is given
        told = {c: str if c in texts else dtypes[c] for c in wanted if c not in texts or str(c)[-1:].isdigit()}
        frame = csv.parsed_with_texts(texts, dtype=told, **some)[list(wanted)]
        frame = frame.astype({name: TEXT for name in texts if dtypes[name] == TEXT})
        for name in gapped:
            frame[name] = csv.integers(frame[name], plan.dtypes[name])
    except (ValueError, TypeError, OverflowError) as error:
        raise _unread(csv, plan, dtypes, error) from None
    if not len(frame):
        frame = frame.astype({name: dtype for name, dtype in dtypes.items() if name not in gapped})
    for name in set(plan.dates) & set(wanted):
        how, unit = plan.dates[name]
        frame[name] = how.dates(csv, name, frame[name]).dt.as_unit(unit)
    for name in set(plan.categories) & set(wanted):
        frame[name] = plan.categories[name].reindex(frame[name].astype(object)).set_axis(frame.index)
    return frame


def _unread(csv: CsvBlock, plan: ReadingPlan, dtypes: Mapping[Any, Any], error: Exception) -> InputFileError:
    """What to say of a block that does not hold what a sample of the files held."""
    if not isinstance(error, UnicodeDecodeError | pandas.errors.ParserError):
        for name, dtype in dtypes.items():
            at = location_of_misfit(csv, name, dtype)
            if at is not None:
                found = misfit(name, dtype, at)
                todo = "read_csv(...) without sample=: types are then settled over all rows"
                return InputFileError(found.happened, found.found, todo) if plan.sampled else found
    return unreadable(csv, error)
