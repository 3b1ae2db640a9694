"""The kinds of values in a block, by pandas itself: it is as fast as pyarrow.csv, and its word counts in the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pandas

from .kinds import Kind, Seen
from .options import Reading
from .parsing import parsed
from .sources import Block

BOOLS = ("True", "TRUE", "true", "False", "FALSE", "false")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?inf(inity)?\s*", re.IGNORECASE)
WHOLE_NUMBER = r"\s*[+-]?\d+\s*"


def seen(
    block: Block, data: bytes, names: Sequence[Any], wanted: Sequence[Any], texts: Collection[Any], reading: Reading
) -> tuple[dict[Any, Seen], dict[Any, pandas.Series]]:
    """What a block holds.

    Parameters
    ----------
    block, data, names, reading
        As in `parsed`.
    wanted : sequence
        The columns.
    texts : collection
        Those among them whose texts are wanted, and not their kind.

    Returns
    -------
    dict of Seen
        By column.
    dict of pandas.Series
        The texts by column.
    """
    some = {} if reading.usecols is None else {"usecols": list(wanted)}
    frame = with_texts(block, data, names, reading, texts, **some)
    return {c: of_column(frame[c]) for c in wanted if c not in texts}, {c: frame[c] for c in texts}


def with_texts(
    block: Block, data: bytes, names: Sequence[Any], reading: Reading, texts: Collection[Any], **more: Any
) -> pandas.DataFrame:
    """The same as `parsed`, with columns as the texts that they are in the file.

    pandas reads texts several times faster where it finds out itself that they are texts than where it is told.
    """
    frame = parsed(block, data, names, reading, **more)
    for name in texts:
        if not _left_alone(frame[name]):
            frame[name] = parsed(block, data, names, reading, dtype=str, usecols=[name])[name]
    return frame


def of_column(column: pandas.Series) -> Seen:
    """What pandas made of a column."""
    missing = column.isna()
    gaps = bool(missing.any())
    if missing.all():
        return Seen(gaps=gaps)
    kind = column.dtype.kind if column.dtype != object else "O"
    if kind == "b":
        return Seen(Kind.BOOL, first=Kind.BOOL)
    if kind in "iu":
        whole = Kind.INT if kind == "i" else Kind.UINT
        return Seen(whole, negative=bool(column.min() < 0), first=whole)
    if kind == "f":
        because_of_gaps = gaps and bool((column % 1 == 0)[~missing].all())
        return Seen(Kind.INT if because_of_gaps else Kind.FLOAT, gaps, bool(column.min() < 0), Kind.FLOAT)
    present = column[~missing]
    if pandas.api.types.infer_dtype(present) == "boolean":
        return Seen(Kind.BOOL, gaps, first=Kind.BOOL)
    first = alone(str(present.iloc[0]))
    # pandas gives whole numbers beyond 64 bits as texts, gaps among them as ""
    if first is Kind.FLOAT and present.astype(str).replace("", "0").str.fullmatch(WHOLE_NUMBER).all():
        return Seen(Kind.HUGE, gaps, first=Kind.HUGE)
    return Seen(Kind.TEXT, gaps, first=first)


def _left_alone(column: pandas.Series) -> bool:
    """Whether pandas surely left each text of a column as it is."""
    present = column.dropna()
    texts = isinstance(column.dtype, pandas.StringDtype) or pandas.api.types.infer_dtype(present) == "string"
    return texts and len(present) > 0 and alone(str(present.iloc[0])) is Kind.TEXT


def alone(value: str) -> Kind:
    """What a text is when it is read alone."""
    if value.strip() in BOOLS:
        return Kind.BOOL
    return Kind.FLOAT if NUMBER.fullmatch(value) else Kind.TEXT


def first_row(is_so: Callable[[int], bool], most: int) -> int | None:
    """The smallest number of rows, up to `most`, for which something is so that stays so with more."""
    low, high = 0, 1
    while not is_so(min(high, most)):
        if high >= most:
            return None
        low, high = high, high * 8
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_so(middle) else (middle, high)
    return high


def dtype_holds(demanded: Any, found: Seen) -> bool:
    """Whether a dtype surely holds what was seen; where not, it is tried."""
    return (demanded == "float64" and found.kind in (Kind.EMPTY, Kind.INT, Kind.FLOAT)) or str(demanded) == found.dtype


def holds_all(demanded: Any) -> bool:
    """Whether a dtype holds every text."""
    text = isinstance(demanded, pandas.StringDtype) or demanded in (object, str)
    return text or (isinstance(demanded, pandas.CategoricalDtype) and demanded.categories is None)
