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
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC

import daskhpc
import daskhpc.report
from daskhpc import plots
from daskhpc.cli import main
from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader
from daskhpc.plots.data import read_search
from daskhpc.report.run_progress import Best, mean, run_progress

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
