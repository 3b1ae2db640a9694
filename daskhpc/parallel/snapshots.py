"""What a fit made, kept as a pickle with its arrays beside it: each caller gets objects of its own."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from .content_keys import Content, Span, Unsure, bounds, same

_GLOBAL = np.random.get_state.__self__  # type: ignore[attr-defined]  # the RandomState behind numpy's own functions


def _strided(store: Any, dtype: Any, shape: Any, strides: Any, offset: int) -> Any:
    return np.ndarray(shape, dtype, store, offset, strides)


class _Snapshot(pickle.Pickler):
    """A fit's output and fitted transformer as bytes, and the places of their arrays in memory.

    Functions and classes stay themselves, and so does the fit's own input inside the transformer.
    """

    def __init__(self, transformer: Any, inputs: Sequence[Any]) -> None:
        self._transformer, self._sink = transformer, io.BytesIO()
        self._inputs = {id(value): at for at, value in enumerate(inputs) if value is not None}
        self.buffers: list[pickle.PickleBuffer] = []
        self.strided: list[Span] = []
        self.live: list[Any] = []
        self.output = self.strided_output = 0
        super().__init__(self._sink, protocol=5, buffer_callback=self.buffers.append)

    def stream(self, output: Any) -> bytes:
        self.dump((output, self._transformer))
        return self._sink.getvalue()

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        if id(obj) in self._inputs:
            return "input", self._inputs[id(obj)]
        if obj is self._transformer:
            self.output, self.strided_output = len(self.buffers), len(self.strided)
        elif obj is _GLOBAL:
            raise Unsure
        elif isinstance(obj, (FunctionType, type, ModuleType)) or (
            isinstance(obj, BuiltinFunctionType) and isinstance(obj.__self__, (ModuleType, np.random.RandomState))
        ):
            self.live.append(obj)
            return "live", len(self.live) - 1
        return None

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, np.ndarray) or obj.flags.forc or obj.dtype.hasobject:
            return NotImplemented
        if type(obj) is not np.ndarray or not obj.flags.writeable:
            raise Unsure
        start, stop, offset = bounds(obj)
        store = np.zeros(stop - start, np.uint8)
        _strided(store, obj.dtype, obj.shape, obj.strides, offset)[...] = obj
        self.strided.append((start, stop))
        return _strided, (store, obj.dtype, obj.shape, obj.strides, offset)


class _SnapshotReader(pickle.Unpickler):
    def __init__(self, stream: bytes, buffers: Iterable[Any], **kept: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._kept = kept

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        return self._kept[pid[0]][pid[1]]


def _span(buffer: memoryview) -> Span:
    start: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0] if buffer.nbytes else 0
    return start, start + buffer.nbytes


def _meet(one: Iterable[Span], other: Sequence[Span]) -> bool:
    return any(a < d and c < b for a, b in one for c, d in other)


class Entry:
    """One fit's output and fitted transformer."""

    def __init__(self, output: Any, transformer: Any, inputs: Sequence[Any], memory: Content, limit: int) -> None:
        snapshot = _Snapshot(transformer, inputs)
        self.stream, self.live = snapshot.stream(output), snapshot.live
        raws = [b.raw() for b in snapshot.buffers]
        spans, given = [_span(raw) for raw in raws], [_span(m) for m in memory.buffers]
        out = spans[: snapshot.output] + snapshot.strided[: snapshot.strided_output]
        rest = spans[snapshot.output :] + snapshot.strided[snapshot.strided_output :]
        owners = [span for span in rest if span not in given]
        if _meet([*out, *owners], [*given, *memory.strided]) or _meet(out, rest):
            raise Unsure
        if any(span in given for span in rest if span[0]) and type(inputs[0]) is not np.ndarray:
            raise Unsure
        self.slots = [~given.index(span) if span[0] and span in given else at for at, span in enumerate(spans)]
        self.nbytes = len(self.stream) + sum(raws[at].nbytes for at in self.slots if at >= 0) + 1000
        if self.nbytes > limit:
            raise Unsure
        self.arrays = [np.array(raws[at], np.uint8) if at >= 0 else np.empty(0, np.uint8) for at in self.slots]
        self.outputs, self.seconds = snapshot.output, 0.0
        self.warned: list[warnings.WarningMessage] = []
        self.filters: list[Any] = []
        self.head, self.digest = b"", b""

    def load(self, inputs: Sequence[Any], memory: Content) -> Any:
        """The output and the transformer, new ones."""
        buffers = [self.arrays[at].copy() if at >= 0 else memory.buffers[~at] for at in self.slots]
        return _SnapshotReader(self.stream, buffers, input=inputs, live=self.live).load()

    def gave(self, content: Content) -> bool:
        """Whether this is the output's content: comparing is much faster than hashing."""
        arrays = self.arrays[: self.outputs]
        return (
            len(arrays) == len(content.buffers)
            and self.head == content.head
            and all(map(same, arrays, content.buffers))
        )
