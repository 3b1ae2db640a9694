"""Pictures of time series."""

from __future__ import annotations

from typing import Any

import pandas

from ..errors import SettingsError
from .resampling import resample, timed

POINTS = 200_000
"""Points that a picture has at most."""


def plot_time(frame: Any, rule: str | None = None, how: str = "mean", time: str | None = None, ax: Any = None) -> Any:
    """A picture of a time series, resampled if a rule is given.

    Parameters
    ----------
    frame : DataFrame or Series of Dask or pandas
        Each column of numbers is a line.
    rule, how, time
        As in `resample`.
    ax : matplotlib.axes.Axes, optional
        The axes to draw in; by default a new figure; ``plot_time(...).figure`` shows it in a notebook.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    SettingsError
        If there are more than 200,000 points, or no column of numbers.

    Examples
    --------
    >>> import pandas
    >>> days = pandas.date_range("2020-01-01", periods=48, freq="h")
    >>> ax = plot_time(pandas.DataFrame({"x": range(48)}, index=days), rule="D")
    >>> ax.lines[0].get_ydata().tolist()
    [11.5, 35.5]
    """
    numbers = frame if frame.ndim == 1 else _numbers(frame, time)
    if rule is not None:
        numbers, time = resample(_lazy(numbers), rule, how, time), None
    elif len(numbers) > POINTS:
        raise SettingsError(f"A picture has at most {POINTS:,} points.", f"{len(numbers):,} rows", "rule='h', or 'D'")
    drawn = numbers.compute() if hasattr(numbers, "compute") else numbers
    drawn = timed(drawn.to_frame() if drawn.ndim == 1 else drawn, time)
    alone = len(drawn.columns) == 1
    if ax is None:
        from ..plots.draw import NotebookFigure

        ax = NotebookFigure(figsize=(8, 3.5), layout="constrained").add_subplot()
    # Not pandas' own plot: it imports pyplot, and draws regular times on another axis than irregular ones.
    ax.plot(drawn.index, drawn.to_numpy(), lw=1.2, label=[str(name) for name in drawn])
    if alone:
        ax.set_ylabel(str(drawn.columns[0]))
    else:
        ax.legend()
    ax.set_xlabel(drawn.index.name or "")
    ax.grid(True, color="0.92", lw=0.8)
    if rule is not None:
        ax.set_title(f"{how} per {rule}", loc="left", fontsize=10)
    return ax


def _numbers(frame: Any, time: str | None) -> Any:
    """The columns of numbers, and that of times."""
    names = [name for name, dtype in frame.dtypes.items() if pandas.api.types.is_numeric_dtype(dtype)]
    if not names:
        raise SettingsError("There is no column of numbers to draw.", str(dict(frame.dtypes)), "a frame with numbers")
    return frame[names if time is None else [time, *(name for name in names if name != time)]]


def _lazy(frame: Any) -> Any:
    """A frame as one of Dask."""
    import dask.dataframe

    if hasattr(frame, "dask"):
        return frame
    return dask.dataframe.from_pandas(frame, npartitions=1, sort=False)
