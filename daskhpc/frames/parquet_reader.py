"""Parquet files as a Dask dataframe, their schemas compared before anything is read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.dataframe
import numpy as np
import pandas
from dask.dataframe.utils import clear_known_categories
from dask.utils import natural_sort_key

from .. import files
from ..errors import InputFileError, SettingsError
from ..files import Paths
from ..text import shortened
from .column_types import TEXT, types_as_they_are
from .csv_errors import SHOWN
from .parquet_schemas import (
    ParquetFile,
    ParquetPart,
    columns_of,
    dtype_of,
    examined_file,
    index_of,
    is_unnamed,
    part_of,
    unified_type,
)


def read_parquet(paths: Paths, columns: Sequence[str] | None = None, **options: Any) -> Any:
    """Read Parquet files, after their schemas were compared.

    Parameters
    ----------
    paths : str, path, or list of them
        Files or patterns.
    columns : list of str, optional
        By default all.
    **options
        Options of dask.dataframe.read_parquet, for files of equal schemas.

    Returns
    -------
    dask.dataframe.DataFrame
        If files have a column in numeric types of different width, as categories and as text, or without any value in
        some of them, all are read as the type that holds them; a file without rows takes the types of the others.
        Whole numbers with gaps are ``float64``, or ``Int64`` if that may change one of them; true, false and gaps are
        ``boolean``. Row numbers that some files have as an index are no column; an index of one level that all files
        have stays the index.

    Raises
    ------
    InputFileError
        Before anything is computed: if a file lacks a column or has one more, or has one of a type or with a value that
        cannot be reconciled. Names file and column.
    SettingsError
        For options, if the schemas are not equal.

    Examples
    --------
    >>> import pandas
    >>> pandas.DataFrame({"x": [1, 2]}).to_parquet("a.parquet")
    >>> pandas.DataFrame({"x": [0.5]}).to_parquet("b.parquet")
    >>> read_parquet("*.parquet")["x"].compute().tolist()
    [1.0, 2.0, 0.5]
    """
    paths = files.matching(paths, "data/*.parquet")
    found = files.examined(examined_file, files.groups_of(paths))
    index = index_of(found)
    numbered = all(file.numbered for file in found)
    names = columns_of(found, [*map(str, columns)] if columns is not None and numbered else columns, index)
    stored = [*names, *([index] if index is not None and index not in names else [])]
    types = {name: unified_type(name, found) for name in stored}
    plan = ParquetPlan(types, {name: dtype_of(name, types[name], found) for name in stored}, names, index)
    # Dask reads files in the order of their names, and finds no column whose name is a number.
    suits_dask = not numbered and paths == sorted(paths, key=natural_sort_key)
    if suits_dask and _are_alike(found, stored):
        return dask.dataframe.read_parquet(paths, columns=columns, **options)
    _refuse_what_only_dask_does(options, paths, names if columns is None else None)
    differing = [file for file in found if any(file.schema.field(name).type != types[name] for name in stored)]
    files.examined(_castable, files.groups_of(differing), plan)
    labels = {name: int(name) for name in names if numbered and name.lstrip("-").isdigit()}
    frame = _planned(found, plan)
    return frame.rename(columns=labels) if labels else frame


def _refuse_what_only_dask_does(
    options: Mapping[str, Any], paths: Sequence[str], all_columns: Sequence[str] | None
) -> None:
    """Raises an error for options of Dask's reader, and for folders that it makes columns if all are asked for."""
    differ = (
        "the files differ in types, in gaps among whole numbers or in the index, are not in the order of their names"
    )
    differ += ", or have numbers as names of columns"
    if options:
        raise SettingsError(
            "Options of Dask's reader are for files of equal schemas.",
            f"{', '.join(options)}; {differ}",
            "read_parquet(...) without them, then a selection of rows",
        )
    folder = next((name for path in paths for name in path.split(os.sep)[:-1] if "=" in name), None)
    if folder is not None and all_columns is not None:
        raise InputFileError(
            f"The folder {folder} is a column for Dask's reader, which is for files of equal schemas.",
            differ,
            f"columns={shortened(repr(all_columns), SHOWN)} without it, or write the files again with one type",
        )


@dataclass(frozen=True, slots=True)
class ParquetPlan:
    """How files of unequal schemas are read.

    Parameters
    ----------
    types : dict
        The stored type that holds each column.
    dtypes : dict
        Its dtype; None: that which Arrow gives.
    names : list of str
        The columns of the frame.
    index : str or None
        The column that is its index.
    """

    types: Mapping[str, Any]
    dtypes: Mapping[str, Any]
    names: Sequence[str]
    index: str | None


