"""Searches in one folder: each is told apart, and of a search that was run again the last settings count."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import daskhpc
import daskhpc.report
from daskhpc.cli import main
from daskhpc.journal.reader import JournalReader
from daskhpc.parallel import checkpoints
from daskhpc.report.run_progress import RunProgress, run_progress
from daskhpc.report.tables import Results, read

X, y = load_iris(return_X_y=True)
GRID: dict[str, list[Any]] = {"C": [0.01, 1.0, -1.0]}

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the t", "ignore:invalid value"
)


@pytest.fixture
def folder(tmp_path: Path, client: Any) -> Iterator[Path]:
    yield tmp_path / "kept"
    checkpoints.close_all()


def search(folder: Path, *searches: Any, data: Any = X, grid: Any = None) -> None:
    """What a program with a checkpoint does."""
    with joblib.parallel_config(backend="daskhpc", checkpoint=folder, progress=False):
        for each in searches:
            each.fit(data, y)


def grid(model: Any = None, grid: Any = None, **options: Any) -> Any:
    options = {"cv": KFold(3, shuffle=True, random_state=0), "refit": False, **options}
    return GridSearchCV(model or SVC(), grid or GRID, **options)


def another_process(monkeypatch: pytest.MonkeyPatch, name: str = "another") -> None:
    monkeypatch.setattr(checkpoints, "_PROGRAM", name)


def progress(folder: Path) -> RunProgress:
    checkpoints.close_all()
    return run_progress(JournalReader(folder), 0.0)


def printed(*args: str) -> str:
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    return done.output


def same_as(found: Results, *searches: Any) -> None:
    assert len(found.tables) == len(searches)
    for table, own in zip(found.tables.values(), searches, strict=True):
        names = [name for name in own.cv_results_ if name.startswith(("rank_", "split", "mean_test", "std_test"))]
        for name in names:
            np.testing.assert_array_equal(table[name], own.cv_results_[name], err_msg=name)
        assert table["params"].tolist() == own.cv_results_["params"]


AGAIN = [
    {"error_score": 0.0},
    {"error_score": 2.0},
    {"scoring": "balanced_accuracy"},
    {"scoring": ["accuracy", "f1_macro"]},
    {"cv": 4},
    {"cv": 2},
    {"cv": KFold(3, shuffle=True, random_state=1)},
    {"return_train_score": True},
    {"estimator": SVC(kernel="linear")},
]


@pytest.mark.parametrize("other", AGAIN, ids=str)
def test_a_search_that_is_run_again_with_other_settings_counts_as_it_was_run_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    search(folder, grid())
    another_process(monkeypatch)
    last = grid(other.get("estimator"), **{name: value for name, value in other.items() if name != "estimator"})
    search(folder, last)
    found = read(folder)
    same_as(found, last)
    assert found.left_out == 9
    assert "9 fits of earlier runs with other settings left out" in printed("results", str(folder))
    (place,) = progress(folder).places
    means = last.cv_results_.get("mean_test_score")
    assert place.best is not None or means is None
    if means is not None and place.best is not None:
        assert place.best.score == np.nanmax(means)
    another_process(monkeypatch, "back")
    search(folder, first := grid())
    same_as(read(folder), first)


@pytest.mark.parametrize("other", [{"error_score": 0.0}, {"return_train_score": True}], ids=str)
def test_a_folder_of_one_search_has_its_last_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    """Also while that is unfinished."""
    options: dict[str, Any] = {"cv": 3, "refit": False, "checkpoint": folder, "progress": False}
    daskhpc.GridSearchCV(SVC(), GRID, **options).fit(X, y)
    monkeypatch.setattr("daskhpc.search.classes.finish", lambda *_: None)
    last = daskhpc.GridSearchCV(SVC(), GRID, **options, **other).fit(X, y)
    same_as(read(folder), last)
    (place,) = progress(folder).places
    assert place.best is not None
    assert place.best.score == np.nanmax(last.cv_results_["mean_test_score"])
    assert (place.done, place.failed) == (9, 3)


def test_more_candidates_with_the_same_settings_are_one_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search(folder, grid(grid={"C": [0.01]}))
    another_process(monkeypatch)
    search(folder, grid(grid={"C": [1.0]}))
    found = read(folder)
    assert found.frame["param_C"].tolist() == [0.01, 1.0]
    assert found.left_out == 0


def test_searches_of_one_program_are_told_apart(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over models, and one over settings; also when the program is run again."""
    searches = [
        grid(),
        grid(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}),
        grid(scoring="balanced_accuracy"),
        grid(error_score=0.0),
    ]
    for number in range(2):
        another_process(monkeypatch, f"run {number}")
        search(folder, *searches)
        found = read(folder)
        same_as(found, *searches)
        assert found.left_out == 0
    models = ["SVC()", "DecisionTreeClassifier(random_state=0)", "SVC()", "SVC()"]
    places = list(found.tables)
    assert [place.partition(" [")[2] for place in places] == [f"{n}] {model}" for n, model in enumerate(models, 1)]
    assert [place.place for place in progress(folder).places] == places
    assert [place.done for place in progress(folder).places] == [9, 6, 9, 9]
    output = printed("results", str(folder))
    assert output.startswith(places[0])
    assert sum(" candidates; " in line for line in output.splitlines()) == 4
    printed("results", str(folder), "--csv", str(tmp_path / "all.csv"))
    with open(tmp_path / "all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == [
        place for place, n in zip(places, (3, 2, 3, 3), strict=True) for _ in range(n)
    ]
    said = printed("status", str(folder))
    assert "fit [2] DecisionTree" in said, said


