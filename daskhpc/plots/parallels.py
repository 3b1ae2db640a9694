"""Many parameters: parallel coordinates, a line for each candidate."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .columns import NOT_SET, Column, Floats, even_texts, short_text
from .page import WIDTH, by_names, drawing, plain, score_text, star, titled
from .scales import Limits, is_log, limits
from .trials import Trials

# The other way round than in a heat map: on white paper the dark end is the one that is seen.
COLOURS = "viridis_r"
MOST_TEXTS = 12
UNSET_ROOM = 0.1
INCHES_EACH = 1.05
STRIP = 0.07
MANY = 2000
STRONG = 15
SNAP = 0.08
LONGEST_NAME = 13


@dataclass(frozen=True, slots=True, eq=False)
class Rail:
    """One upright axis: where each candidate crosses it, from 0 to 1, and its ticks."""

    places: Floats
    ticks: Floats
    texts: tuple[str, ...]


def draw(trials: Trials, ax: Axes | None = None) -> Figure:
    """A picture with an upright axis for each parameter, and one for the score, whose colour the lines have."""
    shown = trials.take(np.flatnonzero(np.isfinite(trials.score)))
    columns = shown.shown
    span = limits(shown.score, shown.directed)
    rails = [*(rail(column) for column in columns), _score_rail(shown.score, span)]
    order = np.argsort(shown.ranks, kind="stable")
    with drawing(ax, max(WIDTH, INCHES_EACH * len(rails))) as (figure, axes):
        places = np.column_stack([one.places for one in rails])
        _lines(axes, places[order], shown.score[order], Normalize(span.low, span.high, clip=True))
        for place, one in enumerate(rails):
            _rail(axes, place, one, place == len(columns))
        _strip(axes, len(columns))
        if shown.best is not None:
            _best(axes, places[shown.best])
        names = [plain(_folded(name)) for name in (*(column.name for column in columns), shown.label)]
        axes.set_xticks(range(len(rails)), names)
        axes.tick_params(axis="x", length=0, pad=8)
        axes.set(xlim=(0, len(columns) + STRIP), ylim=(0, 1), yticks=[])
        axes.spines[:].set_visible(False)
        titled(figure, axes, shown, "" if shown.best is not None else by_names(shown.label, columns))
    return figure


def _folded(name: str) -> str:
    """A name in lines that fit between two axes, cut at its spaces and underscores."""
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", name):
        if lines[-1] and len(lines[-1]) + len(part.strip()) > LONGEST_NAME:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def rail(column: Column) -> Rail:
    """The axis of a parameter: logarithmic or linear for numbers, in equal steps for labels."""
    numbers, distinct = column.numbers, column.distinct
    if column.numeric and is_log(distinct):
        numbers, low, high = np.log10(numbers), math.log10(distinct[0]), math.log10(distinct[-1])
        room = SNAP * (high - low)
        low = math.floor(low) if low - math.floor(low) < room else low
        high = math.ceil(high) if math.ceil(high) - high < room else high
        ticks = np.arange(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1, dtype=float)
        ticks = ticks[:: -(-len(ticks) // 6)]
        texts = [f"$10^{{{tick:.0f}}}$" for tick in ticks]
    elif column.numeric:
        low, high = distinct[0], distinct[-1]
        whole = bool(np.all(distinct == np.round(distinct)))
        ticks = distinct if len(distinct) <= 6 else np.asarray(MaxNLocator(5, integer=whole).tick_values(low, high))
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        texts = even_texts(ticks)
    else:
        low, high = 0.0, float(len(column.labels) - 1)
        ticks = distinct[:: -(-len(distinct) // MOST_TEXTS)]
        texts = [plain(short_text(column.text(tick), LONGEST_NAME)) for tick in ticks]
    unset = np.isnan(numbers)
    bottom = UNSET_ROOM if unset.any() else 0.0

    def place(values: Floats) -> Floats:
        share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
        return np.asarray(bottom + (1 - bottom) * share)

    if unset.any():
        return Rail(np.where(unset, 0.0, place(numbers)), np.concatenate([[0.0], place(ticks)]), (NOT_SET, *texts))
    return Rail(place(numbers), place(ticks), tuple(texts))


def _score_rail(score: Floats, span: Limits) -> Rail:
    ticks = np.asarray(MaxNLocator(6).tick_values(span.low, span.high))
    room = 0.06 * (span.high - span.low)
    low_room, high_room = (room if span.extend in ends else 0.0 for ends in (("min", "both"), ("max", "both")))
    ticks = ticks[(ticks >= span.low + low_room) & (ticks <= span.high - high_room)]
    texts = even_texts(ticks)
    if low_room:
        ticks, texts = np.append(ticks, span.low), [*texts, f"≤ {score_text(span.low)}"]
    if high_room:
        ticks, texts = np.append(ticks, span.high), [*texts, f"≥ {score_text(span.high)}"]
    scaled = (np.clip(score, span.low, span.high) - span.low) / (span.high - span.low)
    return Rail(scaled, (ticks - span.low) / (span.high - span.low), tuple(texts))


def _lines(ax: Axes, places: Floats, score: Floats, norm: Normalize) -> None:
    """All lines, the worst first; thousands are faint but for the best, so that these can be seen."""
    count = len(places)
    faintest = min(0.7, max(0.04, 25 / count))
    colours = matplotlib.colormaps[COLOURS](norm(score))
    colours[:, 3] = faintest + (0.8 - faintest) * np.exp(-np.arange(count)[::-1] / STRONG)
    across = np.broadcast_to(np.arange(places.shape[1], dtype=float), places.shape)
    lines = LineCollection(
        list(np.stack([across, places], axis=2)), colors=colours, linewidths=1.1 if count <= 500 else 0.8, zorder=2
    )
    lines.set(label="tried", rasterized=count > MANY, clip_on=False)
    ax.add_collection(lines)


def _rail(ax: Axes, place: int, one: Rail, right: bool) -> None:
    if not right:
        ax.plot([place, place], [0, 1], color="0.25", lw=1.1, zorder=4, clip_on=False, label="_rail")
        ax.plot([place] * len(one.ticks), one.ticks, "_", color="0.25", ms=6, zorder=4, clip_on=False, label="_rail")
    for tick, text in zip(one.ticks, one.texts, strict=True):
        ax.annotate(
            text, (place + STRIP if right else place, tick), (4 if right else -5, 0), textcoords="offset points",
            ha="left" if right else "right", va="center", fontsize=8.5, zorder=5,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _strip(ax: Axes, place: int) -> None:
    """The score's axis as a strip of the colours."""
    shades = np.linspace(0, 1, 129)
    ax.pcolormesh(
        [place, place + STRIP], shades, shades[:-1, None], cmap=COLOURS, vmin=0, vmax=1, zorder=4, rasterized=True
    )


def _best(ax: Axes, places: NDArray[np.float64]) -> None:
    dark = matplotlib.colormaps[COLOURS](1.0)
    line = ax.plot(range(len(places)), places, color=dark, lw=3.2, zorder=4, clip_on=False, label="best line")[0]
    line.set_path_effects([Stroke(linewidth=5.4, foreground="white"), Normal()])
    star(ax, len(places) - 1 + STRIP / 2, places[-1])
