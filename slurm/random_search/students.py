"""Made-up results of students, and how well a model with one C predicts them. Both programs of this folder use it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["traveltime", "studytime", "failures", "goout", "Walc", "absences"]
# Since release 1.8 of scikit-learn l1_ratio alone says which penalty is meant.
PENALTY = {} if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8) else {"penalty": "elasticnet"}


def make(path: Path, rows: int = 649, seed: int = 0) -> None:
    """Write a table with the columns of the student performance data: hours, habits, and whether the student passed."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "traveltime": draw.choice([1, 2, 3, 4], rows, p=[0.56, 0.33, 0.08, 0.03]),
            "studytime": draw.choice([1, 2, 3, 4], rows, p=[0.33, 0.47, 0.15, 0.05]),
            "failures": draw.choice([0, 1, 2, 3], rows, p=[0.84, 0.11, 0.03, 0.02]),
            "goout": draw.choice([1, 2, 3, 4, 5], rows, p=[0.07, 0.22, 0.32, 0.22, 0.17]),
            "Walc": draw.choice([1, 2, 3, 4, 5], rows, p=[0.38, 0.23, 0.19, 0.13, 0.07]),
            "absences": draw.poisson(3.7, rows),
        }
    )
    score = 0.9 + 0.7 * table.studytime - 1.3 * table.failures - 0.35 * table.Walc - 0.25 * table.traveltime
    table["passed"] = (score + draw.logistic(0, 1, rows) > 0).astype(int)
    unfinished = path.with_name(f".{path.name}")
    table.to_csv(unfinished, index=False)
    unfinished.rename(path)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features and results; the file is made if it is not there."""
    if not path.exists():
        make(path)
    table = pd.read_csv(path)
    return table[FEATURES].to_numpy(float), table["passed"].to_numpy()


def accuracy(C: float, X: np.ndarray, y: np.ndarray) -> float:
    """The accuracy of an elastic net on folds that it was not trained on."""
    model = LogisticRegression(C=C, l1_ratio=0.5, solver="saga", tol=1e-4, max_iter=10_000, random_state=0, **PENALTY)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=folds).mean())
