"""What a scaling study measures, in which order, and how often the function is called for one time."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..errors import SettingsError

LEAST_SECONDS = 0.5
"""The shortest time that is measured: a shorter call is repeated within the time."""
MOST_CALLS = 1000
PLAIN = 0
"""The number of workers of plain Python."""


class Turn(NamedTuple):
    """One time to measure: with so many workers, for the so-manieth time."""

    workers: int
    repeat: int


def counts(asked: Sequence[int] | None, there: int) -> list[int]:
    """The numbers of workers of a study, in order.

    Parameters
    ----------
    asked : sequence of int, optional
        By default the powers of two, and all workers.
    there : int
        Workers of the cluster.

    Returns
    -------
    list of int

    Raises
    ------
    SettingsError
        If a number is below 1, or more than there are.

    Examples
    --------
    >>> counts(None, 12), counts([4, 1, 4], 12)
    ([1, 2, 4, 8, 12], [1, 4])
    """
    if asked is None:
        return sorted({*(2**power for power in range(there.bit_length()) if 2**power <= there), there})
    wrong = [n for n in asked if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= there]
    if wrong or not asked:
        usual = counts(None, there)
        raise SettingsError(
            "workers= of a scaling study (--counts) are numbers of worker processes.",
            f"{', '.join(map(repr, wrong)) or 'none'}; the cluster has {there}",
            f"workers={usual} (--counts {','.join(map(str, usual))})",
        )
    return sorted(set(asked))


def turns(numbers: Sequence[int], repeats: int, seed: int = 0) -> list[Turn]:
    """All times to measure: one repeat after the other, each with all numbers of workers in an order of its own.

    So a machine that becomes slower or faster meanwhile does so for all numbers, and not for the last alone.

    Examples
    --------
    >>> [tuple(turn) for turn in turns([1, 2], 2)]
    [(2, 0), (1, 0), (1, 1), (2, 1)]
    """
    drawn = random.Random(seed)
    return [Turn(n, repeat) for repeat in range(repeats) for n in drawn.sample(list(numbers), len(numbers))]


def left(all_turns: Sequence[Turn], done: Collection[Turn]) -> list[Turn]:
    """Those that are not measured yet, in their order."""
    return [turn for turn in all_turns if turn not in done]


def calls_per_time(shortest: float) -> int:
    """How often the function is called for one time, so that no time is too short to measure.

    Parameters
    ----------
    shortest : float
        Seconds of the shortest call.

    Examples
    --------
    >>> calls_per_time(2.0), calls_per_time(0.1), calls_per_time(1e-9)
    (1, 5, 1000)
    """
    return max(1, min(MOST_CALLS, math.ceil(LEAST_SECONDS / max(shortest, 1e-9))))
