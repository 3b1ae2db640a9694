"""Journals as runs leave them, with fits by scikit-learn's own function."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.model_selection._validation import _fit_and_score
from sklearn.svm import SVC

from daskhpc.journal.journal import Journal
from daskhpc.journal.segment import HEADER, NOTE, frame, take_apart

SECONDS = 60.0
GRID: Mapping[str, list[Any]] = {"C": [np.float64(1.0), 10.0], "gamma": [0.01, 0.1, "scale"]}
SPLITS = 3
PLACE = "search.py:31 GridSearchCV.fit"
X, y = load_iris(return_X_y=True)


def cv() -> StratifiedKFold:
    return StratifiedKFold(SPLITS, shuffle=True, random_state=0)


def grid_search(grid: Any = GRID, scoring: Any = None) -> GridSearchCV:
    return GridSearchCV(SVC(), grid, cv=cv(), scoring=scoring, refit=False, return_train_score=True).fit(X, y)


def fit(params: Mapping[str, Any], split: int, scoring: Any = None) -> dict[str, Any]:
    """One fit of a search."""
    train, test = list(cv().split(X, y))[split]
    result: dict[str, Any] = _fit_and_score(
        SVC(),
        X,
        y,
        scorer=check_scoring(SVC(), scoring=scoring),
        train=train,
        test=test,
        verbose=0,
        parameters=dict(params),
        fit_params={},
        score_params={},
        return_train_score=True,
        return_n_test_samples=True,
        return_times=True,
    )
    return result


def fits(grid: Any = GRID) -> list[tuple[dict[str, Any], int]]:
    """Every candidate on every split, in scikit-learn's order."""
    return [(params, split) for params in ParameterGrid(grid) for split in range(SPLITS)]


def key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def append(
    journal: Journal, call: str, which: Iterable[tuple[dict[str, Any], int]], splits: int = SPLITS, **options: Any
) -> None:
    """Fit and save."""
    for params, split in which:
        value = fit(params, split, **options)
        score = value["test_scores"]
        about = {"call": call, "params": params, "split": split, "splits": splits, "label": "GridSearchCV"}
        if isinstance(score, float):
            about["score"] = score
        journal.append(
            key(sorted(params.items(), key=str), split),
            value["fit_error"] is None,
            value,
            value["fit_time"],
            "node2",
            about,
        )


def begin(journal: Journal, call: str, place: str = PLACE, **known: int) -> None:
    """Note that a Parallel call begins, and its counts if they are given."""
    note = {"id": call, "place": place, "label": "GridSearchCV", "began": time.time(), "host": "node2", "pid": 1}
    journal.note("call", note)
    if known:
        journal.note("call", {"id": call, **known})


def end(journal: Journal, call: str, known: int, replayed: int = 0, aborted: bool = False) -> None:
    note = {"id": call, "known": known, "replayed": replayed, "ended": time.time(), "aborted": aborted}
    journal.note("call", note)


def finished_search(folder: Path, grid: Any = GRID) -> GridSearchCV:
    """A journal of a search that was fitted to the end; the search itself."""
    search = grid_search(grid)
    with Journal.open(folder, "search") as journal:
        begin(journal, "a-0", known=len(fits(grid)), replayed=0)
        append(journal, "a-0", fits(grid))
        end(journal, "a-0", known=len(fits(grid)))
        journal.note("results", {"cv_results": search.cv_results_, "best_index": None, "time": time.time()})
        assert journal.sync(SECONDS)
    return search


def unclosed(folder: Path, **header: str) -> None:
    """As if the processes that wrote had been killed; what differs from their headers says where they ran."""
    for path in (folder / "segments").glob("*.jsonl"):
        _, first, rest = path.read_bytes().split(b"\n", 2)
        parts = take_apart(first)
        assert parts is not None
        own = {**json.loads(parts.text), "born": "0", **header}
        body, _, _ = rest.rpartition(b"\n\n")
        path.write_bytes(frame(HEADER, NOTE, json.dumps(own)) + body + b"\n")
