"""Dask collections brought into this process, where they fit it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

from .errors import DataTooLargeError
from .mixed import in_order
from .runtime import spare_memory

JOINING = 2
"""Bytes that bringing a collection takes, over its size: its pieces, and the whole that they are joined to."""


def fits(nbytes: int, available: int) -> bool:
    """Whether collections of `nbytes` bytes together can be brought into a process that may take `available` more."""
    return nbytes * JOINING <= available


def is_dask(value: Any) -> bool:
    """Whether a value is one of Dask's own collections, or of a class derived from one; without importing Dask."""
    return "dask" in sys.modules and any(kind.__module__.split(".")[0] == "dask" for kind in type(value).__mro__)


def brought(data: Mapping[str, Any], client: Any, purpose: str, todo: str) -> dict[str, Any]:
    """Data with every Dask collection among them computed, all in one go; what is not Dask's is left as it is.

    Parameters
    ----------
    data : Mapping[str, Any]
        By name: collections, lists of them, or anything else.
    client : distributed.Client or None
        What computes; None: what Dask would use.
    purpose, todo : str
        First and last part of the error: what needs them, and what to type instead.

    Returns
    -------
    dict[str, Any]
        The same names.

    Raises
    ------
    DataTooLargeError
        Where they do not fit the memory that this process may still take. Nothing is computed where their metadata say
        so; otherwise the workers compute them, and tell how large they are.
    """
    lazy = dict(_lazy(data))
    if not lazy:
        return dict(data)
    import dask

    with dask.config.set({} if client is None else {"scheduler": client}), warnings.catch_warnings():
        # Dask warns about arrays and frames in one call, which is what computes what they share once
        warnings.filterwarnings("ignore", "Computing mixed collections", UserWarning)
        sizes = {place: _known_size(value) for place, value in lazy.items()}
        if None in sizes.values():
            if client is not None:  # the workers keep them, so that they are computed once
                lazy = dict(zip(lazy, in_order(dask.persist, [*lazy.values()], traverse=False), strict=True))
            sizes = _measured_sizes(lazy)
        _refuse_too_large(sizes, spare_memory(), purpose, todo)
        values = dict(zip(lazy, in_order(dask.compute, [*lazy.values()], traverse=False), strict=True))
    whole = {name: [*value] if (name, 0) in values else value for name, value in data.items()}
    for (name, place), value in values.items():
        if place is None:
            whole[name] = value
        else:
            whole[name][place] = value
    return whole


Place = tuple[str, int | None]


def _lazy(data: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """The collections among the data, by name, and place where there is a list of them."""
    for name, value in data.items():
        if is_dask(value):
            yield (name, None), value
        elif isinstance(value, list) and value and all(map(is_dask, value)):
            yield from (((name, place), each) for place, each in enumerate(value))


def _known_size(value: Any) -> int | None:
    """Bytes of a collection, where its metadata say so."""
    nbytes = value.nbytes if hasattr(value, "chunks") else None
    if not isinstance(nbytes, Integral) or value.dtype.hasobject:
        return None
    return int(nbytes)


def _measured_sizes(collections: Mapping[Place, Any]) -> dict[Place, int | None]:
    """Bytes of collections, measured where their partitions are."""
    import dask
    from dask.delayed import delayed

    measure = delayed(_bytes, pure=True)
    sizes = [[measure(piece) for piece in _pieces(value)] for value in collections.values()]
    return {place: sum(pieces) for place, pieces in zip(collections, dask.compute(sizes)[0], strict=True)}


def _bytes(piece: Any) -> int:
    # A function of its own: Dask's travels with every type that it was ever asked about, and not all of them can.
    from dask.sizeof import sizeof

    return int(sizeof(piece))


def _pieces(value: Any) -> list[Any]:
    """The partitions of a collection, each delayed."""
    if not hasattr(value, "to_delayed"):
        return [value]
    pieces = value.to_delayed()
    return list(pieces.ravel()) if hasattr(pieces, "ravel") else list(pieces)


def _refuse_too_large(sizes: Mapping[Place, int | None], available: int, purpose: str, todo: str) -> None:
    known = {place: size or 0 for place, size in sizes.items()}
    if fits(sum(known.values()), available):
        return
    from dask.utils import format_bytes

    names = dict.fromkeys(name for name, _ in known)
    total = {name: sum(size for (owner, _), size in known.items() if owner == name) for name in names}
    each = ", ".join(f"{name} {format_bytes(size)}" for name, size in total.items())
    raise DataTooLargeError(
        purpose,
        f"{each}; bringing them takes {JOINING} times their size, {format_bytes(available)} is available",
        todo,
    )
