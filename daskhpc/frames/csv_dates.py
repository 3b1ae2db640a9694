"""Columns of dates in CSV files: one format for all files, and the first text that is no date in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas
from pandas.tseries.api import guess_datetime_format

from ..errors import InputFileError
from ..text import shortened
from .column_types import TEXT
from .csv_block import CsvBlock
from .csv_errors import SHOWN, location

UNITS = ("s", "ms", "us", "ns")
"""Resolutions of dates, the coarsest first."""

NO_DATE = "NaT"
"""What NumPy and pandas write for a missing date, and pandas reads as one."""

_OFFSET = r".*[T ]\d.*(?:Z|[+-]\d\d(?::?\d\d)?)\s*"
"""A date and a time as in ISO 8601 that say their offset to UTC."""


@dataclass(frozen=True, slots=True)
class DateFormat:
    """How a column of dates is read.

    Parameters
    ----------
    format : str
        As in pandas.to_datetime.
    utc : bool
        Whether the texts say their offset; the column then is in UTC.
    """

    format: str
    utc: bool = False

    def dtype(self, unit: str) -> str:
        """The dtype of the column at a resolution."""
        return f"datetime64[{unit}, UTC]" if self.utc else f"datetime64[{unit}]"

    def dates(self, csv: CsvBlock, column: Any, texts: pandas.Series) -> pandas.Series:
        """The dates of a column of a block.

        Raises
        ------
        InputFileError
            For a text that is no date of this format, or that has an offset in a column of dates without, and the
            reverse: which moment is meant is not known then.
        """
        iso = self.format == "ISO8601"
        values = pandas.to_datetime(texts, format=self.format, utc=self.utc or iso, errors="coerce")
        wrong = (values.isna() & texts.notna() & (texts != NO_DATE)).to_numpy()
        if wrong.any():
            at = location(csv, texts, int(wrong.argmax()) + 1)
            form = "a date as in ISO 8601" if iso else f"a date of the form {self.format}"
            raise InputFileError(
                f"Column {column!r} cannot be reconciled: {at} is not {form}.",
                repr(shortened(at.value, SHOWN)),
                f"parse_dates without {column!r}, date_format={{{column!r}: ...}}, or dayfirst=True",
            )
        if not iso:
            return values
        texts = texts.mask(values.isna())
        differ = (texts.astype(TEXT).str.fullmatch(_OFFSET, case=False) != self.utc).fillna(False).to_numpy(dtype=bool)
        if differ.any():
            at = location(csv, texts, int(differ.argmax()) + 1)
            raise InputFileError(
                f"Column {column!r} cannot be reconciled: {at} says {'no' if self.utc else 'an'} offset to UTC.",
                f"{at.value!r}; the first date of the column says {'one' if self.utc else 'none'}",
                f"parse_dates without {column!r}; if no offset means UTC:"
                f" dask.dataframe.to_datetime(frame[{column!r}], utc=True, format='ISO8601')",
            )
        return values if self.utc else values.dt.tz_convert(None)


def format_of(value: str | None, given: str | None = None, dayfirst: bool = False) -> DateFormat:
    """The format of a column of dates whose first text is this one; None: it has none.

    Examples
    --------
    >>> format_of("01/31/2020"), format_of("2020-01-31 12:00+01:00")
    (DateFormat(format='%m/%d/%Y', utc=False), DateFormat(format='ISO8601', utc=True))
    """
    form = given
    if form is None and value is not None and pandas.isna(_read(value, "ISO8601")):
        form = guess_datetime_format(value, dayfirst=dayfirst)
    form = form or "ISO8601"
    date = pandas.NaT if value is None else _read(value, form)
    return DateFormat(form, utc=not pandas.isna(date) and date.tz is not None)


def _read(value: str, form: str) -> Any:
    return pandas.to_datetime(value, format=form, errors="coerce")


def formats_of(
    columns: Sequence[Any], firsts: Sequence[Mapping[Any, str | None]], options: Mapping[str, Any]
) -> dict[Any, DateFormat]:
    """The formats of columns of dates, from the first texts of each file and the options of the call."""
    given, dayfirst = options.get("date_format"), bool(options.get("dayfirst", False))
    formats = {}
    for column in columns:
        value = next((file[column] for file in firsts if file.get(column) is not None), None)
        formats[column] = format_of(value, given.get(column) if isinstance(given, dict) else given, dayfirst)
    return formats


def finest(units: Sequence[str]) -> str:
    """The finest of some resolutions.

    Examples
    --------
    >>> finest(["s", "us", "ms"])
    'us'
    """
    return max(units, key=UNITS.index)
