"""Fitted pipeline prefixes, shared among the fits of one search in one process.

A Pipeline without memory gets, while it is fitted, one that keeps what its steps made. What goes into a fit is known
by its content; what came out is kept as a pickle with its arrays beside it, so that everyone gets objects of their own.
A fit that another could tell from a repeated one (it draws random numbers, changes its input, hands its input on) is
made each time, and so is one that costs less than looking it up.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import pickle
import random
import sys
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import BuiltinFunctionType, FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

_NAMES = frozenset({"_fit_transform_one", "_fit_transform_one_with_callbacks"})
_MESSAGES = frozenset({"message", "message_clsname"})
_DATA = frozenset({"builtins", "numpy", "scipy", "pandas"})
_GLOBAL = np.random.mtrand._rand
_LEAVES = frozenset({str, int, float, bool, type(None), np.float64, np.int64, np.bool_, FunctionType})
_UNSURE = (np.random.RandomState, np.random.Generator, np.random.BitGenerator, random.Random, Iterator)


class _Unsure(Exception):
    """Nothing here is shared: it has no sure key, or its copy would not be what it is."""


@dataclass
class Saved:
    """The seconds of fitting that hits saved, net of what they cost."""

    seconds: float = 0.0


# What goes in ---------------------------------------------------------------------------------------------------------


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Functions that no module has, with all that they refer to."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _UNSURE):
            raise _Unsure
        return super().reducer_override(obj)


class _Walk(pickle.Pickler):
    """An object's content: what is not arrays as bytes, then the arrays' memory. Equal objects have equal bytes."""

    def __init__(self, pinned: dict[int, Any]) -> None:
        self._sink, self._pinned = io.BytesIO(), pinned
        self._buffers: list[pickle.PickleBuffer] = []
        super().__init__(self._sink, protocol=5, buffer_callback=self._buffers.append)
        self.fast = True  # by value: whether two equal strings are one object is nobody's business

    def content(self, value: Any) -> _Content:
        self.dump(value)
        return _Content(self._sink.getvalue(), [b.raw() for b in self._buffers])

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray:
            strided = not obj.flags.forc and not obj.dtype.hasobject
            return (tuple, (np.ascontiguousarray(obj), obj.strides)) if strided else NotImplemented
        if isinstance(obj, type) or (kind is FunctionType and _importable(obj)):
            self._pinned[id(obj)] = obj
            return id, (id(obj),)
        if kind is FunctionType:
            sink = io.BytesIO()
            _ByValue(sink).dump(obj)
            return bytes, (sink.getvalue(),)
        if isinstance(obj, _UNSURE) or getattr(obj, "_skl_callbacks", None):
            raise _Unsure
        if kind.__module__.startswith("scipy.sparse"):  # without what it found out about itself meanwhile
            return kind, ({k: v for k, v in vars(obj).items() if not k.startswith("_has_")},)
        return NotImplemented


def _importable(function: Any) -> bool:
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


class _Content(NamedTuple):
    head: bytes
    buffers: list[memoryview]

    def digest(self) -> bytes:
        hasher = hashlib.new(_algorithm(), self.head, usedforsecurity=False)
        for buffer in self.buffers:
            hasher.update(buffer.nbytes.to_bytes(8, "little"))
            hasher.update(buffer)
        return hasher.digest()


@functools.cache
def _algorithm() -> str:
    """The faster of two surely different hashes: it depends on the processor."""
    data, seconds = bytes(1 << 18), {}
    for name in ("blake2b", "sha256"):
        started = perf_counter()
        hashlib.new(name, data, usedforsecurity=False)
        seconds[name] = perf_counter() - started
    return min(seconds, key=seconds.__getitem__)


def _same(one: Any, other: Any) -> bool:
    if one.nbytes != other.nbytes:
        return False
    kind = np.uint64 if one.nbytes % 8 == 0 else np.uint8
    return one.nbytes == 0 or bool((np.frombuffer(one, kind) == np.frombuffer(other, kind)).all())


# What comes out -------------------------------------------------------------------------------------------------------


def _strided(store: Any, dtype: Any, shape: Any, strides: Any, offset: int) -> Any:
    return np.ndarray(shape, dtype, store, offset, strides)


class _Snapshot(pickle.Pickler):
    """A fit's output and fitted transformer as bytes, and where their arrays lie.

    Functions and classes stay themselves, and so does the fit's own input inside the transformer.
    """

    def __init__(self, transformer: Any, inputs: Sequence[Any]) -> None:
        self._transformer, self._sink = transformer, io.BytesIO()
        self._inputs = {id(value): at for at, value in enumerate(inputs) if value is not None}
        self.buffers: list[pickle.PickleBuffer] = []
        self.strided: list[tuple[int, int]] = []
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
            raise _Unsure
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
            raise _Unsure
        steps = [(n - 1) * step for n, step in zip(obj.shape, obj.strides, strict=True)]
        offset = -sum(step for step in steps if step < 0)
        store = np.zeros(sum(map(abs, steps)) + obj.itemsize, np.uint8)
        _strided(store, obj.dtype, obj.shape, obj.strides, offset)[...] = obj
        start = obj.__array_interface__["data"][0] - offset
        self.strided.append((start, start + store.nbytes))
        return _strided, (store, obj.dtype, obj.shape, obj.strides, offset)


class _Reader(pickle.Unpickler):
    def __init__(self, stream: bytes, buffers: Iterable[Any], **kept: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._kept = kept

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        return self._kept[pid[0]][pid[1]]


def _span(buffer: memoryview) -> tuple[int, int]:
    start: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0] if buffer.nbytes else 0
    return start, start + buffer.nbytes


def _meet(one: Iterable[tuple[int, int]], other: Sequence[tuple[int, int]]) -> bool:
    return any(a < d and c < b for a, b in one for c, d in other)


class _Entry:
    """One fit's output and fitted transformer."""

    def __init__(self, output: Any, transformer: Any, inputs: Sequence[Any], memory: list[memoryview], limit: int):
        snapshot = _Snapshot(transformer, inputs)
        self.stream, self.live = snapshot.stream(output), snapshot.live
        raws = [b.raw() for b in snapshot.buffers]
        spans, given = [_span(raw) for raw in raws], [_span(m) for m in memory]
        out = spans[: snapshot.output] + snapshot.strided[: snapshot.strided_output]
        rest = spans[snapshot.output :] + snapshot.strided[snapshot.strided_output :]
        owners = [span for span in rest if span not in given]
        if _meet(out, given) or _meet(owners, given) or _meet(out, rest):
            raise _Unsure
        if any(span in given for span in rest if span[0]) and type(inputs[0]) is not np.ndarray:
            raise _Unsure
        self.slots = [~given.index(span) if span[0] and span in given else at for at, span in enumerate(spans)]
        self.nbytes = len(self.stream) + sum(raws[at].nbytes for at in self.slots if at >= 0) + 1000
        if self.nbytes > limit:
            raise _Unsure
        self.arrays = [np.array(raws[at], np.uint8) if at >= 0 else np.empty(0, np.uint8) for at in self.slots]
        self.outputs, self.seconds = snapshot.output, 0.0
        self.warned: list[_Warned] = []
        self.head, self.digest = b"", b""

    def load(self, inputs: Sequence[Any], memory: Sequence[memoryview]) -> Any:
        """The output and the transformer, new ones."""
        buffers = [self.arrays[at].copy() if at >= 0 else memory[~at] for at in self.slots]
        return _Reader(self.stream, buffers, input=inputs, live=self.live).load()

    def gave(self, content: _Content) -> bool:
        """Whether this is the output's content: comparing is much faster than hashing."""
        arrays = self.arrays[: self.outputs]
        return (
            len(arrays) == len(content.buffers)
            and self.head == content.head
            and all(map(_same, arrays, content.buffers))
        )


