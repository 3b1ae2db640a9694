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

import cloudpickle
import numpy as np

from .segment import Layout, layout_of

SMALL_BYTES = 256 << 10
"""A parcel below this travels with the tasks; above, it lies in the node's memory."""

_PLAIN_BYTES = 64 << 10

_PLAIN = frozenset({int, float, str, bytes, bool, type(None), complex})
_PLAIN_DEPTH = 3
_COMPARED_ITEMS = 1000
_WRAPPED = ("function", "config", "warning_filters")  # what scikit-learn's delayed puts around a function
Position = int | str
FUNCTION: Position = -1


def plain(value: Any, depth: int = _PLAIN_DEPTH) -> bool:
    """Whether a value is made of the interpreter's own atoms, few enough to be sent with each call."""
    kind = type(value)
    if kind in _PLAIN:
        return kind not in (str, bytes) or len(value) < _PLAIN_BYTES
    if isinstance(value, np.generic):
        return bool(value.dtype.kind in "biufc")
    if depth == 0 or kind not in (tuple, list, dict, set, frozenset) or len(value) > _COMPARED_ITEMS:
        return False
    items = (*value.keys(), *value.values()) if kind is dict else value
    return all(plain(item, depth - 1) for item in items)


def _copied(value: Any) -> Any:
    """A plain value, its containers made anew."""
    kind = type(value)
    if kind is dict:
        return {key: _copied(item) for key, item in value.items()}
    return kind(map(_copied, value)) if kind in (list, tuple, set, frozenset) else value


def alike(a: Any, b: Any) -> bool:
    """Whether a call cannot tell `a` from `b`: made of the same objects, or of equal atoms.

    False is always safe: it costs bytes only.
    """
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b):
        return False
    if kind in _PLAIN:
        return _same_atom(a, b)
    if kind in (tuple, list):
        return len(a) == len(b) <= _COMPARED_ITEMS and all(map(alike, a, b))
    if kind is dict:
        return len(a) == len(b) <= _COMPARED_ITEMS and list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if kind is types.MethodType:
        return a.__func__ is b.__func__ and a.__self__ is b.__self__
    if kind is functools.partial:
        return alike((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if isinstance(a, np.ndarray):
        return kind is np.ndarray and _same_array(a, b)
    if _is_open(kind):  # type: ignore[arg-type]
        return alike(vars(a), vars(b))
    return False


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
        and a.nbytes < _PLAIN_BYTES
        and a.tobytes() == b.tobytes()
    )


@functools.cache
def _is_open(kind: Any) -> bool:
    """Whether all that instances of a class are lies in their ``__dict__``: scikit-learn's estimators and wrappers."""
    if kind.__module__ == "sklearn.utils.parallel" and kind.__name__ == "_FuncWrapper":
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
        Kept, so that its ``id`` stays its own.
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

        stream = cloudpickle.dumps(self.value, protocol=5, buffer_callback=aside)
        if len(stream) + sum(b.nbytes for b in buffers) < SMALL_BYTES and not buffers:
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
            values = {at: v if at in parcels else _copied(v) for at, v in values.items()}
            template = Template(len(self.templates), values, parcels, is_fit(values[FUNCTION]))
            self.templates[shape] = template
            differences: dict[Position, Any] = {}
        else:
            first = template.values
            differences = {at: self._sent(v) for at, v in values.items() if not self._is_common(v, first[at])}
        needed = {p.number: p for at, p in template.parcels.items() if at not in differences}
        needed.update((v.number, self.parcels[v.number]) for v in differences.values() if type(v) is Ref)
        for parcel in needed.values():
            parcel.uses += 1
            parcel.pending += 1
        return template, differences, list(needed.values())

    def _is_common(self, value: Any, first: Any) -> bool:
        if value is first:
            return True
        if type(value) is type(first) and type(value).__name__ == "_FuncWrapper":
            return all(getattr(value, name, None) is getattr(first, name, None) for name in _WRAPPED)
        return id(value) not in self._by_id and alike(value, first)

    def _sent(self, value: Any) -> Any:
        return _copied(value) if plain(value) else Ref(self.parcel(value).number)

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
                    del self.parcels[parcel.number], self._by_id[id(parcel.value)]
        return gone


def _name(function: Any) -> tuple[Any, ...]:
    """What tells functions apart that cannot share a template."""
    inner = getattr(function, "function", function)
    return type(function).__name__, getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
