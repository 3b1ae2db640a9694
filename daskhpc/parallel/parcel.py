"""What calls have in common is a template, pickled once; a call is its differences from it."""

from __future__ import annotations

import functools
import itertools
import math
import pickle
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compat.cloudpickle import dumps
from ..compat.sklearn import is_wrapper, same_wrapped
from .memory_segment import Layout, layout_of

NODE_MEMORY_BYTES = 256 << 10
"""From this size on a parcel lies in the node's memory; a smaller one travels with the tasks."""

_PLAIN_BYTES = 64 << 10

_PLAIN = frozenset({int, float, str, bytes, bool, type(None), complex})
_PLAIN_DEPTH = 3
_COMPARED_ITEMS = 1000
_DEEPEST = 50
Position = int | str
FUNCTION: Position = -1


def plain(value: Any) -> bool:
    """Whether a value is made of the interpreter's own atoms, few enough to be sent with each call."""
    return _weight(value, _PLAIN_DEPTH) <= _PLAIN_BYTES


def _weight(value: Any, depth: int) -> float:
    """About how many bytes a plain value is; infinite for any other."""
    kind = type(value)
    if kind in _PLAIN:
        return len(value) if kind in (str, bytes) else 8
    if isinstance(value, np.generic):
        return 8 if value.dtype.kind in "biufc" else math.inf
    if depth == 0 or kind not in (tuple, list, dict, set, frozenset) or len(value) > _COMPARED_ITEMS:
        return math.inf
    total = 8.0
    for item in itertools.chain(value.keys(), value.values()) if kind is dict else value:
        total += _weight(item, depth - 1)
        if total > _PLAIN_BYTES:
            return math.inf
    return total


def size(value: Any) -> int:
    """The bytes of an object's data by its ``nbytes``; 0 if it has none."""
    nbytes = getattr(value, "nbytes", 0)
    return int(nbytes) if isinstance(nbytes, int | np.integer) and not isinstance(nbytes, bool) else 0


def _immutable(value: Any) -> bool:
    return (
        type(value) in _PLAIN or isinstance(value, np.generic) or (type(value) is tuple and all(map(_immutable, value)))
    )


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """A plain value with new containers; if two of them are one object, their copies are one object."""
    kind = type(value)
    if kind not in (dict, list, tuple, set, frozenset):
        return value
    if id(value) not in copies:
        if kind is dict:
            copies[id(value)] = {key: _copied(item, copies) for key, item in value.items()}
        else:
            copies[id(value)] = kind(_copied(item, copies) for item in value)
    return copies[id(value)]


def alike(a: Any, b: Any, budget: list[int] | None = None, depth: int = 0) -> bool:
    """Whether a call cannot tell `a` from `b`: made of the same objects, or of equal atoms.

    False is always safe: it costs bytes only. So is giving up after `budget` comparisons.
    """
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b) or depth > _DEEPEST:
        return False
    budget = [_COMPARED_ITEMS] if budget is None else budget
    if kind in _PLAIN:
        return _same_atom(a, b)

    if kind is tuple or kind is list:
        return _all_alike(a, b, budget, depth)
    if kind is dict:
        return _same_entries(a, b, budget, depth)
    if kind is types.MethodType:
        return a.__func__ is b.__func__ and a.__self__ is b.__self__
    if kind is functools.partial:
        return _all_alike((a.func, a.args, a.keywords, vars(a)), (b.func, b.args, b.keywords, vars(b)), budget, depth)
    if isinstance(a, np.ndarray):
        return kind is np.ndarray and _same_array(a, b)
    if _is_open(kind):  # type: ignore[arg-type]
        return _same_entries(vars(a), vars(b), budget, depth)
    return False


def _same_entries(a: dict[Any, Any], b: dict[Any, Any], budget: list[int], depth: int) -> bool:
    """Whether two dictionaries are alike, the order of their keys included."""
    return _all_alike(list(a), list(b), budget, depth) and _all_alike(list(a.values()), list(b.values()), budget, depth)


