"""``daskhpc results``: the results in a journal as a table, a file or a picture."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..atomic import replacing
from ..errors import DaskhpcError
from ..sweep_table import LAST_COLUMNS
from ..text import counted
from .errors import exit_on_error
from .job_progress import journal_of

if TYPE_CHECKING:
    import pandas as pd

    from ..report.tables import Results

_TOP = 10
_MOST_OTHERS = 10


@click.command(
    short_help="Print or save the results in a checkpoint.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--csv", metavar="FILE", help="Save the whole table as CSV.")
@click.option("--parquet", metavar="FILE", help="Save the whole table as Parquet.")
@click.option("--plot", metavar="FILE", help="Save a picture: .png, .pdf or .svg.")
@click.option("--score", metavar="NAME", help="The score to sort and draw by; the first one by default.")
@click.option("--top", type=click.IntRange(min=1), default=_TOP, show_default=True, help="How many rows to print.")
@click.argument("folder", metavar="DIR")
def results(folder: str, csv: str | None, parquet: str | None, plot: str | None, score: str | None, top: int) -> None:
    """Print or save the results in DIR, the folder that was given as `checkpoint`; also while they are computed.

    An id or the title of a job means the checkpoint of that job.
    """
    with exit_on_error():
        from ..report.tables import flat, read

        folder = journal_of(folder)
        found = read(folder)
        if found.frame.empty and (csv or parquet):
            raise DaskhpcError(
                "There is nothing to save.", f"{folder}: no results yet", f"daskhpc status {shlex.quote(folder)}"
            )
        if csv is not None:
            _save(csv, lambda path: flat(found.frame).to_csv(path, index=False))
        if parquet is not None:
            _need_pyarrow()
            _save(parquet, lambda path: flat(found.frame).to_parquet(path, index=False))
        if csv is not None or parquet is not None:
            for line in _others(found):
                click.echo(f"not in the table: {line}")
        if plot is not None:
            _draw(found, plot, score)
        if csv is parquet is plot is None:
            for line in _lines(folder, found, score, top):
                click.echo(line)


def _save(path: str, write: Callable[[Path], None]) -> None:
    """Write a file that is complete or not there."""
    try:
        with replacing(path) as draft:
            write(draft)
    except OSError as error:
        raise DaskhpcError(
            "The table could not be written.", f"{path}: {error.strerror or error}", "a folder that you can write to"
        ) from error
    click.echo(f"saved {path}")


def _need_pyarrow() -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise DaskhpcError("Parquet needs pyarrow.", "no such module", "pip install pyarrow, or --csv FILE")


def _draw(found: Results, path: str, score: str | None) -> None:
    from .. import plots
    from ..report.tables import scored_tables

    if found.frame.empty or (found.kind == "calls" and not found.tables):
        raise DaskhpcError("There is nothing to draw.", "no results of a search or sweep", "--csv FILE for all values")
    columns = (
        {} if score is None else {name: column for name, (_, column) in scored_tables(found.tables, score).items()}
    )
    place = max(columns or found.tables, key=lambda name: len(found.tables[name]))
    frame, column = found.tables[place], columns.get(place)
    if len(found.tables) > 1:
        click.echo(f"the picture is of {place}, the search with most candidates")
    if found.kind == "sweep":
        figure = plots.sweep(*_sweep_columns(frame, column, found.parameters))
    else:
        figure = plots.search(frame, column)
    plots.save(figure, path)
    click.echo(f"saved {path}")


def _sweep_columns(frame: pd.DataFrame, value: str | None, parameters: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """The columns of the parameters and of the result to draw: `value`, or the last result that is a number."""
    results = [name for name in frame if name not in (*LAST_COLUMNS, *parameters)]
    numeric = [name for name in results if _is_numeric(frame[name])]
    if value is not None and not _is_numeric(frame[value]):
        todo = f"--score {' | '.join([*numeric, 'seconds'])}"
        raise DaskhpcError("Only numbers can be drawn.", f"column {value!r} with other values", todo)
    if value is None and results and not numeric and not frame["error"].notna().all():
        todo = "--score seconds, or --csv FILE for all values"
        raise DaskhpcError("No result of the sweep is a number that can be drawn.", ", ".join(results), todo)
    shown = value or [*results, *numeric][-1]
    names = [name for name in parameters or frame if name not in (shown, *LAST_COLUMNS)]
    return frame[list(dict.fromkeys([*names, shown, "error"]))], shown


def _is_numeric(column: pd.Series) -> bool:
    """Whether there are numbers in a column, and nothing else but gaps."""
    values = list(column.dropna())
    return bool(values) and all(isinstance(value, Real) for value in values)


def _lines(folder: str, found: Results, score: str | None, top: int) -> list[str]:
    """The best rows, and how to have all."""
    from ..report.results_text import call_lines, search_lines, sweep_lines
    from ..report.tables import score_column, scored_tables

    width = shutil.get_terminal_size((100, 24)).columns
    name = shlex.quote(Path(folder).resolve().name or "results")
    command = f"daskhpc results {shlex.quote(folder)}"
    if found.frame.empty:
        return [f"{folder}: no results yet"]
    if found.kind == "calls" and not found.tables:
        places = [call_lines(place or folder, frame, top, width) for place, frame in found.calls.items()]
        lines = [line for place in places[:_MOST_OTHERS] for line in place]
        lines += [f"and {len(places) - _MOST_OTHERS:,} more places in the program"] if places[_MOST_OTHERS:] else []
        return [*lines, f"all of it: {command} --csv {name}.csv"]
    others, lines = _others(found), []
    if found.kind == "sweep":
        for frame in found.tables.values():
            lines += sweep_lines(folder, frame, score and score_column(frame, score), top, width)
    else:
        scored = scored_tables(found.tables, score)
        for place, (frame, column) in scored.items():
            lines += search_lines(place or folder, frame, column, top, width)
        others = [*(f"{place}: no score {score}" for place in found.tables if place not in scored), *others]
    return [*lines, *others, f"all of it: {command} --csv {name}.csv   a picture: {command} --plot {name}.png"]


def _others(found: Results) -> list[str]:
    """What the folder has beside the table."""
    calls = found.calls.items() if found.tables else ()
    others = [f"{place or 'elsewhere'}: {counted(len(frame), 'call')}, no search" for place, frame in calls]
    if len(others) > _MOST_OTHERS:
        others[_MOST_OTHERS:] = [f"and {len(others) - _MOST_OTHERS:,} more places of calls that are no search"]
    if found.left_out:
        others.append(f"{counted(found.left_out, 'fit')} of earlier runs with other settings left out")
    return others
