"""400 fits."""

import os

import numpy as np
from sklearn.datasets import load_iris
from slow import Slow, on_ranks, write

import daskhpc

on_ranks()
search = daskhpc.GridSearchCV(
    Slow(),
    {"var_smoothing": np.logspace(-7, 1, 80)},
    refit=False,
    return_train_score=True,
    checkpoint=os.environ["KILLS_JOURNAL"],
)
write(search.fit(*load_iris(return_X_y=True)).cv_results_)
