"""What daskhpc knows of scikit-learn's _fit_and_score: that it still is so, and what failed fits look like."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, KFold, _validation, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import delayed

from daskhpc.parallel import fitting
from daskhpc.parallel.prefixes import PrefixCache

SECONDS = 60
X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


class Failing(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def __init__(self, a: int = 1) -> None:
        self.a = a

    def fit(self, X: Any, y: Any = None, **_params: Any) -> Any:
        raise ValueError("this one never fits")


@pytest.fixture
def fresh() -> Iterator[None]:
    """What was understood before is forgotten, now and afterwards."""
    fitting._understood.cache_clear()
    yield
    fitting._understood.cache_clear()


# The canary.


def test_scikit_learn_is_understood() -> None:
    fitting._understood.cache_clear()
    names = set(inspect.signature(_validation._fit_and_score).parameters)
    assert fitting.understood(), (
        f"scikit-learn {sklearn.__version__} has changed _fit_and_score, so its fits are treated as any other calls, "
        f"without shared prefixes, failed fits and costs per candidate. "
        f"New parameters: {sorted(names - fitting.REQUIRED - fitting.OPTIONAL)}; "
        f"gone: {sorted(fitting.REQUIRED - names)}. "
        f"Read sklearn/model_selection/_validation.py, then change daskhpc/parallel/fitting.py: REQUIRED or OPTIONAL, "
        f"READ_ONLY where a fit does not change the argument, and `failed` where the result has other keys."
    )


def test_its_first_arguments_are_positional() -> None:
    parameters = inspect.signature(_validation._fit_and_score).parameters.values()
    positional = tuple(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    assert tuple(fitting.bind((0, 1, 2), {})) == positional, "fitting.bind and task._arguments name them by position"


def seen(run: Callable[[], object]) -> list[tuple[Any, dict[str, Any]]]:
    """The calls of _fit_and_score that something makes."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    original = joblib.Parallel.__call__

    def watch(self: Any, iterable: Any) -> Any:
        items = list(iterable)
        calls.extend((f, fitting.bind(a, k)) for f, a, k in items if fitting.is_fit(f))
        return original(self, items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joblib.Parallel, "__call__", watch)
        run()
    return calls


def test_searches_and_cross_validation_make_that_call() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", LogisticRegression())])
    grid = {"clf__C": [1, 10], "scale__with_mean": [True, False]}
    calls = seen(lambda: GridSearchCV(pipeline, grid, cv=2).fit(X, Y))
    assert len(calls) == 8
    for _, arguments in calls:
        assert set(arguments) <= fitting.REQUIRED | fitting.OPTIONAL
        assert fitting.prefix_names(arguments["estimator"]) == ("scale",)
        assert set(arguments["parameters"]) == set(grid)
        assert not fitting.callbacks(arguments)
        assert fitting.simplify(arguments).get("caller") is None
    assert sorted(fitting.candidate(arguments) for _, arguments in calls) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({fitting.group(("scale",), a["parameters"]) for _, a in calls}) == 2
    calls = seen(lambda: cross_validate(pipeline, X, Y, cv=3))
    assert [fitting.candidate(arguments) for _, arguments in calls] == [None] * 3


def test_callbacks_are_seen() -> None:
    callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2)
    search.set_callbacks(callback.ScoringMonitor(scoring="accuracy"))
    calls = seen(lambda: search.fit(X, Y))
    assert calls
    for _, arguments in calls:
        assert fitting.callbacks(arguments), "see how scikit-learn's CallbackContext holds its callbacks (_callbacks)"
        assert fitting.simplify(arguments) is arguments


def test_its_function_is_known() -> None:
    assert fitting.is_fit(_validation._fit_and_score)
    assert fitting.is_fit(delayed(_validation._fit_and_score)(1)[0])
    for other in (_validation._fit_and_predict, print, len, object(), None, LogisticRegression(), lambda: None):
        assert not fitting.is_fit(other)


def changed(*, without: str = "", extra: str = "") -> Callable[..., Any]:
    """_fit_and_score as another release might have it."""
    genuine = _validation._fit_and_score
    signature = inspect.signature(genuine)
    parameters = [p for p in signature.parameters.values() if p.name != without]
    if extra:
        parameters.append(inspect.Parameter(extra, inspect.Parameter.KEYWORD_ONLY, default=None))

    def function(*args: Any, **kwargs: Any) -> Any:
        return genuine(*args, **kwargs)

    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