def _all_alike(these: Sequence[Any], those: Sequence[Any], budget: list[int], depth: int) -> bool:
    budget[0] -= 1 + len(these)
    if len(these) != len(those) or budget[0] < 0:
        return False
    for this, that in zip(these, those, strict=True):
        if this is not that and not alike(this, that, budget, depth + 1):
            return False
    return True


def _same_atom(a: Any, b: Any) -> bool:
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return not isinstance(a, complex) and bool(a == b)


def _same_array(a: Any, b: Any) -> bool:
    return (
        a.dtype == b.dtype
        and not a.dtype.hasobject
        and a.shape == b.shape
        and a.strides == b.strides
        and a.flags.writeable == b.flags.writeable
        and a.nbytes < _PLAIN_BYTES
        and a.tobytes() == b.tobytes()
    )


@functools.cache
def _is_open(kind: Any) -> bool:
    """Whether all that instances of a class are lies in their ``__dict__``: scikit-learn's estimators and wrappers."""
    if is_wrapper(kind):
        return True
    own = {"__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__", "__slots__"}
    bases = {base.__name__: base for base in kind.__mro__ if base.__module__ == "sklearn.base"}
    pythonic = all(not own & set(vars(base)) for base in kind.__mro__ if base is not object)
    return "BaseEstimator" in bases and pythonic and getattr(kind, "__basicsize__", 0) <= _WEAK_BASICSIZE


class _WithDict:
    pass


_WEAK_BASICSIZE = _WithDict.__basicsize__


@dataclass(slots=True, eq=False)
class Parcel:
    """An object that travels on its own, pickled when it is first sent.

    Attributes
    ----------
    number : int
        Within its run.
    value : Any
        RunState, so that its ``id`` stays its own.
    uses, pending : int
        Calls that refer to it, and those of them that have not ended.
    frames : list
        The pickle stream and the large buffers beside it; empty before it is packed.
    layout : Layout or None
        Where they lie in a segment; None for a small parcel, whose `blob` travels with the tasks.
    """

    number: int
    value: Any
    uses: int = 0
    pending: int = 0
    frames: list[Any] = field(default_factory=list)
    layout: Layout | None = None
    blob: bytes = b""

    @property
    def packed(self) -> bool:
        """Whether it has been pickled."""
        return bool(self.frames or self.blob)

    def pack(self, threshold: int | None) -> None:
        """Pickle the object.

        Parameters
        ----------
        threshold : int or None
            Buffers of at least this many bytes are mapped by the calls rather than copied; None: none is.

        Raises
        ------
        Exception
            Whatever pickling it raises.
        """
        buffers: list[Any] = []

        def aside(buffer: pickle.PickleBuffer) -> bool:
            try:
                raw = buffer.raw()
            except BufferError:  # not contiguous
                return True
            if threshold is None or raw.nbytes < threshold:
                return True
            buffers.append(raw)
            return False

        stream = dumps(self.value, aside)
        if len(stream) + sum(b.nbytes for b in buffers) < NODE_MEMORY_BYTES and not buffers:
            self.blob = stream
        else:
            self.layout = layout_of([len(stream), *(b.nbytes for b in buffers)])
            self.frames = [stream, *buffers]


@dataclass(slots=True, eq=False)
class Template:
    """A first call, from which others of its shape differ.

    Attributes
    ----------
    number : int
    values : dict[Position, Any]
        The function at -1, positional arguments by their index, the others by name.
    parcels : dict[Position, Parcel]
        Of what is not plain among them.
    fit : bool
        Whether the function is scikit-learn's ``_fit_and_score``.
    shares : bool
        Whether any of its calls may fit a Pipeline.
    """

    number: int
    values: dict[Position, Any]
    parcels: dict[Position, Parcel]
    fit: bool
    shares: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for a parcel in a call's differences."""

    number: int


@dataclass(frozen=True, slots=True)
class Anew:
    """Stands for what the template has there, made anew: an equal object, but another one."""


_ANEW = Anew()


