"""Pictures of searches and sweeps.

They are matplotlib Figures made without pyplot: they need no display, change no global state, and show in a notebook.
matplotlib comes with ``pip install 'daskhpc[plots]'``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DaskhpcError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve", "heatmap", "parallel_coordinates", "save", "search", "sweep"]

SUFFIXES = (".png", ".pdf", ".svg")
MOST_LINES = 8


def search(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the picture that suits a search.

    Two numeric parameters make a heat map, or points if they are no grid. One makes a curve, with a line for each of at
    most eight values of a categorical parameter. More make parallel coordinates, and none a dot for each of the
    best candidates. A star marks the best candidate.

    Parameters
    ----------
    results : fitted search, mapping or pandas.DataFrame
        A search, its ``cv_results_``, or a table of it.
    score : str, optional
        ``accuracy`` for ``mean_test_accuracy``. By default the score that the search refits on, otherwise the first.
    params : sequence of str, optional
        The parameters to show, ``svc__C`` or ``C``; by default all that vary. Over the others, each place of the
        picture shows the best candidate, which the text below the title notes.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DaskhpcError
        If there is nothing to draw, no such score or parameter, or no matplotlib.

    Examples
    --------
    >>> import daskhpc
    >>> results = {"param_svc__C": [1, 10, 100], "mean_test_score": [0.8, 0.9, 0.7]}
    >>> figure = daskhpc.plots.search(results)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_xscale(), figure.axes[0].get_ylabel()
    ('C', 'log', 'mean test score')
    """
    from .data import read_search

    return _suitable(read_search(results, score, params), ax)


def heatmap(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the score over two parameters: cells for a grid, points for random draws.

    Parameters, errors and result are those of :func:`search`; `params` are the horizontal and the vertical one.

    Examples
    --------
    >>> import daskhpc
    >>> results = {
    ...     "param_C": [1, 1, 10, 10],
    ...     "param_kernel": ["rbf", "poly", "rbf", "poly"],
    ...     "mean_test_score": [0.8, 0.6, 0.9, 0.7],
    ... }
    >>> figure = daskhpc.plots.heatmap(results)
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['kernel', 'mean test score']
    """
    from .data import read_search

    return _draw("heat_map", read_search(results, score, params), ax)


def curve(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the score along one numeric parameter, with its standard deviation over the splits.

    Parameters, errors and result are those of :func:`search`; `params` are the horizontal one and, optionally, one with
    at most eight values, each of which gets a line.

    Examples
    --------
    >>> import daskhpc
    >>> results = {"param_depth": [1, 2, 3], "mean_test_score": [0.8, 0.9, 0.7], "std_test_score": [0.1, 0.1, 0.2]}
    >>> daskhpc.plots.curve(results).axes[0].get_xlabel()
    'depth'
    """
    from .data import read_search

    return _draw("curve", read_search(results, score, params), ax)


def parallel_coordinates(
    results: Any, score: str | None = None, params: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw a line for each candidate through an upright axis for each parameter, coloured by the score.

    Parameters, errors and result are those of :func:`search`.

    Examples
    --------
    >>> import daskhpc
    >>> results = {"param_a": [1, 2, 3], "param_b": ["x", "y", "x"], "mean_test_score": [0.8, 0.9, 0.7]}
    >>> figure = daskhpc.plots.parallel_coordinates(results)
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()][:2]
    ['a', 'b']
    """
    from .data import read_search

    return _draw("parallel_coordinates", read_search(results, score, params), ax)


def sweep(table: Any, value: str | None = None, params: Sequence[str] | None = None) -> Figure:
    """Draw the picture that suits a sweep, chosen as in :func:`search`.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per call: columns of parameters, then of results, and seconds, host, error.
    value : str, optional
        The result to show; by default the last column but those three.
    params : sequence of str, optional
        The parameters to show; by default all columns on the left of `value`. Over the others the picture shows the
        mean, which the text below the title notes.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DaskhpcError
        If there is nothing to draw, no such column, or no matplotlib.

    Examples
    --------
    >>> import daskhpc, pandas
    >>> table = pandas.DataFrame({"g": [0.1, 0.2, 0.3], "energy": [3.0, 1.0, 2.0]})
    >>> daskhpc.plots.sweep(table).axes[0].get_ylabel()
    'energy'
    """
    from .data import read_sweep

    return _suitable(read_sweep(table, value, params), None)


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a picture as PNG, PDF or SVG, as the end of its name says; the file is complete or not there.

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
        If the name ends otherwise, or the file cannot be written.

    Examples
    --------
    >>> import daskhpc
    >>> figure = daskhpc.plots.search({"param_C": [1, 2], "mean_test_score": [0.8, 0.9]})
    >>> daskhpc.plots.save(figure, "search.svg").name
    'search.svg'
    """
    from ..atomic import replacing

    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        todo = str(target.with_suffix(".png")) if target.name else ""
        raise DaskhpcError("A picture is saved as PNG, PDF or SVG.", str(target), todo)
    from matplotlib.style import context

    from .draw import DPI, STYLE

    try:
        with replacing(target) as draft, context(STYLE):
            figure.savefig(draft, format=target.suffix[1:].lower(), dpi=DPI)
    except OSError as error:
        found = f"{target}: {error.strerror or error}"
        raise DaskhpcError("The picture could not be written.", found, "a folder that you can write to") from error
    return target


def _suitable(data: Any, ax: Axes | None) -> Figure:
    """Draw what suits the number of numeric parameters."""
    numbers, texts = len(data.of_kind(numeric=True)), data.of_kind(numeric=False)
    if numbers == 0:
        return _draw("dots", data, ax)
    if numbers == 2:
        return _draw("heat_map", data, ax)
    if numbers == 1 and len(texts) <= 1 and all(data.parameters[name].nunique() <= MOST_LINES for name in texts):
        return _draw("curve", data, ax)
    return _draw("parallel_coordinates", data, ax)


def _draw(kind: str, data: Any, ax: Axes | None) -> Figure:
    """Draw with the module that imports matplotlib."""
    try:
        from . import draw
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise DaskhpcError("Pictures need matplotlib.", "no such module", "pip install 'daskhpc[plots]'") from None
    figure: Figure = getattr(draw, kind)(data, ax)
    return figure
