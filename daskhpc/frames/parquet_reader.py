"""Parquet files as a Dask dataframe, their schemas compared before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        Options of dask.dataframe.read_parquet.

    Returns
    -------
    dask.dataframe.DataFrame
        Where files have a column in numeric types of different width, or one without any value in some of them, all are
        read as the type that holds them.

    Raises
    ------
    InputFileError
        Before anything is read: where a file lacks a column, or has one of a type that cannot be reconciled. Names file
        and column.
    """
    import pyarrow

    names = files.matching(paths, "data/*.parquet")
    found = files.examined(_schema, files.groups_of(names))
    chosen = list(columns) if columns is not None else found[0].names
    schema = pyarrow.schema([_settled(column, dict(zip(names, found, strict=True))) for column in chosen])
    if all(one.field(column).type == schema.field(column).type for one in found for column in chosen):
        return dask.dataframe.read_parquet(names, columns=columns, **options)
    meta = schema.empty_table().to_pandas(types_mapper=_text)
    with types_as_they_are():
        return dask.dataframe.from_map(_read, names, schema=schema, meta=meta, label="read-parquet")


def _schema(path: str) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(path)
    except pyarrow.ArrowException as error:
        raise InputFileError(f"{path} is not a Parquet file.", str(error), "remove it, or write it again") from None


def _settled(column: str, schemas: Mapping[str, Any]) -> Any:
    """The field of a column that holds it in all files."""
    import pyarrow

    settled = None
    for name, schema in schemas.items():
        if column not in schema.names:
            raise InputFileError(
                f"{name} has no column {column!r}.",
                f"its columns: {', '.join(schema.names)}",
                "columns=[the columns that all files have], or a pattern that leaves this file out",
            )
        field = schema.field(column).remove_metadata().with_nullable(True)
        try:
            settled = field if settled is None else _wider(settled, field)
        except pyarrow.ArrowException:
            raise InputFileError(
                f"Column {column!r} cannot be reconciled: {name} has it as {field.type}.",
                f"{settled.type if settled else ''} in the files before it, from {next(iter(schemas))} on",
                f"columns= without {column!r}, or write {name} again with the other type",
            ) from None
    return settled


def _wider(one: Any, other: Any) -> Any:
    import pyarrow

    if one.type == other.type:
        return one
    return pyarrow.unify_schemas([pyarrow.schema([one]), pyarrow.schema([other])], promote_options="permissive").field(
        0
    )


def _read(name: str, schema: Any, columns: Sequence[str] | None = None) -> Any:
    import pyarrow
    from pyarrow import parquet

    wanted = pyarrow.schema([schema.field(column) for column in columns]) if columns is not None else schema
    table = parquet.read_table(name, columns=wanted.names, partitioning=None).select(wanted.names).cast(wanted)
    return table.to_pandas(types_mapper=_text, ignore_metadata=True)


def _text(kind: Any) -> Any:
    import pyarrow

    return TEXT if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) else None
