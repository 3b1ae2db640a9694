"""Rows and bytes of dataframes as they come from memory or from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .sizes import file_size
from .tables import TEXT_BYTES, Table, cell_bytes, row_bytes

_SAMPLE_BYTES = 64 * 1024


def source(node: Any, held: Mapping[Any, int]) -> Table | None:
    """The table of an expression that reads, None where nothing is known."""
    kind = type(node).__name__
    if kind in ("FromPandas", "FromPandasDivisions"):
        return _from_pandas(node)
    if kind in ("ReadParquetPyarrowFS", "ReadParquetFSSpec"):
        return _from_parquet(node)
    if kind == "FromGraph":
        return _from_graph(node, held)
    if kind == "Timeseries":
        return _from_timeseries(node)
    files = [each for each in _leaves(getattr(node, "iterables", ())) if type(each).__name__ == "OpenFile"]
    return _from_text(node, files) if files else None


def _from_pandas(node: Any) -> Table:
    from dask.dataframe._pyarrow import to_pyarrow_string
    from dask.sizeof import sizeof

    frame = node.frame._data
    if node.operand("columns") is not None:
        frame = frame[node.columns[0]] if node._series else frame[node.columns]
    some = frame.iloc[:: max(1, len(frame) // 1000)]
    texts = _text_bytes(to_pyarrow_string(some) if node.pyarrow_strings_enabled else some)
    size = row_bytes(node._meta, texts) or 0.0
    exact = not texts
    if not exact and not node.pyarrow_strings_enabled:
        size = sizeof(frame) / max(1, len(frame))
    rows = float(sum(node._get_lengths() or ()))
    return Table(rows, size, texts, exact)


def _text_bytes(some: Any) -> dict[str, float]:
    """Bytes of a typical text of each column that holds texts."""
    columns = [(name, some[name]) for name in some.columns] if hasattr(some, "columns") else [(some.name, some)]
    found = {}
    for name, column in columns:
        if str(column.dtype) == "object" or str(column.dtype).startswith("str"):
            present = column.dropna()
            letters = sum(len(str(text)) for text in present)
            found[str(name)] = letters / max(1, len(present))
    return found


def _from_parquet(node: Any) -> Table | None:
    """From the footers of a few files."""
    fragments = _fragments(node)
    some = [fragment.metadata for fragment in fragments[:: max(1, len(fragments) // 3)][:4]]
    rows = sum(footer.num_rows for footer in some)
    if not rows:
        return None
    wanted, packed, plain = {*node.columns, node._meta.index.name}, 0, dict.fromkeys(node.columns, 0)
    for column in (
        f.row_group(g).column(c) for f in some for g in range(f.num_row_groups) for c in range(f.num_columns)
    ):
        if column.path_in_schema in wanted:
            packed += column.total_compressed_size
            plain[column.path_in_schema] = plain.get(column.path_in_schema, 0) + column.total_uncompressed_size
    texts = {str(name): size / rows for name, size in plain.items()}
    share = len(fragments) / len(some) * (len(node._partitions) / _all_pieces(node))
    return Table(rows * share, row_bytes(node._meta, texts) or 0.0, texts, reads=packed * share)


def _fragments(node: Any) -> list[Any]:
    """The files, as pyarrow sees them."""
    if hasattr(node, "fragments_unsorted"):
        return list(node.fragments_unsorted)
    return list(node._dataset_info["ds"].get_fragments())


def _all_pieces(node: Any) -> int:
    """Partitions, before some are chosen."""
    return max(1, len(node._divisions()) - 1)


def _from_graph(node: Any, held: Mapping[Any, int]) -> Table | None:
    """Persisted partitions: the workers know their bytes."""
    keys = node.operand("keys")
    size = row_bytes(node._meta, {})
    if not size or any(key not in held for key in keys):
        return None
    nbytes = float(sum(held[key] for key in keys))
    return Table(nbytes / size, size, {}, exact=True)


def _from_timeseries(node: Any) -> Table:
    import pandas as pd

    rows = pd.Timedelta(node.partition_freq) / pd.Timedelta(node.freq) * node.npartitions
    texts = {str(name): 6.0 for name in node._meta.columns} if hasattr(node._meta, "columns") else {}
    return Table(float(rows), row_bytes(node._meta, texts) or 0.0, texts)


def _from_text(node: Any, files: list[Any]) -> Table | None:
    """From the bytes of the files, and the length of the first lines of one."""
    sizes = [file_size(file) for file in {file.path: file for file in files}.values()]
    if any(size is None for size in sizes):
        return None
    whole = float(sum(size or 0.0 for size in sizes))
    with files[0] as file:
        sample = file.read(_SAMPLE_BYTES)
    lines = sample.count(b"\n" if isinstance(sample, bytes) else "\n")
    line = len(sample) / max(1, lines)
    meta = node.frame_meta if hasattr(node, "frame_meta") else node._meta
    columns = len(getattr(meta, "columns", [0]))
    text = max(1.0, line / max(1, columns) - 1.0)
    texts = {str(name): text for name in getattr(meta, "columns", [])}
    ratio = 1.0 if getattr(files[0], "compression", None) is None else 3.0
    size = row_bytes(node._meta, texts) or sum(cell_bytes(each, TEXT_BYTES) for each in [node._meta.dtype])
    return Table(whole * ratio / line, size, texts, reads=whole)


def _leaves(value: Any, depth: int = 6) -> list[Any]:
    """Everything within nested lists, tasks and their arguments."""
    if depth == 0:
        return []
    if isinstance(value, list | tuple):
        return [leaf for each in value for leaf in _leaves(each, depth - 1)]
    if hasattr(value, "dask") and hasattr(value, "key"):
        return [leaf for task in dict(value.dask).values() for leaf in _leaves(task, depth - 1)]
    if hasattr(value, "args") and hasattr(value, "func"):
        return _leaves(list(value.args), depth - 1)
    return [value]
