"""A support vector machine on handwritten digits, for 20 x 20 values of C and gamma: a table, a heat map, a test score.

On a laptop:

    daskhpc run heatmap.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m heatmap.py

Each of the 2,000 fits is kept in the folder ``checkpoint`` beside this file: run again, it computes only the rest. In
the same folder are then ``results.csv`` and ``heatmap.png``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

import daskhpc

FOLDER = Path(__file__).parent / "checkpoint"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--values", type=int, default=20, help="of C, and of gamma")
    given = options.parse_args()
    daskhpc.start()
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0, stratify=y)

    grid = {"C": np.logspace(-2, 4, given.values), "gamma": np.logspace(-4, 1, given.values)}
    search = daskhpc.GridSearchCV(SVC(), grid, cv=5, checkpoint=FOLDER / "fits")
    search.fit(X_train, y_train)

    C, gamma = search.best_params_["C"], search.best_params_["gamma"]
    print(f"Best of {len(search.cv_results_['params'])}: C = {C:.3g}, gamma = {gamma:.3g}")
    print(f"Mean accuracy on 5 folds of the training half: {search.best_score_:.4f}")
    print(f"Accuracy on the half that the search did not see: {search.score(X_test, y_test):.4f}")

    table = pd.DataFrame(search.cv_results_).drop(columns="params").sort_values("rank_test_score", kind="stable")
    table.to_csv(FOLDER / "results.csv", index=False)
    try:
        daskhpc.plots.save(daskhpc.plots.heatmap(search, params=["gamma", "C"]), FOLDER / "heatmap.png")
        print("Files: checkpoint/results.csv and heatmap.png")
    except ModuleNotFoundError as missing:
        print(f"File: checkpoint/results.csv\nNo picture: {missing}; pip install 'daskhpc[plots]'")


main()