# What happens meanwhile -----------------------------------------------------------------------------------------------


class _Warned(NamedTuple):
    message: Any
    category: type[Warning]
    filename: str
    lineno: int
    module: ModuleType

    def again(self) -> None:
        registry = vars(self.module).setdefault("__warningregistry__", {})
        warnings.warn_explicit(*self[:4], module=self.module.__name__, registry=registry)


class _Watch:
    """What one fit does besides: the warnings that it shows, and whether it draws from a global generator.

    ``warnings.catch_warnings`` is for one thread at a time; this only listens where warnings are shown.
    """

    _lock = threading.Lock()
    _all: dict[int, list[_Watch]] = {}  # noqa: RUF012
    _show: Any = None
    callers: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.warned: list[_Warned] = []
        self.sure = "_showwarnmsg" in vars(warnings)
        self._shown = vars(warnings).get("_showwarnmsg_impl"), warnings.showwarning
        self._state = self._generators()

    @staticmethod
    def _generators() -> tuple[Any, bytes]:
        return random.getstate(), pickle.dumps(np.random.get_state(legacy=False))

    def __enter__(self) -> _Watch:
        with self._lock:
            if not self._all and self.sure:
                _Watch._show = vars(warnings)["_showwarnmsg"]
                vars(warnings)["_showwarnmsg"] = _showing
            self._all.setdefault(threading.get_ident(), []).append(self)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            mine = self._all[threading.get_ident()]
            mine.remove(self)
            if not mine:
                del self._all[threading.get_ident()]
            if not self._all and vars(warnings).get("_showwarnmsg") is _showing:
                vars(warnings)["_showwarnmsg"] = _Watch._show
        self.sure = self.sure and self._state == self._generators()

    def note(self, shown: Any) -> None:
        """Note a warning; unsure where it may have been swallowed, or where its place is not known."""
        if self._shown != (vars(warnings).get("_showwarnmsg_impl"), warnings.showwarning):
            self.sure = False
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get("__file__") == shown.filename:
                self.warned.append(_Warned(shown.message, shown.category, shown.filename, shown.lineno, module))
                return
        self.sure = False


