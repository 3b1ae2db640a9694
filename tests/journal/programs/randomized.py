"""200 fits, of candidates and splits that nobody gave a seed."""

import os

from scipy.stats import loguniform
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold
from slow import Slow, on_ranks, write

import daskhpc

on_ranks()
search = daskhpc.RandomizedSearchCV(
    Slow(),
    {"var_smoothing": loguniform(1e-7, 10)},
    n_iter=40,
    cv=StratifiedKFold(5, shuffle=True),
    refit=False,
    checkpoint=os.environ["KILLS_JOURNAL"],
)
write(search.fit(*load_iris(return_X_y=True)).cv_results_)
