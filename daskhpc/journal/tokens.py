"""Tokens of objects by what they are: equal in another process, on another machine, under another hash seed."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from ..errors import JournalError
from . import code, data, objects
from .key_parts import Attributes, Lenient, Node, UnkeyableError, Unordered, digest
from .origins import origin

Handler = Callable[[Any], Node]

_LONG = 64
_FAR = 1 << 60
_ALONE: frozenset[int] = frozenset()


class Known(NamedTuple):
    """What an object was found to be, and the objects of the circle that it stands in."""

    obj: Any
    encoded: bytes
    circle: frozenset[int]


class Pending(NamedTuple):
    """An object inside a circle that is not closed yet: how deep it stands, and how far up it refers."""

    obj: Any
    encoded: bytes
    depth: int
    lowest: int


class Tokens:
    """The tokens of one run: what is large is read once.

    Notes
    -----
    Kept by identity, for as long as they live: arrays of 4 kB and more, frames, sparse matrices, functions, classes
    and scorers. So one of these that is changed in place between two calls, or a global that a known function reads,
    is not noticed until `forget`. Everything else is looked at each time. Any thread may use it.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Known] = {}
        self._handlers: dict[type, Handler] = {}

    def token(self, obj: Any) -> bytes:
        """What `obj` is, in 16 bytes.

        Parameters
        ----------
        obj : object

        Raises
        ------
        JournalError
            When it holds something that has no key, such as a lock or an open file.
        """
        try:
            return digest(_Walk(self).encode(obj))
        except UnkeyableError as error:
            where = "".join(reversed(error.path))
            raise JournalError(
                "A call has no key, so that its result cannot be found again.",
                f"{where}: {error.what}" if where else error.what,
                "leave it out of the call, or run without checkpoint",
            ) from None
        except RecursionError:
            raise JournalError(
                "A call has no key, so that its result cannot be found again.",
                "it is nested too deeply",
                "make it flatter, leave it out of the call, or run without checkpoint",
            ) from None

    def forget(self) -> None:
        """Look at everything anew: after arrays or the globals of functions have changed."""
        self._kept.clear()

    def known(self, key: int, obj: Any) -> Known | None:
        found = self._kept.get(key)
        return found if found is not None and found.obj() is obj else None

    def keep(self, key: int, obj: Any, encoded: bytes, circle: frozenset[int]) -> None:
        try:
            reference = weakref.ref(obj, lambda _: self._kept.pop(key, None))
        except TypeError:
            return
        self._kept[key] = Known(reference, encoded, circle)

    def take_apart(self, obj: Any) -> Node:
        kind = type(obj)
        found = self._handlers.get(kind)
        if found is None:
            found = data.handler(kind) or code.handler(kind) or objects.handler(kind)
            self._handlers[kind] = found
        try:
            return found(obj)
        except (UnkeyableError, RecursionError, MemoryError):
            raise
        except Exception as error:
            what = f"an object of {kind.__module__}.{kind.__qualname__}, which cannot be read"
            raise UnkeyableError(f"{what} ({type(error).__name__}: {error})") from None


def token(obj: Any, tokens: Tokens | None = None) -> bytes:
    """What `obj` is, in 16 bytes.

    Parameters
    ----------
    obj : object
    tokens : Tokens, optional
        What is already known.

    Raises
    ------
    JournalError
        When it holds something that has no key, such as a lock or an open file.

    Notes
    -----
    Types count: 1, 1.0, True and ``np.int64(1)`` differ. The order of a dict or a set does not, nor does it matter
    whether two equal parts are one object. Arrays are what they hold, however they lie in memory. Estimators are their
    class, their version and their attributes, but for those like ``n_jobs`` that no result depends on. Library code is
    its name and its distribution's version; the user's own code is its source without comments and docstrings, with
    everything that it refers to (`code`). Other objects are what their pickle holds.
    """
    return (tokens or Tokens()).token(obj)


