"""The column types of records, which are mappings of names to Python values: one rule for JSON lines and bags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas

from ..errors import InputFileError, SettingsError
from ..text import shortened
from .column_types import TEXT, is_inexact

MISSING = "missing"
BOOLEANS, WHOLE, REAL, TEXTS = "true and false", "whole numbers", "numbers", "text"
INEXACT, BEYOND = "whole numbers that float64 changes", "whole numbers beyond 64 bits"
OBJECTS = "lists, mappings and other objects"
HALF = "text with half of a pair of surrogates"


@dataclass(frozen=True, slots=True)
class RecordTypes:
    """What some records hold: for each column and each kind of value in it, the first record's number and its value."""

    columns: Mapping[str, Mapping[str, tuple[int, str]]]
    rows: int


def types_of(records: Iterable[tuple[int, Mapping[str, Any]]], columns: Sequence[str] | None = None) -> RecordTypes:
    """What records with their numbers hold, in all columns or in these."""
    held: dict[str, dict[str, tuple[int, str]]] = {}
    present: dict[str, int] = {}
    rows = 0
    for number, record in records:
        rows += 1
        for name in record if columns is None else columns:
            if name in record:
                present[name] = present.get(name, 0) + 1
            kinds = held.setdefault(name, {})
            kind = _kind(record.get(name))
            if kind not in kinds:
                kinds[kind] = number, repr(record.get(name))
    for name, kinds in held.items():
        if present.get(name, 0) < rows:
            kinds.setdefault(MISSING, (0, ""))
    return RecordTypes(held, rows)


def _kind(value: Any) -> str:
    if _is_missing(value):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return BOOLEANS
    if isinstance(value, int | np.integer):
        if not -(2**63) <= value < 2**63:
            return BEYOND
        return INEXACT if is_inexact([value]) else WHOLE
    if isinstance(value, float | np.floating):
        return REAL
    if not isinstance(value, str):
        return OBJECTS
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON may say it, and neither Arrow nor a file holds it
        return HALF
    return TEXTS


def _is_missing(value: Any) -> bool:
    return value is None or value is pandas.NA or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def checked_demands(dtype: Mapping[str, Any] | None) -> dict[str, Any]:
    """The dtypes that a call demands: text or object, as the types of other values are in the record itself.

    Raises
    ------
    SettingsError
        For any other dtype.
    """
    demands = {}
    for column, wanted in (dtype or {}).items():
        if wanted not in (str, object, "str", "object"):
            raise SettingsError(
                "JSON says what its values are.", f"dtype={{{column!r}: {wanted!r}}}", "frame.astype(...) afterwards"
            )
        demands[column] = TEXT if wanted in (str, "str") else object
    return demands


def settled_types(
    parts: Sequence[RecordTypes], demands: Mapping[str, Any], location: Callable[[int, int], str]
) -> dict[str, Any]:
    """The dtype that holds each column in all parts.

    Parameters
    ----------
    parts : sequence of RecordTypes
        What each part of the records holds.
    demands : dict
        Dtypes of `checked_demands`.
    location : callable
        The words for a record, from the position of its part and its own number.

    Raises
    ------
    InputFileError
        If a column has values of several kinds that no dtype of 64 bits holds. A column of mixed objects would be
        refused much later, with less to go by: when it is grouped, sorted, or written to Parquet.
    """
    names = list(dict.fromkeys(name for part in parts for name in part.columns))
    return {name: demands.get(name) or _settled_type(name, parts, location) for name in names}


def _settled_type(name: str, parts: Sequence[RecordTypes], location: Callable[[int, int], str]) -> Any:
    first: dict[str, tuple[int, int, str]] = {}
    gaps = False
    for position, part in enumerate(parts):
        kinds = part.columns.get(name, {})
        gaps = gaps or MISSING in kinds or (not kinds and part.rows > 0)
        for kind in kinds.keys() - {MISSING}:
            first.setdefault(kind, (position, *kinds[kind]))
    held = set(first)
    if held == {TEXTS}:
        return TEXT
    if held == {OBJECTS}:
        return object
    if held == {BOOLEANS}:
        return "boolean" if gaps else "bool"
    if held <= {WHOLE, REAL}:
        return "int64" if held == {WHOLE} and not gaps else "float64"
    if held <= {WHOLE, INEXACT}:
        return "Int64" if gaps else "int64"
    in_order = sorted(first.items(), key=lambda item: item[1][:2])
    said = [f"{location(part, row)} has {shortened(value, 60)} ({kind})" for kind, (part, row, value) in in_order]
    raise InputFileError(
        f"Column {name!r} cannot be reconciled: {said[-1]}.",
        "; ".join([*said[:-1], "no dtype holds both" if len(held) > 1 else "no dtype of 64 bits holds it"]),
        ("" if HALF in held else f"dtype={{{name!r}: 'str'}} for text, or ")
        + f"dtype={{{name!r}: 'object'}} for the values as they are",
    )


def empty_table(dtypes: Mapping[str, Any]) -> pandas.DataFrame:
    """A table of no rows with these dtypes."""
    return pandas.DataFrame({name: pandas.Series(dtype=dtype) for name, dtype in dtypes.items()})


def table(records: Sequence[Mapping[str, Any]], dtypes: Mapping[str, Any]) -> pandas.DataFrame:
    """Records as a table with these dtypes; a value that is no text is written as JSON in a column of text."""
    return pandas.DataFrame({name: _series(records, name, dtype) for name, dtype in dtypes.items()})


def _series(records: Sequence[Mapping[str, Any]], name: str, dtype: Any) -> pandas.Series:
    values = [record.get(name) for record in records]
    if str(dtype) != "object":
        values = [None if _is_missing(value) else value for value in values]
    if dtype == TEXT:
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pandas.Series(values, dtype=object).astype(dtype)
