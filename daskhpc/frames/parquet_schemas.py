"""The schemas of Parquet files, and the dtypes that hold their columns without a change of values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from ..errors import InputFileError
from .column_types import EXACT, TEXT

ARROW = "[pyarrow]"
"""The end of the name of each dtype of Arrow's."""

_ROW_NUMBERS = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """A file as a task gets it, with its bytes, its rows, and the row numbers that are no column of it."""

    path: str
    nbytes: int
    rows: int
    row_numbers: range | None


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """What the footer of a file tells.

    Parameters
    ----------
    path : str
        The file.
    nbytes, rows : int
        What it holds.
    schema : pyarrow.Schema
        Its columns as they are stored.
    index : tuple of str
        Which of them pandas had as the index.
    dtypes : dict
        The dtypes that pandas noted for them.
    gaps : frozenset of str
        The columns of whole numbers, or of true and false, in which a value is missing; and those without any value,
        which may be whole numbers in another file, or are categories.
    beyond : frozenset of str
        The columns of whole numbers beyond 2**53, which float64 may change.
    row_numbers : range or None
        The index, if pandas had a range; `schema` has it although it is no column of the file.
    numbered : bool
        Whether pandas had whole numbers as the names of the columns.
    """

    path: str
    nbytes: int
    rows: int
    schema: Any
    index: tuple[str, ...]
    dtypes: Mapping[str, str]
    gaps: frozenset[str]
    beyond: frozenset[str]
    row_numbers: range | None = None
    numbered: bool = False

    def loses(self, name: str) -> bool:
        """Whether Dask's reader takes another dtype for a column: because of gaps, or for categories of no text."""
        if self.dtypes.get(name) == "category" and not _has_texts(self.schema.field(name).type):
            return True
        if str(self.schema.field(name).type) == "null":
            return False
        dtype = self.dtypes.get(name, "")
        return name in self.gaps and not (dtype.startswith(("Int", "UInt", "boolean")) or dtype.endswith(ARROW))

    @property
    def names(self) -> list[str]:
        """The columns, without row numbers."""
        return [name for name in self.schema.names if not self.has_row_numbers(name)]

    def has_row_numbers(self, name: str) -> bool:
        """Whether a column is an index without a name that holds whole numbers, as a filtered frame's; or a range."""
        from pyarrow import types

        if self.row_numbers is not None:
            return name == self.index[0]
        if name not in self.index or not is_unnamed(name):
            return False
        kind = self.schema.field(name).type
        return bool(types.is_integer(kind) or types.is_null(kind))


def is_unnamed(name: str) -> bool:
    """Whether this is the name of the column in which pandas stores an index that has none."""
    return bool(_ROW_NUMBERS.fullmatch(name))


def part_of(file: ParquetFile) -> ParquetPart:
    """A file as a task gets it."""
    return ParquetPart(file.path, file.nbytes, file.rows, file.row_numbers)


def examined_file(path: str) -> ParquetFile:
    """The facts in a file's footer; a column is read if the footer does not count its gaps. Raises InputFileError."""
    import pyarrow
    from pyarrow import parquet, types

    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise InputFileError(f"{path} is not a Parquet file.", str(error), "remove it, or write it again") from None
    with file:
        schema = file.schema_arrow
        if twice := {name for name in schema.names if schema.names.count(name) > 1}:
            raise InputFileError(f"{path} has more than one column {min(twice)!r}.", ", ".join(schema.names))
        metadata = schema.pandas_metadata or {}
        labels = [level["pandas_type"] for level in metadata.get("column_indexes", [])]
        if len(labels) > 1:
            todo = "write it with columns of one level: frame.columns = ['_'.join(map(str, name)) for name in frame]"
            raise InputFileError(f"{path} has columns of {len(labels)} levels.", ", ".join(schema.names[:3]), todo)
        index = tuple(name for name in metadata.get("index_columns", []) if isinstance(name, str))
        dtypes = {
            column["field_name"]: "category" if column["pandas_type"] == "categorical" else column["numpy_type"]
            for column in metadata.get("columns", [])
        }
        gaps, beyond = set(), set()
        for field in schema:
            if types.is_integer(field.type) or types.is_boolean(field.type):
                missing, low, high = _bounds(file, field.name)
                gaps.update([field.name] if missing else [])
                beyond.update([field.name] if not -EXACT <= low <= high <= EXACT else [])
            elif types.is_null(field.type):
                gaps.update([field.name] if file.metadata.num_rows else [])
            elif _has_texts(field.type):
                gaps.update([field.name] if _has_no_value(file, field.name) else [])
    size, rows = os.path.getsize(path), file.metadata.num_rows
    schema = pyarrow.schema([field.with_type(_plain_type(field.type)) for field in schema])
    label, numbers = _range_of(metadata.get("index_columns", []))
    if numbers is not None and label not in schema.names:
        index, schema = (label,), schema.append(pyarrow.field(label, pyarrow.int64()))
    else:
        numbers = None
    held = frozenset(gaps), frozenset(beyond)
    return ParquetFile(path, size, rows, schema, index, dtypes, *held, numbers, labels == ["int64"])


