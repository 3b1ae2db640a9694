"""Fitted pipeline prefixes, shared among the fits of one search in one process.

A Pipeline without memory gets, while it is fitted, one that keeps what its steps made. The input of a fit is known
by its content. Its output is kept as a pickle with its arrays beside it, so that each caller gets objects of its own.
A fit that another could tell from a repeated one (it draws random numbers, changes its input, hands its input on) is
made each time, and so is one that costs less than looking it up.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from types import FunctionType, TracebackType
from typing import Any

import numpy as np

from ..compat.sklearn import STEP_MESSAGES, has_callbacks, is_step_fit
from .content_keys import Content, ContentPickler, Unsure
from .prefix_costs import SharingCosts, kind_of, size_of
from .side_effects import SideEffects, show
from .snapshots import Entry

_MOST_BYTES = 1 << 30
_SHARE = 0.2  # of what a call process may use
_DATA = frozenset({"builtins", "numpy", "scipy", "pandas"})
_LEAVES = frozenset({str, int, float, bool, type(None), np.float64, np.int64, np.bool_, FunctionType})


@dataclass
class SavedSeconds:
    """The seconds of fitting that hits saved, net of what they cost."""

    seconds: float = 0.0


def bytes_for_prefixes(worker_limit: int, slots: int) -> int:
    """Bytes of prefixes that one call process may keep.

    Parameters
    ----------
    worker_limit : int
        Bytes of memory that its worker may use; 0 is no limit.
    slots : int
        Call processes of the worker.
    """
    return int(min(_MOST_BYTES, _SHARE * worker_limit / slots)) if worker_limit else _MOST_BYTES


class PrefixCache:
    """Fitted prefixes of one search in one process, bounded in memory.

    Parameters
    ----------
    limit : int
        Bytes; what was not used for longest goes first. A fit larger than half of it is not kept.

    Attributes
    ----------
    hits, misses : int
        Fits that were found, and fits that were made and kept.
    nbytes : int
        What is kept now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.hits = self.misses = self.nbytes = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._given: dict[int, tuple[weakref.ref[Any], Entry]] = {}
        self._costs: dict[Any, SharingCosts] = {}
        self._pinned: dict[int, Any] = {}

    def content(self, value: Any) -> tuple[Content, bytes]:
        """An input's content and its digest, which is known if the input is an output of this cache."""
        content = ContentPickler(self._pinned).content(value)
        ref, entry = self._given.get(id(value), (None, None))
        if ref is None or entry is None or ref() is not value or not entry.gave(content):
            return content, content.digest()
        entry.digest = entry.digest or content.digest()
        return content, entry.digest

    def walk(self, value: Any) -> Content:
        """Any object's content."""
        return ContentPickler(self._pinned).content(value)

    def begin(self, saved: SavedSeconds, transformer: Any, X: Any, y: Any, rest: Any) -> _StepFit | None:
        """Look a fit up; None if it is to be made as if there was no cache."""
        costs = SharingCosts()
        try:
            costs = self._costs.setdefault((kind_of(transformer), size_of(X)), costs)
            if not costs.worthwhile():
                return None
            fit = _StepFit(self, costs, saved, transformer, (X, y), rest)
        except Exception:
            costs.fits += 1
            return None
        entry = self._entries.get(fit.key)
        if entry is None or entry.filters != warnings.filters:  # it may warn otherwise now
            self.misses += 1
            return fit
        self._entries.move_to_end(fit.key)
        return fit if fit.load(entry) else None

    def keep(self, fit: _StepFit, entry: Entry) -> None:
        """Keep what a fit made, and let the oldest go for it."""
        before = self._entries.pop(fit.key, None)  # a fit inside this one may have been the same
        self.nbytes += entry.nbytes - (before.nbytes if before is not None else 0)
        self._entries[fit.key] = entry
        while self.nbytes > self.limit:
            self.nbytes -= self._entries.popitem(last=False)[1].nbytes

    def give(self, output: Any, entry: Entry) -> None:
        """Know an output again when it is the next step's input."""
        key = id(output)
        with contextlib.suppress(TypeError):
            self._given[key] = weakref.ref(output, lambda _: self._given.pop(key, None)), entry


