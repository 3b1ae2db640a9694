"""The lines that ``daskhpc status`` prints."""

from __future__ import annotations

import shlex
from datetime import datetime

from ..text import duration, duration_left, rate, shortened
from .best import Best
from .run_progress import Failure, PlaceProgress, RunProgress

MOST_PLACES = 15
_MOST_CAUSES = 3
_CAUSE_WIDTH = 100
_PLACE_WIDTH = 60
_QUIET_SECONDS = 120.0


def summary(folder: str, run: RunProgress, now: float) -> list[str]:
    """The lines for people.

    Parameters
    ----------
    folder : str
        As it was typed.
    run : RunProgress
    now : float
        Unix time.
    """
    lines = [headline(folder, run, now)]
    open_places = [place for place in run.places if place.open]
    ended = [place for place in run.places if not place.open]
    hidden = max(0, len(ended) - max(0, MOST_PLACES - len(open_places)))
    width = min(_PLACE_WIDTH, max((len(place.place) for place in run.places), default=0))
    if hidden:
        calls = sum(place.done for place in ended[:hidden])
        lines.append(f"  {hidden:,} earlier places in the program, {calls:,} calls done")
    for place in run.places:
        if place not in ended[:hidden]:
            lines += place_lines(place, width, brief=not place.open and len(run.places) > 1)
    if run.damages:
        lines.append(f"  records that cannot be read: {run.damages:,}, see {command('journal check', folder)}")
    if run.kind in ("calls", "sweep") and run.places:
        lines.append(
            "  a call that is kept is not run again: files that it wrote are not written again if they are gone"
        )
    todo, failures = next_step(folder, run), command("status --failures", folder)
    if run.failures and failures not in todo:
        lines.append(f"  what failed, with its parameters: {failures}")
    return [*lines, f"next: {todo}"]


def headline(folder: str, run: RunProgress, now: float) -> str:
    """What it is, since when, and whether a process works on it."""
    made = datetime.fromisoformat(run.created).astimezone().strftime("%Y-%m-%d %H:%M")
    kind = "calls of a program" if run.kind == "calls" else run.kind
    return f"{folder}: {kind}, made {made}, {_state(run, now)}"


def _state(run: RunProgress, now: float) -> str:
    ago = max(0.0, now - run.saved) if run.saved is not None else None
    saved = f"last result saved {duration(ago)} ago" if ago is not None else "no result saved yet"
    by = ", ".join(run.writers)
    match run.state:
        case "running" if run.known_alive or ago is None or ago < _QUIET_SECONDS:
            return f"being written by {by} ({saved})"
        case "running":
            return f"being written by {by}, or it was killed there ({saved})"
        case "finished":
            return f"finished ({saved})" if ago is not None else "finished"
        case "stopped":
            return f"stopped before its end ({saved})"
        case _:
            return "nothing in it yet"


def next_step(folder: str, run: RunProgress) -> str:
    """What to type."""
    match run.state:
        case "stopped" if run.places and all(place.known == place.failed for place in run.places):
            return f"{command('status --failures', folder)}; --retry-failed or retry_failed=True makes these fits again"
        case "stopped":
            return "start the same program again, or submit the same job again: it goes on from here"
        case "empty" if run.kind == "calls":
            return "submit the job that this folder is for; calls with n_jobs=1 or without n_jobs are not kept"
        case "empty":
            return "submit the job that this folder is for"
        case "finished" if run.kind == "training":
            return f"from daskhpc import ddp; ddp.load({folder!r})"
        case _:
            return command("results", folder)


def command(name: str, folder: str) -> str:
    """``daskhpc results 'my folder'``."""
    return f"daskhpc {name} {shlex.quote(folder)}"


def place_lines(place: PlaceProgress, width: int, brief: bool = False) -> list[str]:
    """One line on how far it is; unless `brief`, others on the best candidate and on failures."""
    figures, best = _figures(place), place.best
    if brief:
        figures += [f"{place.failed:,} failed"] if place.failed else []
        figures += [f"best {best.score:.4g}"] if best is not None and best.score is not None else []
    lines = [f"  {shortened(place.place, width):{width}}  {', '.join(figures)}"]
    if best is not None and not brief:
        lines.append(f"    best so far {_best(best)}" if place.open else f"    best {_best(best)}")
    if place.failed and not brief:
        lines.append(f"    failed {place.failed:,}: {_causes(place)}")
    return lines


def _figures(place: PlaceProgress) -> list[str]:
    before = f" ({place.replayed:,} from before)" if place.replayed else ""
    if place.known is None:
        figures = [f"{place.done:,} done{before}", *(["still counting how many there are"] if place.open else [])]
    else:
        figures = [f"{place.done:,} of {place.known:,} done{before}"]
        figures += [f"{place.known - place.done:,} left"] if place.known > place.done else []
    if place.times > 1:
        figures.append(f"{place.times:,} times" if not place.open else f"begun {place.times:,} times")
    figures += [rate(place.rate)] if place.rate else []
    figures += [f"about {duration_left(place.left)} left"] if place.left else []
    return [*figures, *(["ended before its time by the program"] if place.aborted else [])]


def _best(best: Best) -> str:
    if best.score is None:
        return f"by refit   {params_text(best.params)}"
    splits = "" if best.splits_done >= best.splits else f" ({best.splits_done} of {best.splits} splits)"
    return f"{best.score:.4g}{splits}   {params_text(best.params)}"


def params_text(params: dict[str, str]) -> str:
    """``C=10.0, gamma=0.001``."""
    return ", ".join(f"{name}={value}" for name, value in params.items())


def _causes(place: PlaceProgress) -> str:
    parts = [f"{count:,} x {shortened(text, _CAUSE_WIDTH)}" for text, count in place.causes[:_MOST_CAUSES]]
    others = sum(count for _, count in place.causes[_MOST_CAUSES:])
    return "; ".join([*parts, *([f"{others:,} others (--failures lists all)"] if others else [])])


def failure_line(failure: Failure) -> str:
    """One failure: what failed, and why."""
    split = f"split {failure.split}" if failure.split is not None else ""
    what = ", ".join(part for part in (params_text(failure.params), split, f"on {failure.host}") if part)
    return f"  {what}: {failure.cause}"
