"""Pictures of searches and sweeps.

They are matplotlib Figures made without pyplot: they need no display, change no global state, and show in a notebook.
matplotlib comes with ``pip install 'daskhpc[plots]'``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DaskhpcError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .trials import Trials

__all__ = ["curve", "heatmap", "parallel_coordinates", "save", "search", "sweep"]

SUFFIXES = (".png", ".pdf", ".svg")
MOST_LINES = 8


def search(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """The picture that suits a search.

    Two numeric parameters make a heat map, or a scatter plot if they are no grid; one a curve, with a line for each of
    at most eight values of a categorical one; more parallel coordinates; none a dot for each of the best candidates.

    Parameters
    ----------
    results : fitted search, mapping or pandas.DataFrame
        A search, its ``cv_results_``, or a table of it.
    score : str, optional
        ``accuracy`` for ``mean_test_accuracy``. By default the score that the search refits on, otherwise the first.
    params : sequence of str, optional
        The parameters to show, ``svc__C`` or ``C``; by default all that vary. Over the others, each place of the
        picture shows the best candidate, and says so.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DaskhpcError
        Where there is nothing to draw, no such score or parameter, or no matplotlib.
    """
    return _suitable(_trials(results, score, params), ax)


def heatmap(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """The score over two parameters: cells for a grid, points for random draws.

    Parameters, errors and result are those of :func:`search`; `params` are the horizontal and the vertical one.
    """
    return _draw("maps", _trials(results, score, params), ax)


def curve(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """The score along one numeric parameter, with its standard deviation over the splits.

    Parameters, errors and result are those of :func:`search`; `params` are the horizontal one and, optionally, one with
    at most eight values, each of which gets a line.
    """
    return _draw("curves", _trials(results, score, params), ax)


def parallel_coordinates(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """A line for each candidate through an upright axis for each parameter, coloured by the score.

    Parameters, errors and result are those of :func:`search`.
    """
    return _draw("parallels", _trials(results, score, params), ax)


def sweep(table: Any, value: str | None = None, params: Sequence[str] | None = None) -> Figure:
    """The picture that suits a sweep, chosen as in :func:`search`.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per call: columns of parameters, then of results, and seconds, host, error.
    value : str, optional
        The result to show; by default the last column but those three.
    params : sequence of str, optional
        The parameters to show; by default all columns on the left of `value`. Over the others the picture shows the
        mean, and says so.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DaskhpcError
        Where there is nothing to draw, no such column, or no matplotlib.
    """
    from .reading import read_sweep

    return _suitable(read_sweep(table, value, params), None)


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a picture as PNG, PDF or SVG, as the end of its name says; the file is there whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The picture.
    path : path
        Its file; one that exists is replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DaskhpcError
        Where the name ends otherwise, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise DaskhpcError(
            "A picture is saved as PNG, PDF or SVG.",
            str(target),
            str(target.with_suffix(".png")) if target.name else "",
        )
    import matplotlib

    from .page import DPI, STYLE

    draft = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with matplotlib.rc_context(STYLE):
            figure.savefig(draft, format=target.suffix[1:].lower(), dpi=DPI)
        draft.replace(target)
    except OSError as error:
        raise DaskhpcError(
            "The picture could not be written.",
            f"{target}: {error.strerror or error}",
            "a folder that you can write to",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return target


def _trials(results: Any, score: str | None, params: Sequence[str] | None) -> Trials:
    from .reading import read_search

    return read_search(results, score, params)


def _suitable(trials: Trials, ax: Axes | None) -> Figure:
    """Draw what suits the number of numeric parameters."""
    numbers, labels = len(trials.numeric), trials.categorical
    few = all(len(column.distinct) <= MOST_LINES for column in labels)
    if numbers == 0:
        return _draw("dots", trials, ax)
    if numbers == 2:
        return _draw("maps", trials, ax)
    if numbers == 1 and len(labels) <= 1 and few:
        return _draw("curves", trials, ax)
    return _draw("parallels", trials, ax)


def _draw(module: str, trials: Trials, ax: Axes | None) -> Figure:
    """Draw with one of this package's modules that import matplotlib."""
    try:
        drawing = import_module(f".{module}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise DaskhpcError("Pictures need matplotlib.", "no such module", "pip install 'daskhpc[plots]'") from None
    figure: Figure = drawing.draw(trials, ax)
    return figure