class _Walk:
    """One walk through an object.

    Notes
    -----
    An object on the way down from the root is encoded as the distance to it. What refers up like this has no
    encoding of its own, only the closed circle has (a strongly connected component, as in Tarjan's algorithm), so
    that no encoding depends on the object at which a walk began, or on what was known before.
    """

    __slots__ = ("_lowest", "_met", "_pending", "_stack", "_tokens")

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._stack: dict[int, int] = {}
        self._met: dict[int, Known] = {}
        self._pending: dict[int, Pending] = {}
        self._lowest = _FAR

    def encode(self, obj: Any) -> bytes:
        plain = _PLAIN.get(type(obj))
        return plain(obj) if plain is not None else self._whole(obj)

    def _whole(self, obj: Any) -> bytes:
        kind = type(obj)
        made = _MADE.get(kind)
        if made is not None:
            return made(self, obj)
        if kind in _EMPTY and not obj:
            return _EMPTY[kind]
        key, stack = id(obj), self._stack
        found = self._met.get(key)
        if found is None:
            found = self._tokens.known(key, obj)
        if found is not None and not (found.circle and any(i in stack for i in found.circle)):
            return found.encoded
        depth = len(stack)
        if key in stack:
            self._lowest = min(self._lowest, stack[key])
            return b"^%x;" % (depth - stack[key])
        waiting = self._pending.get(key)
        if waiting is not None:
            self._lowest = min(self._lowest, waiting.lowest)
            return b"&%x;%b" % (depth - waiting.depth, waiting.encoded)
        return self._anew(obj, key, depth)

    def _anew(self, obj: Any, key: int, depth: int) -> bytes:
        outer, self._lowest, keep = self._lowest, _FAR, False
        self._stack[key] = depth
        try:
            make = _BUILT_IN.get(type(obj))
            if make is not None:
                encoded = make(self, obj)
            else:
                node = self._tokens.take_apart(obj)
                encoded, keep = self.encode(node), node.keep
        finally:
            del self._stack[key]
            lowest, self._lowest = self._lowest, min(outer, self._lowest if self._lowest < depth else _FAR)
        if lowest < depth:
            self._pending[key] = Pending(obj, encoded, depth, lowest)
            return encoded
        circle = self._closed(key, depth) if lowest == depth else _ALONE
        self._met[key] = Known(obj, encoded, circle)
        if keep:
            self._tokens.keep(key, obj, encoded, circle)
        return encoded

    def _closed(self, key: int, depth: int) -> frozenset[int]:
        """The circle that closes at `depth`, which is waited for no more."""
        inside = [k for k, waiting in self._pending.items() if waiting.lowest >= depth]
        for k in inside:
            del self._pending[k]
        return frozenset([key, *inside])

    def _items(self, obj: list[Any] | tuple[Any, ...]) -> bytes:
        return self._row(type(obj).__name__, obj, None)

    def _node(self, node: Node) -> bytes:
        return self._row(node.kind, node.children, node.names)

    def _row(self, kind: str, children: Sequence[Any], names: Sequence[str] | None) -> bytes:
        parts = [b"%b:%x;" % (kind.encode(), len(children))]
        whole, plain_of, add = self._whole, _PLAIN.get, parts.append
        try:
            for child in children:
                plain = plain_of(type(child))
                add(plain(child) if plain is not None else whole(child))
        except UnkeyableError as error:
            at = len(parts) - 1
            error.path.append(f"[{at}]" if names is None else names[at] if names else "")
            raise
        return b"#" + digest(b"".join(parts))

    def _dict(self, obj: dict[Any, Any]) -> bytes:
        encode, key = self.encode, None
        try:
            # Of a copy: another thread may change a global meanwhile.
            items = sorted([(encode(key), key, value) for key, value in list(obj.items())], key=itemgetter(0))
            parts = [b"dict:"]
            for encoded, key, value in items:  # noqa: B007  the key is for the message
                parts += (encoded, encode(value))
        except UnkeyableError as error:
            error.path.append(f"[{key!r}]")
            raise
        return b"#" + digest(b"".join(parts))

    def _attributes(self, obj: Attributes) -> bytes:
        values = obj.values
        names = tuple(sorted(values))
        parts, name = [_names(names)], ""
        whole, plain_of, add = self._whole, _PLAIN.get, parts.append
        try:
            for name in names:
                value = values[name]
                plain = plain_of(type(value))
                add(plain(value) if plain is not None else whole(value))
        except UnkeyableError as error:
            error.path.append(obj.dot + name)
            raise
        return b"#" + digest(b"".join(parts))

    def _set(self, obj: set[Any] | frozenset[Any]) -> bytes:
        return b"#" + digest(b"".join([type(obj).__name__.encode(), b":", *sorted(map(self.encode, list(obj)))]))

    def _unordered(self, obj: Unordered) -> bytes:
        return b"#" + digest(b"".join([b"unordered:", *sorted(map(self.encode, obj.children))]))

    def _lenient(self, obj: Lenient) -> bytes:
        value, outer, waiting = obj.value, self._lowest, len(self._pending)
        try:
            return self.encode(value)
        except UnkeyableError:
            name = b"?" + _text(f"{type(value).__module__}.{type(value).__qualname__}")
        # What was met on the way to the part without a key is no part of any encoding.
        self._lowest = outer
        while len(self._pending) > waiting:
            self._pending.popitem()
        inside = _parts(value)
        return name if inside is None else name + self._in_part(id(value), inside)

    def _in_part(self, key: int, inside: Any) -> bytes:
        """An object that has no key as a whole, by its parts; as `_anew`, but nothing else takes it for known."""
        depth, outer = len(self._stack), self._lowest
        self._stack[key], self._lowest = depth, _FAR
        try:
            return self.encode(inside)
        finally:
            del self._stack[key]
            self._closed(key, depth)
            self._lowest = min(outer, self._lowest if self._lowest < depth else _FAR)


