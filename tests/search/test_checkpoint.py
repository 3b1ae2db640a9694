"""Searches with a checkpoint: what is there is not fitted again, what differs is refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed, parallel_config
from scipy.stats import loguniform
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold, StratifiedKFold
from threadpoolctl import threadpool_info
from waiting import until

import daskhpc
from daskhpc import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from daskhpc.errors import JournalError
from daskhpc.journal.journal import open_journals
from daskhpc.journal.reader import JournalReader
from daskhpc.parallel import run as engine

X, Y = load_iris(return_X_y=True)
GRID = {"C": [0.1, 1.0, 10.0]}


class Logged(LogisticRegression):  # type: ignore[misc]
    """Appends a line for each fit."""

    def __init__(self, log: str = "", C: float = 1.0, tol: float = 1e-4, fail: bool = False) -> None:
        super().__init__(C=C, tol=tol, max_iter=500)
        self.log = log
        self.fail = fail

    def fit(self, X: Any, y: Any) -> Any:
        with open(self.log, "a") as log:
            log.write(f"{self.C}\n")
        if self.fail and self.C > 5:
            raise ValueError("C is too large")
        return super().fit(X, y)


class Threads(LogisticRegression):  # type: ignore[misc]
    """Scores the threads of BLAS."""

    def score(self, X: Any, y: Any) -> float:
        return max(found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fits"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a folder 'of' results"


def fits(log: Path) -> int:
    count = len(log.read_text().splitlines()) if log.exists() else 0
    log.write_text("")
    return count


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert list(one) == list(other)
    for name in one:
        if "_time" not in name:
            np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]), err_msg=name)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_without_a_cluster(n_jobs: int | None, log: Path, folder: Path) -> None:
    def search(grid: dict[str, Any]) -> Any:
        return GridSearchCV(Logged(str(log)), grid, cv=3, n_jobs=n_jobs, refit=False, checkpoint=folder).fit(X, Y)

    first = search(GRID)
    assert fits(log) == 9
    same(search(GRID).cv_results_, first.cv_results_)
    assert fits(log) == 0
    grown = search({"C": [0.1, 1.0, 5.0, 10.0]})
    assert fits(log) == 3
    assert list(grown.cv_results_["mean_test_score"][[0, 1, 3]]) == list(first.cv_results_["mean_test_score"])
    search({"C": [10.0]})
    assert fits(log) == 0


def test_on_a_cluster(two_workers: Any, log: Path, folder: Path) -> None:
    def search(**options: Any) -> Any:
        made = GridSearchCV(Logged(str(log)), {"C": np.logspace(-2, 1, 20)}, cv=3, return_train_score=True, **options)
        return made.fit(X, Y)

    plain = search(refit=False)
    assert fits(log) == 60
    kept = search(refit=False, checkpoint=folder)
    assert fits(log) == 60
    again = search(refit=True, checkpoint=folder)
    assert fits(log) == 1, "the refit alone"
    same(kept.cv_results_, plain.cv_results_)
    for name in kept.cv_results_:  # times too are those of the fits that were made
        if name.startswith(("split", "std", "mean", "param_")):
            np.testing.assert_array_equal(again.cv_results_[name], kept.cv_results_[name])
    assert again.predict(X[:1]).shape == (1,)


def test_another_process_goes_on(tmp_path: Path, log: Path, folder: Path) -> None:
    """Also under another hash seed, and where the program was moved."""
    text = (
        "import sys, numpy as np\n"
        "from sklearn.datasets import load_iris\nfrom sklearn.linear_model import LogisticRegression\n"
        "from daskhpc import GridSearchCV\n"
        "class Own(LogisticRegression):\n"
        "    def fit(self, X, y):\n"
        f"        open({str(log)!r}, 'a').write('fit\\n')\n"
        "        return super().fit(X, y)\n"
        "X, y = load_iris(return_X_y=True)\n"
        f"search = GridSearchCV(Own(max_iter=500), {{'C': [0.1, 1.0]}}, refit=False, checkpoint={str(folder)!r})\n"
        "print(search.fit(X, y).cv_results_['mean_test_score'].tolist())\n"
    )
    told = []
    for number, count in enumerate((10, 0)):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "program.py").write_text(text + f"# number {number}\n")
        done = subprocess.run(
            [sys.executable, str(place / "program.py")],
            env={**os.environ, "PYTHONHASHSEED": str(number + 1)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
        assert fits(log) == count
    assert told[0] == told[1]


def test_an_edited_function_is_refused_by_name(tmp_path: Path, log: Path, folder: Path) -> None:
    """Of the user's own, also where only what it calls was edited; a comment is no edit."""
    text = (
        "import numpy as np\n"
        "from sklearn.datasets import load_iris\nfrom sklearn.naive_bayes import GaussianNB\n"
        "from daskhpc import GridSearchCV\n"
        "def right(y, p):\n    return np.mean(y == p)  # COMMENT\n"
        "def score(estimator, X, y):\n"
        f"    open({str(log)!r}, 'a').write('score\\n')\n"
        "    return right(y, estimator.predict(X))\n"
        f"GridSearchCV(GaussianNB(), {{}}, scoring=score, refit=False, checkpoint={str(folder)!r})"
        ".fit(*load_iris(return_X_y=True))\n"
    )
    edits = [
        (text, 5),
        (text.replace("COMMENT", "share"), 0),
        (text.replace("np.mean(y == p)", "np.mean(y == p) / 2"), -1),
    ]
    for edited, count in edits:
        (tmp_path / "program.py").write_text(edited)
        program = [sys.executable, str(tmp_path / "program.py")]
        done = subprocess.run(program, capture_output=True, text=True, timeout=120)
        if count < 0:
            assert done.returncode == 1
            assert "scoring: function score" in done.stderr
            assert "use another folder" in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            assert fits(log) == count


