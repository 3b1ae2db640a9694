"""The paper under every picture: its size, fonts and colours, titles, axes, the mark of the best."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from .columns import Column, Floats
from .scales import Limits, is_log
from .trials import Trials

WIDTH, HEIGHT, DPI = 7.0, 4.8, 150
GREY = "0.35"
FAILED = "0.82"
COLOURS = "viridis"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MOST_TICKS = 24
CHARACTERS_PER_INCH = {"title": 10.5, "notes": 14.5, "labels": 12.0}

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "white",
    "axes.grid": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "mathtext.fontset": "dejavusans",
    "axes.unicode_minus": True,
    "text.usetex": False,
    "pdf.fonttype": 42,
}


class Picture(Figure):
    """A Figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


@contextmanager
def drawing(ax: Axes | None, width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """A new picture with one axes, or the caller's axes and their figure, while the style of daskhpc holds."""
    with matplotlib.rc_context(STYLE):
        if ax is None:
            figure: Figure = Picture(figsize=(width, height), dpi=DPI, layout="constrained")
            yield figure, figure.add_subplot()
        else:
            root: Any = ax.figure
            yield root.figure, ax


def plain(text: str) -> str:
    """A text that matplotlib takes as it is, dollars and all."""
    return text.replace("$", r"\$")


def titled(figure: Figure, ax: Axes, trials: Trials, title: str, *notes: str, beside: float = 0.9) -> None:
    """The finding above the axes, and in smaller letters what else one must know; `beside` inches are not the axes'."""
    inches = max(2.5, _inches(figure, ax) - beside)
    below = _wrapped(" · ".join((*trials.notes, *notes)), inches, "notes")
    above = _wrapped(title or f"★ best {best_text(trials)}", inches, "title")
    ax.set_title(plain(above), loc="left", fontsize=11, fontweight="bold", pad=9 + 12.5 * len(below.splitlines()))
    ax.annotate(
        plain(below), (0, 1), (0, 6), "axes fraction", "offset points",
        va="bottom", fontsize=8.5, color=GREY, linespacing=1.25, label="notes",
    )  # fmt: skip


def _inches(figure: Figure, ax: Axes) -> float:
    """The width of the part of the figure that an axes got, ticks and labels included."""
    spec = ax.get_subplotspec()
    columns = 1 if spec is None else spec.get_gridspec().ncols / len(spec.colspan)
    return float(figure.get_size_inches()[0] / columns)


def _wrapped(text: str, inches: float, kind: str) -> str:
    return textwrap.fill(text, int(inches * CHARACTERS_PER_INCH[kind]), break_on_hyphens=False)


def best_text(trials: Trials) -> str:
    """The best candidate by score and parameters."""
    best = trials.best
    assert best is not None
    spread = "" if trials.spread is None else f" ± {trials.spread[best]:.2g}"
    values = [
        f"{column.name} = {column.text(column.numbers[best])}".replace(" ", "\N{NO-BREAK SPACE}")
        for column in trials.columns
        if not np.isnan(column.numbers[best])
    ]
    return f"{score_text(trials.score[best])}{spread} at {', '.join(values)}"


def score_text(score: float) -> str:
    """A score with four digits."""
    return f"{score:.4g}"


def log_or_linear(axis: Axis, column: Column) -> None:
    """The scale that a numeric parameter belongs on, and its name."""
    log = is_log(column.distinct)
    set_scale(axis, "log" if log else "linear")
    if not log and np.all(column.distinct == np.round(column.distinct)):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    name(axis, column)


def set_scale(axis: Axis, scale: str) -> None:
    """Set the scale of either axis."""
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)(scale)


def name(axis: Axis, column: Column) -> None:
    """The name of a parameter beside its axis."""
    axis.set_label_text(plain(column.name))


def tick_values(axis: Axis, column: Column, places: Floats) -> None:
    """A tick for each different value, or for some if there are too many, turned if they need room."""
    step = -(-len(places) // MOST_TICKS)
    texts = [plain(column.text(value)) for value in column.distinct[::step]]
    axis.set_major_locator(FixedLocator(list(places[::step])))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels(texts)
    if axis is axis.axes.xaxis and sum(len(text) + 2 for text in texts) > 50:
        axis.set_tick_params(labelrotation=35)
        for label in axis.get_ticklabels():
            label.set(ha="right", rotation_mode="anchor")


def star(ax: Axes, x: float, y: float) -> None:
    """Mark the best."""
    ax.plot(
        [x], [y], "*", ms=15, mfc="white", mec="black", mew=1.2, zorder=6, label="best", clip_on=False
    )  # fmt: skip


def colour_bar(figure: Figure, ax: Axes, span: Limits, label: str) -> Normalize:
    """A bar of the colours of scores beside the axes, and what maps scores to them."""
    norm = Normalize(span.low, span.high)
    bar: Any = figure.colorbar(ScalarMappable(norm, COLOURS), ax=ax, extend=span.extend, pad=0.02, aspect=26)
    bar.set_label(plain(label))
    bar.outline.set_visible(False)
    return norm


def by_names(label: str, columns: Sequence[Column]) -> str:
    """The title of a picture without a best one."""
    return f"{label} by {' and '.join(column.name for column in columns)}"
