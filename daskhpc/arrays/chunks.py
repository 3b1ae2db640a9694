"""Chunks of an array for the threads and the memory that there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..chunk_size import array_chunk_size, even_chunks, piece_size, resources
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
        The type of an element.
    whole : int or sequence of int
        Axes that are not cut, such as the features of a table.
    previous : sequence of int, optional
        The shape of the blocks in a file: chunks are whole multiples of it.
    client : distributed.Client, optional
        The cluster; the current client by default. Without a client, this machine counts.

    Returns
    -------
    tuple of tuple of int
        For each axis the sizes of the chunks along it.

    Raises
    ------
    SettingsError
        If `whole` or `previous` does not fit the shape.

    Notes
    -----
    A chunk has at most a sixteenth of the memory of a thread, and 128 MiB; or the user's own ``array.chunk-size``.
    Smaller ones, down to 1 MiB, give every thread four chunks. From about 100,000 chunks on they grow instead, up to a
    quarter of the memory of a thread. One block of `previous`, or a row along axes that stay whole, is never cut.

    Examples
    --------
    >>> rows, features = auto_chunks((4_000_000, 50), whole=1)
    >>> sum(rows), features
    (4000000, (50,))
    >>> auto_chunks((10, 10), previous=(5, 2))
    ((10,), (10,))
    """
    shape = tuple(int(n) for n in shape)
    itemsize = np.dtype(dtype).itemsize
    unit = _unit(shape, whole, previous)
    size = piece_size(math.prod(shape) * itemsize, resources(client), array_chunk_size.chosen())
    return cut(shape, unit, size // max(1, itemsize))


def cut(shape: Sequence[int], unit: Sequence[int], most: int) -> Chunks:
    """Chunks with about equal sides.

    Parameters
    ----------
    shape, unit : sequence of int
        The array's shape; the shape of what is not cut. Sides of chunks are multiples of `unit`.
    most : int
        Elements of a chunk, if a unit has no more.

    Returns
    -------
    tuple of tuple of int
        For each axis the sizes of the chunks along it.

    Notes
    -----
    Why not ``dask.array.core.normalize_chunks``: for some arrays it cuts blocks of the file, which are then read and
    decompressed several times, and it makes up to eight times as many chunks.
    """
    # How many units there are along each axis, and how many of them a chunk has. The short axes come first: what they
    # cannot use of the room is left to the long ones.
    counts = [-(-n // u) if n else 1 for n, u in zip(shape, unit, strict=True)]
    room = max(1, most // math.prod(unit))
    factors = [1] * len(counts)
    for left, axis in zip(range(len(counts), 0, -1), sorted(range(len(counts)), key=counts.__getitem__), strict=True):
        factors[axis] = min(counts[axis], _root(room, left))
        room //= factors[axis]
    # Roots were rounded down. What is left goes to the last axes, whose elements are side by side in memory.
    for axis in reversed(range(len(counts))):
        grown = min(counts[axis], factors[axis] * room)
        room //= -(-grown // factors[axis])
        factors[axis] = grown
    return tuple(even_chunks(n, u, f * u) for n, u, f in zip(shape, unit, factors, strict=True))


def _root(number: int, degree: int) -> int:
    """The largest whole number whose power is at most `number`."""
    root = int(float(number) ** (1 / degree) + 0.5)
    return root if root**degree <= number else root - 1


def _unit(shape: tuple[int, ...], whole: int | Sequence[int], previous: Sequence[int] | None) -> tuple[int, ...]:
    """The block that is not cut."""
    if previous is not None and (len(previous) != len(shape) or any(n < 1 for n in previous)):
        raise SettingsError("previous has to be a size per axis.", f"{tuple(previous)} for the shape {shape}")
    axes = (whole,) if isinstance(whole, int) else tuple(whole)
    if any(not -len(shape) <= axis < len(shape) for axis in axes):
        raise SettingsError("whole names an axis that the array does not have.", f"{axes} for the shape {shape}")
    uncut = {axis % len(shape) for axis in axes}
    unit = previous or (1,) * len(shape)
    return tuple(
        max(1, n) if axis in uncut else max(1, min(n, u)) for axis, (n, u) in enumerate(zip(shape, unit, strict=True))
    )
