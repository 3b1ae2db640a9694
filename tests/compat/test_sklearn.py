"""What daskhpc knows of scikit-learn beyond its public names is still so."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import sklearn.model_selection
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, KFold, _validation, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.parallel import delayed

from daskhpc.compat import sklearn as compat
from daskhpc.compat.sklearn import (
    CALLBACKS,
    NOT_OF_RESULTS,
    OPTIONAL,
    POSITIONAL,
    REQUIRED,
    STEP_MESSAGES,
    CallbackMessages,
    asked_methods,
    callback_transport,
    candidate_number,
    deliver_callback_messages,
    failed_fit,
    fit_arguments,
    fit_error,
    fit_is_known,
    fit_score,
    fit_summary,
    has_callbacks,
    is_fit,
    is_scorer,
    is_step_fit,
    is_wrapped,
    is_wrapper,
    round_number,
    same_wrapped,
    scorer_names,
    several_scorers,
    what_decides,
    without_callbacks,
)

SECONDS = 120
X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


class Failing(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def __init__(self, a: int = 1) -> None:
        self.a = a

    def fit(self, X: Any, y: Any = None, **_params: Any) -> Any:
        raise ValueError("this one never fits")


@pytest.fixture
def fresh() -> Iterator[None]:
    """What was understood before is forgotten, now and afterwards."""
    compat._is_known.cache_clear()
    yield
    compat._is_known.cache_clear()


# The canary.


def test_scikit_learn_is_understood() -> None:
    compat._is_known.cache_clear()
    names = set(inspect.signature(_validation._fit_and_score).parameters)
    assert fit_is_known(), (
        f"scikit-learn {sklearn.__version__} has changed _fit_and_score, so its fits are treated as any other calls, "
        f"without shared prefixes, failed fits and costs per candidate. "
        f"New parameters: {sorted(names - REQUIRED - OPTIONAL)}; "
        f"gone: {sorted(REQUIRED - names)}. "
        f"Read sklearn/model_selection/_validation.py, then change daskhpc/compat/sklearn.py: REQUIRED or OPTIONAL, "
        f"READ_ONLY where a fit does not change the argument, and `failed_fit` where the result has other keys."
    )


def test_its_first_arguments_are_positional() -> None:
    parameters = inspect.signature(_validation._fit_and_score).parameters.values()
    positional = tuple(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    assert tuple(fit_arguments((0, 1, 2), {})) == positional, "see POSITIONAL"


def seen(run: Callable[[], object]) -> list[tuple[Any, dict[str, Any]]]:
    """The calls of _fit_and_score that something makes."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    original = joblib.Parallel.__call__

    def watch(self: Any, iterable: Any) -> Any:
        items = list(iterable)
        calls.extend((f, fit_arguments(a, k)) for f, a, k in items if is_fit(f))
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
        assert set(arguments) <= REQUIRED | OPTIONAL
        assert set(arguments["parameters"]) == set(grid)
        assert not has_callbacks(arguments)
        assert without_callbacks(arguments).get("caller") is None
    assert sorted(candidate_number(arguments) for _, arguments in calls) == [0, 0, 1, 1, 2, 2, 3, 3]
    calls = seen(lambda: cross_validate(pipeline, X, Y, cv=3))
    assert [candidate_number(arguments) for _, arguments in calls] == [None] * 3


def test_callbacks_are_seen() -> None:
    callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2)
    search.set_callbacks(callback.ScoringMonitor(scoring="accuracy"))
    calls = seen(lambda: search.fit(X, Y))
    assert calls
    for _, arguments in calls:
        assert has_callbacks(arguments), "see how scikit-learn's CallbackContext holds its callbacks (_callbacks)"
        assert without_callbacks(arguments) is arguments


def test_its_function_is_known() -> None:
    assert is_fit(_validation._fit_and_score)
    assert is_fit(delayed(_validation._fit_and_score)(1)[0])
    for other in (_validation._fit_and_predict, print, len, object(), None, LogisticRegression(), lambda: None):
        assert not is_fit(other)


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
    assert not fit_is_known()
    assert not is_fit(function)


@pytest.mark.parametrize("name", ["caller", "callback_ctx"])
@pytest.mark.usefixtures("fresh")
def test_what_only_some_releases_have(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_validation, "_fit_and_score", changed(without=name))
    assert fit_is_known()


