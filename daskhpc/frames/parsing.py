"""A block of a CSV file, parsed by pandas."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import pandas
from pandas.tseries.api import guess_datetime_format

from ..errors import InputFileError
from .options import Reading
from .sources import Block

_LINE_END = re.compile(rb"\r\n|\r|\n")


class LongRows(ValueError):
    """Rows with more values than there are columns."""


def parsed(block: Block, data: bytes, names: Sequence[Any], reading: Reading, **more: Any) -> pandas.DataFrame:
    """What pandas.read_csv makes of a block.

    Parameters
    ----------
    block : Block
        Where it is.
    data : bytes
        Its content.
    names : sequence
        All column names of its file, in their order.
    reading : Reading
        How the text is read.
    **more
        Further options of pandas.read_csv, such as ``dtype`` and ``usecols``.

    Raises
    ------
    LongRows
        Where pandas would take the first column for an index.
    """
    begins: dict[str, Any] = {"header": reading.header, "skiprows": reading.skiprows} if block.first else {}
    engine = {} if reading.options.get("engine") == "python" else {"low_memory": False}
    options = {"header": None, **begins, "names": list(names), **engine, **reading.options, **more}
    narrow = _narrow(options.get("dtype"))
    if narrow:
        options["dtype"] = {**options["dtype"], **dict.fromkeys(narrow, "int64")}
    try:
        frame = pandas.read_csv(io.BytesIO(data), **options)
    except pandas.errors.EmptyDataError:
        wanted = options.get("usecols") or list(names)
        frame = pandas.DataFrame({name: pandas.Series(dtype=object) for name in wanted})
    except pandas.errors.ParserError as error:
        if "usecols" not in more or not str(error).startswith("Too many columns specified"):
            raise
        # pandas fills up short rows, but not where all rows of the block are short and columns are chosen
        frame = parsed(block, data, names, reading, **{name: more[name] for name in more if name != "usecols"})
        return frame[[name for name in names if name in more["usecols"]]]
    if not isinstance(frame.index, pandas.RangeIndex):
        raise LongRows(f"{frame.index.nlevels + len(frame.columns)} values, {len(names)} columns")
    for column, dtype in narrow.items():
        if column in frame:
            frame[column] = _narrowed(frame[column], dtype)
    return frame


def _narrow(dtypes: Any) -> dict[Any, Any]:
    """The columns of integers below 64 bits: pandas 2 cuts off what is too large for them, and says nothing."""
    if not isinstance(dtypes, Mapping):
        return {}
    return {c: t for c, t in dtypes.items() if isinstance(t, np.dtype) and t.kind in "iu" and t.itemsize < 8}


def _narrowed(values: pandas.Series, dtype: Any) -> pandas.Series:
    limits = np.iinfo(dtype)
    if len(values) and not limits.min <= values.min() <= values.max() <= limits.max:
        raise OverflowError(f"{values.name!r} does not fit {dtype}")
    return values.astype(dtype)


def column_names(path: str, data: bytes, reading: Reading) -> tuple[Any, ...]:
    """The names of all columns of a file, as pandas.read_csv gives them.

    Raises
    ------
    InputFileError
        Where there is no line to have them from.
    """
    if reading.names is not None:
        return reading.names
    rows = 0 if reading.header is not None else 1
    try:
        frame = pandas.read_csv(
            io.BytesIO(data), header=reading.header, skiprows=reading.skiprows, nrows=rows, **reading.options
        )
    except pandas.errors.EmptyDataError:
        raise InputFileError(
            f"{path} is empty: it has not even column names.",
            f"{len(data)} bytes",
            "remove the file if nothing should be in it; write it again if something should",
        ) from None
    return tuple(frame.columns)


def lines_end(begin: bytes, reading: Reading) -> int:
    """Where the lines up to that with the column names end."""
    to_skip = reading.skiprows if isinstance(reading.skiprows, int) else 0
    heads = 0 if reading.header is None else reading.header + 1
    end = 0
    while (to_skip or heads) and end < len(begin):
        found = _LINE_END.search(begin, end)
        start, end = end, len(begin) if found is None else found.end()
        if to_skip:
            to_skip -= 1
        elif begin[start:end].strip():
            heads -= 1
    return end


@dataclass(frozen=True, slots=True)
class Dates:
    """How a column of dates is read: one format for all files.

    Parameters
    ----------
    format : str
        As in pandas.to_datetime.
    utc : bool
        Whether the texts say their offset; the column then is in UTC.
    """

    format: str
    utc: bool = False

    def read(self, values: pandas.Series) -> pandas.Series:
        """The dates, NaT where a text is none."""
        return pandas.to_datetime(values, format=self.format, utc=self.utc, errors="coerce")


def dates_like(value: str | None, column: Any, given: Any, dayfirst: bool) -> Dates:
    """How a column of dates is read whose first value is this one."""
    form = given.get(column) if isinstance(given, dict) else given
    if form is None and value is not None and not _is_date(value, "ISO8601"):
        form = guess_datetime_format(value, dayfirst=dayfirst)
    form = form or "ISO8601"
    aware = value is not None and _is_date(value, form) and pandas.to_datetime(value, format=form).tz is not None
    return Dates(form, aware)


def _is_date(value: str, form: str) -> bool:
    return not pandas.isna(pandas.to_datetime(value, format=form, errors="coerce"))


TEXT = pandas.StringDtype("pyarrow")
"""The dtype that text has in Dask dataframes."""


def types_as_they_are() -> Any:
    """While this holds, Dask does not turn columns of objects into text."""
    return dask.config.set({"dataframe.convert-string": False})


def pandas_dtype(name: str) -> Any:
    """A dtype of this package's names as one of pandas."""
    return TEXT if name == "string" else pandas.api.types.pandas_dtype(name)
