"""What a browser makes of daskhpc's HTML, where there is no network: Debian's Chromium opens it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from clusters import start_cluster
from distributed import Client
from machine import unavailable

import daskhpc

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06-grid-search.ipynb"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=10000",
    "--hide-scrollbars",
)


class Browser:
    """Opens files with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self.line = [program, *QUIET, f"--user-data-dir={folder / 'profile'}"]
        self.folder = folder

    def dom(self, page: Path) -> str:
        """The document, after its scripts ran."""
        return self._run("--dump-dom", page).stdout

    def picture(self, page: Path, height: int = 1200) -> np.ndarray:
        """A screenshot as an array of heights, widths and colours."""
        from matplotlib.image import imread

        shot = page.with_suffix(".png")
        self._run(f"--screenshot={shot}", f"--window-size=1000,{height}", page)
        return np.asarray(imread(shot))

    def _run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        *options, page = arguments
        line = [*self.line, *map(str, options), Path(page).as_uri()]
        done = subprocess.run(line, cwd=self.folder, capture_output=True, text=True, timeout=140, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    program = shutil.which("chromium")
    if program is None:
        unavailable("no chromium; on Debian: apt-get install chromium")
    return Browser(program, tmp_path)


def colours(picture: np.ndarray) -> int:
    return len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0))


def page_of(html: str, path: Path) -> Path:
    """A fragment as a notebook shows it, as a page of its own."""
    path.write_text(f"<!DOCTYPE html><html><head><meta charset='utf-8'></head><body>{html}</body></html>")
    return path


def test_a_notebook_opens(browser: Browser, tmp_path: Path) -> None:
    from nbconvert import HTMLExporter

    page = tmp_path / "notebook.html"
    page.write_text(HTMLExporter(embed_images=True).from_filename(str(NOTEBOOK))[0])
    dom = browser.dom(page)
    for there in ("Grid search, and what it looks like", "daskhpc: ", "<table", "data:image/png;base64", "param_gamma"):
        assert there in dom
    assert colours(browser.picture(page, height=4000)) > 200


def test_explain_opens(browser: Browser, tmp_path: Path) -> None:
    explained = daskhpc.explain(da.ones((4000, 4000), chunks=(1000, 1000)).sum(axis=0))
    page = page_of(explained._repr_html_(), tmp_path / "explained.html")
    dom = browser.dom(page)
    assert "<table" in dom
    assert "<svg" in dom
    assert colours(browser.picture(page)) > 20


def test_the_report_of_a_run_opens(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    with start_cluster(1, local_directory=str(tmp_path)) as cluster, Client(cluster):
        daskhpc.compute(da.ones((4000, 4000), chunks=(1000, 1000)).sum(), report=page, progress=False)
    dom = browser.dom(page)
    assert "compute: " in dom
    assert "sum-aggregate" in dom
    assert "bk-" in dom, "Bokeh has drawn its tabs"
    assert colours(browser.picture(page)) > 20
