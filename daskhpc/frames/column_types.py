"""The type of a column of CSV text, as pandas.read_csv would see it, and the type that holds several columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Any

import dask
import numpy as np
import pandas

TEXT = pandas.StringDtype("pyarrow")
"""The dtype that text has in Dask dataframes."""

EXACT = 2**53
"""Up to here float64 has all whole numbers."""

_BOOLEANS = ("True", "TRUE", "true", "False", "FALSE", "false")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?inf(inity)?\s*", re.IGNORECASE)
_WHOLE_NUMBER = r"\s*[+-]?\d+\s*"


class Kind(StrEnum):
    """The kinds of values that pandas tells apart in a CSV file."""

    EMPTY = "nothing"
    BOOL = "true and false"
    INT = "whole numbers"
    UINT = "whole numbers above 2**63"
    HUGE = "whole numbers beyond 64 bits"
    FLOAT = "numbers"
    TEXT = "text"


_WHOLE = (Kind.HUGE, Kind.UINT, Kind.INT)


@dataclass(frozen=True, slots=True)
class ColumnContent:
    """What a column holds in some rows.

    Parameters
    ----------
    kind : Kind
        The narrowest that holds all values.
    gaps : bool
        Whether a value is missing.
    negative : bool
        Whether a whole number is below 0.
    first : Kind
        The kind of the first value alone; it tells a column of text from numbers with a text among them.
    inexact : bool
        Whether float64 would change a whole number.
    """

    kind: Kind = Kind.EMPTY
    gaps: bool = False
    negative: bool = False
    first: Kind = Kind.EMPTY
    inexact: bool = False

    @property
    def dtype(self) -> str:
        """The dtype that holds it, unchanged: pandas' own; text, and true and false with gaps, have Dask's."""
        if self.kind is Kind.INT and self.gaps:
            return "Int64" if self.inexact else "float64"
        if self.kind is Kind.INT:
            return "int64"
        if self.kind is Kind.UINT:
            return "string" if self.gaps or self.negative else "uint64"
        if self.kind is Kind.BOOL:
            return "boolean" if self.gaps else "bool"
        if self.kind is Kind.EMPTY:
            return "float64" if self.gaps else "string"
        return "float64" if self.kind is Kind.FLOAT and not self.inexact else "string"

    @property
    def broken_at_once(self) -> bool:
        """Whether it is text, and does not begin as text."""
        if self.kind is Kind.FLOAT:
            return self.inexact
        return self.kind is Kind.TEXT and self.first not in (Kind.TEXT, Kind.EMPTY)


def joined(*contents: ColumnContent) -> ColumnContent:
    """What the rows of several blocks hold together.

    Examples
    --------
    >>> joined(ColumnContent(Kind.INT), ColumnContent(Kind.FLOAT)).dtype
    'float64'
    """
    return reduce(_both, contents, ColumnContent())


def _both(one: ColumnContent, other: ColumnContent) -> ColumnContent:
    return replace(
        one,
        kind=_wider(one.kind, other.kind),
        gaps=one.gaps or other.gaps,
        negative=one.negative or other.negative,
        first=other.first if one.first is Kind.EMPTY else one.first,
        inexact=one.inexact or other.inexact,
    )


def _wider(one: Kind, other: Kind) -> Kind:
    kinds = {one, other} - {Kind.EMPTY}
    if len(kinds) <= 1:
        return kinds.pop() if kinds else Kind.EMPTY
    if kinds <= {*_WHOLE}:
        return next(widest for widest in _WHOLE if widest in kinds)
    return Kind.FLOAT if kinds <= {*_WHOLE, Kind.FLOAT} else Kind.TEXT


def content_of(column: pandas.Series, texts: Callable[[], pandas.Series]) -> ColumnContent:
    """What a column holds, from the dtype that pandas.read_csv gave it.

    Parameters
    ----------
    column : pandas.Series
    texts : callable
        Gives the column as the texts that it is in the file. It is called if numbers of pandas' own do not tell.
    """
    missing = column.isna()
    gaps = bool(missing.any())
    if missing.all():
        return ColumnContent(gaps=gaps)
    letter = column.dtype.kind if column.dtype != object else "O"
    if letter == "b":
        return ColumnContent(Kind.BOOL, first=Kind.BOOL)
    if letter in "iu":
        kind = Kind.INT if letter == "i" else Kind.UINT
        large = column[(column > EXACT) | (column < -EXACT)]
        return ColumnContent(kind, negative=bool(column.min() < 0), first=kind, inexact=is_inexact(large))
    if letter == "f":
        return _content_of_floats(column, missing, texts)
    present = column[~missing]
    if pandas.api.types.infer_dtype(present) == "boolean":
        return ColumnContent(Kind.BOOL, gaps, first=Kind.BOOL)
    first = kind_of_value(str(present.iloc[0]))
    # pandas gives whole numbers beyond 64 bits as texts, gaps among them as ""
    whole = present.astype(str).replace("", "0")
    if first is Kind.FLOAT and whole.str.fullmatch(_WHOLE_NUMBER).all():
        return ColumnContent(Kind.HUGE, gaps, first=Kind.HUGE, inexact=is_inexact(whole))
    return ColumnContent(Kind.TEXT, gaps, first=first)


def _content_of_floats(
    column: pandas.Series, missing: pandas.Series, texts: Callable[[], pandas.Series]
) -> ColumnContent:
    gaps, negative = bool(missing.any()), bool(column.min() < 0)
    kind = Kind.INT if gaps and bool((column % 1 == 0)[~missing].all()) else Kind.FLOAT
    large = (column.abs() >= EXACT).to_numpy()
    if not large.any():
        return ColumnContent(kind, gaps, negative, Kind.FLOAT)
    present = texts()[large].astype(str)
    whole = present.str.fullmatch(_WHOLE_NUMBER).to_numpy(dtype=bool)
    kind = kind if whole.all() else Kind.FLOAT
    return ColumnContent(kind, gaps, negative, Kind.FLOAT, is_inexact(present[whole]))


def is_inexact(numbers: Iterable[Any]) -> bool:
    """Whether float64 would change one of some whole numbers.

    Examples
    --------
    >>> is_inexact([2**60, 10**20]), is_inexact(["1234567890123456789"])
    (False, True)
    """
    return any(map(_is_inexact, map(str, numbers)))


def _is_inexact(number: str) -> bool:
    # float64 ends at 309 digits, and Python converts no more than some thousands
    return len(number) > 300 or int(float(number)) != int(number)


def kind_of_value(value: str) -> Kind:
    """The kind of a text that is read alone.

    Examples
    --------
    >>> [kind_of_value(value).name for value in ("true", " -1e5", "n/a?")]
    ['BOOL', 'FLOAT', 'TEXT']
    """
    if value.strip() in _BOOLEANS:
        return Kind.BOOL
    return Kind.FLOAT if _NUMBER.fullmatch(value) else Kind.TEXT


def surely_holds(dtype: Any, content: ColumnContent) -> bool:
    """Whether a demanded dtype holds a column for certain; if not, parsing tells."""
    if holds_every_text(dtype):
        return True
    numbers = content.kind in (Kind.EMPTY, Kind.INT, Kind.FLOAT)
    return (dtype == "float64" and numbers) or str(dtype) == content.dtype


def holds_every_text(dtype: Any) -> bool:
    """Whether there is no text that a dtype does not hold."""
    return isinstance(dtype, pandas.StringDtype) or dtype in (object, str) or open_categories(dtype)


def open_categories(dtype: Any) -> bool:
    """Whether a dtype is of categories that the call does not list."""
    return isinstance(dtype, pandas.CategoricalDtype) and dtype.categories is None


def gapped_integers(dtype: Any) -> bool:
    """Whether a dtype is of whole numbers and gaps."""
    return bool(pandas.api.types.is_integer_dtype(dtype)) and not isinstance(dtype, np.dtype)


def pandas_dtype(name: str) -> Any:
    """A dtype that `ColumnContent` names, as one of pandas."""
    return TEXT if name == "string" else pandas.api.types.pandas_dtype(name)


def types_as_they_are() -> Any:
    """A context manager in which Dask does not turn columns of objects into text."""
    return dask.config.set({"dataframe.convert-string": False})
