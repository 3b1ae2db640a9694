"""Tune a support vector machine on scikit-learn's handwritten digits, for precision and for recall.

The well-known scikit-learn example, run on all workers of the cluster. On a laptop:

    daskhpc run search.py

on a cluster: ``sbatch job.sbatch`` or ``qsub job.pbs``. The results of all fits are kept in the folder ``checkpoint``
beside this file: run again, it computes only what is not there. Remove the folder to begin anew.
"""

import time
from pathlib import Path

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


main()