class Factory:
    """Turns the calls of one run into templates, parcels and differences."""

    def __init__(self) -> None:
        self.templates: dict[tuple[Any, ...], Template] = {}
        self.parcels: dict[int, Parcel] = {}
        self._by_id: dict[int, Parcel] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def factor(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], is_fit: Callable[[Any], bool]
    ) -> tuple[Template, dict[Position, Any], list[Parcel]]:
        """Factor one call.

        Returns
        -------
        Template
        dict[Position, Any]
            What differs: plain values, and a `Ref` for each other object.
        list[Parcel]
            All that the call needs, each once, counted as used once more.

        Notes
        -----
        Plain containers are copied: the caller may go on to change them. Other objects are those of the moment in
        which they are first sent, as with joblib's memory-mapped arrays.
        """
        values: dict[Position, Any] = {FUNCTION: function}
        values.update(enumerate(args))
        values.update(kwargs)
        with self._lock:
            return self._factor(values, (len(args), *kwargs, _name(function)), is_fit)

    def _factor(
        self, values: dict[Position, Any], shape: tuple[Any, ...], is_fit: Callable[[Any], bool]
    ) -> tuple[Template, dict[Position, Any], list[Parcel]]:
        template = self.templates.get(shape)
        if template is None:
            parcels = {at: self.parcel(v) for at, v in values.items() if not plain(v)}
            copies: dict[int, Any] = {}
            values = {at: v if at in parcels else _copied(v, copies) for at, v in values.items()}
            template = Template(len(self.templates), values, parcels, is_fit(values[FUNCTION]))
            self.templates[shape] = template
            differences: dict[Position, Any] = {}
        else:
            differences = self._differences(template, values)
        kept = [at for at in template.parcels if type(differences.get(at, _ANEW)) is Anew]
        needed = {template.parcels[at].number: template.parcels[at] for at in kept}
        needed.update((v.number, self.parcels[v.number]) for v in differences.values() if type(v) is Ref)
        for parcel in needed.values():
            parcel.uses += 1
            parcel.pending += 1
        return template, differences, list(needed.values())

    def _differences(self, template: Template, values: dict[Position, Any]) -> dict[Position, Any]:
        """What a call has other than the template.

        An equal object is common to the fits of a search, none of which meets another's; elsewhere only the same is.
        """
        differences: dict[Position, Any] = {}
        copies: dict[int, Any] = {}
        for at, value in values.items():
            first = template.values[at]
            if value is first:
                continue
            same = same_wrapped(value, first) if at == FUNCTION else None
            if same is None:
                same = id(value) not in self._by_id and alike(value, first)
            if same and (template.fit or at == FUNCTION or _immutable(value)):
                continue
            differences[at] = _ANEW if same and at in template.parcels else self._sent(value, copies)
        return differences

    def new_call(self) -> None:
        """The caller uses the same Parallel again: what it may have changed meanwhile is looked at anew.

        Arrays that are mapped are those of the first time, as with joblib's own.
        """
        with self._lock:
            self.templates.clear()
            for parcel in list(self.parcels.values()):
                if len(parcel.frames) < 2:
                    del self.parcels[parcel.number], self._by_id[id(parcel.value)]

    def _sent(self, value: Any, copies: dict[int, Any]) -> Any:
        return _copied(value, copies) if plain(value) else Ref(self.parcel(value).number)

    def parcel(self, value: Any) -> Parcel:
        """The parcel of an object, the same one for the same object."""
        known = self._by_id.get(id(value))
        if known is None:
            known = Parcel(next(self._numbers), value)
            self.parcels[known.number] = known
            self._by_id[id(value)] = known
        return known

    def finished(self, template: Template, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Count a call as ended; returns those of its parcels that no other call has used, and forgets them."""
        gone = []
        with self._lock:
            for parcel in parcels:
                parcel.pending -= 1
                if parcel.pending == 0 and parcel.uses == 1 and parcel not in template.parcels.values():
                    gone.append(parcel)
                    self.parcels.pop(parcel.number, None)
                    self._by_id.pop(id(parcel.value), None)
        return gone


def _name(function: Any) -> tuple[Any, ...]:
    """What tells functions apart that cannot share a template."""
    inner = getattr(function, "function", function)
    return type(function).__name__, getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
