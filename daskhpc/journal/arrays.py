"""NumPy arrays by what they hold: C and Fortran order, strides and blocks make no difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import xxhash

from .key_parts import Node, digest

_COPIED = 1 << 16
_BLOCK = 1 << 22
_EXTENDED = 10  # of the bytes of x86's long doubles


def contents(array: np.ndarray) -> list[Any]:
    """The dtype and shape, and the elements of an array: fields one by one, objects one by one, others as a hash."""
    dtype = array.dtype
    head = f"{dtype_of(dtype)} {array.shape}"
    if dtype.names is not None:
        return [head, *(Node("field", contents(array[name])) for name in dtype.names)]
    if dtype.hasobject or dtype.kind == "T":
        return [head, objects(array.ravel().tolist())]
    return [head, hashed(array)]


def dtype_of(dtype: np.dtype) -> str:
    """A dtype with its byte order, also of a structure's fields."""
    if dtype.fields is not None:
        fields = [(name, dtype_of(dtype[name]), dtype.fields[name][1]) for name in dtype.names or ()]
        return f"{fields} {dtype.itemsize}"
    return f"{dtype.name} {dtype.str}" if dtype.kind == "V" else repr(dtype) if dtype.kind == "T" else dtype.str


def objects(values: list[Any]) -> Any:
    """A list of anything, quickly if all are texts."""
    if len(values) > 16 and all(type(v) is str for v in values):
        text = "".join(values).encode("utf-8", "surrogatepass")
        return Node("texts", [hashed(np.fromiter(map(len, values), np.int64, len(values))), digest(text)])
    return values


def hashed(array: np.ndarray) -> bytes:
    """Hash of an array's elements in C order, in blocks if they lie in another order."""
    if array.dtype.char in "gG" and array.dtype.itemsize > _EXTENDED:
        return _hash_extended(array)
    if array.nbytes <= _COPIED:
        return digest(array.tobytes())
    if array.flags.c_contiguous:
        return digest(_raw(array))
    hasher = xxhash.xxh3_128()
    _update(hasher, array)
    return hasher.digest()


def _raw(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _update(hasher: xxhash.xxh3_128, array: np.ndarray) -> None:
    if array.flags.c_contiguous:
        hasher.update(_raw(array))
        return
    row = max(1, array.nbytes // len(array))
    if row > _BLOCK and array.ndim > 1:
        for part in array:
            _update(hasher, part)
        return
    step = max(1, _BLOCK // row)
    for start in range(0, len(array), step):
        hasher.update(_raw(np.ascontiguousarray(array[start : start + step])))


def _hash_extended(array: np.ndarray) -> bytes:
    """Long doubles without the bytes that are no part of the number."""
    flat = np.ascontiguousarray(array).reshape(-1)
    size = flat.dtype.itemsize // (2 if flat.dtype.kind == "c" else 1)
    return digest(flat.view(np.uint8).reshape(-1, size)[:, : min(size, _EXTENDED)].tobytes())


def column_hashes(block: np.ndarray) -> list[bytes]:
    """`hashed` of each column of rows that lie together, reading the rows once."""
    hashers = [xxhash.xxh3_128() for _ in range(block.shape[1])]
    step = max(1, _BLOCK // max(1, block.nbytes // len(block)))
    for start in range(0, len(block), step):
        for hasher, column in zip(hashers, np.ascontiguousarray(block[start : start + step].T), strict=True):
            hasher.update(_raw(column))
    return [hasher.digest() for hasher in hashers]


def scattered(array: np.ndarray) -> bool:
    """Whether a column is better hashed with its neighbours."""
    plain = array.dtype.names is None and not array.dtype.hasobject and array.dtype.char not in "gGT"
    return plain and array.ndim == 1 and not array.flags.c_contiguous and array.nbytes > _COPIED