def _range_of(index_columns: Sequence[Any]) -> tuple[str, range | None]:
    """The name and the numbers of an index that pandas keeps as a range; without a name, that of such a column."""
    for about in index_columns:
        if isinstance(about, Mapping) and about.get("kind") == "range":
            numbers = range(about["start"], about["stop"], about["step"])
            return str(about["name"] or "__index_level_0__"), numbers
    return "", None


def _has_texts(kind: Any) -> bool:
    """Whether a type is of categories that are texts."""
    from pyarrow import types

    return bool(
        types.is_dictionary(kind) and (types.is_string(kind.value_type) or types.is_large_string(kind.value_type))
    )


def _plain_type(kind: Any) -> Any:
    """The type of the values, for categories that are no texts (Dask writes such categories as texts); one of texts."""
    import pyarrow

    if str(kind) == "string_view":  # as polars writes texts; Arrow does not unify it with others
        return pyarrow.large_string()
    return kind.value_type if pyarrow.types.is_dictionary(kind) and not _has_texts(kind) else kind


def _bounds(file: Any, name: str) -> tuple[bool, int, int]:
    """Whether a value is missing in a column; the least and the largest one."""
    found = _statistics(file, name)
    if found is None or not all(s.has_min_max or s.num_values == 0 for s in found):
        return _bounds_of_values(file, name)
    ends = [(int(s.min), int(s.max)) for s in found if s.has_min_max]
    missing = any(s.null_count for s in found)
    return missing, min((low for low, _ in ends), default=0), max((high for _, high in ends), default=0)


def _has_no_value(file: Any, name: str) -> bool:
    """Whether all values of a column are missing. Categories of such a column are not of text for Dask's reader."""
    found = _statistics(file, name)
    missing = file.read([name]).column(0).null_count if found is None else sum(s.null_count for s in found)
    return bool(missing == file.metadata.num_rows)


def _statistics(file: Any, name: str) -> list[Any] | None:
    """The footer's facts on a column in each group of rows; None if the number of missing values is not among them."""
    places = [i for i in range(file.metadata.num_columns) if file.metadata.schema.column(i).path == name]
    groups = range(file.metadata.num_row_groups)
    found = [file.metadata.row_group(group).column(place).statistics for group in groups for place in places]
    return None if not places or any(s is None or not s.has_null_count for s in found) else found


def _bounds_of_values(file: Any, name: str) -> tuple[bool, int, int]:
    from pyarrow import compute

    column = file.read([name]).column(0)
    ends = compute.min_max(column).as_py()
    return column.null_count > 0, int(ends["min"] or 0), int(ends["max"] or 0)


def index_of(files: Sequence[ParquetFile]) -> str | None:
    """The column that is the index of all files, if there is one."""
    from pyarrow import types

    named = {tuple(name for name in file.index if not file.has_row_numbers(name)) for file in files}
    all_stored = {file.index for file in files}
    for found in (all_stored, named):
        if len(found) == 1 and len(index := next(iter(found))) == 1:
            whole = all(types.is_integer(file.schema.field(index[0]).type) for file in files)
            if whole or all(file.row_numbers is None for file in files):
                return index[0]
    return None


