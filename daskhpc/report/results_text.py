"""The lines that ``daskhpc results`` prints: a few rows of a table, cut to the width of the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..text import counted, shortened

if TYPE_CHECKING:
    import pandas as pd

_CELL = 24
_GAP = "  "


def search_lines(title: str, frame: pd.DataFrame, by: str, top: int, width: int) -> list[str]:
    """The best candidates of a search by a column of means: parameters, mean, standard deviation, rank."""
    splits = len({found[0] for name in frame if (found := re.match(r"split\d+_", str(name)))})
    short = int((frame["splits_done"] < splits).sum()) if "splits_done" in frame else 0
    unfinished = f", {short:,} of them not yet on all {splits} splits" if short else ""
    score = by.removeprefix("mean_")
    params = [str(name) for name in frame if str(name).startswith("param_")]
    extra = [name for name in (f"std_{score}", f"rank_{score}") if name in frame]
    # Scores on little data are not compared with scores on more: the last round of a halving search comes first.
    rounds = ["iter"] if "iter" in frame else []
    figures = [*rounds, by, *extra, *(["splits_done"] if short else [])]
    how = f"{by}, the last round first" if rounds else by
    head = f"{title}: {len(frame):,} candidates{unfinished}; {_shown(len(frame), top)} by {how}"
    rows = best_first(frame, *rounds, by).head(top)
    lines = [head, *grid(rows, [*params, *figures], [*params, *extra], width, "param_")]
    chosen = frame.attrs.get("best_index")
    if chosen is not None and chosen != rows.index[0]:
        lines.append(f"the search chose {shortened(_params_text(frame['params'][chosen]), width)}")
    return lines


def _params_text(params: Any) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())


def sweep_lines(title: str, frame: pd.DataFrame, by: str | None, top: int, width: int) -> list[str]:
    """The first calls of a sweep, or the best by a column."""
    names = [str(name) for name in frame]
    rows = frame if by is None else best_first(frame, by)
    failed = int(frame["error"].notna().sum())
    head = f"{title}: {len(frame):,} calls{f', {failed:,} failed' if failed else ''}; {_shown(len(frame), top)}"
    head += f" by {by}" if by is not None else " in the order of the sweep"
    if not failed:
        names.remove("error")
    droppable = [name for name in names if name not in (by, "error", "seconds", "host")]
    return [head, *grid(rows.head(top), names, [*droppable, "seconds", "host"], width)]


def call_lines(title: str, frame: pd.DataFrame, top: int, width: int) -> list[str]:
    """The first calls of a program that are no search."""
    head = f"{title}: {counted(len(frame), 'call')}; {_shown(len(frame), top)} in the order in which they ended"
    return [head, *grid(frame.head(top), [str(name) for name in frame], ["seconds", "host"], width)]


def best_first(frame: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Sorted, what failed last, and equal rows in their order."""
    # By one column at a time: by several at once pandas' sort has no word on equal rows.
    for name in reversed(by):
        frame = _sorted(frame, name)
    return frame


def _sorted(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    return frame.sort_values(by, ascending=False, na_position="last", kind="stable")


def _shown(rows: int, top: int) -> str:
    return "all" if rows <= top else f"the first {top}"


def grid(frame: pd.DataFrame, names: list[str], droppable: list[str], width: int, prefix: str = "") -> list[str]:
    """Columns side by side, named without `prefix`, and without the last ones of `droppable` if they do not fit."""
    cells = {name: [shortened(name.removeprefix(prefix), _CELL), *map(_cell, frame[name])] for name in names}
    wide = {name: max(map(len, column)) for name, column in cells.items()}
    dropped = 0
    while sum(wide.values()) + len(_GAP) * len(wide) > width and droppable[dropped:] and len(wide) > 1:
        dropped += 1
        del wide[droppable[-dropped]]
    lines = [
        "".join(f"{_GAP}{cells[name][row]:>{size}}" for name, size in wide.items()) for row in range(len(frame) + 1)
    ]
    return [*lines, *([f"{_GAP}(columns that do not fit: {dropped}; the saved table has all)"] if dropped else [])]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.5g}"
    return "-" if value is None else shortened(str(value), _CELL)
