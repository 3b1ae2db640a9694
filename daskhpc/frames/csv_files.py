"""CSV files as a Dask dataframe whose column types are settled over all of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.dataframe
import pandas
from dask.dataframe.utils import clear_known_categories
from dask.delayed import delayed
from dask.utils import parse_bytes

from .. import files
from ..chunk_size import resources
from ..errors import InputFileError, SettingsError
from ..files import Paths
from .inference import holds_all, with_texts
from .options import Reading, reading
from .parsing import TEXT, Dates, pandas_dtype, types_as_they_are
from .places import Place, failing, short, unreadable
from .settling import (
    File,
    Forced,
    Found,
    Wish,
    dates_in,
    finest,
    forced,
    formats,
    found_in,
    looked_at,
    place_of,
    same_columns,
    unfit,
    wish,
)  # fmt: skip
from .sources import Block, packed

LARGEST = 64 << 20
"""Bytes of CSV text that a partition has at most, unless `blocksize` says otherwise."""

SMALLEST = 1 << 20
EXPANSION = 20
"""A partition's text is at most this part of a thread's memory: text grows when it is parsed, and is then worked on."""

AT_ONCE = 50
"""Files that one task looks at for their column names."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How partitions are read.

    Parameters
    ----------
    reading : Reading
        Options of pandas.
    names : tuple
        All columns of the first file.
    columns : tuple
        Those of the frame.
    dtypes : dict
        The dtype of each column that is no date.
    dates : dict
        For each column of dates how it is read, and its resolution.
    sampled : bool
        Whether the types are those of a sample.
    """

    reading: Reading
    names: tuple[Any, ...]
    columns: tuple[Any, ...]
    dtypes: Mapping[Any, Any]
    dates: Mapping[Any, tuple[Dates, str]]
    sampled: bool


@dataclass(frozen=True, slots=True)
class _Settled:
    plan: Plan
    packs: Sequence[tuple[Block, ...]]
    report: pandas.DataFrame


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

    The types are those that pandas.read_csv finds when the files are one; `column_types` says where they come from.

    Parameters
    ----------
    paths : str, path, or list of them
        Files or patterns such as ``data/*.csv``, on a file system that all nodes see; compressed ones by their names.
    blocksize : int, str or None
        Bytes of text per partition; larger files are cut where a record ends, smaller ones put together. ``"auto"``:
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
        Text is ``string``, as elsewhere in Dask; whole numbers with gaps are ``float64``, as in pandas; true, false and
        gaps are ``boolean``.

    Raises
    ------
    InputFileError
        Before anything is computed: where the files do not have the same columns, a row has more values than there are
        columns, a value is not of the dtype or no date that was demanded, bytes cannot be decoded, or a file is empty.
        Names file, line and column.
    SettingsError
        For an option that makes no sense for a set of files.

    Warns
    -----
    UserWarning
        Where a text made text of a column of numbers.
    """
    settled = _settle(paths, blocksize, sample, dtype, parse_dates, options)
    broken = settled.report[(settled.report["dtype"] == "string") & (settled.report["forced_by"] != "")]
    if len(broken):
        said = "; ".join(f"{row.column!r} by {short(row.value)!r} in {row.forced_by}" for row in broken.itertuples())
        warnings.warn(
            f"These columns are text because of single values: {said}. For numbers: na_values=[these values]. "
            "For text without this warning: dtype={column: 'str'}.",
            stacklevel=2,
        )
    plan = settled.plan
    with types_as_they_are():
        return dask.dataframe.from_map(partition, settled.packs, plan=plan, meta=_meta(plan), label="read-csv")


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
    """
    return _settle(paths, "auto", sample, dtype, parse_dates, options).report


def _settle(
    paths: Paths, blocksize: int | str | None, sample: int | None, dtype: Any, parse_dates: Any, options: Any
) -> _Settled:
    if parse_dates is not None and not isinstance(parse_dates, list | tuple):
        raise SettingsError("parse_dates is a list of columns.", repr(parse_dates), "parse_dates=['time']")
    how = reading(options)
    names = files.found(paths, "data/*.csv")
    size = blocksize_for(blocksize, names)
    looked = same_columns(_looked_at(names, how, list(parse_dates or ()), size, sample))
    first = looked[0]
    asked = wish(first, dtype, parse_dates)
    dates = formats(looked, asked.dates, how)
    parts = packed([block for file in looked for block in file.sample], size or 0)
    found = _tried(
        [delayed(found_in, pure=False)(part, first.names, first.wanted, dates, asked, how) for part in parts]
    )
    seen = list(zip((block for part in parts for block in part), found, strict=True))
    dtypes, report = _united(first, seen, asked, dates, how)
    units = {c: (dates[c], finest([one.units[c] for one in found])) for c in dates}
    plan = Plan(how, first.names, first.wanted, dtypes, units, sample is not None)
    return _Settled(plan, packed([block for file in looked for block in file.blocks], size or 0), report)


def blocksize_for(asked: int | str | None, names: Sequence[str]) -> int | None:
    """Bytes of text per partition: what was asked for, or what suits the cluster; None: a partition per file."""
    if asked != "auto":
        return parse_bytes(asked) if asked is not None else None
    has = resources()
    total = sum(map(os.path.getsize, names))
    return min(LARGEST, max(SMALLEST, min(has.memory_per_thread // EXPANSION, -(-total // has.threads))))


def _looked_at(
    names: Sequence[str], how: Reading, dates: Sequence[Any], size: int | None, sample: int | None
) -> list[File]:
    some = [names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)]
    return _tried([delayed(looked_at, pure=False)(part, how, dates, size, sample) for part in some])


def _tried(tasks: Sequence[Any]) -> list[Any]:
    """The results of tasks that give lists; the first error among them is raised."""
    results = [one for part in dask.compute(*tasks) for one in part]
    for one in results:
        if isinstance(one, InputFileError):
            raise one
    return results


def _united(
    first: File, seen: Sequence[tuple[Block, Found]], asked: Wish, dates: Mapping[Any, Dates], how: Reading
) -> tuple[dict[Any, Any], pandas.DataFrame]:
    """The dtype of each column that is no date, and the report."""
    dtypes, told = dict(asked.dtypes), dict[Any, str]()
    causes: dict[Any, Forced] = {}
    for column in first.wanted:
        if column in dates:
            told[column] = "datetime64[{}, UTC]" if dates[column].utc else "datetime64[{}]"
            told[column] = told[column].format(finest([found.units[column] for _, found in seen]))
        elif column in dtypes:
            told[column] = str(getattr(dtypes[column], "name", dtypes[column]))
        else:
            whole, cause = forced(column, seen)
            told[column], dtypes[column] = whole.dtype, pandas_dtype(whole.dtype)
            causes |= {} if cause is None else {column: cause}
    places = _places(causes, first.names, told, how)
    report = {
        "column": list(told),
        "dtype": list(told.values()),
        "forced_by": [str(places[c]) if c in places else "" for c in told],
        "value": [places[c].value if c in places else "" for c in told],
    }
    return dtypes, pandas.DataFrame(report)


def _places(
    causes: Mapping[Any, Forced], names: Sequence[Any], told: Mapping[Any, str], how: Reading
) -> dict[Any, Place]:
    find = delayed(place_of, pure=False)
    tasks = [find((cause.block,), names, column, cause.before, told[column], how) for column, cause in causes.items()]
    found = zip(causes, dask.compute(*tasks), strict=True)
    return {column: place or Place(causes[column].block.path, None, "") for column, place in found}


def _meta(plan: Plan) -> pandas.DataFrame:
    columns = {}
    for name in plan.columns:
        if name in plan.dates:
            how, unit = plan.dates[name]
            columns[name] = pandas.Series(dtype=f"datetime64[{unit}, UTC]" if how.utc else f"datetime64[{unit}]")
        else:
            columns[name] = pandas.Series(dtype=plan.dtypes[name])
    return clear_known_categories(pandas.DataFrame(columns), cols=_open_categories(plan, plan.columns))


def _open_categories(plan: Plan, columns: Sequence[Any]) -> list[Any]:
    """The columns of categories that nobody has named."""
    dtypes = {name: plan.dtypes.get(name) for name in columns}
    return [name for name, dtype in dtypes.items() if isinstance(dtype, pandas.CategoricalDtype) and holds_all(dtype)]


def partition(pack: Sequence[Block], plan: Plan, columns: Sequence[Any] | None = None) -> pandas.DataFrame:
    """One partition: its blocks, one below the other."""
    wanted = plan.columns if columns is None else columns
    frames = [_read(block, plan, wanted) for block in pack]
    frame = frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)
    categories = _open_categories(plan, wanted)
    return frame.astype(dict.fromkeys(categories, "category")) if categories else frame


def _read(block: Block, plan: Plan, wanted: Sequence[Any]) -> pandas.DataFrame:
    names, how, data = block.names or plan.names, plan.reading, block.content()
    as_text = {*_open_categories(plan, wanted), *plan.dates}
    dtypes = {name: str if name in as_text else plan.dtypes[name] for name in wanted}
    texts = [name for name in wanted if dtypes[name] in (str, TEXT)]
    some = {} if set(wanted) == set(names) else {"usecols": list(wanted)}
    try:
        # of two columns called x, pandas gives the second, x.1, the dtype of the first unless it is told another one
        told = {c: str if c in texts else dtypes[c] for c in wanted if c not in texts or str(c)[-1:].isdigit()}
        frame = with_texts(block, data, names, how, texts, dtype=told, **some)[list(wanted)]
        frame = frame.astype({name: TEXT for name in texts if dtypes[name] == TEXT})
    except (ValueError, TypeError, OverflowError) as error:
        raise _unread(block, data, names, plan, dtypes, error) from None
    if not len(frame):
        frame = frame.astype(dtypes)
    for name in set(plan.dates) & set(wanted):
        dates, unit = plan.dates[name]
        frame[name] = dates_in(block, data, name, frame[name], dates, how).dt.as_unit(unit)
    return frame


def _unread(
    block: Block, data: bytes, names: Sequence[Any], plan: Plan, dtypes: Mapping[Any, Any], error: Exception
) -> InputFileError:
    """What to say of a block that does not hold what a sample of the files held."""
    if isinstance(error, UnicodeDecodeError | pandas.errors.ParserError):
        return unreadable(block, data, names, error, plan.reading)
    for name, dtype in dtypes.items():
        place = failing(block, data, names, name, dtype, plan.reading)
        if place is not None:
            found = unfit(name, dtype, place)
            if plan.sampled:
                found.todo = "read_csv(...) without sample=: types are then settled over all rows"
                found.args = (found.happened, found.found, found.todo)
            return found
    return unreadable(block, data, names, error, plan.reading)
