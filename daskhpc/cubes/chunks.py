"""The chunks of a dataset in files: for the cluster, and along what the files have."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from dask.array.core import normalize_chunks

from ..chunk_size import even_chunks


def dataset_chunks(
    sizes: Mapping[Hashable, int],
    blocks: Mapping[Hashable, int],
    along: Hashable,
    lengths: Sequence[int],
    most: int,
    given: Mapping[Hashable, Any],
) -> dict[Hashable, tuple[int, ...]]:
    """Chunk sizes of a dataset in files: maps stay whole if they fit, and chunks end at ends of files.

    Parameters
    ----------
    sizes : mapping
        The dimensions of the largest variable, in its order, with their sizes.
    blocks : mapping
        The sizes of the files' own chunks, which are not cut.
    along : str
        The dimension along which files follow each other. Other dimensions stay whole as far as `most` allows.
    lengths : sequence of int
        The sizes of the files along it: chunks are some files, or even parts of one.
    most : int
        Elements of a chunk.
    given : mapping
        Chunks that the user wants for some dimensions, as Dask takes them.

    Returns
    -------
    dict
        For each dimension of `sizes` the sizes of the chunks along it.

    Examples
    --------
    Three files of ten days, and room for 15 maps: a chunk takes no part of the next file.

    >>> dataset_chunks({"time": 30, "lat": 2, "lon": 3}, {}, "time", [10, 10, 10], 15 * 6, {})
    {'time': (10, 10, 10), 'lat': (2,), 'lon': (3,)}
    """
    fixed = {dim: normalize_chunks((given[dim],), (sizes[dim],))[0] for dim in sizes if dim in given}
    block = {dim: max(1, min(n, blocks.get(dim, 1), max(lengths) if dim == along else n)) for dim, n in sizes.items()}
    block.update((dim, max(1, *cut)) for dim, cut in fixed.items())
    units = dict(block)
    for dim in [*(dim for dim in reversed(list(sizes)) if dim != along), *(dim for dim in sizes if dim == along)]:
        if dim not in fixed:
            block[dim] *= max(1, most // math.prod(block.values()))
            block[dim] = max(1, min(sizes[dim], block[dim]))
    return {
        dim: fixed[dim]
        if dim in fixed
        else pack(lengths, units[dim], block[dim])
        if dim == along
        else even_chunks(n, units[dim], block[dim])
        for dim, n in sizes.items()
    }


def pack(lengths: Sequence[int], unit: int, most: int) -> tuple[int, ...]:
    """Chunks of some whole files each; if one file is larger than `most`, of parts of it."""
    chunks: list[int] = []
    room = 0
    for length in lengths:
        if 0 < length <= room:
            chunks[-1] += length
            room -= length
        elif length:
            parts = even_chunks(length, min(unit, length), most)
            chunks.extend(parts)
            room = most - length if len(parts) == 1 else 0
    return tuple(chunks) or (0,)
