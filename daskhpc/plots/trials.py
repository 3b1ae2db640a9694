"""What was tried and what came out: the candidates of a search, or the calls of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import DaskhpcError
from .columns import Column, Floats, short_text


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Candidates of a search, or calls of a sweep: one place of every array each.

    Parameters
    ----------
    columns : tuple of Column
        The parameters in which they differ.
    score : numpy.ndarray of float
        What came out; NaN where it failed.
    label : str
        What `score` is called.
    spread : numpy.ndarray of float, optional
        Standard deviation of `score` over splits, or over the calls that were taken together.
    train, train_spread : numpy.ndarray of float, optional
        The same for the score on the training data.
    final : numpy.ndarray of bool, optional
        Which were tried with all resources, in a search by successive halving; the best is one of them.
    directed : bool
        Whether higher is better; a sweep's values have no best.
    things : str
        "candidates" or "calls".
    notes : tuple of str
        What the picture says below its title.
    asked : tuple of str
        The full names of the parameters that were asked for, in this order; empty where none was.
    """

    columns: tuple[Column, ...]
    score: Floats
    label: str
    spread: Floats | None = None
    train: Floats | None = None
    train_spread: Floats | None = None
    final: NDArray[np.bool_] | None = None
    directed: bool = True
    things: str = "candidates"
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    @property
    def best(self) -> int | None:
        """Which is the best, the first of equals as in scikit-learn; None where there is no such thing."""
        if not self.directed or not np.isfinite(self.score).any():
            return None
        return int(np.nanargmax(self.ranks))

    @property
    def ranks(self) -> Floats:
        """The scores, NaN where it failed, and those of candidates without all resources below all others."""
        if self.final is None or not np.isfinite(self.score).any():
            return self.score
        return np.where(self.final, self.score, self.score - (np.nanmax(self.score) - np.nanmin(self.score)) - 1)

    @property
    def shown(self) -> tuple[Column, ...]:
        """The parameters to show: those that were asked for, otherwise all that vary."""
        return tuple(self.column(full) for full in self.asked) or self.columns

    @property
    def numeric(self) -> tuple[Column, ...]:
        """Those to show that are numbers."""
        return tuple(column for column in self.shown if column.numeric)

    @property
    def categorical(self) -> tuple[Column, ...]:
        """Those to show that are not."""
        return tuple(column for column in self.shown if not column.numeric)

    def column(self, full: str) -> Column:
        """The parameter of this full name."""
        return next(column for column in self.columns if column.full == full)

    def noted(self, *notes: str) -> Trials:
        """The same with more to say."""
        return replace(self, notes=(*self.notes, *notes))

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Trials:
        """Some of them."""
        chosen = np.asarray(rows, dtype=np.intp)

        def part(values: Floats | None) -> Floats | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            columns=tuple(column.take(chosen) for column in self.columns),
            score=self.score[chosen],
            spread=part(self.spread),
            train=part(self.train),
            train_spread=part(self.train_spread),
            final=None if self.final is None else self.final[chosen],
        )


def merged(trials: Trials, columns: Sequence[Column]) -> Trials:
    """One for each combination of values of some parameters.

    Parameters
    ----------
    trials : Trials
        All of them.
    columns : sequence of Column
        The parameters that a picture shows.

    Returns
    -------
    Trials
        Of a search the best candidate of each combination, of a sweep the mean of its calls. Those without a value of
        one of `columns` are left out. What was done is among the notes.
    """
    keys = np.column_stack([column.numbers for column in columns])
    whole = np.flatnonzero(~np.isnan(keys).any(axis=1))
    if not np.isfinite(trials.score[whole]).any():
        names = " and ".join(column.name for column in columns)
        raise DaskhpcError(
            "There is nothing to draw over these parameters.",
            f"no {trials.things[:-1]} has {names} and a score",
            "params=[...] with other parameters",
        )
    groups: dict[tuple[float, ...], list[int]] = {}
    for row in whole:
        groups.setdefault(tuple(keys[row]), []).append(int(row))
    notes = []
    if len(whole) < len(keys):
        lacking = " or ".join(column.name for column in columns if np.isnan(column.numbers).any())
        notes.append(f"{len(keys) - len(whole)} without {lacking} left out")
    if all(len(rows) == 1 for rows in groups.values()):
        return trials.take(whole).noted(*notes)
    others = [column for column in trials.columns if column.full not in {shown.full for shown in columns}]
    over = short_text(", ".join(column.name for column in others), 60) or "repeated " + trials.things
    notes.append(f"{'best' if trials.directed else 'mean'} over {over}")
    together = _best_of_each if trials.directed else _mean_of_each
    return together(trials, list(groups.values())).noted(*notes)


def _best_of_each(trials: Trials, groups: list[list[int]]) -> Trials:
    ranks = np.nan_to_num(trials.ranks, nan=-np.inf)
    return trials.take(sorted(max(rows, key=ranks.__getitem__) for rows in groups))


def _mean_of_each(trials: Trials, groups: list[list[int]]) -> Trials:
    good = [[row for row in rows if np.isfinite(trials.score[row])] for rows in groups]
    score = np.array([trials.score[rows].mean() if rows else np.nan for rows in good])
    spread = np.array([trials.score[rows].std() if rows else np.nan for rows in good])
    return replace(trials.take([rows[0] for rows in groups]), score=score, spread=spread)
