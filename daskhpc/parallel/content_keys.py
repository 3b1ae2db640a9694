"""What an object is, by its content: two objects are equal if their bytes are."""

from __future__ import annotations

import io
import pickle
import random
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import xxhash

from ..compat.sklearn import CALLBACKS

_UNSURE = (np.random.RandomState, np.random.Generator, np.random.BitGenerator, random.Random, Iterator)

Span = tuple[int, int]


class Unsure(Exception):
    """Nothing here is shared: it has no sure key, or its copy would not be what it is."""


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Functions that no module has, with all that they refer to."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _UNSURE):
            raise Unsure
        return super().reducer_override(obj)


class ContentPickler(pickle.Pickler):
    """An object's content: what is not arrays as bytes, then the arrays' memory. Equal objects have equal bytes."""

    def __init__(self, pinned: dict[int, Any]) -> None:
        self._sink, self._pinned = io.BytesIO(), pinned
        self._buffers: list[pickle.PickleBuffer] = []
        self._strided: list[Span] = []
        super().__init__(self._sink, protocol=5, buffer_callback=self._buffers.append)
        self.fast = True  # by value: two equal strings count as one, whether or not they are one object

    def content(self, value: Any) -> Content:
        self.dump(value)
        return Content(self._sink.getvalue(), [b.raw() for b in self._buffers], self._strided)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray and not obj.flags.forc and not obj.dtype.hasobject:
            self._strided.append(bounds(obj)[:2])
            return tuple, (np.ascontiguousarray(obj), obj.strides)
        if kind is np.ndarray:
            return NotImplemented
        if isinstance(obj, type) or (kind is FunctionType and _importable(obj)):
            self._pinned[id(obj)] = obj
            return id, (id(obj),)
        if kind is FunctionType:
            sink = io.BytesIO()
            _ByValue(sink).dump(obj)
            return bytes, (sink.getvalue(),)
        if isinstance(obj, _UNSURE) or getattr(obj, CALLBACKS, None):
            raise Unsure
        if kind.__module__.startswith("scipy.sparse"):  # without what it found out about itself meanwhile
            return kind, ({k: v for k, v in vars(obj).items() if not k.startswith("_has_")},)
        return NotImplemented


def _importable(function: Any) -> bool:
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


class Content(NamedTuple):
    head: bytes
    buffers: list[memoryview]
    strided: list[Span]

    def digest(self) -> bytes:
        hasher = xxhash.xxh3_128(self.head)
        for buffer in self.buffers:
            hasher.update(buffer.nbytes.to_bytes(8, "little"))
            hasher.update(buffer)
        return hasher.digest()


def bounds(array: Any) -> tuple[int, int, int]:
    """Where an array's memory starts and ends, and where in it the first element lies."""
    steps = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    offset = -sum(step for step in steps if step < 0)
    start = array.__array_interface__["data"][0] - offset
    return start, start + sum(map(abs, steps)) + array.itemsize, offset


def same(one: Any, other: Any) -> bool:
    if one.nbytes != other.nbytes:
        return False
    kind = np.uint64 if one.nbytes % 8 == 0 else np.uint8
    return one.nbytes == 0 or bool((np.frombuffer(one, kind) == np.frombuffer(other, kind)).all())
