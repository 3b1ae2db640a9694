"""Which scale values belong on, the borders of the cells of a heat map, which scores the colours span."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .data import distinct, is_numeric


def is_log(values: Any) -> bool:
    """Whether different values in order belong on a logarithmic axis.

    Notes
    -----
    They span two decades or more, and their logarithms lie more evenly than they do: the greatest distance between
    their distribution and a uniform one (Kolmogorov and Smirnov's statistic) is smaller.
    """
    if len(values) < 2 or values[0] <= 0 or values[-1] / values[0] < 100:
        return False

    def unevenness(points: Any) -> Any:
        places = (points - points[0]) / (points[-1] - points[0])
        return np.abs(places - np.linspace(0, 1, len(points))).max()

    return bool(unevenness(np.log(values)) <= unevenness(values))


class Cells(NamedTuple):
    """One axis of a heat map: "log", "linear" or "category"; its values' places; its cells' borders, one more."""

    kind: str
    centres: Any
    edges: Any


def cells(column: Any) -> Cells:
    """The cells of a parameter: on a real axis if its values are regular there, otherwise one place for each value."""
    values = distinct(column)
    if is_numeric(column) and len(values) > 1:
        log = is_log(values)
        scaled = np.log10(values) if log else values
        gaps = np.diff(scaled)
        if gaps.max() <= 2 * gaps.min() * (1 + 1e-9):
            edges = np.concatenate([[scaled[0] - gaps[0] / 2], scaled[:-1] + gaps / 2, [scaled[-1] + gaps[-1] / 2]])
            return Cells("log", values, 10**edges) if log else Cells("linear", values, edges)
    return Cells("category", np.arange(len(values), dtype=float), np.arange(len(values) + 1) - 0.5)


def limits(score: Any, directed: bool) -> tuple[float, float, str]:
    """The scores that the colours span, so that a few terrible candidates do not make all others look equal.

    Parameters
    ----------
    score : numpy.ndarray of float
        Scores; NaN is left out.
    directed : bool
        Whether higher is better, so that only low scores can be terrible; otherwise both ends are treated alike.

    Returns
    -------
    float, float
        The lowest and the highest score that have a colour of their own.
    str
        At which ends there are scores beyond: "neither", "min", "max" or "both", as matplotlib calls it.

    Notes
    -----
    If higher is better, the lower limit is no further below the median than three times the span of the better half;
    otherwise both limits are Tukey's fences, 1.5 interquartile ranges beyond the quartiles. They count only if
    that spares a fifth of the whole span.
    """
    good = score[np.isfinite(score)]
    low, quarter, middle, three_quarters, high = np.percentile(good, [0, 25, 50, 75, 100])
    box = 1.5 * (three_quarters - quarter)
    fences = (middle - 3 * (high - middle), high) if directed else (quarter - box, three_quarters + box)
    inside = good[(good >= fences[0]) & (good <= fences[1])]
    bottom, top = float(inside.min()), float(inside.max())
    if not 0 < top - bottom < 0.8 * (high - low):
        bottom, top = float(low), float(high)
    if bottom == top:
        margin = abs(top) * 0.01 or 0.01
        return bottom - margin, top + margin, "neither"
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    return bottom, top, ends[bool(bottom > low), bool(top < high)]


def running(x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """Medians of x, and 10th, 50th and 90th percentiles of y, over equally large groups of points along x."""
    groups = np.array_split(np.argsort(x), min(40, max(4, round(len(x) ** 0.5))))
    places = np.array([np.median(x[group]) for group in groups])
    low, middle, high = np.array([np.percentile(y[group], [10, 50, 90]) for group in groups]).T
    return places, low, middle, high
