"""Which scale values belong on, where cells end, which scores the colours span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Column, Floats

LEAST_RATIO = 100.0
MOST_UNEVEN = 2.0
LEAST_CUT = 0.8


def is_log(values: Floats) -> bool:
    """Whether different values in order belong on a logarithmic axis.

    Notes
    -----
    They span two decades or more, and their logarithms lie more evenly than they do: the greatest distance between
    their distribution and a uniform one (Kolmogorov and Smirnov's statistic) is smaller.
    """
    if len(values) < 2 or values[0] <= 0 or values[-1] / values[0] < LEAST_RATIO:
        return False
    return _unevenness(np.log(values)) <= _unevenness(values)


def _unevenness(values: Floats) -> float:
    places = (values - values[0]) / (values[-1] - values[0])
    return float(np.abs(places - np.linspace(0, 1, len(values))).max())


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One axis of a heat map.

    Parameters
    ----------
    kind : str
        "log", "linear", or "category": one place per value, whatever it is.
    centres : numpy.ndarray of float
        Where each different value lies.
    edges : numpy.ndarray of float
        Where the cells end, one more than `centres`.
    """

    kind: str
    centres: Floats
    edges: Floats


def cells(column: Column) -> Cells:
    """The cells of a parameter: on a real axis if its values are regular there, otherwise one place for each."""
    values = column.distinct
    if column.numeric and len(values) > 1:
        log = is_log(values)
        scaled = np.log(values) if log else values
        gaps = np.diff(scaled)
        if gaps.max() <= MOST_UNEVEN * gaps.min() * (1 + 1e-9):
            middle = (scaled[1:] + scaled[:-1]) / 2
            edges = np.concatenate([[scaled[0] - gaps[0] / 2], middle, [scaled[-1] + gaps[-1] / 2]])
            return Cells("log", values, np.exp(edges)) if log else Cells("linear", values, edges)
    places = np.arange(len(values), dtype=float)
    return Cells("category", places, np.arange(len(values) + 1, dtype=float) - 0.5)


@dataclass(frozen=True, slots=True)
class Limits:
    """The scores that the colours span, and on which ends ("neither", "min", "max", "both") there are others."""

    low: float
    high: float
    extend: str


def limits(score: Floats, directed: bool) -> Limits:
    """Limits that a few terrible candidates do not move.

    Parameters
    ----------
    score : numpy.ndarray of float
        Scores; NaN is left out.
    directed : bool
        Whether higher is better, so that only low ones can be terrible; otherwise both ends are treated alike.

    Notes
    -----
    Where higher is better, the lower limit is no further below the median than three times the span of the better half;
    otherwise both limits are Tukey's fences, 1.5 interquartile ranges beyond the quartiles. They count only where
    that spares a fifth of the whole span.
    """
    good = score[np.isfinite(score)]
    low, high = float(good.min()), float(good.max())
    quarter, middle, three_quarters = (float(value) for value in np.percentile(good, [25, 50, 75]))
    box = three_quarters - quarter
    fence_low = middle - 3 * (high - middle) if directed else quarter - 1.5 * box
    fence_high = high if directed else three_quarters + 1.5 * box
    inside = good[(good >= fence_low) & (good <= fence_high)]
    if inside.max() - inside.min() < LEAST_CUT * (high - low) and inside.max() > inside.min():
        cut_low, cut_high = inside.min() > low, inside.max() < high
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}[bool(cut_low), bool(cut_high)]
        return Limits(float(inside.min()), float(inside.max()), extend)
    if low == high:
        margin = abs(low) * 0.01 or 0.01
        return Limits(low - margin, high + margin, "neither")
    return Limits(low, high, "neither")


def running(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Median and the middle 80 % of many points along x: places, medians, lower and upper ends.

    Points are taken in order of x, in groups of about equal size, as many as the square root of their number.
    """
    order = np.argsort(x)
    groups = np.array_split(order, min(40, max(4, round(len(x) ** 0.5))))
    places = np.array([np.median(x[group]) for group in groups])
    low, middle, high = np.array([np.percentile(y[group], [10, 50, 90]) for group in groups]).T
    return places, middle, low, high
