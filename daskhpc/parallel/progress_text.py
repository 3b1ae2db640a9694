"""The texts of progress: times, rates, lines, and causes of failures, all from values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..text import duration, duration_left
from ..text import rate as rate_text


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is.

    Parameters
    ----------
    done : int
        Finished calls, failed ones included.
    failed : int
        Fits that failed.
    total : int or None
        All calls; None while the caller still enumerates them.
    known : int
        Calls seen so far.
    seconds : float
        Since the start.
    best : float or None
        The best test score so far, None if there is none.
    workers : int
        Processes that take part.
    replayed : int
        Finished calls whose results were in the checkpoint.
    """

    done: int
    failed: int
    total: int | None
    known: int
    seconds: float
    best: float | None
    workers: int
    replayed: int = 0


def score_text(score: float) -> str:
    """A score with four digits: ``0.9739``, ``-1,234,568``."""
    return f"{score:,.0f}" if 1e4 <= abs(score) < 1e12 else f"{score:.4g}"


def recent_rate(history: Sequence[tuple[float, int]], now: Standing) -> float | None:
    """Calls per second over the last part of a run, None before the first has finished.

    Parameters
    ----------
    history : sequence of (seconds, done)
        Earlier standings, in order.
    now : Standing
        The present one.

    Notes
    -----
    The last part is the last quarter of the time, or longer if fewer than two calls per worker finished in it: calls
    of equal length finish in waves.
    """
    seconds, done = 0.75 * now.seconds, now.done - 2 * now.workers
    start = next((past for past in reversed(history) if past[0] <= seconds and past[1] <= done), (0.0, now.replayed))
    if now.seconds <= start[0] or now.done <= start[1]:
        return None
    return (now.done - start[1]) / (now.seconds - start[0])


def seconds_left(standing: Standing, rate: float | None) -> float | None:
    """The seconds that the open calls take at this rate; None if it is not known."""
    if standing.total is None or not rate or standing.done >= standing.total:
        return None
    return (standing.total - standing.done) / rate


def line_gap(printed: int) -> float:
    """The seconds from one line of a log to the next: 10, 20, 40, ... and at most 600."""
    return min(10 * 2.0 ** min(printed, 10), 600.0)


def _percent(standing: Standing) -> str:
    return f"{min(100, 100 * standing.done // standing.total)}%" if standing.total else ""


def _failed(standing: Standing) -> list[str]:
    return [f"{standing.failed:,} failed"] if standing.failed else []


def _best(standing: Standing) -> list[str]:
    return [f"best {score_text(standing.best)}"] if standing.best is not None and math.isfinite(standing.best) else []


def _counted(number: int, unit: str) -> str:
    return f"{number:,} {unit[:-1] if number == 1 else unit}"


def line(label: str, standing: Standing, rate: float | None, unit: str = "fits") -> str:
    """``GridSearchCV: 340 of 1,200 fits (28%), 3 failed, 34/s, about 25 s left, best 0.974``."""
    total = standing.total
    whole = f"at least {_counted(standing.known, unit)}" if total is None else _counted(total, unit)
    percent = f" ({_percent(standing)})" if total else ""
    left = seconds_left(standing, rate)
    parts = [f"{label}: {standing.done:,} of {whole}{percent}", *_replayed(standing), *_failed(standing)]
    parts += [rate_text(rate)] if rate else []
    parts += [f"about {duration_left(left)} left"] if left is not None else []
    return ", ".join([*parts, *_best(standing)])


def last_line(label: str, standing: Standing, unit: str = "fits") -> str:
    """``GridSearchCV: 1,200 fits in 35 s, 3 failed, best 0.974``."""
    whole = standing.total is None or standing.done >= standing.total
    fits = _counted(standing.done, unit) if whole else f"{standing.done:,} of {_counted(standing.total or 0, unit)}"
    first = f"{label}: {fits} in {duration(standing.seconds)}"
    return ", ".join([first, *_replayed(standing), *_failed(standing), *_best(standing)])


def _replayed(standing: Standing) -> list[str]:
    return [f"{standing.replayed:,} from the checkpoint"] if standing.replayed else []


def element(label: str, standing: Standing, rate: float | None, unit: str = "fits") -> str:
    """The same as HTML, with a progress element."""
    part = f' value="{standing.done}" max="{standing.total}"' if standing.total else ""
    return f"<div><progress{part}></progress> {escape(line(label, standing, rate, unit))}</div>"


def bar(label: str, standing: Standing, rate: float | None, width: int, ascii_only: bool) -> list[tuple[str, str]]:
    """One line of a terminal as (text, style): label, bar and as many figures as fit, the most telling ones first.

    Parameters
    ----------
    label : str
        What runs.
    standing : Standing
        How far it is.
    rate : float or None
        Calls per second.
    width : int
        Columns.
    ascii_only : bool
        Whether the terminal takes nothing but ASCII.
    """
    total, left = standing.total, seconds_left(standing, rate)
    percent = f" {_percent(standing)}" if total and width >= 30 else ""
    of = f"{standing.known:,}+" if total is None else f"{total:,}{percent}"
    count = f" {standing.done:,}/{of}"
    name = _short(label, min(width - len(count) - 1, max(width // 3, 12)))
    least = 12 if width >= 50 and total else 0
    room = width - len(name) - 1 - least - len(count)
    figures = [(f"{duration_left(left)} left", "cyan")] if left is not None else []
    figures = [*((f, "red") for f in _failed(standing)), *figures, *((b, "bold") for b in _best(standing))]
    figures += [(rate_text(rate), "default")] if rate else []
    shown = []
    for text, style in figures:
        if len(text) + 2 <= room:
            room -= len(text) + 2
            shown.append((f"  {text}", style))
    parts = [(f"{name} ", "bold")]
    if least and total:
        cells = min(30, least + room)
        full = min(cells, cells * standing.done // total)
        done, still = "#-" if ascii_only else "━─"
        parts += [(done * full, "green"), (still * (cells - full), "dim")]
    return [*parts, (count, "default"), *shown]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 3, 0)] + "..." if most > 6 else ""


def plain(text: str) -> str:
    """The first line without what would steer a terminal."""
    first = (text.strip().splitlines() or [""])[0]
    return "".join(c if c.isprintable() else " " for c in first)


def alike(cause: str) -> str:
    """What causes of failures that differ in numbers, addresses or late parts of their text have in common."""
    return re.sub(r"0x[\da-fA-F]+|-?\d+(\.\d*)?([eE][-+]?\d+)?", "#", plain(cause))[:60]


class Causes:
    """Causes of failures, counted by what is alike in them."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def add(self, cause: str) -> None:
        """Count a failure; of those alike the first is shown."""
        text, count = self._seen.get(alike(cause), (_short(plain(cause), 100), 0))
        self._seen[alike(cause)] = text or "no cause given", count + 1

    def summary(self, failed: int, unit: str = "fits") -> str:
        """``12 fits failed: 10 x ValueError: ...; 2 x MemoryError``, the three most frequent; empty without causes."""
        if not self._seen:
            return ""
        failed = max(failed, sum(count for _, count in self._seen.values()))
        most = sorted(self._seen.values(), key=lambda seen: -seen[1])[:3]
        others = failed - sum(count for _, count in most)
        parts = [f"{count:,} x {text}" for text, count in most] + ([f"{others:,} others"] if others else [])
        return f"{_counted(failed, unit)} failed: {'; '.join(parts)}"
