"""What the keys are made of: objects taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import xxhash


class Node(NamedTuple):
    """An object taken apart.

    Attributes
    ----------
    kind : str
        What it is; nodes of two kinds never have equal tokens.
    children : sequence
        What it consists of, in an order that memory and hash seeds have no part in.
    names : sequence of str
        Where each child is, as the end of a path (".steps", "[3]"); empty for children that need none.
    keep : bool
        Whether the token holds while the object lives: of what is large, and of code.
    """

    kind: str
    children: Sequence[Any]
    names: Sequence[str] = ()
    keep: bool = False


class Unordered(NamedTuple):
    """Children whose order is no part of them."""

    children: Iterable[Any]


class Lenient(NamedTuple):
    """A value that counts by its type, and by the parts of it that have keys, if it has no key."""

    value: Any


class Attributes(NamedTuple):
    """Values by name, whose order does not matter; `dot` is what stands before a name in a path."""

    values: Mapping[str, Any]
    dot: str = "."


class UnkeyableError(Exception):
    """An object that has no key: what it is, and the path to it, from the inside out."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []


def digest(data: Any) -> bytes:
    """Hash of 128 bits of bytes or of anything contiguous that has a buffer (XXH3)."""
    return xxhash.xxh3_128_digest(data)
