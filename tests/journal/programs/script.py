"""200 calls of three kinds, on data drawn at random; knows nothing of daskhpc."""

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from slow import Slow, work, write

X, y = load_iris(return_X_y=True)
X = X + np.random.normal(0, 0.01, X.shape)


def number(n: int) -> float:
    return work(n)


search = GridSearchCV(Slow(), {"var_smoothing": np.logspace(-7, 1, 20)}, refit=False, n_jobs=-1).fit(X, y)
scores = cross_val_score(Slow(var_smoothing=0.5), X, y, cv=40, n_jobs=-1)
numbers = joblib.Parallel(n_jobs=-1)(joblib.delayed(number)(n) for n in range(60))
write({**search.cv_results_, "scores": scores, "numbers": numbers})
