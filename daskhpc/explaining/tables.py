"""Rows of a dataframe, and bytes of a row from the types of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT_BYTES = 24.0
"""Bytes of a text in a column where nothing says more."""

GROUPS = 0.1
"""Groups of a group-by, or distinct rows, for each row of a partition, where nothing says more."""

MOST_GROUPS = 100_000
"""Groups of a partition at most, where nothing says more."""

OBJECT_BYTES = 57.0
"""What a Python text takes above its letters, pointer included."""


@dataclass(frozen=True, slots=True)
class Table:
    """A dataframe.

    Parameters
    ----------
    rows : float
        Of all partitions.
    row_bytes : float
        In memory.
    texts : mapping of str to float
        Bytes of a typical text of a column.
    exact : bool
        Whether the rows and bytes are counted, not estimated.
    reads : float
        Bytes of the files that it comes from.
    """

    rows: float
    row_bytes: float
    texts: Mapping[str, float]
    exact: bool = False
    reads: float = 0.0

    @property
    def nbytes(self) -> float:
        """Of all partitions."""
        return self.rows * self.row_bytes


def row_bytes(meta: Any, texts: Mapping[str, float]) -> float | None:
    """Bytes of a row, from the types of its columns; None where that is not a frame, a series or an index."""
    if hasattr(meta, "columns"):
        columns = [(str(name), dtype) for name, dtype in zip(meta.columns, meta.dtypes, strict=True)]
    elif hasattr(meta, "dtype"):
        columns = [(str(getattr(meta, "name", "")), meta.dtype)]
    else:
        return None
    index = getattr(meta, "index", None)
    if index is not None and type(index).__name__ != "RangeIndex" and hasattr(index, "dtype"):
        columns.append((str(index.name), index.dtype))
    return sum(cell_bytes(dtype, texts.get(name, TEXT_BYTES)) for name, dtype in columns)


def cell_bytes(dtype: Any, text: float) -> float:
    """Bytes of a value of a type."""
    kind = str(dtype)
    if kind == "object":
        return OBJECT_BYTES + text
    if kind.startswith(("string", "str")):
        return 8.0 + text
    if kind == "category":
        return 1.0
    size = float(getattr(dtype, "itemsize", 8) or 8)
    return size + 1.0 if type(dtype).__module__.startswith("pandas.core.arrays") else size


def object_columns(meta: Any) -> tuple[str, ...]:
    """Columns that hold Python objects."""
    if hasattr(meta, "columns"):
        return tuple(str(name) for name, dtype in zip(meta.columns, meta.dtypes, strict=True) if str(dtype) == "object")
    return (str(meta.name),) if str(getattr(meta, "dtype", "")) == "object" else ()