def test_nothing_is_understood_before_scikit_learn_is_there() -> None:
    """And it is once it is there; daskhpc itself does not import it."""
    program = """
import sys
from daskhpc.compat.sklearn import fit_is_known, is_fit
assert "sklearn" not in sys.modules
assert not fit_is_known() and not is_fit(print) and not is_fit(None)
from sklearn.model_selection import _validation
assert is_fit(_validation._fit_and_score)
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
    ours = failed_fit(named, "ValueError: it died")
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
    assert fit_error(ours) == "ValueError: it died"
    assert fit_error(theirs) == "ValueError: this one never fits"
    assert fit_score(ours) is fit_score(theirs) is None


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
    assert failed_fit(arguments(error_score="raise"), "cause") is None


def test_what_a_search_says_of_failed_fits_can_be_put_together() -> None:
    results = [both({"return_times": True, "return_n_test_samples": True})[1] for _ in range(3)]
    with pytest.warns(Warning, match="it died"):
        _validation._warn_or_raise_about_fit_failures([*results, {"fit_error": None}], np.nan)
    assert set(_validation._aggregate_score_dicts(results)) == set(results[0])


# Small things.


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
    assert fit_score(result) == best
    assert fit_error(result) == error


@pytest.mark.parametrize("result", [{"test_scores": 0.5}, {"test_scores": 0.0, "fit_error": "ValueError: no"}], ids=str)
def test_the_summary_of_a_fit(result: dict[str, Any]) -> None:
    arguments = {"parameters": {"C": 1}, "split_progress": (1, 5)}
    shown = {"params": {"C": 1}, "split": 1, "splits": 5}
    assert fit_summary(arguments, result) == {**shown, "score": result["test_scores"]}
    arguments["candidate_progress"] = (2, 9)
    assert fit_summary(arguments, result) == {**shown, "score": result["test_scores"], "candidate": 2}
    assert fit_summary(arguments, result, in_rounds=True)["candidates"] == 9
    assert fit_summary({}, None) == {}


@pytest.mark.parametrize("name", ["GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"])
def test_halving_runs_in_rounds(name: str) -> None:
    importlib.import_module("sklearn.experimental.enable_halving_search_cv")
    search = getattr(sklearn.model_selection, name)(SVC(), {"C": [1.0]})
    assert round_number(search) == (0 if name.startswith("Halving") else None)
    assert round_number(None) is None


def test_the_round_of_a_halving_search() -> None:
    importlib.import_module("sklearn.experimental.enable_halving_search_cv")
    rounds = []

    def score(*_: Any) -> float:
        rounds.append(round_number(search))
        return 0.0

    grid = {"C": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    search = sklearn.model_selection.HalvingGridSearchCV(SVC(), grid, cv=2, scoring=score, refit=False)
    search.fit(*sklearn.datasets.load_iris(return_X_y=True))
    assert list(dict.fromkeys(rounds)) == [0, 1]


# The wrapper of delayed.


def test_the_wrapper_of_delayed() -> None:
    """If this fails, see what sklearn.utils.parallel.delayed returns."""
    wrapped, args, kwargs = delayed(LogisticRegression)(C=1)
    assert is_wrapped(wrapped)
    assert is_wrapper(type(wrapped))
    assert wrapped.function is LogisticRegression
    assert not is_wrapped(LogisticRegression)
    plainly, _, _ = delayed(_validation._fit_and_score)()
    assert {name for name in vars(plainly) if name[:2] != "__"} <= {"function", "config", "warning_filters"}
    wrapped.config, wrapped.warning_filters = sklearn.get_config(), []
    function, settings, args, kwargs = what_decides(wrapped, args, kwargs)
    assert (function, args, kwargs) == (LogisticRegression, (), {"C": 1})
    assert settings == {k: v for k, v in sklearn.get_config().items() if k not in ("display", "print_changed_only")}


def test_wrappers_are_the_same_by_what_is_in_them() -> None:
    one, other, third = (delayed(f)()[0] for f in (print, print, repr))
    for each in (one, other, third):
        each.config, each.warning_filters = None, None
    assert same_wrapped(one, other)
    assert not same_wrapped(one, third)
    other.config = {}
    assert not same_wrapped(one, other)
    assert same_wrapped(print, print) is None


def test_what_is_shown_of_a_fit_decides_nothing() -> None:
    named = arguments(split_progress=(0, 2), candidate_progress=(1, 3))
    positional = tuple(named.pop(name) for name in POSITIONAL)
    function, settings, args, kwargs = what_decides(_validation._fit_and_score, positional, named)
    assert function is _validation._fit_and_score
    assert (settings, args) == (None, ())
    assert kwargs.keys() == {*POSITIONAL, *named} - {"verbose", "split_progress", "candidate_progress"}
    assert what_decides(print, (1,), {"verbose": 2}) == (print, None, (1,), {"verbose": 2})


# Estimators, steps and scorers.


def test_attributes_that_no_result_depends_on() -> None:
    """If this fails, see what scikit-learn's estimators hold besides parameters and what fitting found."""
    assert {"n_jobs", "verbose"} <= vars(LogisticRegression(verbose=1)).keys() & NOT_OF_RESULTS
    assert "_sklearn_version" in LogisticRegression().__getstate__()
    callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    estimator = GridSearchCV(LogisticRegression(), {}).set_callbacks(callback.ScoringMonitor(scoring="accuracy"))
    assert vars(estimator)[CALLBACKS]
    assert CALLBACKS in NOT_OF_RESULTS


