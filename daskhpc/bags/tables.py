"""Records as rows of dataframes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas

from ..errors import InputFileError


def kinds(records: Iterable[Any], columns: list[str] | None) -> dict[str, set[str]]:
    """The kinds of values of each key; nothing of no records."""
    kinds: dict[str, set[str]] = {}
    count: dict[str, int] = {}
    rows = list(records)
    for record in rows:
        if not isinstance(record, Mapping):
            raise InputFileError(
                "Only mappings can be rows of a dataframe.", repr(record)[:60], "bag.map(lambda x: {'value': x})"
            )
        for name in record if columns is None else columns:
            kinds.setdefault(name, set()).add(_kind(record.get(name)))
            count[name] = count.get(name, 0) + 1
    for name in kinds:
        if count[name] < len(rows):
            kinds[name].add("missing")
    return kinds


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if -(2**63) <= value < 2**63 else "huge"
    return type(value).__name__


def dtype(kinds: Iterable[set[str]]) -> Any:
    """The dtype that holds all these kinds of values."""
    held = set().union(*kinds)
    gaps = "missing" in held
    held -= {"missing"}
    if held == {"str"}:
        return pandas.StringDtype("pyarrow")
    if held == {"bool"}:
        return "boolean" if gaps else "bool"
    if held == {"int"} and not gaps:
        return "int64"
    return "float64" if held <= {"int", "float"} else object


def table(records: Iterable[Mapping[str, Any]], dtypes: Mapping[str, Any]) -> pandas.DataFrame:
    """Records as a dataframe with these dtypes."""
    rows = list(records)
    columns = {name: pandas.Series([row.get(name) for row in rows], dtype=object) for name in dtypes}
    return pandas.DataFrame(columns).astype(dict(dtypes))
