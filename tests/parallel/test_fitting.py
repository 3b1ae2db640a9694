"""Which fits share pipeline prefixes, and that sharing changes nothing but time."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold, _validation
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from daskhpc.compat.sklearn import POSITIONAL
from daskhpc.parallel import fitting
from daskhpc.parallel.prefix_cache import PrefixCache

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


def test_prefixes() -> None:
    steps = [("scale", StandardScaler()), ("select", SelectKBest(k=1)), ("clf", LogisticRegression())]

    class Own(Pipeline):  # type: ignore[misc]
        pass

    assert fitting.prefix_names(Pipeline(steps)) == ("scale", "select")
    assert fitting.prefix_names(Pipeline(steps[-1:])) is None
    assert fitting.prefix_names(Pipeline(steps, memory="folder")) is None
    assert fitting.prefix_names(Own(steps)) is None
    assert fitting.prefix_names(LogisticRegression()) is None


def test_groups_are_told_apart_by_type() -> None:
    names = ("a", "b")
    found = [fitting.group(names, {"a__x": value, "c__y": other}) for value in (1, 1.0, True) for other in (1, 2)]
    assert len(set(found)) == 3
    assert fitting.group(names, {"a": "passthrough"}) != fitting.group(names, {"a": None})
    assert fitting.group(names, None) == fitting.group(names, {}) == ((), ())
    assert fitting.group(("a",), {"ab__x": 1}) == ((),)
    assert fitting.group(names, {"a__x": 1, "a__y": 2}) == fitting.group(names, {"a__y": 2, "a__x": 1})


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("nobody is to see this")


def test_values_that_do_not_show_themselves() -> None:
    assert len(fitting.group(("a",), {"a__x": Shy()})) == 1


def arguments(**options: Any) -> dict[str, Any]:
    train, test = next(KFold(4).split(X))
    required = dict.fromkeys(("parameters", "fit_params", "score_params"))
    data = {"X": X, "y": Y, "train": train, "test": test}
    return {**data, "scorer": check_scoring(LogisticRegression()), "verbose": 0, **required, **options}


def test_a_fit_is_scikit_learns() -> None:
    named = arguments(estimator=LogisticRegression(), return_times=True, error_score="raise")
    positional = tuple(named.pop(name) for name in POSITIONAL)
    theirs = _validation._fit_and_score(clone(positional[0]), *positional[1:], **named)
    ours, saved = fitting.fit(_validation._fit_and_score, positional, named, PrefixCache(1 << 20))
    assert saved == 0
    assert list(ours) == list(theirs)
    assert ours["test_scores"] == theirs["test_scores"]


def test_saved_time_is_time_of_the_fit() -> None:
    cache, results = PrefixCache(1 << 20), []
    for c in (1, 10):
        pipeline = Pipeline([("scale", StandardScaler()), ("clf", LogisticRegression())])
        named = arguments(parameters={"clf__C": c}, return_times=True, error_score="raise", return_parameters=True)
        named["estimator"] = pipeline
        positional = tuple(named.pop(name) for name in POSITIONAL)
        results.append(fitting.fit(_validation._fit_and_score, positional, named, cache))
    assert all(result["fit_time"] >= saved for result, saved in results)
    assert [result["parameters"] for result, _ in results] == [{"clf__C": 1}, {"clf__C": 10}]