@pytest.mark.parametrize("change", [{"without": "scorer"}, {"without": "error_score"}, {"extra": "device"}], ids=repr)
@pytest.mark.usefixtures("fresh")
def test_a_changed_function_is_any_other(change: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    function = changed(**change)
    monkeypatch.setattr(_validation, "_fit_and_score", function)
    assert not fitting.understood()
    assert not fitting.is_fit(function)


@pytest.mark.parametrize("name", ["caller", "callback_ctx"])
@pytest.mark.usefixtures("fresh")
def test_what_only_some_releases_have(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_validation, "_fit_and_score", changed(without=name))
    assert fitting.understood()


def test_nothing_is_understood_before_scikit_learn_is_there() -> None:
    """And it is once it is there; daskhpc itself does not import it."""
    program = """
import sys
from daskhpc.parallel import fitting
assert "sklearn" not in sys.modules
assert not fitting.understood() and not fitting.is_fit(print) and not fitting.is_fit(None)
assert fitting.prefix_names(1) is None
from sklearn.model_selection import _validation
assert fitting.is_fit(_validation._fit_and_score)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, result.stderr


# Failed fits.


def scorer(several: bool) -> Any:
    model = LogisticRegression()
    if not several:
        return check_scoring(model)
    return _MultimetricScorer(scorers={n: check_scoring(model, scoring=n) for n in ("accuracy", "f1")})


def arguments(**options: Any) -> dict[str, Any]:
    train, test = next(KFold(4).split(X))
    required = dict.fromkeys(("parameters", "fit_params", "score_params"))
    return {
        "estimator": Failing(),
        "X": X,
        "y": Y,
        "scorer": scorer(False),
        "train": train,
        "test": test,
        "verbose": 0,
        "error_score": np.nan,
        **required,
        **options,
    }


def both(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What scikit-learn returns for a fit that fails, and what daskhpc says of one whose worker died."""
    named = arguments(**options)
    theirs = _validation._fit_and_score(**{**named, "estimator": clone(named["estimator"])})
    ours = fitting.failed(named, "ValueError: it died")
    assert ours is not None
    return theirs, ours


ALL = (
    "return_train_score",
    "return_parameters",
    "return_n_test_samples",
    "return_times",
    "return_estimator",
)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("error_score", [np.nan, 0, -1.5, np.float32(2), True])
@pytest.mark.parametrize("wanted", [(), *((name,) for name in ALL), ALL], ids=str)
def test_failed_fits_are_scikit_learns(wanted: tuple[str, ...], error_score: Any, several: bool) -> None:
    options = dict.fromkeys(wanted, True) | {"error_score": error_score, "scorer": scorer(several)}
    theirs, ours = both(options | {"parameters": {"a": 2}})
    assert list(ours) == list(theirs)
    assert {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in theirs.items()}
    for key in ("test_scores", "train_scores", "n_test_samples", "parameters"):
        np.testing.assert_equal(ours.get(key), theirs.get(key))
    assert fitting.error_of(ours) == "ValueError: it died"
    assert fitting.error_of(theirs) == "ValueError: this one never fits"
    assert fitting.best_of(ours) is fitting.best_of(theirs) is None


def test_scores_of_failed_fits_are_not_one_object() -> None:
    _, ours = both({"scorer": scorer(True), "return_train_score": True})
    assert ours["test_scores"] is not ours["train_scores"]


def test_the_estimator_of_a_failed_fit_has_its_parameters() -> None:
    theirs, ours = both({"parameters": {"a": 2}, "return_estimator": True})
    assert ours["estimator"].get_params() == theirs["estimator"].get_params()


@pytest.mark.parametrize(
    "test",
    [np.arange(5), list(range(5)), np.arange(20) < 5, (np.arange(20) < 5).tolist(), np.array([], dtype=int)],
    ids=["indices", "list", "mask", "mask in a list", "none"],
)
@pytest.mark.parametrize("data", [X, pd.DataFrame(X), X.tolist()], ids=["array", "frame", "list"])
def test_the_size_of_the_test_part(test: Any, data: Any) -> None:
    theirs, ours = both({"X": data, "test": test, "return_n_test_samples": True})
    assert ours["n_test_samples"] == theirs["n_test_samples"]


def test_errors_that_are_to_be_raised() -> None:
    assert fitting.failed(arguments(error_score="raise"), "cause") is None


def test_what_a_search_says_of_failed_fits_can_be_put_together() -> None:
    results = [both({"return_times": True, "return_n_test_samples": True})[1] for _ in range(3)]
    with pytest.warns(Warning, match="it died"):
        _validation._warn_or_raise_about_fit_failures([*results, {"fit_error": None}], np.nan)
    assert set(_validation._aggregate_score_dicts(results)) == set(results[0])


# Small things.


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


@pytest.mark.parametrize(
    ("result", "best", "error"),
    [
        ({"test_scores": 0.5, "fit_error": None}, 0.5, None),
        ({"test_scores": np.float64(0.5)}, 0.5, None),
        ({"test_scores": np.float32(0.5)}, 0.5, None),
        ({"test_scores": np.nan}, None, None),
        ({"test_scores": {"a": 1.0}}, None, None),
        ({"test_scores": 0.0, "fit_error": "Traceback\n  x\nValueError: no\n"}, None, "ValueError: no"),
        ({}, None, None),
        (None, None, None),
        (7, None, None),
    ],
    ids=repr,
)
def test_what_a_result_says(result: Any, best: float | None, error: str | None) -> None:
    assert fitting.best_of(result) == best
    assert fitting.error_of(result) == error


def test_a_fit_is_scikit_learns() -> None:
    named = arguments(estimator=LogisticRegression(), return_times=True, error_score="raise")
    positional = tuple(named.pop(name) for name in ("estimator", "X", "y"))
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
        positional = tuple(named.pop(name) for name in ("estimator", "X", "y"))
        results.append(fitting.fit(_validation._fit_and_score, positional, named, cache))
    assert all(result["fit_time"] >= saved for result, saved in results)
    assert [result["parameters"] for result, _ in results] == [{"clf__C": 1}, {"clf__C": 10}]