def test_candidates_and_splits_without_a_seed_stay_the_same(log: Path, folder: Path) -> None:
    def search() -> Any:
        space = {"C": loguniform(0.01, 10)}
        cv = KFold(3, shuffle=True)
        made = RandomizedSearchCV(Logged(str(log)), space, n_iter=4, cv=cv, refit=False, checkpoint=folder).fit(X, Y)
        assert made.random_state is None
        assert made.cv is cv
        return made.cv_results_

    first = search()
    assert fits(log) == 12
    same(search(), first)
    assert fits(log) == 0
    other = RandomizedSearchCV(Logged(str(log)), {"C": loguniform(0.01, 10)}, n_iter=4, refit=False).fit(X, Y)
    assert list(other.cv_results_["param_C"]) != list(first["param_C"])


def test_halving(log: Path, folder: Path) -> None:
    def search() -> Any:
        grid = {"C": [0.01, 0.1, 1.0, 10.0]}
        made = HalvingGridSearchCV(Logged(str(log)), grid, cv=3, min_resources=40, refit=False, checkpoint=folder)
        return made.fit(X, Y).cv_results_

    first = search()
    assert fits(log) == 3 * len(first["iter"])
    assert set(first["iter"]) == {0, 1}
    same(search(), first)
    assert fits(log) == 0


def test_the_same_candidate_twice_is_two_fits(log: Path, folder: Path) -> None:
    for count in (6, 0):
        GridSearchCV(Logged(str(log)), {"C": [1.0, 1.0]}, cv=3, refit=False, checkpoint=folder).fit(X, Y)
        assert fits(log) == count


def score_by_share(estimator: Any, X: Any, y: Any) -> float:
    return float(np.mean(estimator.predict(X) == y))


def halved(y: Any, p: Any) -> float:
    return float(np.mean(y == p)) / 2


