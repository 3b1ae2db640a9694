"""Where the figures of a run are written: a page of Dask's performance report, a JSON file, a table on the screen."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import SettingsError
from .figures import Figures

PAGE, DATA = ".html", ".json"
_FRAMES = 4
"""From `Page.write` to the code that called `compute`, which Dask's page shows."""

Report = str | os.PathLike[str] | bool | None


def checked(report: Report, cluster: bool) -> Path | None:
    """The file of a report, None without one; refuses before the run what could not be written after it.

    Raises
    ------
    SettingsError
        For a file of another kind, in no folder, or a page without a cluster.
    """
    if report is None or isinstance(report, bool):
        return None
    path = Path(report)
    if path.suffix.lower() not in (PAGE, DATA):
        raise SettingsError("A report is a page or JSON.", f"report={str(path)!r}", "report='run.html' or 'run.json'")
    if not path.parent.is_dir():
        raise SettingsError("The folder of the report is not there.", str(path.parent), f"mkdir -p {path.parent}")
    if path.suffix.lower() == PAGE and not cluster:
        raise SettingsError(
            "The page of a run is Dask's performance report, which needs a cluster.",
            f"report={str(path)!r}, and no client",
            f"client = daskhpc.start() before it, or report={str(path.with_suffix(DATA))!r}",
        )
    return path


class Page:
    """Dask's performance report of a run, begun before it.

    Parameters
    ----------
    client : distributed.Client
    path : pathlib.Path
        The file that it becomes.
    """

    def __init__(self, client: Any, path: Path) -> None:
        from distributed import performance_report

        self._client = client
        self._page = contextlib.ExitStack()
        self._draft = self._page.enter_context(replacing(path))
        # What the page needs of Bokeh is in it: it opens without a network.
        self._report = performance_report(self._draft, stacklevel=_FRAMES, mode="inline")
        with client.as_current():
            self._report.__enter__()

    def write(self, figures: Figures) -> None:
        """Write it, with the figures above it."""
        with self._page:
            with self._client.as_current():
                self._report.__exit__(None, None, None)
            self._draft.write_text(_with_figures(self._draft.read_text(), figures))


def _with_figures(page: str, figures: Figures) -> str:
    """Dask's page below the figures: it takes all of the element that it stands in."""
    above = f'<div style="font: 14px sans-serif; margin: 1em">{figures._repr_html_()}</div>'
    before, body, rest = page.rpartition("<body>")  # the scripts before it have one in a text
    inside, end, after = rest.rpartition("</body>")
    return f'{before}{body}{above}<div style="contain: layout; height: 100vh">{inside}</div>{end}{after}'


def write_data(figures: Figures, path: Path) -> None:
    """Write the figures as JSON; the file is there whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(figures.as_dict(), indent=2) + "\n")


def show(figures: Figures) -> None:
    """Print the figures."""
    print(figures, file=sys.stderr, flush=True)
