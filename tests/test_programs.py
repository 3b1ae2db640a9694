"""The programs of slurm/, at a small size: what they print and write, and what the classics that they replace lose."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flavors
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.svm import SVC

import daskhpc

PROGRAMS = Path(__file__).parents[1] / "slurm"
Run = Callable[..., str]


@pytest.fixture
def run(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a program of a folder as ``daskhpc run`` does, on the client's two workers; gives what it prints."""
    before = dict(sys.modules)

    def run(folder: str, program: str, *arguments: str, **environ: str) -> str:
        made = ("checkpoint", "results", "scaling-*", "*.csv", "__pycache__")
        here = shutil.copytree(PROGRAMS / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*made))
        monkeypatch.chdir(here)
        monkeypatch.syspath_prepend(str(here))
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        monkeypatch.setattr(daskhpc, "start", lambda **_: client, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), joblib.parallel_config(backend="daskhpc"):
            runpy.run_path(str(here / program), run_name="__main__")
        return printed.getvalue()

    yield run
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def module(folder: str, name: str) -> Any:
    """A module of a program, imported by its path."""
    spec = importlib.util.spec_from_file_location(f"program_{name}", PROGRAMS / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_random_search(run: Run, tmp_path: Path) -> None:
    out = run("random_search", "search.py", "--draws", "12")
    assert "12 values of C, 12 different" in out
    here = tmp_path / "random_search"
    table = pd.read_csv(here / "checkpoint/results.csv")
    students = module("random_search", "students")
    X, y = students.read(here / "students.csv")
    assert students.accuracy(table.C[0], X, y) == table.accuracy[0] == table.accuracy.max()
    assert y.mean() < table.accuracy[0] < 1, "better than always saying that a student passes"
    assert picture(here / "checkpoint/results.png")


def test_the_random_search_with_mpi_alone(tmp_path: Path) -> None:
    """Ten draws on three ranks: every draw once, with the accuracy that it has anywhere."""
    here = shutil.copytree(PROGRAMS / "random_search", tmp_path / "search")
    line = [flavors.mpich().mpiexec, "-n", "3", sys.executable, "-m", "mpi4py", "search_mpi4py.py", "--draws", "10"]
    done = subprocess.run(line, cwd=here, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "10 values of C, 10 different, by 3 ranks" in done.stdout
    table = pd.read_csv(here / "results_mpi4py.csv")
    assert sorted(table.C) == pytest.approx(sorted(10 ** np.random.default_rng(0).uniform(-4, 4, 10)))
    students = module("random_search", "students")
    assert students.accuracy(table.C[9], *students.read(here / "students.csv")) == pytest.approx(table.accuracy[9])


def classic(ranks: int, parameters: int = 1000) -> tuple[Counter[int], list[int]]:
    """The classic's scatter: how often each parameter is run, and the ranks that wait for a chunk for ever.

    The width of a chunk is computed from the ranks, and the step from one to the next is that of 24 ranks. Rank 0 sends
    chunk i to rank i + 1, and none to itself.
    """
    width = math.ceil(parameters / ranks)
    chunks = [range(begin, min(begin + width, parameters)) for begin in range(0, parameters, 42)]
    run = Counter(number for chunk in chunks[: ranks - 1] for number in chunk)
    return run, list(range(len(chunks) + 1, ranks))


@pytest.mark.parametrize(
    ("ranks", "never", "twice", "waiting"), [(24, 34, 0, 0), (12, 496, 420, 0), (48, 496, 0, 23), (2, 500, 0, 0)]
)
def test_what_the_classic_scatter_loses(ranks: int, never: int, twice: int, waiting: int) -> None:
    run, wait = classic(ranks)
    assert 1000 - len(run) == never
    assert sum(times > 1 for times in run.values()) == twice
    assert len(wait) == waiting


def test_each_parameter_is_in_exactly_one_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROGRAMS / "random_search"))
    share = module("random_search", "search_mpi4py").share
    draws = np.arange(1000)
    for ranks in range(2, 49):
        run = Counter(int(draw) for rank in range(ranks) for draw in share(draws, rank, ranks))
        assert run == Counter(range(1000))
        sizes = [len(share(draws, rank, ranks)) for rank in range(ranks)]
        assert max(sizes) - min(sizes) <= 1
        assert classic(ranks)[0] != run, "the classic runs each once for no number of ranks"


