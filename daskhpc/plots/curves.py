"""One numeric parameter: the score along it, a line for each value of another parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import DaskhpcError
from .columns import Column
from .page import GREY, LINES, by_names, drawing, log_or_linear, plain, star, titled
from .scales import running
from .trials import Trials, merged

DENSE = 60


def draw(trials: Trials, ax: Axes | None = None) -> Figure:
    """A picture of the score along one numeric parameter."""
    along, lines = _along(trials)
    shown = merged(trials, [along] if lines is None else [along, lines])
    x = shown.column(along.full)
    dense = len(x.distinct) > DENSE
    with drawing(ax, height=4.3) as (figure, axes):
        log_or_linear(axes.xaxis, x)
        axes.set_ylabel(plain(shown.label))
        axes.grid(True, color="0.92", lw=0.8)
        for rows, colour, label in _lines(shown, lines):
            (_cloud if dense else _line)(axes, shown, x.numbers, rows, colour, label)
        best = shown.best
        if best is not None:
            star(axes, x.numbers[best], shown.score[best])
        _legend(axes, shown, lines, dense)
        band = "line and band: running median and the middle 80 %" if dense else _band(shown)
        shows = [x] if lines is None else [x, lines]
        titled(figure, axes, shown, "" if best is not None else by_names(shown.label, shows), *([band] if band else []))
    return figure


def _along(trials: Trials) -> tuple[Column, Column | None]:
    """The parameter of the axis, and that of the lines if there is one."""
    columns = trials.shown if trials.asked else (*trials.numeric[:1], *trials.categorical[:1])
    along = columns[0]
    if not along.numeric:
        raise DaskhpcError(
            "A curve needs a numeric parameter.", f"{along.full}: {', '.join(along.labels)}", "params=[a numeric one]"
        )
    few = [column for column in columns[1:2] if len(column.distinct) <= len(LINES)]
    if trials.asked and len(columns) > 1 and not few:
        raise DaskhpcError(
            f"A curve has at most {len(LINES)} lines.",
            f"{len(columns[1].distinct)} values of {columns[1].full}",
            f"plots.heatmap, or params=[{along.full!r}]",
        )
    return along, few[0] if few else None


def _lines(shown: Trials, lines: Column | None) -> Iterator[tuple[NDArray[np.intp], str, str]]:
    """Rows, colour and name of each line."""
    if lines is None:
        yield np.arange(len(shown.score)), LINES[0], shown.label
        return
    held = shown.column(lines.full)
    for value, colour in zip(held.distinct, LINES, strict=False):
        yield np.flatnonzero(held.numbers == value), colour, held.text(value)


def _line(ax: Axes, shown: Trials, x: np.ndarray, rows: NDArray[np.intp], colour: str, label: str) -> None:
    rows = rows[np.argsort(x[rows])]
    at, score = x[rows], shown.score[rows]
    ax.plot(at, score, "o-", color=colour, ms=4, lw=1.8, label=plain(label), zorder=4)
    if shown.spread is not None:
        spread = shown.spread[rows]
        ax.fill_between(at, score - spread, score + spread, color=colour, alpha=0.16, lw=0)
    if shown.train is not None:
        ax.plot(at, shown.train[rows], "--", color=colour, lw=1.2, alpha=0.8, label="_train", zorder=3)


def _cloud(ax: Axes, shown: Trials, x: np.ndarray, rows: NDArray[np.intp], colour: str, label: str) -> None:
    rows = rows[np.isfinite(shown.score[rows])]
    alpha = min(0.6, max(0.12, 150 / max(1, len(rows))))
    ax.plot(
        x[rows],
        shown.score[rows],
        "o",
        color=colour,
        ms=3,
        mew=0,
        alpha=alpha,
        label="_tried",
        rasterized=len(rows) > 2000,
    )
    places, middle, low, high = running(x[rows], shown.score[rows])
    ax.fill_between(places, low, high, color=colour, alpha=0.16, lw=0)
    ax.plot(places, middle, "-", color=colour, lw=2.2, label=plain(label), zorder=4)


def _band(shown: Trials) -> str:
    if shown.spread is None:
        return ""
    return f"band: ± 1 standard deviation over {'splits' if shown.directed else 'calls'}"


def _legend(ax: Axes, shown: Trials, lines: Column | None, dense: bool) -> None:
    """What the lines are, beside the axes; nothing where there is but one."""
    handles = [
        line for line in ax.get_lines() if not str(line.get_label()).startswith("_") and line.get_label() != "best"
    ]
    if shown.train is not None and not dense:
        handles += ax.plot([], [], "--", color=GREY, lw=1.2, label="training data")
    if len(handles) > 1:
        title = None if lines is None else plain(lines.name)
        ax.legend(
            handles=handles,
            title=title,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=9,
            alignment="left",
        )
