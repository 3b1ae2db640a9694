"""Estimators, scorers and data for comparing searches: importable by worker processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline
from waiting import meet


class LoudPipeline(Pipeline):  # type: ignore[misc]
    """A Pipeline with a behaviour of its own: it predicts the highest class where it is unsure."""

    def predict(self, X: Any, **params: Any) -> Any:
        sure = super().predict_proba(X).max(axis=1) > 0.6
        return np.where(sure, super().predict(X, **params), self.classes_.max())


class Typed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Its score depends on the type of its parameter."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value

    def fit(self, X: ArrayLike, y: ArrayLike) -> Typed:
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int_]:
        kind = {int: 0, float: 1, bool: 2}[type(self.value)]
        return np.full(len(np.asarray(X)), self.classes_[kind])


class Failing(LogisticRegression):  # type: ignore[misc]
    """Cannot be fitted with C above 5."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        if self.C > 5:
            raise ArithmeticError(f"C is {self.C}")
        return super().fit(X, y, sample_weight)


class Noting(LogisticRegression):  # type: ignore[misc]
    """Knows the process that fitted it."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        self.pid_ = os.getpid()
        return super().fit(X, y, sample_weight)


class Meeting(Noting):
    """The first fits wait until two processes fit."""

    def __init__(self, folder: str = "", C: float = 1.0) -> None:
        super().__init__(C=C, max_iter=500)
        self.folder = folder

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        meet(Path(self.folder), 2)
        return super().fit(X, y, sample_weight)


def accuracy_and_process(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    return {"accuracy": accuracy_score(y, estimator.predict(X)), "fitted": estimator.pid_, "scored": os.getpid()}


def weighted(y: Any, predicted: Any, sample_weight: Any = None) -> float:
    return float(np.average(y == predicted, weights=sample_weight))


def simplest(results: dict[str, Any]) -> int:
    """The first candidate that is within a standard deviation of the best."""
    means = results["mean_test_score"]
    return int(np.argmax(means >= means.max() - results["std_test_score"][means.argmax()]))


def best_of_k(k: int) -> Any:
    return SelectKBest(f_classif, k=k)


def passengers() -> tuple[pd.DataFrame, pd.Series]:
    """A frame of numbers with gaps and of texts, its index shuffled, and classes as texts."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 12, 150),
            "fare": random.lognormal(3, 1, 150),
            "port": random.choice(["Brest", "Cork", "Oban"], 150),
        },
        index=random.permutation(150),
    )
    frame.loc[frame.index[::9], "age"] = np.nan
    lived = pd.Series(np.where(frame["fare"] + random.normal(0, 20, 150) > 22, "yes", "no"), index=frame.index)
    return frame, lived