def _parts(value: Any) -> Any:
    """What can have a key of an object that has none: the parts of a container, or of an object of the user's class."""
    kind = type(value)
    if kind is dict:
        return Unordered([[Lenient(key), Lenient(each)] for key, each in value.items()])
    if kind in (list, tuple):
        return [Lenient(each) for each in value]
    if origin(kind.__module__).own and isinstance(getattr(value, "__dict__", None), dict):
        return [Lenient(kind), Attributes({name: Lenient(each) for name, each in vars(value).items()})]
    return None


@lru_cache(maxsize=1024)
def _names(names: tuple[str, ...]) -> bytes:
    return b"".join([b"attributes:%x;" % len(names), *map(_text, names)])


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%x:%b" % (len(data), data) if len(data) <= _LONG else b"S%x:%b" % (len(data), digest(data))


def _bytes(value: bytes) -> bytes:
    return b"b%x:%b" % (len(value), value) if len(value) <= _LONG else b"B%x:%b" % (len(value), digest(value))


_FLOAT, _COMPLEX = struct.Struct("<d").pack, struct.Struct("<dd").pack

_PLAIN: Mapping[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    type(Ellipsis): lambda _: b"E",
    type(NotImplemented): lambda _: b"M",
    bool: lambda value: b"T" if value else b"F",
    int: lambda value: b"i%x;" % value,
    float: lambda value: b"f" + _FLOAT(value),
    complex: lambda value: b"c" + _COMPLEX(value.real, value.imag),
    str: _text,
    bytes: _bytes,
}

_BUILT_IN: Mapping[type, Callable[[_Walk, Any], bytes]] = {
    list: _Walk._items,
    tuple: _Walk._items,
    dict: _Walk._dict,
    set: _Walk._set,
    frozenset: _Walk._set,
}

_EMPTY: Mapping[type, bytes] = {kind: f"0{kind.__name__};".encode() for kind in _BUILT_IN}

_MADE: Mapping[type, Callable[[_Walk, Any], bytes]] = {
    Node: _Walk._node,
    Attributes: _Walk._attributes,
    Unordered: _Walk._unordered,
    Lenient: _Walk._lenient,
}
