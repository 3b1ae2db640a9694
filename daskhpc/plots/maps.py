"""Two parameters: a heat map of a grid, a scatter plot of random draws."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from ..errors import DaskhpcError
from .columns import Column, number_text
from .page import (
    COLOURS,
    FAILED,
    by_names,
    colour_bar,
    drawing,
    log_or_linear,
    name,
    set_scale,
    star,
    tick_values,
    titled,
)
from .scales import Cells, cells, limits
from .trials import Trials, merged

LEAST_FILLED = 0.5
MOST_LABELLED = 10
BESIDE = 1.7
HATCH = "////"


def draw(trials: Trials, ax: Axes | None = None) -> Figure:
    """A picture of two parameters: cells where they form a grid, points where they do not."""
    x, y = _two(trials)
    shown = merged(trials, [x, y])
    x, y = shown.column(x.full), shown.column(y.full)
    with drawing(ax) as (figure, axes):
        if _is_grid(x, y):
            _cells(figure, axes, shown, x, y)
        else:
            _points(figure, axes, shown, x, y)
    return figure


def _two(trials: Trials) -> tuple[Column, Column]:
    """The parameters of both axes: those asked for, otherwise numeric ones first."""
    columns = trials.shown if trials.asked else (*trials.numeric, *trials.categorical)
    if len(columns) < 2:
        raise DaskhpcError(
            "A heat map needs two parameters that vary.",
            columns[0].full,
            "plots.curve for one parameter, or params=[x, y]",
        )
    return columns[0], columns[1]


def _is_grid(x: Column, y: Column) -> bool:
    """Whether most combinations of the values were tried; a place among labels is a cell in any case."""
    filled = len(x.numbers) / (len(x.distinct) * len(y.distinct))
    return filled > LEAST_FILLED or not (x.numeric and y.numeric)


def _cells(figure: Figure, ax: Axes, shown: Trials, x: Column, y: Column) -> None:
    across, up = cells(x), cells(y)
    column, row = np.searchsorted(x.distinct, x.numbers), np.searchsorted(y.distinct, y.numbers)
    score = np.full((len(y.distinct), len(x.distinct)), np.nan)
    score[row, column] = shown.score
    span = limits(shown.score, shown.directed)
    norm = colour_bar(figure, ax, span, shown.label)
    for axis, one, values in ((ax.xaxis, across, x), (ax.yaxis, up, y)):
        _axis(axis, one, values)
    ax.pcolormesh(across.edges, up.edges, np.ma.masked_invalid(score), norm=norm, cmap=COLOURS, rasterized=True)
    absent = np.argwhere(np.isnan(score))
    for r, c in absent:
        corner, far = (across.edges[c], up.edges[r]), (across.edges[c + 1], up.edges[r + 1])
        patch = Rectangle(corner, far[0] - corner[0], far[1] - corner[1], fc=FAILED, ec="0.6", hatch=HATCH, lw=0)
        patch.set_label("absent")
        ax.add_patch(patch)
    ax.set(xlim=across.edges[[0, -1]], ylim=up.edges[[0, -1]])
    ax.spines[:].set_visible(False)
    ax.tick_params(which="both", length=3)
    best = shown.best
    if best is not None:
        star(ax, across.centres[column[best]], up.centres[row[best]])
    note = ["hatched: failed or not tried"] if len(absent) else []
    titled(figure, ax, shown, "" if best is not None else by_names(shown.label, [x, y]), *note, beside=BESIDE)


def _axis(axis: Axis, one: Cells, column: Column) -> None:
    if one.kind == "category":
        tick_values(axis, column, one.centres)
    else:
        set_scale(axis, one.kind)
    if one.kind == "linear" and len(one.centres) <= MOST_LABELLED:
        axis.set_major_locator(FixedLocator(list(one.centres)))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels([number_text(value) for value in one.centres])
    name(axis, column)


def _points(figure: Figure, ax: Axes, shown: Trials, x: Column, y: Column) -> None:
    log_or_linear(ax.xaxis, x)
    log_or_linear(ax.yaxis, y)
    norm = colour_bar(figure, ax, limits(shown.score, shown.directed), shown.label)
    good = np.isfinite(shown.score)
    ax.plot(x.numbers[~good], y.numbers[~good], "x", color="0.6", ms=6, label="failed")
    order = np.flatnonzero(good)[np.argsort(shown.score[good], kind="stable")]
    ax.scatter(
        x.numbers[order], y.numbers[order], c=shown.score[order], norm=norm, cmap=COLOURS,
        s=42 if len(order) <= 500 else 16, lw=0.4, ec="white", zorder=3, rasterized=len(order) > 2000, label="tried",
    )  # fmt: skip
    best = shown.best
    if best is not None:
        star(ax, x.numbers[best], y.numbers[best])
    note = [] if good.all() else ["grey crosses: failed"]
    titled(figure, ax, shown, "" if best is not None else by_names(shown.label, [x, y]), *note, beside=BESIDE)
