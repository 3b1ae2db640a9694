"""Fits of a search put together as scikit-learn's ``cv_results_``, also when some are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """One candidate fitted on one split.

    Attributes
    ----------
    call : str
        The Parallel call that it belongs to.
    params : dict
    identity : str
        The same for the same `params`.
    split, splits : int
        Which one it is, and how many there are.
    test, train : dict of str to float
        Scores by name.
    fit_time, score_time : float
    """

    call: str
    params: dict[str, Any]
    identity: str
    split: int
    splits: int
    test: dict[str, float]
    train: dict[str, float]
    fit_time: float
    score_time: float


def search_table(fits: Sequence[Fit]) -> pd.DataFrame:
    """The columns of ``cv_results_``, and ``splits_done``.

    Notes
    -----
    A row per candidate, in the order in which they were first seen. A candidate that was fitted on a split again, as in
    a search by successive halving, has a row for each time. Means are over the splits that are done.
    """
    rows = _rows(fits)
    splits = max((max(fit.splits, fit.split + 1) for fit in fits), default=0)
    done = np.zeros((len(rows), splits), bool)
    for number, row in enumerate(rows):
        done[number, list(row)] = True
    table: dict[str, Any] = {}

    def put(name: str, take: Callable[[Fit], float | None], each: bool = False) -> None:
        values = _matrix(rows, splits, take)
        if each:
            table.update({f"split{n}_{name}": values[:, n] for n in range(splits)})
        table[f"mean_{name}"], table[f"std_{name}"] = _mean_and_std(values, done)

    put("fit_time", lambda fit: fit.fit_time)
    put("score_time", lambda fit: fit.score_time)
    candidates = [next(iter(row.values())).params for row in rows]
    for name in dict.fromkeys(name for params in candidates for name in params):
        table[f"param_{name}"] = _param(candidates, name)
    table["params"] = candidates
    for name in _score_names(fits):
        put(f"test_{name}", lambda fit, name=name: fit.test.get(name), each=True)  # type: ignore[misc]
        table[f"rank_test_{name}"] = _rank(table[f"mean_test_{name}"])
        if any(name in fit.train for fit in fits):
            put(f"train_{name}", lambda fit, name=name: fit.train.get(name), each=True)  # type: ignore[misc]
    table["splits_done"] = done.sum(axis=1)
    return pd.DataFrame(table)


def _score_names(fits: Sequence[Fit]) -> list[str]:
    """All scores; one fit that failed may not know the names that the others have."""
    names = list(dict.fromkeys(name for fit in fits for name in fit.test)) or ["score"]
    known = [name for name in names if any(not np.isnan(fit.test.get(name, np.nan)) for fit in fits)]
    return known or names


def _rows(fits: Sequence[Fit]) -> list[dict[int, Fit]]:
    """Fits by split, for each candidate."""
    rows: list[dict[int, Fit]] = []
    of: dict[str, list[dict[int, Fit]]] = {}
    for fit in fits:
        own = of.setdefault(fit.identity, [])
        row = next((row for row in own if fit.split not in row), None)
        if row is None:
            row = {}
            own.append(row)
            rows.append(row)
        row[fit.split] = fit
    return rows


def _matrix(rows: Sequence[dict[int, Fit]], splits: int, take: Callable[[Fit], float | None]) -> Floats:
    values = np.full((len(rows), splits), np.nan)
    for number, row in enumerate(rows):
        for split, fit in row.items():
            value = take(fit)
            values[number, split] = np.nan if value is None else value
    return values


def _mean_and_std(values: Floats, done: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Over the splits that are done, as scikit-learn has it: NaN where one of them failed."""
    mean, std = np.full(len(values), np.nan), np.full(len(values), np.nan)
    whole = done.all(axis=1)
    if whole.any():
        mean[whole] = np.average(values[whole], axis=1)
        std[whole] = np.sqrt(np.average((values[whole] - mean[whole, np.newaxis]) ** 2, axis=1))
    for number in np.flatnonzero(~whole):
        own = values[number, done[number]]
        mean[number], std[number] = own.mean(), own.std()
    return mean, std


def _rank(means: Floats) -> NDArray[np.int32]:
    """The best is 1, equal ones share the better rank, those without a score are last."""
    least = np.nanmin(means) - 1 if not np.isnan(means).all() else 0.0
    ordered = pd.Series(np.nan_to_num(means, nan=least)).rank(method="min", ascending=False)
    return np.asarray(ordered, dtype=np.int32)


def _param(candidates: Sequence[dict[str, Any]], name: str) -> Any:
    """A parameter's values, masked where a candidate does not have it."""
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
