"""The pictures of a scaling study."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from ..plots.draw import LINES, STYLE, NotebookFigure
from .advice import GOOD_EFFICIENCY
from .laws import Point, ScalingRow

_SIZE = (5.6, 3.8)


def time_picture(points: Sequence[Point], plain: Sequence[float], weak: bool) -> Figure:
    """Time over workers, both logarithmic: every repeat, the medians, and the ideal line from the first median."""
    with context(STYLE):
        figure = NotebookFigure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        numbers = [point.workers for point in points]
        first = points[0]
        ideal = [first.median if weak else first.median * first.workers / n for n in numbers]
        axes.plot(numbers, ideal, "--", color="0.5", label="ideal")
        axes.plot(numbers, [point.median for point in points], color=LINES[0], label="median")
        for index, point in enumerate(points):
            label = "repeats" if index == 0 else "_nolegend_"
            axes.plot(
                [point.workers] * len(point.seconds), point.seconds, "o", ms=4, alpha=0.6, color=LINES[0], label=label
            )
        if plain:
            axes.axhline(sorted(plain)[len(plain) // 2], color=LINES[1], lw=1, ls=":", label="plain Python")
        axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="seconds")
        _ticks(axes, numbers)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.legend(frameon=False)
    return figure


def efficiency_picture(table: Sequence[ScalingRow]) -> Figure:
    """Efficiency over workers, with its range over the repeats."""
    with context(STYLE):
        figure = NotebookFigure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        numbers = [row.workers for row in table]
        middle = [row.efficiency for row in table]
        low = [row.efficiency - row.efficiency * row.seconds / row.highest for row in table]
        high = [row.efficiency * row.seconds / row.lowest - row.efficiency for row in table]
        axes.axhline(1, color="0.5", ls="--", label="ideal")
        axes.axhline(GOOD_EFFICIENCY, color=LINES[1], lw=1, ls=":", label=f"{GOOD_EFFICIENCY:g}")
        axes.errorbar(numbers, middle, (low, high), marker="o", ms=5, capsize=3, color=LINES[0], label="median, range")
        axes.set(xscale="log", xlabel="workers", ylabel="efficiency", ylim=(0, max(1.1, 1.05 * max(middle))))
        _ticks(axes, numbers)
        axes.legend(frameon=False, loc="lower left")
    return figure


def _ticks(axes: Axes, numbers: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(numbers)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
