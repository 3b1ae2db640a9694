"""Rows and bytes of dataframes that are not computed yet, from their source and the types of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..compat import dask_expr
from .sizes import PARTS_OF_FILES, file_size

TEXT_BYTES = 24.0
"""Bytes of a text in a column if nothing more is known."""

OBJECT_BYTES = 57.0
"""What a Python text takes above its letters, pointer included."""

GROUPS = 0.1
"""Groups of a group-by, or distinct rows, for each row of a partition, if nothing more is known."""

MOST_GROUPS = 100_000
"""Groups of a partition at most, if nothing more is known."""

UNPACKED = 3.0
"""Bytes of text in a compressed file, for each byte of the file."""

_SAMPLE_BYTES = 64 * 1024
_FOOTERS = 4


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


class Tables:
    """The tables of expressions; each is looked at once.

    Parameters
    ----------
    held : mapping of key to int
        Bytes of results that are on the workers.
    """

    def __init__(self, held: Mapping[Any, int]) -> None:
        self._held = held
        self._by_name: dict[str, Table | None] = {}

    def of(self, expression: Any) -> Table | None:
        """The table of an expression; None if nothing is known of what it comes from."""
        name = dask_expr.name_of(expression)
        if name not in self._by_name:
            fused = dask_expr.fused_from(expression)
            self._by_name[name] = self.of(fused[0]) if fused else self._new(expression)
        return self._by_name[name]

    def partition_bytes(self, expressions: Iterable[Any]) -> dict[str, float]:
        """Bytes of a partition of every expression, by its name."""
        pairs = [(node, self.of(node), dask_expr.partitions(node)) for node in expressions]
        return {
            dask_expr.name_of(node): table.nbytes / pieces
            for node, table, pieces in pairs
            if table is not None and pieces
        }

    def reads(self, expressions: Iterable[Any]) -> float:
        """Bytes of the Parquet files that are read; those of text files are known from the tasks."""
        tables = {
            dask_expr.name_of(node): self.of(node)
            for node in expressions
            if type(node).__name__.startswith("ReadParquet")
        }
        return sum(table.reads for table in tables.values() if table is not None)

    def _new(self, node: Any) -> Table | None:
        below = [self.of(each) for each in node.dependencies() if dask_expr.is_frame(each)]
        if not below:
            return source_table(node, self._held)
        known = [table for table in below if table is not None]
        rule = dask_expr.rows_rule(node)
        if len(known) < len(below) or rule is None:
            return None
        largest = max(known, key=lambda table: table.rows)
        texts = {column: size for table in known for column, size in table.texts.items()}
        return replace(
            largest,
            rows=rows_by_rule(*rule, [table.rows for table in known]),
            row_bytes=row_bytes(dask_expr.empty_frame(node), texts) or largest.row_bytes,
            texts=texts,
            exact=all(table.exact for table in known) and bool(dask_expr.keeps_all_rows(node)),
            reads=0.0,
        )


def rows_by_rule(rule: str, number: float, below: list[float]) -> float:
    """The rows that an expression gives for the rows of what it takes; the rules are those of `rows_rule`."""
    most = max(below)
    if rule == "sum":
        return sum(below)
    if rule == "at most":
        return min(most, number)
    if rule == "groups":
        return max(number, min(most * GROUPS, number * MOST_GROUPS))
    return most / number if rule == "one partition" else most


def row_bytes(meta: Any, texts: Mapping[str, float]) -> float | None:
    """Bytes of a row, from the types of its columns; None of what is no frame, series or index."""
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
    """Bytes of a value of a type, whose texts have so many."""
    kind = str(dtype)
    if kind == "object":
        return OBJECT_BYTES + text
    if kind.startswith(("string", "str")):
        return 8.0 + text
    if kind == "category":
        return 1.0
    size = float(getattr(dtype, "itemsize", 8) or 8)
    return size + 1.0 if hasattr(dtype, "numpy_dtype") else size  # pandas' types with a mask of what is missing


def object_columns(meta: Any) -> tuple[str, ...]:
    """Columns that hold Python objects."""
    if hasattr(meta, "columns"):
        return tuple(str(name) for name, dtype in zip(meta.columns, meta.dtypes, strict=True) if str(dtype) == "object")
    return (str(meta.name),) if str(getattr(meta, "dtype", "")) == "object" else ()


def source_table(node: Any, held: Mapping[Any, int]) -> Table | None:
    """The table of an expression that reads; None if nothing is known."""
    if (memory := dask_expr.pandas_source(node)) is not None:
        return _from_pandas(node, memory)
    if (parquet := dask_expr.parquet_source(node, _FOOTERS)) is not None:
        return _from_parquet(node, parquet)
    if keys := dask_expr.persisted_keys(node):
        size = row_bytes(dask_expr.empty_frame(node), {})
        if not size or any(key not in held for key in keys):
            return None
        return Table(sum(held[key] for key in keys) / size, size, {}, exact=True)
    if (rows := dask_expr.timeseries_rows(node)) is not None:
        return Table(rows, row_bytes(dask_expr.empty_frame(node), {}) or 0.0, {})
    parts = [each for each in dask_expr.mapped_values(node) if type(each).__name__ in PARTS_OF_FILES]
    if parts:
        return _from_parts(node, parts)
    files = dask_expr.open_files(node)
    return _from_text(node, files) if files else None


def _from_parts(node: Any, parts: list[Any]) -> Table | None:
    """From what daskhpc's own readers know of files: rows, or bytes and the first lines."""
    whole = float(sum(part.nbytes for part in parts))
    if hasattr(parts[0], "rows"):
        rows, line = float(sum(part.rows for part in parts)), 0.0
    else:
        sample = parts[0].begin(_SAMPLE_BYTES)
        line = len(sample) / max(1, sample.count(b"\n"))
        rows = whole / max(1.0, line)
    columns = dask_expr.empty_frame(node).columns
    width = line / max(1, len(columns)) if line else whole / max(1.0, rows * len(columns))
    texts = {str(name): max(1.0, width - 1.0) for name in columns}
    return Table(rows, row_bytes(dask_expr.empty_frame(node), texts) or 0.0, texts, reads=whole)