def _showing(message: Any) -> None:
    mine = _Watch._all.get(threading.get_ident(), [])
    for watch in mine:
        watch.note(message)
    if not mine and threading.get_ident() not in _Watch.callers:  # a thread that one of these fits may have started
        for watch in [w for watches in list(_Watch._all.values()) for w in watches]:
            watch.sure = False
    _Watch._show(message)


# Whether it pays ------------------------------------------------------------------------------------------------------


@dataclass
class _Ledger:
    """What sharing brought for one kind of transformer and size of input; seconds."""

    fits: int = 0
    kept: int = 0
    fitted: float = 0.0
    balance: float = 0.0
    fastest: float = math.inf
    price: float = math.inf

    def pays(self) -> bool:
        """Whether to go on: from the second fit on only where a fit costs more than looking it up."""
        if (self.fits >= 2 and self.fastest < self.price) or (self.fits >= 4 and not self.kept):
            return False
        return self.fits < 64 or self.balance > -self.fitted / 20


def _kind(value: Any) -> Any:
    """An estimator's class and the magnitudes of its parameters: what its cost depends on."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return math.frexp(value)[1]
    if isinstance(value, (list, tuple)) and len(value) <= 32:
        return tuple(map(_kind, value))
    if hasattr(value, "get_params") and not isinstance(value, type):
        return (type(value), *map(_kind, vars(value).values()))
    return getattr(value, "__qualname__", type(value))


def _size(X: Any) -> tuple[Any, ...]:
    shape = (*getattr(X, "shape", (len(X) if isinstance(X, list) else 0,)), getattr(X, "nnz", 0))
    return (type(X), *(int(n).bit_length() for n in shape))


# The cache ------------------------------------------------------------------------------------------------------------


class PrefixCache:
    """Fitted prefixes of one search in one process, bounded in memory.

    Parameters
    ----------
    limit : int
        Bytes; what was not used for longest goes first. A fit larger than half of it is not kept.

    Attributes
    ----------
    hits, misses : int
        Fits that were found, and those that were made to be found.
    nbytes : int
        What is kept now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.hits = self.misses = self.nbytes = 0
            self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
            self._flights: dict[bytes, _Fit] = {}
            self._given: dict[int, tuple[weakref.ref[Any], _Entry]] = {}
            self._ledgers: dict[Any, _Ledger] = {}
            self._pinned: dict[int, Any] = {}

    def content(self, value: Any) -> tuple[list[memoryview], bytes]:
        """An input's memory and the digest of its content, known where the input was given out here."""
        content = _Walk(self._pinned).content(value)
        ref, entry = self._given.get(id(value), (None, None))
        if ref is None or entry is None or ref() is not value or not entry.gave(content):
            return content.buffers, content.digest()
        entry.digest = entry.digest or content.digest()
        return content.buffers, entry.digest

    def walk(self, value: Any) -> _Content:
        """Any object's content."""
        return _Walk(self._pinned).content(value)

    def begin(self, saved: Saved, transformer: Any, X: Any, y: Any, rest: Any) -> _Fit | None:
        """Look a fit up; None where it is to be made as if there was no cache."""
        ledger = _Ledger()
        try:
            ledger = self._ledgers.setdefault((_kind(transformer), _size(X)), ledger)
            if not ledger.pays():
                return None
            fit = _Fit(self, ledger, saved, transformer, (X, y), rest)
        except Exception:
            ledger.fits += 1
            return None
        with self._lock:
            flight = self._flights.get(fit.key)
            if flight is None and fit.key not in self._entries:
                self._flights[fit.key] = fit
                self.misses += 1
                return fit
        if flight is not None and flight.owner != threading.get_ident():
            flight.done.wait()
        with self._lock:
            entry = self._entries.get(fit.key)
            if entry is not None:
                self._entries.move_to_end(fit.key)
        return fit if entry is not None and fit.load(entry) else None

    def keep(self, fit: _Fit, entry: _Entry) -> None:
        """Keep what a fit made, and let the oldest go for it."""
        with self._lock:
            if self._flights.get(fit.key) is fit:
                self._entries[fit.key] = entry
                self.nbytes += entry.nbytes
            while self.nbytes > self.limit:
                self.nbytes -= self._entries.popitem(last=False)[1].nbytes

    def done(self, fit: _Fit) -> None:
        """Let those go on who wait for a fit."""
        with self._lock:
            if self._flights.get(fit.key) is fit:
                del self._flights[fit.key]
        fit.done.set()

    def give(self, output: Any, entry: _Entry) -> None:
        """Know an output again when it is the next step's input."""
        key = id(output)
        with contextlib.suppress(TypeError):
            self._given[key] = weakref.ref(output, lambda _: self._given.pop(key, None)), entry


