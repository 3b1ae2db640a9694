"""Dask collections as data of a search: brought to the client where they fit."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from ..errors import DataTooLargeError
from ..mixed import in_order
from ..runtime import spare_memory

JOINING = 2
"""Bytes that bringing a collection takes, over its size: its pieces, and the whole that they are joined to."""


def fits(nbytes: int, available: int) -> bool:
    """Whether collections of `nbytes` bytes together can be brought into a process that may take `available` more."""
    return nbytes * JOINING <= available


def is_dask(value: Any) -> bool:
    """Whether a value is one of Dask's own collections, or of a class derived from one; without importing Dask."""
    return "dask" in sys.modules and any(kind.__module__.split(".")[0] == "dask" for kind in type(value).__mro__)


def brought(data: Mapping[str, Any], client: Any) -> dict[str, Any]:
    """Data with every Dask collection among them computed, all in one go; what is not Dask's is left as it is.

    Parameters
    ----------
    data : Mapping[str, Any]
        What a search is fitted to, by name.
    client : distributed.Client or None
        What computes; None: what Dask would use.

    Returns
    -------
    dict[str, Any]
        The same names.

    Raises
    ------
    DataTooLargeError
        Where they do not fit the memory that this process may still take.
    """
    lazy = {name: value for name, value in data.items() if is_dask(value)}
    if not lazy:
        return dict(data)
    import dask

    with dask.config.set({} if client is None else {"scheduler": client}), warnings.catch_warnings():
        # Dask warns about arrays and frames in one call, which is what computes what they share once
        warnings.filterwarnings("ignore", "Computing mixed collections", UserWarning)
        sizes = {name: _known_size(value) for name, value in lazy.items()}
        if None in sizes.values():
            if client is not None:  # the workers keep them, so that they are computed once
                lazy = dict(zip(lazy, in_order(dask.persist, [*lazy.values()], traverse=False), strict=True))
            sizes = _measured_sizes(lazy)
        _refuse_too_large({name: size or 0 for name, size in sizes.items()}, spare_memory())
        return {**data, **dict(zip(lazy, in_order(dask.compute, [*lazy.values()], traverse=False), strict=True))}


def _known_size(value: Any) -> int | None:
    """Bytes of a collection, where its metadata say so."""
    nbytes = value.nbytes if hasattr(value, "chunks") else None
    if not isinstance(nbytes, Integral) or value.dtype.hasobject:
        return None
    return int(nbytes)


def _measured_sizes(collections: Mapping[str, Any]) -> dict[str, int | None]:
    """Bytes of collections, measured where their partitions are."""
    import dask
    from dask.delayed import delayed

    measure = delayed(_bytes, pure=True)
    sizes = {name: [measure(piece) for piece in _pieces(value)] for name, value in collections.items()}
    return {name: sum(pieces) for name, pieces in dask.compute(sizes)[0].items()}


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


def _refuse_too_large(sizes: Mapping[str, int], available: int) -> None:
    nbytes = sum(sizes.values())
    if fits(nbytes, available):
        return
    from dask.utils import format_bytes

    each = ", ".join(f"{name} {format_bytes(size)}" for name, size in sizes.items())
    raise DataTooLargeError(
        "A search needs its data whole on the client, and these Dask collections do not fit its memory.",
        f"{each}; bringing them takes {JOINING} times their size, {format_bytes(available)} is available",
        "a sample, such as X.sample(frac=0.1) of a dataframe or X[:100_000] of an array; or, for all of the data, one "
        "model without a search: daskhpc.Incremental(estimator).fit(X, y) fits it block by block, "
        "daskhpc.ParallelPostFit(estimator) predicts on all of X after a fit to a sample",
    )
