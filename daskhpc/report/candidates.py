"""The fits of a search put together as scikit-learn's ``cv_results_``, also while some are missing.

scikit-learn's own code for this is private and takes no search with missing fits; a test holds that both tables are
equal to the last bit once all fits are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class CandidateFit:
    """One candidate fitted on one split.

    Attributes
    ----------
    search : str
        The title of the search that it belongs to.
    params : dict
    identity : str
        The same for the same `params`.
    number : int
        The candidate's place in the order of the search.
    split, splits : int
        Which one it is, and how many there are.
    candidates : int
        Of a search by successive halving how many were left in the round of this fit; 0 of any other.
    test, train : dict of str to float
        Scores by name.
    fit_time, score_time : float
        In seconds.
    """

    search: str
    params: dict[str, Any]
    identity: str
    number: int
    split: int
    splits: int
    candidates: int
    test: dict[str, float]
    train: dict[str, float]
    fit_time: float
    score_time: float


Row = dict[int, CandidateFit]
"""The fits of a candidate by split."""


def search_table(fits: Sequence[CandidateFit]) -> pd.DataFrame:
    """Make a table with the columns of ``cv_results_``, and ``splits_done``.

    Parameters
    ----------
    fits : sequence of CandidateFit
        In any order.

    Returns
    -------
    pandas.DataFrame
        A row per candidate, in the order of the search, so that the first of equal rank is scikit-learn's best. A
        candidate that was fitted on a split again has a row for each time. A search by successive halving has rows for
        each of its rounds, whose number is in the column ``iter``. Means are over the splits that are done, and NaN if
        one of these failed.
    """
    rows = _rows(fits)
    splits = max((max(fit.splits, fit.split + 1) for fit in fits), default=0)
    done = np.zeros((len(rows), splits), bool)
    for number, row in enumerate(rows):
        done[number, list(row)] = True
    table: dict[str, Any] = {}

    def put(name: str, take: Callable[[CandidateFit], float], each: bool = False) -> None:
        values = np.full((len(rows), splits), np.nan)
        values[done] = [take(row[split]) for row in rows for split in sorted(row)]
        if each:
            table.update({f"split{n}_{name}": values[:, n] for n in range(splits)})
        table[f"mean_{name}"], table[f"std_{name}"] = _mean_and_deviation(values, done)

    rounds = [next(iter(row.values())).candidates for row in rows]
    if rounds and all(rounds):
        table["iter"] = np.searchsorted(-np.unique(rounds)[::-1], np.negative(rounds))
    put("fit_time", lambda fit: fit.fit_time)
    put("score_time", lambda fit: fit.score_time)
    candidates = [next(iter(row.values())).params for row in rows]
    for name in dict.fromkeys(name for params in candidates for name in params):
        table[f"param_{name}"] = _param(candidates, name)
    table["params"] = candidates
    for name in _score_names(fits):
        put(f"test_{name}", lambda fit, name=name: fit.test.get(name, np.nan), each=True)  # type: ignore[misc]
        ranks = pd.Series(table[f"mean_test_{name}"]).rank(method="min", ascending=False, na_option="bottom")
        table[f"rank_test_{name}"] = ranks.astype(np.int32)
        if any(name in fit.train for fit in fits):
            put(f"train_{name}", lambda fit, name=name: fit.train.get(name, np.nan), each=True)  # type: ignore[misc]
    table["splits_done"] = done.sum(axis=1)
    return pd.DataFrame(table)


def _mean_and_deviation(values: Any, done: Any) -> tuple[Any, Any]:
    """Of each row over what is done, by scikit-learn's formula to the last bit; infinite scores count as there."""
    mean, deviation = np.full((2, len(values)), np.nan)
    with np.errstate(invalid="ignore"):
        for pattern in np.unique(done, axis=0):
            alike = (done == pattern).all(axis=1)
            some = np.ascontiguousarray(values[alike][:, pattern])
            mean[alike] = np.average(some, axis=1)
            deviation[alike] = np.sqrt(np.average((some - mean[alike, np.newaxis]) ** 2, axis=1))
    return mean, deviation


def _score_names(fits: Sequence[CandidateFit]) -> list[str]:
    """All scores; one fit that failed may not know the names that the others have."""
    names = list(dict.fromkeys(name for fit in fits for name in fit.test)) or ["score"]
    known = [name for name in names if any(not np.isnan(fit.test.get(name, np.nan)) for fit in fits)]
    return known or names


def _rows(fits: Sequence[CandidateFit]) -> list[Row]:
    """The rows of the table; the second row of a candidate comes after the first ones of all others of its round."""
    rows: dict[int, dict[str, list[Row]]] = {}
    for fit in fits:
        same = rows.setdefault(fit.candidates, {}).setdefault(fit.identity, [])
        row = next((row for row in same if fit.split not in row), None)
        if row is None:
            same.append(row := {})
        row[fit.split] = fit
    return [row for candidates in sorted(rows, reverse=True) for row in _in_order(list(rows[candidates].values()))]


def _in_order(rows: Sequence[Sequence[Row]]) -> list[Row]:
    times = max(map(len, rows), default=0)
    ordered = [[same[time] for same in rows if time < len(same)] for time in range(times)]
    return [row for some in ordered for row in sorted(some, key=_number)]


def _number(row: Row) -> int:
    return min(fit.number for fit in row.values())


def _param(candidates: Sequence[dict[str, Any]], name: str) -> Any:
    """A parameter's values, masked if a candidate does not have it."""
    given = [params[name] for params in candidates if name in params]
    try:
        inferred = np.array(given)
    except ValueError:  # sequences of unequal length
        inferred = np.empty(0, object)
    plain = inferred.ndim == 1 and inferred.dtype.kind not in "US"
    column = np.ma.MaskedArray(np.empty(len(candidates), inferred.dtype if plain else object), mask=True)
    for number, params in enumerate(candidates):
        if name in params:
            column[number] = params[name]
    return column