def columns_of(files: Sequence[ParquetFile], columns: Sequence[str] | None, index: str | None) -> list[str]:
    """The columns of the frame, in the order of the first file.

    Raises
    ------
    InputFileError
        If a file lacks one, or has one more.
    """
    first = files[0]
    wanted = list(columns) if columns is not None else [name for name in first.names if name != index]
    for file in files:
        for column in wanted:
            if column not in file.schema.names or (file.row_numbers is not None and column == file.index[0]):
                raise InputFileError(
                    f"{file.path} has no column {column!r}.",
                    f"its columns: {', '.join(file.names)}",
                    "columns=[the columns that all files have], or a pattern that leaves this file out",
                )
        more = [name for name in file.names if name not in wanted and name != index]
        if more and columns is None:
            raise InputFileError(
                f"{file.path} has a column {more[0]!r}, which {first.path} has not.",
                f"its columns: {', '.join(file.names)}",
                f"columns={wanted}",
            )
    return wanted


def unified_type(column: str, files: Sequence[ParquetFile]) -> Any:
    """The stored type that holds a column in all files; text for categories in some and text in others.

    Arrow unifies whole schemas at once too, but then names neither the file nor the column, and takes a column that a
    file lacks for one without values.

    Raises
    ------
    InputFileError
        If there is none.
    """
    import pyarrow

    # A file without rows has no values that would say of which type they are; pandas takes numbers or objects.
    files = [file for file in files if file.rows] or files
    kinds = [file.schema.field(column).type for file in files]
    orders = {kind.ordered for kind in kinds if pyarrow.types.is_dictionary(kind)}
    categories = [pyarrow.types.is_dictionary(kind) for kind in kinds]
    alike = all(found or pyarrow.types.is_null(kind) for found, kind in zip(categories, kinds, strict=True))
    if not alike or len(orders) > 1:
        kinds = [kind.value_type if found else kind for found, kind in zip(categories, kinds, strict=True)]
    unified = kinds[0]
    for file, kind in zip(files, kinds, strict=True):
        try:
            both = [pyarrow.schema([(column, unified)]), pyarrow.schema([(column, kind)])]
            unified = pyarrow.unify_schemas(both, promote_options="permissive").field(0).type
        except pyarrow.ArrowException:
            raise irreconcilable(column, file, unified, files[0].path) from None
    return unified


def irreconcilable(column: str, file: ParquetFile, unified: Any, first: str) -> InputFileError:
    """What to say of a column that a file has in a type which does not go with those of others."""
    return InputFileError(
        f"Column {column!r} cannot be reconciled: {file.path} has it as {file.schema.field(column).type}.",
        f"{unified} in the files before it, from {first} on",
        f"columns= without {column!r}, or write {file.path} again with the other type",
    )


def dtype_of(column: str, unified: Any, files: Sequence[ParquetFile]) -> Any:
    """The dtype that a column gets in all partitions; None: that which Arrow gives."""
    from pyarrow import BaseExtensionType, types

    if isinstance(unified, BaseExtensionType):  # pandas' periods and intervals
        return unified.to_pandas_dtype()
    own = {str(file.dtypes.get(column, "")) for file in files}
    gaps = any(column in file.gaps for file in files)
    texts = types.is_string(unified) or types.is_large_string(unified)
    if all(dtype.endswith(ARROW) for dtype in own) and not texts:
        return pandas.ArrowDtype(unified)
    if types.is_integer(unified):
        name = str(unified).replace("uint", "UInt").replace("int", "Int")
        if any(dtype[:1] in ("I", "U") for dtype in own) or (gaps and any(column in file.beyond for file in files)):
            return pandas.api.types.pandas_dtype(name)
        return "float64" if gaps else None
    if types.is_boolean(unified):
        return "boolean" if gaps or "boolean" in own else None
    if types.is_floating(unified) and any(dtype.startswith("Float") for dtype in own):
        return {"float": "Float32", "double": "Float64"}.get(str(unified))
    if texts:
        return TEXT
    return "category" if types.is_dictionary(unified) else None
