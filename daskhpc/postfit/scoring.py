"""Scores of predictions that are made block by block, as scikit-learn's scorers compute them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import dask
from dask.base import is_dask_collection
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from ..clients import current_client
from ..compat.sklearn import asked_methods, several_scorers
from ..errors import SettingsError
from ..materialize import materialize
from .blockwise_scores import SUMS, blockwise_score

_LABELS = "Scikit-learn's scorer needs all labels and predictions in one process, and they do not fit its memory."
_WHOLE = "This model has a score of its own, which needs all data in one process, and they do not fit its memory."
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")
_TODO = f"a score that is summed over the blocks, scoring= one of {', '.join(SUMS)}; or a sample of the data"


def checked(estimator: Any, scoring: Any) -> Any:
    """Scikit-learn's scorer for what `scoring` names.

    Raises
    ------
    ValueError
        If there is no such scorer, or if it is a metric and not a scorer.
    """
    module = getattr(scoring, "__module__", None) or ""
    if callable(scoring) and module.startswith("dask_ml.metrics") and "scorer" not in module:
        raise SettingsError(
            f"scoring={scoring.__name__} looks like it is a metric function rather than a scorer.",
            f"{scoring.__name__} of {module}",
            'a name, as scoring="accuracy", or sklearn.metrics.make_scorer(metric) of one of scikit-learn\'s metrics',
        )
    return check_scoring(estimator, scoring=scoring)


def default_scoring(estimator: Any) -> str | None:
    """The name of the score that a fitted model's own ``score`` is, None if it has one of its own kind."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    score = getattr(type(estimator), "score", None)
    return {ClassifierMixin.score: "accuracy", RegressorMixin.score: "r2"}.get(score)


class PredictedModel(BaseEstimator):  # type: ignore[misc]
    """Stands for a fitted model whose predictions are there already; those that are not are made block by block."""

    def __init__(self, estimator: Any, answers: dict[str, Any], ask: Callable[[str, Any], Any] | None = None) -> None:
        self.estimator = estimator
        self.answers = answers
        self.ask = ask

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "estimator" not in vars(self):
            raise AttributeError(name)
        own = getattr(self.estimator, name)
        if name not in METHODS:
            return own

        @wraps(own)
        def answer(X: Any) -> Any:
            if name in self.answers:
                return self.answers[name]
            return own(X) if self.ask is None or not is_dask_collection(X) else self.ask(name, X)

        return answer

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)


def score_of(wrapper: Any, estimator: Any, X: Any, y: Any, compute: bool, sample_weight: Any) -> Any:
    """The score of a fitted model's predictions for a Dask collection.

    Parameters
    ----------
    wrapper : ParallelPostFit
        Whose methods predict block by block.
    estimator : object
        Its fitted model.
    compute : bool
        Whether to compute it, or to give something lazy.
    """
    scoring = wrapper.scoring or default_scoring(estimator)
    if scoring is None:
        return _whole(estimator, X, y, compute, sample_weight)
    scorer = checked(estimator, scoring)
    if not is_dask_collection(X):
        y, sample_weight = _brought(_LABELS, y=y, sample_weight=sample_weight).values()
    if sample_weight is None and isinstance(scoring, str) and scoring in SUMS and hasattr(estimator, "predict"):
        total = blockwise_score(scoring, y, wrapper.predict(X))
        if total is not None:
            return float(total.compute()) if compute else total
    names = _methods(scorer, estimator)
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    if names is None:
        if not compute:
            raise SettingsError(
                "Only scorers of scikit-learn's own can be lazy, because only they say what they ask the model.",
                f"scoring={scoring!r}",
                "compute=True",
            )
        whole = _brought(_LABELS, y=y, **weight)
        y, weight = whole.pop("y"), whole

        def ask(name: str, data: Any) -> Any:
            return _brought(_LABELS, **{name: getattr(wrapper, name)(data)})[name]

        return scorer(PredictedModel(estimator, {}, ask), X, y, **weight)
    answers = {name: getattr(wrapper, name)(X) for name in names}
    if compute:
        whole = _brought(_LABELS, **answers, y=y, **weight)
        answers, y = {name: whole.pop(name) for name in answers}, whole.pop("y")
        return _apply(scorer, estimator, answers, y, **whole)
    # The weights stand by themselves: Dask takes no series within a dict.
    return dask.delayed(_apply)(scorer, estimator, answers, y, sample_weight)


def _apply(scorer: Any, estimator: Any, answers: dict[str, Any], y: Any, sample_weight: Any = None) -> Any:
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    return scorer(PredictedModel(estimator, answers), None, y, **weight)


def _whole(estimator: Any, X: Any, y: Any, compute: bool, sample_weight: Any) -> Any:
    """The model's own score, of all data at once."""
    if not compute:
        return dask.delayed(_own_score)(estimator, X, y, sample_weight)
    return _own_score(estimator, **_brought(_WHOLE, X=X, y=y, sample_weight=sample_weight))


def _own_score(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    return estimator.score(X, y, **weight)


def _brought(purpose: str, **data: Any) -> dict[str, Any]:
    return materialize(data, current_client(), purpose, _TODO)


def _methods(scorer: Any, estimator: Any) -> set[str] | None:
    """The model's methods that scikit-learn's scorer asks, None if that cannot be known."""
    parts = several_scorers(scorer)
    if parts is not None:
        of_parts = [_methods(part, estimator) for part in parts.values()]
        return None if None in of_parts else {name for names in of_parts if names for name in names}
    usable = [name for name in asked_methods(scorer) if name in METHODS and hasattr(estimator, name)]
    return {usable[0]} if usable else None