def test_a_pipeline_fits_its_steps_by_that_call() -> None:
    """If this fails, see which function sklearn.pipeline.Pipeline gives to its memory's cache()."""
    seen: list[tuple[Any, dict[str, Any]]] = []

    class Memory:
        def cache(self, function: Any, **_: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                assert is_step_fit(function)
                assert len(args) == 3
                seen.append((args[0], kwargs))
                return function(*args, **kwargs)

            return call

    scale = StandardScaler()
    Pipeline([("scale", scale), ("model", LogisticRegression())], memory=Memory()).fit(X, Y)
    ((step, kwargs),) = seen
    assert type(step) is StandardScaler
    assert kwargs.keys() >= STEP_MESSAGES
    assert not is_step_fit(print)


def test_scorers() -> None:
    single, several = scorer(False), scorer(True)
    assert is_scorer(type(several))
    assert is_scorer(type(check_scoring(LogisticRegression(), scoring="accuracy")))
    assert not is_scorer(LogisticRegression)
    assert scorer_names(several) == ["accuracy", "f1"]
    assert scorer_names(single) is several_scorers(single) is None
    parts = several_scorers(several)
    assert parts is not None
    assert all(map(callable, parts.values()))


def test_what_a_scorer_asks_of_a_model() -> None:
    assert asked_methods(check_scoring(LogisticRegression(), "accuracy")) == ["predict"]
    assert asked_methods(check_scoring(LogisticRegression(), "roc_auc")) == ["decision_function", "predict_proba"]
    assert asked_methods(lambda estimator, X, y: 0.0) == []


# Callbacks.


@pytest.fixture
def carrier() -> Iterator[ModuleType]:
    """scikit-learn's transport, as it was afterwards."""
    module: Any = callback_transport()
    if module is None:
        pytest.skip("this scikit-learn has no callbacks")
    before = module._message_consumers
    yield module
    module._message_consumers = before


def handle(carrier: ModuleType, address: str) -> Any:
    return carrier.ListenerHandle(address, b"key")


def test_the_transport_is_what_it_was(carrier: ModuleType) -> None:
    """If this fails, see how scikit-learn's callbacks now find the process that listens."""
    assert isinstance(carrier._message_consumers, dict)
    assert callable(carrier.send)
    received: list[Any] = []
    listener = carrier.open_listener(received.append)
    assert listener.address in carrier._message_consumers
    carrier.send(listener, "here")
    assert received == ["here"]
    carrier.close_listener(listener)


def test_messages_of_a_task_are_collected(carrier: ModuleType) -> None:
    with CallbackMessages(True) as collected:
        carrier.send(handle(carrier, "/nowhere"), 1)
        carrier.send(handle(carrier, "/elsewhere"), 2)
    assert collected.messages == [("/nowhere", 1), ("/elsewhere", 2)]
    with pytest.raises(OSError, match="No such file"):
        carrier.send(handle(carrier, "/nowhere"), 3)


def test_each_thread_collects_its_own(carrier: ModuleType) -> None:
    found: dict[int, Any] = {}
    together = threading.Barrier(4)

    def work(me: int) -> None:
        with CallbackMessages(True) as collected:
            for i in range(20):
                together.wait(SECONDS)
                carrier.send(handle(carrier, "/nowhere"), (me, i))
        found[me] = collected.messages

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == {me: [("/nowhere", (me, i)) for i in range(20)] for me in range(4)}


def test_messages_reach_who_waits_for_them(carrier: ModuleType) -> None:
    received: list[Any] = []
    listener = carrier.open_listener(received.append)
    deliver_callback_messages([(listener.address, 1), ("/gone", 2), (listener.address, 3)])
    assert received == [1, 3]
    carrier.close_listener(listener)
    deliver_callback_messages([(listener.address, 4)])
    assert received == [1, 3]
    deliver_callback_messages([])


def test_a_listener_of_this_very_process_is_told_at_once(carrier: ModuleType) -> None:
    received: list[Any] = []
    listener = carrier.open_listener(received.append)
    with CallbackMessages(True) as collected:
        carrier.send(listener, "now")
        late = carrier.open_listener(received.append)
        carrier.send(late, "too")
    assert received == ["now", "too"]
    assert collected.messages == []
    for each in (listener, late):
        carrier.close_listener(each)


def test_an_error_ends_the_collecting(carrier: ModuleType) -> None:
    collected = CallbackMessages(True)

    def task() -> None:
        with collected:
            carrier.send(handle(carrier, "/nowhere"), 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        task()
    assert collected.messages == [("/nowhere", 1)]
    assert compat._collecting.messages is None


def test_nothing_is_done_where_nobody_watches() -> None:
    program = """
import sys
from daskhpc.compat.sklearn import CallbackMessages, deliver_callback_messages
with CallbackMessages(False) as collected:
    pass
deliver_callback_messages([])
print(collected.messages, "sklearn" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS)
    assert (result.stdout.strip(), result.returncode) == ("[] False", 0)


def test_nothing_happens_without_scikit_learns_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, compat._TRANSPORT, None)
    assert callback_transport() is None
    with CallbackMessages(True) as collected:
        pass
    assert collected.messages == []
    deliver_callback_messages([("/nowhere", 1)])


def test_nothing_happens_where_the_transport_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, compat._TRANSPORT, ModuleType("other"))
    assert callback_transport() is None
    with CallbackMessages(True) as collected:
        pass
    assert collected.messages == []
