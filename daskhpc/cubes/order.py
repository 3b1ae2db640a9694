"""The order of files along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import InputFileError
from .heads import Fault, Piece

NAMED = 5


def checked(found: Sequence[Piece | Fault]) -> list[Piece]:
    """The pieces, where there is no fault among them.

    Raises
    ------
    InputFileError
        It names the first faults.
    """
    faults = [one for one in found if isinstance(one, Fault)]
    if not faults:
        return [one for one in found if isinstance(one, Piece)]
    lines = [f"{fault.path} {fault.why}" for fault in faults[:NAMED]]
    if len(faults) > NAMED:
        lines.append(f"and {len(faults) - NAMED} more")
    names = sorted({str(fault.variable) for fault in faults if fault.variable is not None})
    todo = f"give other paths, or drop_variables={names}" if names else "mend these files, or give other paths"
    raise InputFileError(
        f"{len(faults)} of {len(found)} files cannot be opened as one.", "\n         ".join(lines), todo
    )


def ordered(pieces: Sequence[Piece], along: str) -> list[Piece]:
    """The pieces by what they hold along a dimension; those that hold nothing go, if any holds something.

    Files without a coordinate along it stay in the order in which they came.

    Raises
    ------
    InputFileError
        Where a file is not in order itself, or two overlap.
    """
    filled = [piece for piece in pieces if piece.length] or list(pieces[:1])
    if len(filled) == 1 or any(piece.values is None for piece in filled):
        return filled
    for piece in filled:
        if not np.all(piece.values[1:] > piece.values[:-1]):
            raise InputFileError(
                f"{piece.path} is not in order along {along}.", _unordered(piece.values, along), f"sort it by {along}"
            )
    filled.sort(key=lambda piece: piece.values[0])
    for before, after in pairwise(filled):
        if not before.values[-1] < after.values[0]:
            raise InputFileError(
                f"Two files overlap along {along}.",
                f"{before.path} has {_span(before.values)}, {after.path} has {_span(after.values)}",
                "leave one of them out",
            )
    return filled


def _unordered(values: Any, along: str) -> str:
    at = int(np.flatnonzero(~(values[1:] > values[:-1]))[0])
    return f"{along}[{at}] is {values[at]}, {along}[{at + 1}] is {values[at + 1]}"


def _span(values: Any) -> str:
    return f"{values[0]} to {values[-1]}"