CHANGES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a value of X": (lambda: {"X": X + np.eye(*X.shape)}, r"X: float64 array \(150, 4\), with other contents"),
    "the dtype of X": (lambda: {"X": X.astype("f4")}, r"X: from float64 array \(150, 4\) to float32 array \(150, 4\)"),
    "the class of X": (lambda: {"X": pd.DataFrame(X)}, "X: from float64 array .* to frame"),
    "y": (lambda: {"y": Y[::-1].copy()}, "y: int64 array .*other contents"),
    "a parameter": (lambda: {"tol": 1e-5}, r"estimator: from Logged\(.*to Logged\(.*tol=1e-05"),
    "a parameter's type": (lambda: {"C": 1}, "estimator"),
    "the scorer": (lambda: {"scoring": "f1_macro"}, "scoring: from 'accuracy' to 'f1_macro'"),
    "a scorer of one's own": (lambda: {"scoring": make_scorer(halved)}, "scoring: from 'accuracy' to make_scorer"),
    "cv": (lambda: {"cv": 4}, r"cv: from StratifiedKFold\(n_splits=3.* to StratifiedKFold\(n_splits=4"),
    "the splits": (lambda: {"cv": list(StratifiedKFold(3).split(X, Y))}, "cv: from StratifiedKFold"),
    "fit parameters": (lambda: {"groups": np.arange(150)}, "groups"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_refused_by_name(change: str, log: Path, folder: Path) -> None:
    def search(
        X: Any = X, y: Any = Y, tol: float = 1e-4, C: float = 1.0, scoring: Any = "accuracy", cv: Any = 3, **data: Any
    ) -> Any:
        estimator = Logged(str(log), tol=tol, C=C)
        return GridSearchCV(estimator, GRID, cv=cv, scoring=scoring, refit=False, checkpoint=folder).fit(X, y, **data)

    search()
    fits(log)
    made, text = CHANGES[change]
    with pytest.raises(JournalError, match=rf"is of other work(?s:.*){text}(?s:.*)use another folder"):
        search(**made())
    assert fits(log) == 0


def test_another_version_of_scikit_learn_is_refused_by_name(log: Path, folder: Path) -> None:
    search = GridSearchCV(Logged(str(log)), GRID, cv=3, refit=False, checkpoint=folder)
    search.fit(X, Y)
    _others_versions(folder)
    program = (
        "from sklearn.datasets import load_iris; from search.test_checkpoint import *\n"
        f"GridSearchCV(Logged({str(log)!r}), GRID, cv=3, refit=False, checkpoint={str(folder)!r}).fit(X, Y)"
    )
    here = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "scikit-learn: from 1.0.2 to " in done.stderr


def _others_versions(folder: Path) -> None:
    """As if a journal had been made with another release."""
    manifest = json.loads((folder / "journal.json").read_text())
    manifest["parts"]["scikit-learn"] = {"token": "1.0.2", "text": "1.0.2"}
    (folder / "journal.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("retry", "count"), [(False, 0), (True, 3)])
def test_failed_fits_are_made_again_only_where_asked(retry: bool, count: int, log: Path, folder: Path) -> None:
    def search(**options: Any) -> Any:
        made = GridSearchCV(Logged(str(log), fail=True), GRID, cv=3, refit=False, checkpoint=folder, **options)
        with pytest.warns(FitFailedWarning, match="3 fits failed"):
            return made.fit(X, Y).cv_results_

    first = search()
    assert fits(log) == 9
    same(search(retry_failed=retry), first)
    assert fits(log) == count


@pytest.mark.parametrize("own", [True, False])
def test_failed_fits_are_made_again_whoever_keeps_them(own: bool, two_workers: Any, log: Path, folder: Path) -> None:
    for retry, made in ((False, 9), (False, 0), (True, 3)):
        own_option, of_block = ({"retry_failed": retry}, {}) if own else ({}, {"retry_failed": retry})
        with parallel_config(backend="daskhpc", checkpoint=folder, **of_block):
            search = GridSearchCV(Logged(str(log), fail=True), GRID, cv=3, refit=False, **own_option)
            with pytest.warns(FitFailedWarning, match="3 fits failed"):
                search.fit(X, Y)
        assert fits(log) == made


def test_returned_scores_of_several_metrics(two_workers: Any, log: Path, folder: Path) -> None:
    def search() -> Any:
        scoring = {"share": score_by_share, "f1": "f1_macro"}
        made = GridSearchCV(Logged(str(log)), GRID, cv=3, scoring=scoring, refit=False, checkpoint=folder)
        return made.fit(X, Y).cv_results_

    first = search()
    fits(log)
    same(search(), first)
    assert fits(log) == 0


@pytest.mark.parametrize("cluster", [True, False])
def test_the_checkpoint_of_the_block(cluster: bool, request: pytest.FixtureRequest, log: Path, folder: Path) -> None:
    if cluster:
        request.getfixturevalue("two_workers")
    for made in (9, 0):
        with parallel_config(backend="daskhpc", checkpoint=folder, n_jobs=2, inner_max_num_threads=1):
            GridSearchCV(Logged(str(log)), GRID, cv=3, refit=False).fit(X, Y)
        assert fits(log) == made


def removes(file: Path) -> bool:
    """Whether this process is the one that removes a file."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


class Stopped(Logged):
    """If there is a file, one fit of the last candidate fails, when three results are kept.

    One only: workers may begin with fits of this candidate, and all would wait.
    """

    def fit(self, X: Any, y: Any) -> Any:
        if self.C > 5 and removes(Path(self.log).with_name("stop")):
            until(lambda: len(JournalReader(Path(self.log).with_name("a folder 'of' results"))) >= 3)
            raise KeyError("stopped")
        return super().fit(X, y)


@pytest.mark.parametrize("cluster", [True, False])
def test_a_search_that_is_tried_again_makes_what_is_left_and_its_table_has_all(
    cluster: bool, request: pytest.FixtureRequest, log: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cluster:
        request.getfixturevalue("two_workers")
    for seconds in ("_SAVE_SECONDS", "_LEAVE_SECONDS"):  # for which results that have ended are waited for
        monkeypatch.setattr(engine, seconds, 200.0)
    search = GridSearchCV(Stopped(str(log)), GRID, cv=3, refit=False, error_score="raise")
    log.with_name("stop").touch()
    with parallel_config(backend="daskhpc", checkpoint=folder, n_jobs=2):
        with pytest.raises(KeyError, match="stopped"):
            search.fit(X, Y)
        assert all(journal.sync(100) for journal in open_journals())
        before, saved = fits(log), len(JournalReader(folder))
        search.fit(X, Y)
    assert before >= saved >= 3
    assert fits(log) == 9 - saved
    if cluster:  # joblib's processes are ended with the batches that they make
        assert before - saved <= 2, "two may have been on their way"
    table = daskhpc.report.results(folder)
    last = table[table["place"] == table["place"].iloc[-1]]
    np.testing.assert_array_equal(last["mean_test_score"], search.cv_results_["mean_test_score"])


def test_the_threads_of_the_block(two_workers: Any) -> None:
    with parallel_config(backend="daskhpc", inner_max_num_threads=3):
        search = GridSearchCV(Threads(), {"C": [1.0]}, cv=2, refit=False).fit(X, Y)
    assert search.cv_results_["mean_test_score"][0] == 3


@pytest.mark.parametrize("cluster", [True, False])
def test_where_threads_are_preferred(cluster: bool, request: pytest.FixtureRequest, log: Path, folder: Path) -> None:
    if cluster:
        request.getfixturevalue("two_workers")
    for made in (9, 0):
        with parallel_config(prefer="threads", n_jobs=2):
            GridSearchCV(Logged(str(log)), GRID, cv=3, refit=False, checkpoint=folder).fit(X, Y)
        assert fits(log) == made


def search_inside(log: str, folder: str) -> list[float]:
    search = GridSearchCV(Logged(log), GRID, cv=3, refit=False, checkpoint=folder).fit(X, Y)
    return list(search.cv_results_["mean_test_score"])


@pytest.mark.parametrize("task", [True, False])
def test_inside_a_call_or_a_task(two_workers: Any, task: bool, log: Path, folder: Path) -> None:
    found = []
    for made in (9, 0):
        if task:
            found.append(two_workers.submit(search_inside, str(log), str(folder), pure=False).result(timeout=200))
        else:
            with parallel_config(backend="daskhpc"):
                found += Parallel()([delayed(search_inside)(str(log), str(folder))])
        assert fits(log) == made
    assert found[0] == found[1]


def test_a_folder_that_is_no_journal(tmp_path: Path, log: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(JournalError):
        GridSearchCV(Logged(str(log)), GRID, checkpoint=tmp_path).fit(X, Y)
    assert fits(log) == 0


def test_results_can_be_read_by_others(log: Path, folder: Path) -> None:
    search = GridSearchCV(Logged(str(log)), GRID, cv=3, refit=False, checkpoint=folder).fit(X, Y)
    journal = JournalReader(folder)
    assert len(journal) == 9
    about = [result.about for result in journal.records()]
    assert {(a["params"]["C"], a["split"]) for a in about} == {(C, s) for C in GRID["C"] for s in range(3)}
    (note,) = journal.notes("results")
    same(note.decoded()["cv_results"], search.cv_results_)
    calls = [note.data for note in journal.notes("call")]
    assert calls[0]["place"].startswith("test_checkpoint.py:")
    assert calls[0]["place"].endswith("GridSearchCV.fit")
    assert any(call.get("known") == 9 for call in calls)


def test_the_checkpoint_is_a_parameter_like_others() -> None:
    from sklearn.base import clone

    search = GridSearchCV(LogisticRegression(), GRID, checkpoint="there", retry_failed=True)
    twin = clone(search)
    assert (twin.checkpoint, twin.retry_failed) == ("there", True)
    assert daskhpc.GridSearchCV(LogisticRegression(), GRID).checkpoint is None