class _StepFit:
    """One call: found, or made and kept."""

    def __init__(
        self,
        cache: PrefixCache,
        costs: SharingCosts,
        saved: SavedSeconds,
        transformer: Any,
        inputs: tuple[Any, Any],
        rest: Any,
    ) -> None:
        started = perf_counter()
        if type(inputs[0]).__module__.partition(".")[0] not in _DATA:
            raise Unsure
        self._cache, self._costs, self._saved, self._inputs, self._rest = cache, costs, saved, inputs, rest
        self._memory, self._data = self._look()
        self.key = self._data + cache.walk((transformer, sys.modules["sklearn"].get_config())).digest()
        self.value: Any = None
        self.found: Entry | None = None
        self._started, self._price = started, perf_counter() - started

    def _look(self) -> tuple[Content, bytes]:
        """The memory of all that goes in, and its digest."""
        data, digest = self._cache.content(self._inputs[0])
        beside = self._cache.walk((self._inputs[1], self._rest))
        memory = Content(b"", data.buffers + beside.buffers, data.strided + beside.strided)
        return memory, digest + beside.digest()

    def load(self, entry: Entry) -> bool:
        """Make a new copy of what was kept."""
        started = perf_counter()
        try:
            self.value = entry.load(self._inputs, self._memory)
        except Exception:
            return False
        self.found = entry
        self._cache.give(self.value[0], entry)
        now, costs = perf_counter(), self._costs
        self._cache.hits += 1
        self._saved.seconds += max(0.0, entry.seconds - (now - self._started))
        price = self._price + now - started
        costs.fits, costs.price = costs.fits + 1, min(costs.price, price)
        costs.balance += entry.seconds - price
        return True

    def __enter__(self) -> None:
        self._watch = SideEffects().__enter__()
        self._before, self._began = self._saved.seconds, perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        now = perf_counter()
        self._watch.__exit__()
        if kind is None:
            with contextlib.suppress(Exception):
                self._keep(now - self._began + self._saved.seconds - self._before)

    def _keep(self, seconds: float) -> None:
        costs, started = self._costs, perf_counter()
        costs.fits, costs.fastest = costs.fits + 1, min(costs.fastest, seconds)
        costs.fitted += seconds
        output, transformer = self.value
        own = type(output).__module__.partition(".")[0] in _DATA and output is not self._inputs[0]
        if own and self._watch.reproducible and self._look()[1] == self._data:
            looked = perf_counter()
            entry = Entry(output, transformer, self._inputs, self._memory, self._cache.limit // 2)
            price = self._price + perf_counter() - looked
            entry.seconds, entry.warned, entry.filters = seconds, self._watch.warned, list(warnings.filters)
            entry.head = self._cache.walk(output).head
            self._cache.keep(self, entry)
            self._cache.give(output, entry)
            costs.kept, costs.price = costs.kept + 1, min(costs.price, price)
        costs.balance -= self._price + perf_counter() - started


class _Memory:
    """What a Pipeline takes as its ``memory``; leaves no trace in clones, copies and pickles of it."""

    location = None  # as with no memory at all: the Pipeline fits its own transformer, not a clone

    def __init__(self, cache: PrefixCache, saved: SavedSeconds) -> None:
        self._store: PrefixCache | None = cache
        self._saved = saved

    def cache(self, func: Callable[..., Any], ignore: Iterable[str] | None = None, **_: Any) -> Callable[..., Any]:
        return functools.partial(_call, self, func, frozenset(ignore or ()))

    def begin(self, func: Any, ignore: frozenset[str], args: Any, kwargs: dict[str, Any]) -> _StepFit | None:
        if self._store is None or has_callbacks(kwargs) or len(args) != 3 or not is_step_fit(func):
            return None
        if threading.current_thread() is not threading.main_thread():  # what `SideEffects` sees is of all threads
            return None
        rest = {k: v for k, v in kwargs.items() if k not in ignore and k not in STEP_MESSAGES}
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
        for warning in fit.found.warned:
            show(warning)
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
        kind, inner = type(value), list[Any]()
        if kind is np.ndarray:
            inner = value.ravel().tolist() if value.dtype.hasobject else []
        elif kind in (list, tuple):
            inner = list(value)
        elif isinstance(value, (dict, list, tuple)):
            inner = list(value.values() if isinstance(value, dict) else value)
        elif (own := kind.__module__.partition(".")[0]) == package or hasattr(value, "get_params"):
            package, inner = own, list(getattr(value, "__dict__", {}).values())
            if kind is pipeline:
                yield value
        left += [(v, package) for v in inner if type(v) not in _LEAVES]


@contextlib.contextmanager
def shared(cache: PrefixCache, estimator: Any, parameters: Any) -> Iterator[SavedSeconds]:
    """Share fitted pipeline prefixes while an estimator is fitted.

    Parameters
    ----------
    cache : PrefixCache
        Of the search.
    estimator : estimator
        What is fitted; Pipelines anywhere in it that have no memory of their own take part. Subclasses of Pipeline do
        not, and none do if `memory` itself is searched.
    parameters : mapping or None
        What is set on the estimator before it is fitted; estimators among its values take part.

    Yields
    ------
    SavedSeconds
        The fitting time that was saved.

    Notes
    -----
    At the end, however it comes, the Pipelines have no memory as before. What a step prints while it is fitted is not
    printed again.
    """
    saved, memory = SavedSeconds(), None
    values = list((parameters or {}).values())
    touched: list[Any] = []
    if "sklearn.pipeline" in sys.modules and not any(str(name).endswith("memory") for name in parameters or ()):
        memory = _Memory(cache, saved)
        touched = [p for p in _pipelines([estimator, values]) if p.memory is None]
        for pipeline in touched:
            pipeline.memory = memory
    try:
        yield saved
    finally:
        if memory is not None and touched:
            memory.close()
            for pipeline in [*touched, *_pipelines([estimator, values])]:
                if isinstance(pipeline.memory, _Memory):
                    pipeline.memory = None