class _Fit:
    """One call: found, or made and kept."""

    def __init__(
        self, cache: PrefixCache, ledger: _Ledger, saved: Saved, transformer: Any, inputs: tuple[Any, Any], rest: Any
    ) -> None:
        started = perf_counter()
        if type(inputs[0]).__module__.partition(".")[0] not in _DATA:
            raise _Unsure
        self._cache, self._ledger, self._saved, self._inputs, self._rest = cache, ledger, saved, inputs, rest
        self._memory, self._data = self._look()
        self.key = self._data + cache.walk((transformer, sys.modules["sklearn"].get_config())).digest()
        self.owner, self.done = threading.get_ident(), threading.Event()
        self.value: Any = None
        self.found: _Entry | None = None
        self._started, self._price = started, perf_counter() - started

    def _look(self) -> tuple[list[memoryview], bytes]:
        memory, digest = self._cache.content(self._inputs[0])
        beside = self._cache.walk((self._inputs[1], self._rest))
        return [*memory, *beside.buffers], digest + beside.digest()

    def load(self, entry: _Entry) -> bool:
        """Make a new copy of what was kept."""
        started = perf_counter()
        try:
            self.value = entry.load(self._inputs, self._memory)
        except Exception:
            return False
        self.found = entry
        self._cache.give(self.value[0], entry)
        now, ledger = perf_counter(), self._ledger
        with self._cache._lock:
            self._cache.hits += 1
            self._saved.seconds += max(0.0, entry.seconds - (now - self._started))
            price = self._price + now - started
            ledger.fits, ledger.price = ledger.fits + 1, min(ledger.price, price)
            ledger.balance += entry.seconds - price
        return True

    def __enter__(self) -> None:
        self._watch = _Watch().__enter__()
        self._before, self._began = self._saved.seconds, perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        now = perf_counter()
        try:
            self._watch.__exit__()
            if kind is None:
                with contextlib.suppress(Exception):
                    self._keep(now - self._began + self._saved.seconds - self._before)
        finally:
            self._cache.done(self)

    def _keep(self, seconds: float) -> None:
        ledger, started = self._ledger, perf_counter()
        ledger.fits, ledger.fastest = ledger.fits + 1, min(ledger.fastest, seconds)
        ledger.fitted += seconds
        output, transformer = self.value
        own = type(output).__module__.partition(".")[0] in _DATA and output is not self._inputs[0]
        if own and self._watch.sure and self._look()[1] == self._data:
            looked = perf_counter()
            entry = _Entry(output, transformer, self._inputs, self._memory, self._cache.limit // 2)
            price = self._price + perf_counter() - looked
            entry.seconds, entry.warned = seconds, self._watch.warned
            entry.head = self._cache.walk(output).head
            self._cache.keep(self, entry)
            self._cache.give(output, entry)
            ledger.kept, ledger.price = ledger.kept + 1, min(ledger.price, price)
        ledger.balance -= self._price + perf_counter() - started


class _Memory:
    """What a Pipeline takes as its ``memory``; leaves no trace in clones, copies and pickles of it."""

    location = None  # as with no memory at all: the Pipeline fits its own transformer, not a clone

    def __init__(self, cache: PrefixCache, saved: Saved) -> None:
        self._store: PrefixCache | None = cache
        self._saved = saved

    def cache(self, func: Callable[..., Any], ignore: Iterable[str] | None = None, **_: Any) -> Callable[..., Any]:
        return functools.partial(_call, self, func, frozenset(ignore or ()))

    def begin(self, func: Any, ignore: frozenset[str], args: Any, kwargs: dict[str, Any]) -> _Fit | None:
        watched = getattr(kwargs.get("callback_ctx"), "_callbacks", None)
        if self._store is None or watched or len(args) != 3 or getattr(func, "__name__", "") not in _NAMES:
            return None
        rest = {k: v for k, v in kwargs.items() if k not in ignore and k not in _MESSAGES}
        transformer, X, y = args
        return self._store.begin(self._saved, transformer, X, y, rest)

    def close(self) -> None:
        self._store = None

    def __sklearn_clone__(self) -> _Memory:
        return self

    def __deepcopy__(self, memo: Any) -> _Memory:
        return self

    def __reduce__(self) -> Any:
        return type(None), ()

    def __repr__(self) -> str:
        return "None"


def _call(memory: _Memory, func: Any, ignore: frozenset[str], /, *args: Any, **kwargs: Any) -> Any:
    fit = memory.begin(func, ignore, args, kwargs)
    if fit is not None and fit.found is not None:
        for warned in fit.found.warned:
            warned.again()
        return fit.value
    with fit or contextlib.nullcontext():
        value = func(*args, **kwargs)
        if fit is not None:
            fit.value = value
    return value


def _pipelines(root: Any) -> Iterator[Any]:
    """Every Pipeline in an object: in containers, in attributes of estimators and of their package's other objects."""
    pipeline = sys.modules["sklearn.pipeline"].Pipeline
    found: set[int] = set()
    left = [(root, "")]
    while left:
        value, package = left.pop()
        if id(value) in found or isinstance(value, type):
            continue
        found.add(id(value))
        kind, inner = type(value), []
        if kind is np.ndarray:
            inner = value.ravel().tolist() if value.dtype.hasobject else []
        elif kind in (list, tuple):
            inner = value
        elif isinstance(value, (dict, list, tuple)):
            inner = list(value.values() if isinstance(value, dict) else value)
        elif (own := kind.__module__.partition(".")[0]) == package or hasattr(value, "get_params"):
            package, inner = own, list(getattr(value, "__dict__", {}).values())
            if kind is pipeline:
                yield value
        left += [(v, package) for v in inner if type(v) not in _LEAVES]


@contextlib.contextmanager
def shared(cache: PrefixCache, estimator: Any, parameters: Any) -> Iterator[Saved]:
    """Share fitted pipeline prefixes while an estimator is fitted.

    Parameters
    ----------
    cache : PrefixCache
        Of the search.
    estimator : estimator
        What is fitted; Pipelines anywhere in it that have no memory of their own take part. Subclasses of Pipeline do
        not, and none do where `memory` itself is searched.
    parameters : mapping or None
        What is set on the estimator before it is fitted; estimators among its values take part.

    Yields
    ------
    Saved
        The fitting time that was saved.

    Notes
    -----
    At the end, however it comes, the Pipelines have no memory as before. What a step prints while it is fitted is not
    printed again.
    """
    saved, memory = Saved(), None
    values = list((parameters or {}).values())
    touched: list[Any] = []
    if "sklearn.pipeline" in sys.modules and not any(str(name).endswith("memory") for name in parameters or ()):
        memory = _Memory(cache, saved)
        touched = [p for p in _pipelines([estimator, values]) if p.memory is None]
        for pipeline in touched:
            pipeline.memory = memory
    _Watch.callers.append(threading.get_ident())
    try:
        yield saved
    finally:
        _Watch.callers.remove(threading.get_ident())
        if memory is not None and touched:
            memory.close()
            for pipeline in [*touched, *_pipelines([estimator, values])]:
                if isinstance(pipeline.memory, _Memory):
                    pipeline.memory = None
