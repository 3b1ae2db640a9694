"""What is derived from a journal names the same best candidate as the search, also among equal ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from report.made import SECONDS, begin, cv, end, fit, key
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC

import daskhpc
import daskhpc.report
from daskhpc import plots
from daskhpc.cli import main
from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader
from daskhpc.plots.data import read_search
from daskhpc.report.best import Best, mean
from daskhpc.report.run_progress import run_progress

X, y = load_iris(return_X_y=True)
TIED: dict[str, list[Any]] = {"C": [0.5, 1.0], "kernel": ["linear"], "gamma": [9.0, 0.1, 3.0, 1.0]}


def best_of(folder: Path) -> Best:
    (at,) = run_progress(JournalReader(folder), 0.0).places
    assert at.best is not None
    return at.best


def texts(params: dict[str, Any]) -> dict[str, str]:
    return {name: repr(value) for name, value in params.items()}


@pytest.mark.parametrize("count", [*range(1, 20), 100, 127, 128, 129, 136, 300, 1000])
def test_the_mean_is_numpys_to_the_last_bit(count: int) -> None:
    values = np.random.default_rng(count).uniform(-1, 1, (50, count))
    assert [mean(row) for row in values.tolist()] == np.average(values, axis=1).tolist()


@pytest.mark.parametrize("refit", [True, False, lambda results: results["rank_test_score"].argmax() + 1])
def test_status_results_and_pictures_of_a_search_name_its_best(tmp_path: Path, refit: Any) -> None:
    search = daskhpc.GridSearchCV(SVC(), TIED, cv=cv(), refit=refit, checkpoint=tmp_path / "kept", progress=False)
    search.fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) < len(ParameterGrid(TIED))
    best, params = best_of(tmp_path / "kept"), search.cv_results_["params"][search.best_index_]
    assert best.params == texts(params)
    assert best.score == search.cv_results_["mean_test_score"][search.best_index_]
    assert read_search(search).best == search.best_index_
    said = CliRunner().invoke(main, ["status", str(tmp_path / "kept")]).output
    assert ", ".join(f"{name}={value!r}" for name, value in params.items()) in said
    data = read_search(daskhpc.report.results(tmp_path / "kept"))
    assert data.best == search.best_index_
    assert data.mark == ("chosen" if callable(refit) else "best")


def test_the_best_of_a_halving_search_is_its_own(tmp_path: Path) -> None:
    search = daskhpc.HalvingGridSearchCV(
        SVC(), TIED, cv=cv(), factor=2, random_state=0, checkpoint=tmp_path / "kept", progress=False
    )
    search.fit(X, y)
    assert best_of(tmp_path / "kept").params == texts(search.best_params_)
    assert "next: daskhpc results" in CliRunner().invoke(main, ["status", str(tmp_path / "kept")]).output
    assert read_search(daskhpc.report.results(tmp_path / "kept")).best is not None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["search", "calls"])
def test_equal_candidates_count_in_the_order_of_the_search_whichever_ended_first(
    tmp_path: Path, seed: int, kind: str
) -> None:
    grid = list(ParameterGrid({**TIED, "C": [1.0]}))
    fits = [(number, split) for number in range(len(grid)) for split in range(3)]
    random.Random(seed).shuffle(fits)
    with Journal.open(tmp_path, kind) as journal:
        begin(journal, "a-0", known=len(fits), replayed=0)
        for number, split in fits:
            value = fit(grid[number], split)
            about = {"call": "a-0", "params": grid[number], "candidate": number, "split": split, "splits": 3}
            about["score"] = value["test_scores"]
            journal.append(key(number, split), True, value, 0.1, "host", about)
        end(journal, "a-0", known=len(fits))
        assert journal.sync(SECONDS)
    assert best_of(tmp_path).params == texts(grid[0])
    table = daskhpc.report.results(tmp_path)
    assert list(table["params"]) == grid
    assert set(table["rank_test_score"]) == {1}
    figure = plots.search(table)
    (star,) = [line for line in figure.axes[0].get_lines() if line.get_label() == "best"]
    assert star.get_xdata()[0] == grid[0]["gamma"]


def test_sums_in_another_order_decide_as_scikit_learn_decides(tmp_path: Path) -> None:
    scores = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.3, 0.1, 0.2]]
    means = np.average(np.array(scores), axis=1)
    assert len(set(means)) > 1
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "a-0", known=9, replayed=0)
        for split in (2, 0, 1):
            for number in (2, 1, 0):
                about = {"call": "a-0", "params": {"k": number}, "candidate": number, "split": split, "splits": 3}
                value = {**about, "score": scores[number][split]}
                journal.append(key(number, split), True, {}, 0.1, "host", value)
        assert journal.sync(SECONDS)
    assert best_of(tmp_path).params == {"k": str(means.argmax())}


def infinite(model: Any, X: Any, y: Any) -> float:
    return {1.0: float("-inf"), 5.0: float("inf")}.get(model.C) or float(model.score(X, y))


def failing(model: Any, X: Any, y: Any) -> float:
    return float("nan") if model.C == 5.0 else float(model.score(X, y))


@pytest.mark.parametrize(
    ("model", "grid", "options"),
    [
        (SVC(), {"C": [10.0, 5.0, 1.0]}, {"scoring": infinite}),
        (SVC(), {"C": [10.0, 5.0, -1.0, 0.001]}, {"scoring": failing}),
        (Ridge(), {"alpha": [0.1, -1.0, 1.0]}, {"scoring": "neg_mean_squared_error", "error_score": 0.0}),
    ],
    ids=["infinite", "without a score", "failed fits count as 0"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the test scores")
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_scores_that_are_no_common_numbers_rank_as_in_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, grid: Any, options: Any
) -> None:
    monkeypatch.setattr("daskhpc.search.classes.finish", lambda *_: None)  # as if it had been killed at its end
    search = daskhpc.GridSearchCV(model, grid, cv=cv(), refit=False, checkpoint=tmp_path, progress=False, **options)
    found = search.fit(X, y).cv_results_
    table = daskhpc.report.results(tmp_path)
    for name in ("mean_test_score", "std_test_score", "rank_test_score"):
        np.testing.assert_array_equal(table[name], found[name], err_msg=name)
    first = int(found["rank_test_score"].argmin())
    assert best_of(tmp_path) == Best(found["mean_test_score"][first], texts(found["params"][first]), 3, 3)
    drawn = read_search(table)
    assert drawn.mark == ("best" if np.isfinite(found["mean_test_score"][first]) else "best finite")


def test_the_rounds_of_a_halving_search_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"C": [1e-4, 0.1, 1, 10, 100], "gamma": [1e-3, 0.1, 10]}
    options: dict[str, Any] = {"cv": cv(), "factor": 2, "random_state": 0, "progress": False}
    with monkeypatch.context() as patch:
        patch.setattr("daskhpc.search.classes.finish", lambda *_: None)
        search = daskhpc.HalvingGridSearchCV(SVC(), grid, checkpoint=tmp_path, **options).fit(X, y)
    found, table = search.cv_results_, daskhpc.report.results(tmp_path)
    assert len(set(found["iter"])) > 2
    assert found["mean_test_score"].argmax() != search.best_index_
    assert table["iter"].tolist() == found["iter"].tolist()
    assert read_search(table).best is not None
    assert best_of(tmp_path) == Best(search.best_score_, texts(search.best_params_), 3, 3)
    for _ in range(2):
        header, row = CliRunner().invoke(main, ["results", str(tmp_path)]).output.splitlines()[1:3]
        shown = dict(zip(header.split(), row.split(), strict=True))
        assert {name: float(shown[name]) for name in grid} == search.best_params_
        assert shown["iter"] == str(max(found["iter"]))
        search.fit(X, y)  # the second time the table is the search's own


def test_scores_on_little_data_are_not_compared_with_those_on_more(tmp_path: Path) -> None:
    rounds = {3: {0: 0.9, 1: 1.0, 2: 1.0}, 2: {1: 0.8, 2: 0.7}}
    with Journal.open(tmp_path, "calls") as journal:
        for call, (candidates, scores) in enumerate(rounds.items()):
            begin(journal, f"a-{call}", known=len(scores), replayed=0)
            for place, (number, score) in enumerate(scores.items()):
                about = {"call": f"a-{call}", "params": {"k": number}, "candidate": place, "candidates": candidates}
                value = {"test_scores": score}
                about |= {"split": 0, "splits": 1, "score": score}
                journal.append(key(call, number), True, value, 0.1, "host", about)
            end(journal, f"a-{call}", known=len(scores))
        assert journal.sync(SECONDS)
    assert best_of(tmp_path) == Best(0.8, {"k": "1"}, 1, 1)
    table = daskhpc.report.results(tmp_path)
    assert table["iter"].tolist() == [0, 0, 0, 1, 1]


def test_what_a_function_chose_by_several_scores_is_said(tmp_path: Path) -> None:
    search = daskhpc.GridSearchCV(
        SVC(),
        TIED,
        cv=cv(),
        scoring=["accuracy", "f1_macro"],
        refit=lambda results: 3,
        checkpoint=tmp_path,
        progress=False,
    )
    search.fit(X, y)
    said = ", ".join(f"{name}={value!r}" for name, value in search.best_params_.items())
    assert f"best by refit   {said}" in CliRunner().invoke(main, ["status", str(tmp_path)]).output
    assert f"the search chose {said}" in CliRunner().invoke(main, ["results", str(tmp_path)]).output
