"""Tune a support vector machine on scikit-learn's handwritten digits, for precision and for recall.

The well-known scikit-learn example, run on all workers of the cluster. On a laptop:

    daskhpc run search.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m search.py

The results of all fits are kept in the folder ``checkpoint`` beside this file: run again, it computes only what is not
there. Remove the folder to begin anew. In the same folder are then, for each of the two, a table of all candidates
(CSV) and a heat map of C and gamma (PNG).
"""

import time
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

import daskhpc

GRID = [
    {"kernel": ["rbf"], "gamma": [1e-3, 1e-4], "C": [1, 10, 100, 1000]},
    {"kernel": ["linear"], "C": [1, 10, 100, 1000]},
]
SCORES = ["precision_macro", "recall_macro"]


def main() -> None:
    daskhpc.start()

    digits = load_digits()
    X = digits.images.reshape((len(digits.images), -1))
    X_train, X_test, y_train, y_test = train_test_split(X, digits.target, test_size=0.5, random_state=0)

    for score in SCORES:
        print(f"# Tuning for {score}\n")
        folder = Path(__file__).parent / "checkpoint" / score
        resumed = " (without what was in the folder checkpoint)" if folder.exists() else ""
        search = daskhpc.GridSearchCV(SVC(), GRID, scoring=score, checkpoint=folder)
        began = time.perf_counter()
        search.fit(X_train, y_train)
        seconds = time.perf_counter() - began

        for mean, std, params in zip(
            search.cv_results_["mean_test_score"],
            search.cv_results_["std_test_score"],
            search.cv_results_["params"],
            strict=True,
        ):
            print(f"{mean:.4f} (+/- {2 * std:.4f}) for {params}")
        print(f"\nBest parameters: {search.best_params_}")
        print(f"Search time: {seconds:.2f} s{resumed}\n")
        print("On the half that the search did not see:\n")
        print(classification_report(y_test, search.predict(X_test)))
        keep(search, folder)


def keep(search: daskhpc.GridSearchCV, folder: Path) -> None:
    """Write the table and the heat map of a search, as files of the folder's name beside it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(search.cv_results_).drop(columns="params")
    table.sort_values("rank_test_score").to_csv(folder.with_suffix(".csv"), index=False)
    try:
        daskhpc.plots.save(daskhpc.plots.heatmap(search, params=["C", "gamma"]), folder.with_suffix(".png"))
        print(f"Files: checkpoint/{folder.name}.csv and .png\n")
    except daskhpc.errors.DaskhpcError as missing:
        print(f"File: checkpoint/{folder.name}.csv\n{missing}\n")


main()
