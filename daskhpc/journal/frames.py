"""pandas' and pyarrow's tables taken apart: columns by what they hold, not by blocks and chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import xxhash

from .arrays import column_hashes, contents, dtype_of, hashed, scattered
from .key_parts import Attributes, Node, digest

_TOGETHER = 64


def _frame(frame: Any) -> Node:
    """A frame's index, its columns' names, dtypes and values; not its ``attrs``."""
    columns = [values.array for _, values in frame.items()]
    found: list[Any] = []
    while len(found) < len(columns):
        at = len(found)
        run = _run(columns, at)
        if run > 1:
            block = frame.iloc[:, at : at + run].to_numpy()
            found += [Node("column", [f"{dtype_of(block.dtype)} {(len(block),)}", h]) for h in column_hashes(block)]
        else:
            found.append(_column(columns[at]))
    return Node("frame", [*_class(frame), frame.index, frame.columns, found], keep=True)


def _run(columns: list[Any], at: int) -> int:
    """How many columns from here on lie row by row, and are of one dtype."""
    count = 0
    for column in columns[at : at + _TOGETHER]:
        values = _plain(column)
        if values is None or not scattered(values) or column.dtype != columns[at].dtype:
            break
        count += 1
    return count


def _plain(column: Any) -> np.ndarray | None:
    """The NumPy array that a column is, if it is one."""
    if type(column).__name__ in ("NumpyExtensionArray", "PandasArray"):
        return np.asarray(column.to_numpy())
    return None


def _class(obj: Any) -> list[Any]:
    kind = type(obj)
    if kind.__module__.partition(".")[0] == "pandas":
        return [kind.__name__]
    return [kind, Attributes({name: getattr(obj, name, None) for name in obj._metadata})]


def _series(series: Any) -> Node:
    return Node("series", [*_class(series), series.name, series.index, _column(series.array)], keep=True)


def _index(index: Any) -> Node:
    name, freq = type(index).__name__, getattr(index, "freqstr", None)
    if name == "Index" and isinstance(index.dtype, np.dtype) and index.dtype == np.int64:
        step = _even_step(index.to_numpy())
        if step:
            return _even_numbers(index, int(index[0]) if len(index) else 0, step)
    return Node("index", [name, index.name, freq, _column(index.array)], keep=True)


def _range_index(index: Any) -> Node:
    return _even_numbers(index, index.start, index.step)


def _even_numbers(index: Any, start: int, step: int) -> Node:
    """Row numbers, which are the same whether pandas has them as a range or, after `concat`, as numbers."""
    count = len(index)
    start, step = start if count else 0, step if count > 1 else 1
    return Node("range index", [index.name, start, start + count * step, step], keep=True)


def _even_step(numbers: np.ndarray) -> int:
    """By how much numbers grow from each to the next; 0 if not evenly."""
    if len(numbers) < 2:
        return 1
    first, second, last = int(numbers[0]), int(numbers[1]), int(numbers[-1])
    # A difference may run over; then the last number is another one.
    even = last - first == (second - first) * (len(numbers) - 1) and abs(second - first) < 2**31
    return second - first if even and bool((np.diff(numbers) == second - first).all()) else 0


def _multi_index(index: Any) -> Node:
    levels = [_column(index.get_level_values(i).array) for i in range(index.nlevels)]
    return Node("multi-index", [list(index.names), levels], keep=True)


def _column(array: Any) -> Node:
    plain = _plain(array)
    return Node("column", contents(plain)) if plain is not None else _extension(array)


def _extension(array: Any) -> Node:
    """A column of one of pandas' extension types, its own or another package's."""
    name, dtype = type(array).__name__, str(array.dtype)
    stored: Any
    if name == "Categorical":
        stored = [array.ordered, array.categories, array.codes]
    elif hasattr(array, "asi8"):
        stored = array.asi8
    elif name == "IntervalArray":
        stored = [array.left, array.right]
    elif name == "SparseArray":
        stored = [array.sp_values, array.sp_index.to_int_index().indices, len(array)]
    elif type(array.dtype).__name__ == "StringDtype":
        stored = _texts_of(array)
    elif type(array.dtype).__name__ == "ArrowDtype":
        stored = _arrow(array.__arrow_array__())
    elif hasattr(array.dtype, "numpy_dtype"):
        missing = np.asarray(array.isna())
        stored = [missing, array.to_numpy(dtype=array.dtype.numpy_dtype, na_value=array.dtype.type(0))]
    else:
        stored = [type(array), array.to_numpy(dtype=object)]
    return Node("extension", [dtype, stored])


def _texts_of(array: Any) -> Node:
    """Texts, equal whether Python or pyarrow holds them."""
    missing = hashed(np.asarray(array.isna()))
    if array.dtype.storage == "pyarrow":
        return Node("texts of a column", [missing, *_arrow_texts(array.__arrow_array__())])
    values = array.to_numpy(dtype=object, na_value="").tolist()
    encoded = [v.encode("utf-8", "surrogatepass") for v in values]
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return Node("texts of a column", [missing, hashed(sizes), digest(b"".join(encoded))])


def _arrow_texts(chunked: Any) -> list[bytes]:
    """The sizes and the bytes of texts or of bytes, with nothing for what is missing."""
    pyarrow: Any = import_module("pyarrow")
    compute: Any = import_module("pyarrow.compute")
    filled = compute.fill_null(chunked.cast(pyarrow.large_binary()), b"")
    sizes, texts = xxhash.xxh3_128(), xxhash.xxh3_128()
    for chunk in _chunks(filled):
        _, offsets, data = chunk.buffers()
        if len(chunk) == 0:
            continue
        places = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        sizes.update(np.diff(places).data)
        if data is not None:
            texts.update(memoryview(data)[places[0] : places[-1]])
    return [sizes.digest(), texts.digest()]


def _chunks(found: Any) -> list[Any]:
    return list(found.chunks) if hasattr(found, "chunks") else [found]


def _arrow(found: Any) -> Node:
    """An array of pyarrow's, in however many chunks: its type, what is missing, and its values."""
    kind, types = found.type, import_module("pyarrow").types
    missing = np.concatenate([np.zeros(0, bool), *(c.is_null().to_numpy(zero_copy_only=False) for c in _chunks(found))])
    stored: Any
    if any(f(kind) for f in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)):
        stored = _arrow_texts(found)
    elif types.is_primitive(kind) and not types.is_boolean(kind):
        hasher, width = xxhash.xxh3_128(), kind.bit_width // 8
        for chunk in _chunks(found):
            values = np.frombuffer(chunk.buffers()[1] or b"", np.dtype((np.void, width)))
            values = values[chunk.offset : chunk.offset + len(chunk)]
            if chunk.null_count:
                values = np.where(chunk.is_null().to_numpy(zero_copy_only=False), np.zeros(1, values.dtype), values)
            hasher.update(values.view(np.uint8).data)
        stored = hasher.digest()
    else:
        stored = found.to_pylist()
    return Node("arrow", [str(kind), len(found), hashed(missing), stored], keep=True)


def _table(table: Any) -> Node:
    return Node("arrow table", [table.schema.names, [_arrow(column) for column in table.columns]], keep=True)


KINDS: Mapping[str, Callable[[Any], Node]] = {
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "pandas.MultiIndex": _multi_index,
    "pandas.RangeIndex": _range_index,
    "pandas.Index": _index,
    "pandas.ExtensionArray": _extension,
    "pyarrow.Table": _table,
    "pyarrow.RecordBatch": _table,
    "pyarrow.Array": _arrow,
    "pyarrow.ChunkedArray": _arrow,
}
"""How they are taken apart, by package and class."""
