"""Dask collections of several kinds, computed together without their results being mixed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def in_order(call: Callable[..., Any], collections: Sequence[Any], **options: Any) -> list[Any]:
    """What ``dask.compute`` or ``dask.persist`` gives for collections of any kinds, in the order of the collections.

    Parameters
    ----------
    call : callable
        ``dask.compute``, ``dask.persist``, or what calls one of them.
    collections : sequence of Dask collections
    **options
        Of `call`.

    Notes
    -----
    Dask (seen in 2026.8) optimizes collections of a kind together, and gives the results in that order:
    ``dask.compute(array, frame, array)`` gives those of the first, the third and the second.
    """
    from dask import base

    kinds: dict[Any, list[int]] = {}
    for place, collection in enumerate(collections):
        kind = None
        if hasattr(base, "collections_to_expr"):  # releases before that keep the order
            (expr,) = base.collections_to_expr([collection]).operands
            kind = getattr(expr, "low_level_optimizer", None)
        kinds.setdefault(kind, []).append(place)
    order = [place for places in kinds.values() for place in places]
    found = call(*(collections[place] for place in order), **options)
    return [result for _, result in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]
