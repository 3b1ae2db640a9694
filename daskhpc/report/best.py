"""The best candidate of a search from the scores in its records, as scikit-learn ranks."""

from __future__ import annotations

import functools
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..journal.codec import to_text
from .record_texts import number, texts


@dataclass(frozen=True, slots=True)
class Best:
    """The best candidate: its mean test score over `splits_done` of its splits, and its parameters as texts.

    The score is None if a function as ``refit`` chose it by several scores.
    """

    score: float | None
    params: dict[str, str]
    splits_done: int
    splits: int


@dataclass(slots=True)
class _Round:
    """Scores by candidate and split, and the candidates' places in the order of the search."""

    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    splits: int = 0

    def best(self) -> Best | None:
        whole = {params: by_split for params, by_split in self.scores.items() if len(by_split) >= self.splits}
        some = whole or self.scores
        means = {params: mean([score for _, score in sorted(by_split.items())]) for params, by_split in some.items()}
        means = {params: value for params, value in means.items() if not math.isnan(value)}
        if not means:
            return None
        best = min(means, key=lambda params: (-means[params], self.numbers[params]))
        return Best(means[best], texts(json.loads(best)), len(some[best]), self.splits)


class SearchScores:
    """The scores of a search, by round; all are of one round if it has none."""

    def __init__(self) -> None:
        self._rounds: dict[int, _Round] = {}

    @property
    def splits(self) -> int:
        """How many splits each candidate has; 1 if nothing is known of it."""
        return max((found.splits for found in self._rounds.values()), default=1)

    def add(self, about: Mapping[str, Any]) -> None:
        """Take the score of a record that counts, if it has one."""
        score = number(about.get("score"))
        if score is None or math.isnan(score) or "params" not in about:
            return
        found = self._rounds.setdefault(about.get("candidates", 0), _Round())
        params = to_text(about["params"])
        found.scores.setdefault(params, {})[about.get("split", 0)] = score
        found.numbers[params] = about.get("candidate", 0)
        found.splits = max(found.splits, about.get("splits", 1))

    def best(self) -> Best | None:
        """The candidate with the best mean among those with all splits; while there are none, among all.

        Of candidates with equal means it is the first in the order of the search, as in scikit-learn. Of a search by
        successive halving it is one of the last round in which a candidate has all splits: scores on little data are
        not compared with scores on more.
        """
        last_first = [*sorted(left for left in self._rounds if left), 0]
        rounds = [self._rounds[left] for left in last_first if left in self._rounds]
        found = [best for each in rounds if (best := each.best()) is not None]
        return next((best for best in found if best.splits_done >= best.splits), found[0] if found else None)


def mean(values: Sequence[float]) -> float:
    """The mean as NumPy computes it, to the last bit.

    Notes
    -----
    Why not ``sum(values) / len(values)``: candidates are of equal rank in scikit-learn if their means are equal, and
    which of two sums in another order is greater is decided by rounding. NumPy adds eight interleaved sums of at most
    128 values, and halves longer arrays. It is done here by hand because ``daskhpc status`` does not import NumPy,
    which takes longer than all else that the command does.
    """
    return _numpy_sum(values) / len(values)


def _numpy_sum(values: Sequence[float]) -> float:
    count = len(values)
    if count > 128:
        half = count // 2 - count // 2 % 8
        return _numpy_sum(values[:half]) + _numpy_sum(values[half:])
    total, rest = 0.0, 0
    if count >= 8:
        rest = count - count % 8
        a, b, c, d, e, f, g, h = (functools.reduce(operator.add, values[start:rest:8]) for start in range(8))
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    return functools.reduce(operator.add, values[rest:], total)
