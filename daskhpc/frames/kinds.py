"""What a column of text holds, as pandas.read_csv would see it, and what holds two of them: pure, without pandas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce


class Kind(StrEnum):
    """The kinds of values that pandas tells apart in a CSV file."""

    EMPTY = "nothing"
    BOOL = "true and false"
    INT = "whole numbers"
    UINT = "whole numbers above 2**63"
    HUGE = "whole numbers beyond 64 bits"
    FLOAT = "numbers"
    TEXT = "text"


WHOLE = (Kind.HUGE, Kind.UINT, Kind.INT)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a column.

    Parameters
    ----------
    kind : Kind
        The narrowest that holds all values.
    gaps : bool
        Whether a value is missing.
    negative : bool
        Whether a whole number is below 0.
    first : Kind
        What its first value is when it is read alone; it tells a column of text from numbers that a text broke.
    """

    kind: Kind = Kind.EMPTY
    gaps: bool = False
    negative: bool = False
    first: Kind = Kind.EMPTY

    @property
    def dtype(self) -> str:
        """The dtype that holds it: pandas' own; text, and true, false and gaps, have Dask's."""
        if self.kind is Kind.INT:
            return "float64" if self.gaps else "int64"
        if self.kind is Kind.UINT:
            return "string" if self.gaps or self.negative else "uint64"
        if self.kind is Kind.BOOL:
            return "boolean" if self.gaps else "bool"
        if self.kind is Kind.EMPTY:
            return "float64" if self.gaps else "string"
        return "float64" if self.kind is Kind.FLOAT else "string"

    @property
    def broken_at_once(self) -> bool:
        """Whether it is text, and does not begin as text."""
        return self.kind is Kind.TEXT and self.first not in (Kind.TEXT, Kind.EMPTY)


def joined(*seen: Seen) -> Seen:
    """What holds all of them, in the order of the rows."""
    return reduce(_both, seen, Seen())


def _both(one: Seen, other: Seen) -> Seen:
    return replace(
        one,
        kind=_kind(one.kind, other.kind),
        gaps=one.gaps or other.gaps,
        negative=one.negative or other.negative,
        first=other.first if one.first is Kind.EMPTY else one.first,
    )


def _kind(one: Kind, other: Kind) -> Kind:
    kinds = {one, other} - {Kind.EMPTY}
    if len(kinds) <= 1:
        return kinds.pop() if kinds else Kind.EMPTY
    for widest in WHOLE:
        if widest in kinds and kinds <= set(WHOLE):
            return widest
    return Kind.FLOAT if kinds <= {*WHOLE, Kind.FLOAT} else Kind.TEXT