def _are_alike(found: Sequence[ParquetFile], stored: Sequence[str]) -> bool:
    """Whether Dask's own reader gives one dtype for each column, and does not change a value."""
    from pyarrow import types

    first = found[0]
    for file in found:
        for name in stored:
            kind = file.schema.field(name).type
            alike = kind == first.schema.field(name).type and file.dtypes.get(name) == first.dtypes.get(name)
            if not alike or file.loses(name) or (types.is_dictionary(kind) and kind.ordered):
                return False
    stored_indexes = {() if file.row_numbers is not None else file.index for file in found}
    # Dask's reader looks for a column of the name that a range has.
    named_ranges = any(file.row_numbers is not None and not is_unnamed(file.index[0]) for file in found)
    return len(stored_indexes) == 1 and not named_ranges


def _castable(file: ParquetFile, plan: ParquetPlan) -> None:
    """Raises InputFileError if a column of a file has a value that the type of all files does not hold."""
    import pyarrow

    for name, kind in plan.types.items():
        if file.schema.field(name).type != kind and not file.has_row_numbers(name):
            try:
                _read(part_of(file), replace(plan, names=[name], index=None))
            except pyarrow.ArrowException as error:
                raise InputFileError(
                    f"Column {name!r} cannot be reconciled: {file.path} has it as {file.schema.field(name).type}.",
                    f"{kind} for all files; {error}",
                    f"columns= without {name!r}, or write the files again with one type",
                ) from None


def _planned(found: Sequence[ParquetFile], plan: ParquetPlan) -> Any:
    """A partition per file, all of the same dtypes."""
    ordered = [name for name, kind in plan.types.items() if plan.dtypes[name] == "category" and kind.ordered]
    for name in ordered:  # those of other orders are text, as pandas.concat has them
        parts = [_read(part_of(file), replace(plan, names=[name], index=None))[name].cat.categories for file in found]
        if any(not part.equals(parts[0]) for part in parts):
            kind = plan.types[name].value_type
            plan = replace(plan, types={**plan.types, name: kind}, dtypes={**plan.dtypes, name: _text(kind)})
    empty = {name: _column(_empty(plan.types[name]), name, plan) for name in plan.types}
    meta = pandas.DataFrame({name: empty[name] for name in plan.names})
    categories = [name for name in plan.names if plan.dtypes[name] == "category"]
    meta = clear_known_categories(meta, cols=categories)
    if plan.index is not None:
        meta.index = _labels(empty[plan.index], plan.index)
    with types_as_they_are():
        return dask.dataframe.from_map(
            _read, [part_of(file) for file in found], plan=plan, meta=meta, label="read-parquet"
        )


# Dask's own reader does not apply a given schema to a file whose column has no value (tried with 2026.8: such
# a column is of objects, not of text), so files of unequal schemas are read by pyarrow.


def _read(part: ParquetPart, plan: ParquetPlan, columns: Sequence[str] | None = None) -> pandas.DataFrame:
    from pyarrow import parquet

    names = list(plan.names if columns is None else columns)
    is_stored = plan.index is not None and part.row_numbers is None
    with parquet.ParquetFile(part.path) as file:
        table = file.read(list(dict.fromkeys([*names, *([plan.index] if is_stored else [])])))
    frame = pandas.DataFrame({name: _column(table[name], name, plan) for name in names}, index=range(table.num_rows))
    if plan.index is not None:
        labels = _column(table[plan.index], plan.index, plan) if is_stored else part.row_numbers
        frame.index = _labels(labels, plan.index)
    return frame


def _labels(values: Any, name: str) -> pandas.Index:
    """The index of a stored column or of a range."""
    return pandas.Index(values, name=None if is_unnamed(name) else name)


def _empty(kind: Any) -> Any:
    import pyarrow

    return pyarrow.chunked_array([], kind)


def _column(values: Any, name: str, plan: ParquetPlan) -> pandas.Series:
    import pyarrow

    kind, dtype = plan.types[name], plan.dtypes[name]
    if len(values) == 0:  # whatever their type
        values = _empty(kind)
    if isinstance(kind, pyarrow.BaseExtensionType):
        return pandas.Series(dtype.__from_arrow__(values))
    if pyarrow.types.is_dictionary(values.type) and pyarrow.types.is_null(values.type.value_type):
        values = pyarrow.chunked_array([pyarrow.nulls(len(values))])
    no_value = values.null_count == len(values) and not getattr(kind, "ordered", False)
    if pyarrow.types.is_dictionary(kind) and (no_value or pyarrow.types.is_null(values.type)):
        no_texts = pandas.Index([""])[:0]  # categories of another dtype cannot be put together with those of others
        return pandas.Series(pandas.Categorical([None] * len(values), categories=no_texts))
    if not pyarrow.types.is_dictionary(kind):
        values = values.cast(kind)
    if dtype is None or dtype == "category":
        return pandas.Series(values.to_pandas(types_mapper=_text))
    dtype = pandas.api.types.pandas_dtype(dtype)
    if isinstance(dtype, np.dtype):
        return pandas.Series(values.to_pandas()).astype(dtype)
    return pandas.Series(values.to_pandas(types_mapper=lambda _: dtype))


def _text(kind: Any) -> Any:
    import pyarrow

    return TEXT if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) else None
