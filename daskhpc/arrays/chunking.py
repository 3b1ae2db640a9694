"""Chunks of an array for the threads and the memory that there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..chunk_size import array_chunk_size, piece_size, resources
from ..errors import SettingsError

Chunks = tuple[tuple[int, ...], ...]


def auto_chunks(
    shape: Sequence[int],
    dtype: Any = "float64",
    *,
    whole: int | Sequence[int] = (),
    previous: Sequence[int] | None = None,
    client: Any = None,
) -> Chunks:
    """Chunks for this cluster, as every function of Dask takes them.

    Parameters
    ----------
    shape : sequence of int
        The array's shape.
    dtype : dtype
        Its type.
    whole : int or sequence of int
        Axes that are not cut, such as the features of a table.
    previous : sequence of int, optional
        The shape of the blocks in a file: chunks are whole multiples of it.
    client : distributed.Client, optional
        The cluster; the current client by default. Without any, this machine counts.

    Returns
    -------
    tuple of tuple of int
        The sizes of the chunks along each axis.

    Raises
    ------
    SettingsError
        For an axis or a `previous` that the shape does not have.

    Notes
    -----
    A chunk has at most a sixteenth of the memory of a thread and at most Dask's ``array.chunk-size`` (128 MiB);
    smaller ones, down to 1 MiB, give every thread four chunks. From about 100,000 chunks on they grow instead, up to
    a quarter of the memory of a thread. One block of `previous`, or a row along axes that stay whole, is never cut.
    """
    shape = tuple(int(n) for n in shape)
    itemsize = np.dtype(dtype).itemsize
    unit = _unit(shape, whole, previous)
    total = math.prod(shape) * itemsize
    return blocks(shape, unit, piece_size(total, resources(client), array_chunk_size.chosen()) // max(1, itemsize))


def blocks(shape: Sequence[int], unit: Sequence[int], most: int) -> Chunks:
    """Chunks of about equal sides, each a multiple of `unit` with at most so many elements (or one unit)."""
    counts = [-(-n // u) if n else 1 for n, u in zip(shape, unit, strict=True)]
    room = max(1, most // math.prod(unit))
    factors = [1] * len(counts)
    for left, axis in zip(range(len(counts), 0, -1), sorted(range(len(counts)), key=counts.__getitem__), strict=True):
        factors[axis] = min(counts[axis], _root(room, left))
        room //= factors[axis]
    for axis in reversed(range(len(counts))):
        grown = min(counts[axis], factors[axis] * room)
        room //= -(-grown // factors[axis])
        factors[axis] = grown
    return tuple(_even(n, u, f) for n, u, f in zip(shape, unit, factors, strict=True))


def _root(number: int, degree: int) -> int:
    """The largest whole number whose power is at most `number`."""
    root = int(float(number) ** (1 / degree) + 0.5)
    return root if root**degree <= number else root - 1


def _even(n: int, unit: int, factor: int) -> tuple[int, ...]:
    """Cut `n` into as few parts as steps of ``factor * unit`` do, about equal ones."""
    units = -(-n // unit)
    parts = max(1, -(-units // factor))
    size = max(1, -(-units // parts)) * unit
    return tuple(min(size, n - start) for start in range(0, n, size)) or (0,)


def _unit(shape: tuple[int, ...], whole: int | Sequence[int], previous: Sequence[int] | None) -> tuple[int, ...]:
    """The block that is not cut."""
    if previous is not None and (len(previous) != len(shape) or any(n < 1 for n in previous)):
        raise SettingsError("previous has to be a size per axis.", f"{tuple(previous)} for the shape {shape}")
    axes = (whole,) if isinstance(whole, int) else tuple(whole)
    if any(not -len(shape) <= axis < len(shape) for axis in axes):
        raise SettingsError("whole names an axis that the array does not have.", f"{axes} for the shape {shape}")
    kept = {axis % len(shape) for axis in axes}
    unit = previous or (1,) * len(shape)
    return tuple(
        max(1, n) if axis in kept else max(1, min(n, u)) for axis, (n, u) in enumerate(zip(shape, unit, strict=True))
    )
