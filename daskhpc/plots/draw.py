"""The pictures: heat map or points, curve, dots, parallel coordinates, drawn with matplotlib without pyplot."""

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
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.style import context
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from ..errors import DaskhpcError
from ..text import shortened
from .data import NOT_SET, PlotData, distinct, is_numeric, merged, numbers_of, text_of
from .scales import cells, is_log, limits, running

WIDTH, HEIGHT, DPI = 7.0, 4.8, 150
GREY, FAILED = "0.35", "0.82"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
# Parallel coordinates have the dark end for high scores, because on white paper dark lines are the ones that are seen.
CELL_COLOURS, LINE_COLOURS = "viridis", "viridis_r"
MOST_TICKS, MOST_DOTS, DENSE, STRIP = 24, 20, 60, 0.07

# On top of matplotlib's own defaults, so that a picture is the same whatever style the user's program has set.
STYLE: Any = [
    "default",
    {"axes.labelsize": 11, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42},
]


class NotebookFigure(Figure):
    """A Figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with context(STYLE):
            self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


def heat_map(data: PlotData, ax: Axes | None = None) -> Figure:
    """The score over two parameters: cells if most combinations were tried, otherwise points."""
    shown = list(data.shown) if data.asked else [*data.of_kind(True), *data.of_kind(False)]
    if len(shown) < 2:
        todo = "plots.curve for one parameter, or params=[x, y]"
        raise DaskhpcError("A heat map needs two parameters that vary.", shown[0], todo)
    data = merged(data, shown[:2])
    x, y = (data.parameters[name] for name in shown[:2])
    # Values of categories have places, whatever was tried; numbers that were drawn at random have none.
    grid = len(x) > len(distinct(x)) * len(distinct(y)) / 2 or not (is_numeric(x) and is_numeric(y))
    with _drawing(ax) as (figure, axes):
        low, high, extend = limits(data.outcome["score"].to_numpy(), bool(data.mark))
        norm = Normalize(low, high)
        bar: Any = figure.colorbar(ScalarMappable(norm, CELL_COLOURS), ax=axes, extend=extend, pad=0.02, aspect=26)
        bar.set_label(_plain(data.label))
        bar.outline.set_visible(False)
        axes.set(xlabel=_plain(data.names[x.name]), ylabel=_plain(data.names[y.name]))
        note = (_draw_cells if grid else _draw_points)(axes, data, x, y, norm)
        _title(figure, axes, data.noted(*note), shown[:2], beside=1.7)
    return figure


def _draw_cells(ax: Axes, data: PlotData, x: Any, y: Any, norm: Normalize) -> list[str]:
    across, up = cells(x), cells(y)
    column, row = (np.searchsorted(distinct(values), numbers_of(values)) for values in (x, y))
    score = np.full((len(up.centres), len(across.centres)), np.nan)
    score[row, column] = data.outcome["score"]
    ax.pcolormesh(across.edges, up.edges, np.ma.masked_invalid(score), norm=norm, cmap=CELL_COLOURS, rasterized=True)
    for axis, scale, values in ((ax.xaxis, across, x), (ax.yaxis, up, y)):
        if scale.kind == "log":
            _set_scale(axis, "log")
        elif scale.kind == "category" or len(scale.centres) <= 10:
            _set_ticks(axis, scale.centres, [text_of(values, value) for value in distinct(values)])
    # Cells without a score show the paper below them.
    ax.patch.set(facecolor=FAILED, edgecolor="0.6", hatch="////")
    ax.set(xlim=across.edges[[0, -1]], ylim=up.edges[[0, -1]])
    ax.spines[:].set_visible(False)
    ax.tick_params(which="both", length=3)
    if data.best is not None:
        _star(ax, across.centres[column[data.best]], up.centres[row[data.best]])
    return ["hatched: failed or not tried"] if np.isnan(score).any() else []


def _draw_points(ax: Axes, data: PlotData, x: Any, y: Any, norm: Normalize) -> list[str]:
    _scale(ax.xaxis, x)
    _scale(ax.yaxis, y)
    score, good = data.outcome["score"], data.outcome["score"].notna()
    ax.plot(x[~good], y[~good], "x", color="0.6", ms=6, label="failed")
    rows = score[good].sort_values(kind="stable").index
    ax.scatter(
        x[rows], y[rows], s=42 if len(rows) <= 500 else 16, c=score[rows], norm=norm, cmap=CELL_COLOURS,
        lw=0.4, ec="white", zorder=3, rasterized=len(rows) > 2000, label="tried",
    )  # fmt: skip
    if data.best is not None:
        _star(ax, x[data.best], y[data.best])
    return [] if good.all() else ["grey crosses: failed"]


def curve(data: PlotData, ax: Axes | None = None) -> Figure:
    """The score along one numeric parameter, with a line for each value of another one."""
    shown = data.shown if data.asked else (*data.of_kind(True)[:1], *data.of_kind(False)[:1])
    column = data.parameters[shown[0]]
    if not is_numeric(column):
        found = f"{shown[0]}: {', '.join(column.cat.categories)}"
        raise DaskhpcError("A curve needs a numeric parameter.", found, "params=[a numeric one]")
    lines = [name for name in shown[1:2] if len(distinct(data.parameters[name])) <= len(LINES)]
    if data.asked and len(shown) > 1 and not lines:
        raise DaskhpcError(
            f"A curve has at most {len(LINES)} lines.",
            f"{len(distinct(data.parameters[shown[1]]))} values of {shown[1]}",
            f"plots.heatmap, or params=[{shown[0]!r}]",
        )
    data = merged(data, [shown[0], *lines])
    x = data.parameters[shown[0]]
    dense = len(distinct(x)) > DENSE
    with _drawing(ax, height=4.3) as (figure, axes):
        axes.set(xlabel=_plain(data.names[shown[0]]), ylabel=_plain(data.label))
        axes.grid(True, color="0.92", lw=0.8)
        _scale(axes.xaxis, x)
        for rows, colour, label in _line_rows(data, lines):
            part = data.outcome.assign(x=x)[rows].sort_values("x", kind="stable")
            (_draw_cloud if dense else _draw_line)(axes, part, colour, _plain(label))
        if data.best is not None:
            _star(axes, x[data.best], data.outcome["score"][data.best])
        _legend(axes, data, lines, dense)
        if dense:
            data = data.noted("line and band: running median and the middle 80 %")
        elif "spread" in data.outcome:
            data = data.noted(_deviation("band", data))
        _title(figure, axes, data, [shown[0], *lines])
    return figure


def _line_rows(data: PlotData, lines: Sequence[str]) -> Iterator[tuple[Any, str, str]]:
    """Rows, colour and name of each line."""
    if not lines:
        yield data.outcome.index >= 0, LINES[0], data.label
        return
    column = data.parameters[lines[0]]
    for value, colour in zip(distinct(column), LINES, strict=False):
        yield numbers_of(column) == value, colour, text_of(column, value)


def _draw_line(ax: Axes, part: Any, colour: str, label: str) -> None:
    ax.plot(part["x"], part["score"], "o-", color=colour, ms=4, lw=1.8, label=label, zorder=4)
    if "spread" in part:
        low, high = part["score"] - part["spread"], part["score"] + part["spread"]
        ax.fill_between(part["x"], low, high, color=colour, alpha=0.16, lw=0)
    if "train" in part:
        ax.plot(part["x"], part["train"], "--", color=colour, lw=1.2, alpha=0.8, label="_train", zorder=3)


def _draw_cloud(ax: Axes, part: Any, colour: str, label: str) -> None:
    part = part[part["score"].notna()]
    alpha = min(0.6, max(0.12, 150 / max(1, len(part))))
    ax.plot(
        part["x"], part["score"], "o", color=colour, ms=3, mew=0, alpha=alpha, label="_tried",
        rasterized=len(part) > 2000,
    )  # fmt: skip
    places, low, middle, high = running(part["x"].to_numpy(), part["score"].to_numpy())
    ax.fill_between(places, low, high, color=colour, alpha=0.16, lw=0)
    ax.plot(places, middle, "-", color=colour, lw=2.2, label=label, zorder=4)


def _legend(ax: Axes, data: PlotData, lines: Sequence[str], dense: bool) -> None:
    """What the lines are, beside the axes, if there is more than one."""
    handles = [
        line for line in ax.get_lines() if not str(line.get_label()).startswith("_") and line.get_marker() != "*"
    ]
    if "train" in data.outcome and not dense:
        handles += ax.plot([], [], "--", color=GREY, lw=1.2, label="training data")
    if len(handles) > 1:
        title = _plain(data.names[lines[0]]) if lines else None
        ax.legend(
            handles=handles, title=title, alignment="left", loc="upper left", bbox_to_anchor=(1.0, 1.0),
            frameon=False, fontsize=9, title_fontsize=9.5,
        )  # fmt: skip


def dots(data: PlotData, ax: Axes | None = None) -> Figure:
    """A dot for each of the best candidates, the best at the top."""
    shown = data.shown
    data = merged(data, shown)
    order = data.outcome["order" if data.mark else "score"].sort_values(ascending=False, kind="stable").dropna().index
    data = data.take(order[:MOST_DOTS])
    if len(order) > MOST_DOTS:
        data = data.noted(f"the top {MOST_DOTS} of {len(order)}")
    places, score = np.arange(len(data.outcome)), data.outcome["score"]
    values = zip(
        *([text_of(data.parameters[n], v) for v in numbers_of(data.parameters[n])] for n in shown), strict=True
    )
    labels = [shortened(", ".join(texts), 36) for texts in values]
    with _drawing(ax, height=1.6 + 0.24 * max(4, len(places))) as (figure, axes):
        if "spread" in data.outcome:
            axes.errorbar(
                score, places, xerr=data.outcome["spread"], fmt="none", ecolor="0.72", elinewidth=1.6, zorder=2
            )
            data = data.noted(_deviation("bars", data))
        axes.plot(score, places, "o", color=LINES[0], ms=7, zorder=3, label="tried")
        if data.best is not None:
            _star(axes, score[data.best], data.best)
        axes.set_yticks(places, [_plain(label) for label in labels])
        axes.set(ylim=(len(places) - 0.5, -0.5), xlabel=_plain(data.label))
        axes.set_ylabel(_plain(shortened(", ".join(data.names[name] for name in shown), 60)))
        axes.grid(True, axis="x", color="0.92", lw=0.8)
        axes.tick_params(axis="y", length=0)
        _title(figure, axes, data, shown, beside=0.8 + max(map(len, labels)) / 12)
    return figure


def parallel_coordinates(data: PlotData, ax: Axes | None = None) -> Figure:
    """A line for each candidate through an upright axis for each parameter, coloured by the score."""
    data, shown = data.take(data.outcome["score"].notna().to_numpy()), data.shown
    score, last = data.outcome["score"].to_numpy(), len(shown)
    low, high, extend = limits(score, bool(data.mark))
    norm = Normalize(low, high, clip=True)
    ends = {"min": [(low, "below")], "max": [(high, "above")], "both": [(low, "below"), (high, "above")]}
    data = data.noted(*(f"scores {side} {end:.4g} are drawn as {end:.4g}" for end, side in ends.get(extend, ())))
    with _drawing(ax, max(WIDTH, 1.05 * (last + 1))) as (figure, axes):
        heights = [_draw_rail(axes, place, data.parameters[name]) for place, name in enumerate(shown)]
        places = np.column_stack([*heights, np.asarray(norm(score))])
        order = data.outcome["order" if data.mark else "score"].argsort(kind="stable").to_numpy()
        _draw_candidates(axes, places[order], norm(score[order]))
        axes.vlines(range(last), 0, 1, color="0.25", lw=1.1, zorder=4, clip_on=False)
        strip = axes.inset_axes((last, 0, STRIP, 1), transform=axes.transData)
        bar: Any = figure.colorbar(ScalarMappable(norm, LINE_COLOURS), cax=strip)
        bar.outline.set_visible(False)
        if data.best is not None:
            _draw_best(axes, places[data.best])
        # Names are cut at their spaces and underscores, to fit between two upright axes.
        names = [
            textwrap.fill(_plain(name).replace("_", "_ "), 13).replace("_ ", "_")
            for name in (*(data.names[name] for name in shown), data.label)
        ]
        axes.set_xticks(range(last + 1), names)
        axes.tick_params(axis="x", length=0, pad=8)
        axes.set(xlim=(0, last + STRIP), ylim=(0, 1), yticks=[])
        axes.spines[:].set_visible(False)
        _title(figure, axes, data, shown)
    return figure


def _draw_rail(ax: Axes, place: int, column: Any) -> Any:
    """Draw the ticks of one parameter's upright axis; the height of each candidate on it, from 0 to 1."""
    numbers, values = numbers_of(column), distinct(column)
    if not is_numeric(column):
        ticks = values[:: -(-len(values) // 12)]
        texts = [_plain(shortened(text_of(column, tick), 13)) for tick in ticks]
    elif is_log(values):
        numbers, values = np.log10(numbers), np.log10(values)
        room = 0.08 * (values[-1] - values[0])
        values[0] = np.floor(values[0]) if values[0] % 1 < room else values[0]
        values[-1] = np.ceil(values[-1]) if -values[-1] % 1 < room else values[-1]
        ticks = np.asarray(MaxNLocator(5, integer=True).tick_values(values[0], values[-1]))
        texts = [f"$10^{{{tick:.0f}}}$" for tick in ticks]
    else:
        whole = bool(np.all(values == np.round(values)))
        ticks = values
        if len(values) > 6:
            ticks = np.asarray(MaxNLocator(5, integer=whole).tick_values(values[0], values[-1]))
        formatter = ScalarFormatter(useOffset=False)
        formatter.create_dummy_axis()
        formatter.set_scientific(False)
        texts = formatter.format_ticks(list(ticks))
    bottom = 0.1 if np.isnan(numbers).any() else 0.0

    def height(at: Any) -> Any:
        return bottom + (1 - bottom) * (at - values[0]) / ((values[-1] - values[0]) or 1.0)

    marks = [(height(tick), text) for tick, text in zip(ticks, texts, strict=True) if values[0] <= tick <= values[-1]]
    for at, text in [*marks, *([(0.0, NOT_SET)] if bottom else [])]:
        ax.plot([place], [at], "_", color="0.25", ms=6, zorder=4, clip_on=False, label="_tick")
        ax.annotate(
            text, (place, at), (-5, 0), textcoords="offset points", ha="right", va="center", fontsize=8.5, zorder=5,
            bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip
    return np.where(np.isnan(numbers), 0.0, height(numbers))


def _draw_candidates(ax: Axes, places: Any, score: Any) -> None:
    """All lines, the worst first; thousands are faint except for the best, so that these can be seen."""
    count = len(places)
    faintest = min(0.7, max(0.04, 25 / count))
    colours = matplotlib.colormaps[LINE_COLOURS](score)
    colours[:, 3] = faintest + (0.8 - faintest) * np.exp(-np.arange(count)[::-1] / 15)
    across = np.broadcast_to(np.arange(places.shape[1], dtype=float), places.shape)
    segments = list(np.stack([across, places], axis=2))
    lines = LineCollection(segments, colors=colours, linewidths=1.1 if count <= 500 else 0.8, zorder=2)
    lines.set(label="tried", rasterized=count > 2000, clip_on=False)
    ax.add_collection(lines)


def _draw_best(ax: Axes, places: Any) -> None:
    dark = matplotlib.colormaps[LINE_COLOURS](1.0)
    (line,) = ax.plot(range(len(places)), places, color=dark, lw=3.2, zorder=4, clip_on=False, label="best line")
    line.set_path_effects([Stroke(linewidth=5.4, foreground="white"), Normal()])
    _star(ax, len(places) - 1 + STRIP / 2, places[-1])


@contextmanager
def _drawing(ax: Axes | None, width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """A new figure with one axes, or the user's axes and their figure, with the style of daskhpc."""
    with context(STYLE):
        if ax is None:
            figure: Figure = NotebookFigure(figsize=(width, height), dpi=DPI, layout="constrained")
            yield figure, figure.add_subplot()
        else:
            root: Any = ax.figure
            yield root.figure, ax


def _plain(text: str) -> str:
    """A text that matplotlib takes as it is, dollars and all."""
    return text.replace("$", r"\$")


def _title(figure: Figure, ax: Axes, data: PlotData, shown: Sequence[str], beside: float = 0.9) -> None:
    """The best candidate above the axes, and the notes in smaller letters; `beside` inches are not the axes'."""
    title = f"{data.label} by {' and '.join(data.names[name] for name in shown)}"
    if data.best is not None:
        row, best = data.parameters.iloc[data.best], data.outcome.iloc[data.best]
        spread = f" ± {best['spread']:.2g}" if "spread" in best else ""
        values = [
            f"{data.names[name]} = {text_of(column, numbers_of(column)[data.best])}".replace(" ", "\N{NO-BREAK SPACE}")
            for name, column in data.parameters.items()
            if row.notna()[name]
        ]
        title = f"★ {data.mark} {best['score']:.4g}{spread} at {', '.join(values)}"
    # A line of the title takes as many inches as its part of the figure has: constrained layout cannot wrap texts.
    spec = ax.get_subplotspec()
    columns = 1 if spec is None else spec.get_gridspec().ncols / len(spec.colspan)
    inches = max(2.5, float(figure.get_size_inches()[0] / columns) - beside)
    above, below = (
        textwrap.fill(text, int(inches * letters), break_on_hyphens=False)
        for text, letters in ((title, 10.5), (" · ".join(data.notes), 14.5))
    )
    ax.set_title(_plain(above), loc="left", fontsize=11, fontweight="bold", pad=9 + 12.5 * len(below.splitlines()))
    ax.annotate(
        _plain(below), (0, 1), (0, 6), "axes fraction", "offset points",
        va="bottom", fontsize=8.5, color=GREY, linespacing=1.25, label="notes",
    )  # fmt: skip


def _deviation(kind: str, data: PlotData) -> str:
    return f"{kind}: ± 1 standard deviation over {'splits' if data.mark else 'calls'}"


def _scale(axis: Axis, column: Any) -> None:
    """The scale that a numeric parameter belongs on, with whole ticks for whole numbers."""
    values = distinct(column)
    if is_log(values):
        _set_scale(axis, "log")
    elif np.all(values == np.round(values)):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _set_scale(axis: Axis, scale: str) -> None:
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)(scale)


def _set_ticks(axis: Axis, places: Any, texts: Sequence[str]) -> None:
    """A tick for each value, or for some if there are too many, turned if they need room."""
    step = -(-len(places) // MOST_TICKS)
    texts = [_plain(text) for text in texts[::step]]
    axis.set_major_locator(FixedLocator(list(places[::step])))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels(texts)
    if axis is axis.axes.xaxis and sum(len(text) + 2 for text in texts) > 50:
        axis.set_tick_params(labelrotation=35)
        for label in axis.get_ticklabels():
            label.set(ha="right", rotation_mode="anchor")


def _star(ax: Axes, x: float, y: float) -> None:
    ax.plot([x], [y], "*", ms=15, mfc="white", mec="black", mew=1.2, zorder=6, label="best", clip_on=False)
