"""Parquet files as a Dask dataframe, their schemas compared before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.dataframe

from .. import files
from ..errors import InputFileError
from ..files import Paths
from .column_types import TEXT, types_as_they_are


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
        If files have a column in numeric types of different width, or one without any value in some of them, all are
        read as the type that holds them.

    Raises
    ------
    InputFileError
        Before anything is read: if a file lacks a column, or has one of a type that cannot be reconciled. Names file
        and column.

    Examples
    --------
    >>> import pandas
    >>> pandas.DataFrame({"x": [1, 2]}).to_parquet("a.parquet")
    >>> pandas.DataFrame({"x": [0.5]}).to_parquet("b.parquet")
    >>> read_parquet("*.parquet")["x"].compute().tolist()
    [1.0, 2.0, 0.5]
    """
    import pyarrow

    names = files.matching(paths, "data/*.parquet")
    schemas = files.examined(_schema, files.groups_of(names))
    chosen = list(columns) if columns is not None else schemas[0].names
    unified = pyarrow.schema([_unified(column, names, schemas) for column in chosen])
    if all(schema.field(column).type == unified.field(column).type for schema in schemas for column in chosen):
        return dask.dataframe.read_parquet(names, columns=columns, **options)
    meta = unified.empty_table().to_pandas(types_mapper=_text)
    with types_as_they_are():
        return dask.dataframe.from_map(_read, names, schema=unified, meta=meta, label="read-parquet")


def _schema(path: str) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(path)
    except pyarrow.ArrowException as error:
        raise InputFileError(f"{path} is not a Parquet file.", str(error), "remove it, or write it again") from None


def _unified(column: str, names: Sequence[str], schemas: Sequence[Any]) -> Any:
    """The field that holds a column in all files.

    Arrow unifies whole schemas at once too, but then names neither the file nor the column, and takes a column that a
    file lacks for one without values.
    """
    import pyarrow

    unified = None
    for name, schema in zip(names, schemas, strict=True):
        if column not in schema.names:
            raise InputFileError(
                f"{name} has no column {column!r}.",
                f"its columns: {', '.join(schema.names)}",
                "columns=[the columns that all files have], or a pattern that leaves this file out",
            )
        field = schema.field(column).remove_metadata().with_nullable(True)
        if unified is None or unified.type == field.type:
            unified = field
            continue
        try:
            both = [pyarrow.schema([unified]), pyarrow.schema([field])]
            unified = pyarrow.unify_schemas(both, promote_options="permissive").field(0)
        except pyarrow.ArrowException:
            raise InputFileError(
                f"Column {column!r} cannot be reconciled: {name} has it as {field.type}.",
                f"{unified.type} in the files before it, from {names[0]} on",
                f"columns= without {column!r}, or write {name} again with the other type",
            ) from None
    return unified


# Dask's own reader does not apply a given schema to a file whose column has no value (tried with 2026.8: such
# a column is of objects, not of text), so files of unequal schemas are read by pyarrow.


def _read(name: str, schema: Any, columns: Sequence[str] | None = None) -> Any:
    import pyarrow
    from pyarrow import parquet

    wanted = pyarrow.schema([schema.field(column) for column in columns]) if columns is not None else schema
    table = parquet.read_table(name, columns=wanted.names, partitioning=None).select(wanted.names).cast(wanted)
    return table.to_pandas(types_mapper=_text, ignore_metadata=True)


def _text(kind: Any) -> Any:
    import pyarrow

    return TEXT if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) else None