def test_a_search_has_what_an_earlier_one_of_the_same_program_computed(folder: Path) -> None:
    """A coarse grid, then finer ones, as in a notebook; a cell that is run again is no other search."""
    searches = [grid(grid={"C": values}) for values in ([0.01, 1.0], [0.01, 1.0, -1.0], [0.01, 1.0, -1.0], [1.0])]
    for each in searches:
        search(folder, each)
    found = read(folder)
    assert [table["param_C"].tolist() for table in found.tables.values()] == [[0.01, 1.0], [0.01, 1.0, -1.0], [1.0]]
    same_as(found, searches[0], searches[1], searches[3])
    assert found.left_out == 0
    places = progress(folder).places
    assert [(place.done, place.times, place.failed) for place in places] == [(6, 1, 0), (18, 2, 3), (3, 1, 0)]


def test_a_score_that_some_searches_have(folder: Path, tmp_path: Path) -> None:
    """Those are shown by it and drawn, and the others are named; a score that none has is refused."""
    small = {"max_depth": [1, 2]}
    several = grid(DecisionTreeClassifier(random_state=0), small, scoring=["accuracy", "f1_macro"])
    search(folder, grid(), several)
    other, place = read(folder).tables
    output = printed("results", str(folder), "--score", "f1_macro").splitlines()
    assert output[0].startswith(place)
    assert f"{other}: no score f1_macro" in output
    picture = printed("results", str(folder), "--score", "f1_macro", "--plot", str(tmp_path / "f1.png"))
    assert picture.startswith(f"the picture is of {place}")
    refused = CliRunner().invoke(main, ["results", str(folder), "--score", "recall"])
    assert "There is no such score" in refused.output


def test_nothing_is_saved_of_a_folder_without_results(tmp_path: Path) -> None:
    checkpoints.opened(tmp_path / "kept", "calls")
    refused = CliRunner().invoke(main, ["results", str(tmp_path / "kept"), "--csv", str(tmp_path / "all.csv")])
    assert refused.exit_code != 0
    assert "There is nothing to save" in refused.output
    assert not (tmp_path / "all.csv").exists()


def test_searches_over_several_data_sets_are_named_by_them(folder: Path) -> None:
    for columns in (2, 3):
        search(folder, grid(), data=X[:, :columns])
    assert [place.partition("] ")[2] for place in read(folder).tables] == [
        "float64 array (150, 2)",
        "float64 array (150, 3)",
    ]


def test_the_same_search_twice_in_a_program_is_two(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        another_process(monkeypatch, f"run {number}")
        searches = [grid(), grid()]
        with joblib.parallel_config(backend="daskhpc", checkpoint=folder, progress=False):
            for each in searches:
                each.fit(X, y)
        same_as(read(folder), *searches)


def test_rounds_of_halving_searches_stay_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def halving(**options: Any) -> Any:
        values = {"C": [1e-4, 0.1, 1, 10, 100, 1000]}
        return HalvingGridSearchCV(SVC(), values, cv=2, factor=3, random_state=0, refit=False, **options)

    for number in range(2):
        another_process(monkeypatch, f"run {number}")
        searches = [halving(), halving(scoring="balanced_accuracy")]
        search(folder, *searches)
        found = read(folder)
        assert [table["iter"].tolist() for table in found.tables.values()] == [
            own.cv_results_["iter"].tolist() for own in searches
        ]
        same_as(found, *searches)
    another_process(monkeypatch, "last")
    search(folder, last := halving(error_score=0.0))
    same_as(read(folder), last)
