"""Dask collections brought into this process, where they fit it."""

from __future__ import annotations

import warnings
from typing import Any

import dask
import numpy as np
from dask.base import is_dask_collection, unpack_collections
from dask.utils import format_bytes

from ..capacity import capacity
from ..errors import DataTooLargeError
from ..mixed import in_order

JOINING = 2
"""Bytes that bringing a collection takes, over its size: its pieces, and the whole that they are joined to."""


def brought(purpose: str, todo: str, *values: Any) -> tuple[Any, ...]:
    """Values with the Dask collections among them computed, all in one go.

    Parameters
    ----------
    purpose, todo : str
        First and last part of the error: what needs them, and what to type instead.
    *values : object
        Also mappings that hold collections, or lists of them. What is not Dask's is left as it is.

    Raises
    ------
    DataTooLargeError
        Where their size is known, and over what this process may still take. Nothing is computed then.
    """
    if not any(map(_holds_dask, values)):
        return values
    nbytes = sum(_known_bytes(value) for value in values)
    if nbytes:
        available = capacity().client_memory
        if nbytes * JOINING > available:
            raise DataTooLargeError(
                purpose,
                f"{format_bytes(nbytes)}, and bringing them takes {JOINING} times that; "
                f"{format_bytes(available)} is available",
                todo,
            )
    with warnings.catch_warnings():
        # Dask warns about arrays and frames in one call, which is what computes what they share once
        warnings.filterwarnings("ignore", "Computing mixed collections", UserWarning)
        lazy = {place: value for place, value in enumerate(values) if _holds_dask(value)}
        collections, repack = unpack_collections(lazy)
        (computed,) = repack(in_order(dask.compute, collections))
    return tuple(computed.get(place, value) for place, value in enumerate(values))


def _holds_dask(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_dask(each[0] if isinstance(each, list) and each else each) for each in value.values())
    return bool(is_dask_collection(value))


def _known_bytes(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_known_bytes, value.values()))
    if isinstance(value, list):
        return sum(map(_known_bytes, value))
    if not is_dask_collection(value) or not hasattr(value, "chunks") or np.isnan(value.size):
        return 0
    return int(value.nbytes)
