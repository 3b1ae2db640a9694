"""Parameters without numbers: the best candidates in order."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .columns import short_text
from .page import CHARACTERS_PER_INCH, LINES, by_names, drawing, plain, star, titled
from .trials import Trials, merged

MOST = 20
LONGEST, LONGEST_NAMES = 36, 60


def draw(trials: Trials, ax: Axes | None = None) -> Figure:
    """A dot for each of the best candidates, the best at the top."""
    shown = merged(trials, trials.shown)
    order = np.argsort(-np.nan_to_num(shown.ranks, nan=-np.inf), kind="stable")
    order = order[np.isfinite(shown.score[order])]
    top = shown.take(order[:MOST])
    if len(order) > MOST:
        top = top.noted(f"the top {MOST} of {len(order)}")
    columns, places = top.shown, np.arange(len(top.score))
    labels = [short_text(", ".join(c.text(c.numbers[row]) for c in columns), LONGEST) for row in range(len(places))]
    with drawing(ax, height=1.6 + 0.24 * max(4, len(places))) as (figure, axes):
        if top.spread is not None:
            axes.errorbar(top.score, places, xerr=top.spread, fmt="none", ecolor="0.72", elinewidth=1.6, zorder=2)
            top = top.noted(f"bars: ± 1 standard deviation over {'splits' if top.directed else 'calls'}")
        axes.plot(top.score, places, "o", color=LINES[0], ms=7, zorder=3, label="tried")
        if top.best is not None:
            star(axes, top.score[top.best], float(top.best))
        axes.set_yticks(places, [plain(label) for label in labels])
        axes.set(ylim=(len(places) - 0.5, -0.5), xlabel=plain(top.label))
        axes.set_ylabel(plain(short_text(", ".join(column.name for column in columns), LONGEST_NAMES)))
        axes.grid(True, axis="x", color="0.92", lw=0.8)
        axes.tick_params(axis="y", length=0)
        title = "" if top.best is not None else by_names(top.label, columns)
        titled(figure, axes, top, title, beside=0.8 + max(map(len, labels)) / CHARACTERS_PER_INCH["labels"])
    return figure