def _from_pandas(node: Any, source: dask_expr.PandasSource) -> Table:
    from dask.sizeof import sizeof

    some = source.frame.iloc[:: max(1, len(source.frame) // 1000)]
    texts = _text_bytes(dask_expr.with_arrow_texts(some) if source.arrow_texts else some)
    size = row_bytes(dask_expr.empty_frame(node), texts) or 0.0
    if texts and not source.arrow_texts:
        size = sizeof(source.frame) / max(1, len(source.frame))
    return Table(source.rows, size, texts, exact=not texts)


def _text_bytes(some: Any) -> dict[str, float]:
    """Bytes of a typical text of each column that holds texts."""
    columns = [(name, some[name]) for name in some.columns] if hasattr(some, "columns") else [(some.name, some)]
    sizes = {}
    for name, column in columns:
        if str(column.dtype) == "object" or str(column.dtype).startswith("str"):
            present = column.dropna()
            sizes[str(name)] = sum(len(str(text)) for text in present) / max(1, len(present))
    return sizes


def _from_parquet(node: Any, source: dask_expr.ParquetSource) -> Table | None:
    rows = sum(footer.num_rows for footer in source.footers)
    if not rows:
        return None
    packed, plain = 0, dict.fromkeys(source.columns, 0)
    for column in (
        footer.row_group(g).column(c)
        for footer in source.footers
        for g in range(footer.num_row_groups)
        for c in range(footer.num_columns)
    ):
        if column.path_in_schema in plain:
            packed += column.total_compressed_size
            plain[column.path_in_schema] += column.total_uncompressed_size
    texts = {str(name): size / rows for name, size in plain.items()}
    size = row_bytes(dask_expr.empty_frame(node), texts) or 0.0
    return Table(rows * source.files_per_footer, size, texts, reads=packed * source.files_per_footer)


def _from_text(node: Any, files: list[Any]) -> Table | None:
    """From the bytes of the files, and the length of the first lines of one."""
    sizes = [file_size(file) for file in {file.path: file for file in files}.values()]
    if any(size is None for size in sizes):
        return None
    whole = float(sum(size or 0.0 for size in sizes))
    with files[0] as file:
        sample = file.read(_SAMPLE_BYTES)
    line = len(sample) / max(1, sample.count(b"\n" if isinstance(sample, bytes) else "\n"))
    columns = list(getattr(getattr(node, "frame_meta", dask_expr.empty_frame(node)), "columns", ["text"]))
    texts = {str(name): max(1.0, line / max(1, len(columns)) - 1.0) for name in columns}
    rows = whole * (UNPACKED if getattr(files[0], "compression", None) else 1.0) / line
    size = row_bytes(dask_expr.empty_frame(node), texts)
    return None if size is None else Table(rows, size, texts, reads=whole)
