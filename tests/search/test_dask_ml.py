"""A program that searches with Dask-ML runs on daskhpc's cluster, before and after its import is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

PROGRAM = """\
import os
import daskhpc
from {home} import GridSearchCV
from sklearn.datasets import load_iris
from sklearn.svm import SVC


class Noting(SVC):
    def fit(self, X, y):
        self.pid_ = os.getpid()
        return super().fit(X, y)


def elsewhere(estimator, X, y):
    assert estimator.pid_ == os.getpid() != int(os.environ["CLIENT"])
    return estimator.score(X, y)


if __name__ == "__main__":
    os.environ["CLIENT"] = str(os.getpid())
    client = daskhpc.start(workers=2)
    search = GridSearchCV(Noting(), {{"C": [0.1, 1, 10]}}, cv=3, scheduler=client, scoring=elsewhere)
    search.fit(*load_iris(return_X_y=True))
    print(search.best_params_, len(client.nthreads()))
    print(*search.cv_results_["split0_test_score"])
"""


@pytest.mark.parametrize("home", ["dask_ml.model_selection", "daskhpc"])
def test_the_same_program_with_either(home: str, tmp_path: Path) -> None:
    program = tmp_path / "search program's.py"
    program.write_text(PROGRAM.format(home=home))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    serial = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=3).fit(*load_iris(return_X_y=True))
    best, scores = done.stdout.splitlines()[-2:]
    assert best == f"{serial.best_params_} 2"
    assert scores == " ".join(map(str, serial.cv_results_["split0_test_score"]))