def test_monte_carlo_pi(run: Run, tmp_path: Path) -> None:
    """Dask and MPI count the same points, also if the points do not divide by the ranks or calls."""
    out = run("monte_carlo_pi", "pi.py", PI_POINTS="1000003")
    pi = module("monte_carlo_pi", "pi")
    assert sum(map(pi.points_of, range(pi.CALLS))) == 1_000_003
    value = pi.serial()
    assert abs(value - math.pi) < 0.01
    assert out.startswith(f"pi = {value:.6f} from 1,000,003 points")
    line = [flavors.mpich().mpiexec, "-n", "3", sys.executable, "-m", "mpi4py", "pi_mpi4py.py"]
    done = subprocess.run(line, cwd=tmp_path / "monte_carlo_pi", capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith(f"pi = {value:.6f} from 1,000,003 points"), done.stderr
    assert "3 ranks, " in done.stdout


def test_kmeans_clusters(run: Run, tmp_path: Path) -> None:
    out = run("kmeans_clusters", "kmeans.py", "--most", "4")
    assert "Best number of clusters: 4" in out
    made = tmp_path / "kmeans_clusters/results"
    table = pd.read_csv(made / "inertia.csv")
    X = make_blobs(3000, centers=module("kmeans_clusters", "kmeans").CENTRES, cluster_std=1.1, random_state=0)[0]
    assert table.inertia[1] == pytest.approx(KMeans(3, n_init=10, random_state=0).fit(X).inertia_)
    assert list(table.k) == [2, 3, 4]
    for k in (2, 3, 4):
        assert f"k = {k}: " in (made / f"kmeans-{k:02}.log").read_text()
        assert picture(made / f"kmeans-{k:02}.png")
    assert picture(made / "elbow.png")


def test_centres_that_do_not_exist() -> None:
    """Sorting x and y of the centres apart, as the classic does, makes centres that no cluster has."""
    X = make_blobs(300, centers=[(-6, 4), (0, -4), (7, 1)], random_state=0)[0]
    centres = KMeans(3, n_init=2, random_state=0).fit(X).cluster_centers_
    drawn = np.sort(centres, axis=0)
    assert not any(np.allclose(drawn[0], centre, atol=1) for centre in centres)


def test_the_digits_heat_map(run: Run, tmp_path: Path) -> None:
    out = run("digits_heatmap", "heatmap.py", "--values", "3")
    made = tmp_path / "digits_heatmap/checkpoint"
    best = pd.read_csv(made / "results.csv").iloc[0]
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0, stratify=y)
    model = SVC(C=best.param_C, gamma=best.param_gamma)
    assert cross_val_score(model, X_train, y_train, cv=5).mean() == pytest.approx(best.mean_test_score)
    assert f"did not see: {model.fit(X_train, y_train).score(X_test, y_test):.4f}" in out
    assert picture(made / "heatmap.png")


def test_the_lines_of_the_table_are_those_of_the_pages() -> None:
    """docs/programs.md counts the cells of the table "with ... | with daskhpc" of each README."""
    page = (PROGRAMS.parent / "docs/programs.md").read_text()
    told = {
        name: (int(there), int(here)) for name, there, here in re.findall(r"\| \[(\w+)\].* (\d+) \| (\d+) \|", page)
    }
    assert set(told) == {path.name for path in PROGRAMS.iterdir() if path.is_dir()}
    for name, lines in told.items():
        text = (PROGRAMS / name / "README.md").read_text()
        table = re.search(r"\| with .* \| with daskhpc \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
        assert table is not None, name
        cells = [re.split(r" ?\| ?", line.strip("|\n").strip()) for line in table[1].splitlines()]
        cells = [[cell for cell in line if cell] for line in cells]
        assert (len(cells), sum(len(line) > 1 for line in cells)) == lines, name


@pytest.mark.parametrize(
    "folder", sorted(path for path in PROGRAMS.iterdir() if path.is_dir()), ids=lambda path: path.name
)
def test_a_readme_has_its_form(folder: Path) -> None:
    """Lines to copy and their output come first; every file that the page names is there."""
    text = (folder / "README.md").read_text()
    assert "daskhpc run" in text.partition("## ")[0]
    assert "$ daskhpc submit --nodes 2" in text.partition("## ")[0]
    assert "## What it prints" in text
    for name in re.findall(r"\]\(([\w.-]+)\)", text):
        assert (folder / name).exists(), name
    pictures = re.findall(r"!\[([^\]]*)\]\(", text)
    assert pictures
    assert all(len(words) > 30 for words in pictures), "a text for those who do not see it"
