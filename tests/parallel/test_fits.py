"""scikit-learn's searches and cross-validations over real worker processes: losses, sharing, callbacks, memory."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import start_cluster
from distributed import Client
from joblib import Parallel, delayed, parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from waiting import meet, until

import daskhpc
from daskhpc.cluster.children import children_of
from daskhpc.compat.sklearn import callback_transport
from daskhpc.parallel.outcome import WorkerDiedError

IRIS = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def _backend(client: Any) -> Iterator[None]:
    with parallel_config(backend="daskhpc", n_jobs=-1):
        yield


class Deadly(GaussianNB):  # type: ignore[misc]
    """Kills its process for one value of its parameter."""

    def __init__(self, how: int = 0) -> None:
        super().__init__()
        self.how = how

    def fit(self, X: Any, y: Any) -> Any:
        if self.how > 100:
            self.hoard = [np.ones(1_000_000) for _ in range(self.how)]
            time.sleep(60)  # or it would have ended before a worker that is slow looks at its memory
        elif self.how:
            os.kill(os.getpid(), self.how)
        return super().fit(X, y)


def test_a_candidate_that_kills_its_worker_is_a_failed_fit(client: Any) -> None:
    search = GridSearchCV(Deadly(), {"how": [0, int(signal.SIGSEGV), 0]}, cv=2, refit=False, return_train_score=True)
    with pytest.warns(FitFailedWarning, match="WorkerDiedError.*SIGSEGV"):
        search.fit(*IRIS)
    alone = GridSearchCV(Deadly(), {"how": [0]}, cv=2, refit=False, n_jobs=1, return_train_score=True).fit(*IRIS)
    for name in ("mean_test_score", "split1_test_score", "mean_train_score"):
        (expected,) = alone.cv_results_[name]
        assert np.array_equal(search.cv_results_[name], [expected, np.nan, expected], equal_nan=True)
    client.wait_for_workers(2, timeout=60)


def test_a_candidate_that_uses_up_the_memory(client: Any) -> None:
    """It is ended when its worker has used up its limit of 2 GiB, and says so."""
    search = GridSearchCV(Deadly(), {"how": [0, 400]}, cv=[([0, 60, 120], [1, 61, 121])], refit=False, error_score=0.5)
    with pytest.warns(FitFailedWarning, match="used up its memory limit"):
        search.fit(*IRIS)
    assert search.cv_results_["mean_test_score"][1] == 0.5
    client.wait_for_workers(2, timeout=60)


def test_a_candidate_that_kills_its_worker_raises_where_that_is_asked(client: Any) -> None:
    search = GridSearchCV(Deadly(), {"how": [0, int(signal.SIGKILL)]}, cv=2, refit=False, error_score="raise")
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        search.fit(*IRIS)
    client.wait_for_workers(2, timeout=60)


class Counting(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A costly transformer that leaves a mark for each fit."""

    def __init__(self, folder: str = "", scale: float = 1.0) -> None:
        self.folder = folder
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> Any:
        time.sleep(0.1)
        Path(self.folder, f"{time.time_ns()}-{os.getpid()}").touch()
        return self

    def transform(self, X: Any) -> Any:
        return X * self.scale


def test_prefixes_are_fitted_once_per_split(tmp_path: Path) -> None:
    pipeline = Pipeline([("first", Counting(str(tmp_path))), ("last", GaussianNB())])
    grid = {"first__scale": [1.0, 2.0], "last__var_smoothing": [1e-9, 1e-8, 1e-7, 1e-6, 1e-5]}
    search = GridSearchCV(pipeline, grid, cv=3, refit=False).fit(*IRIS)
    fits = len(list(tmp_path.iterdir()))
    assert 6 <= fits < 30  # 30 without sharing; a worker that helps another's group fits its prefix once more
    assert (search.cv_results_["mean_fit_time"] > 0.09).all()  # as if each had been fitted
    alone = GridSearchCV(pipeline, grid, cv=3, refit=False, n_jobs=1).fit(*IRIS)
    assert np.array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


class Watching(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts at random and remembers where it was fitted; the first fits wait until two processes fit."""

    def __init__(self, folder: str = "") -> None:
        self.folder = folder

    def fit(self, X: Any, y: Any) -> Any:
        meet(Path(self.folder), 2)
        self.classes_ = np.unique(y)
        self.pid_ = os.getpid()
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


def test_fits_run_on_all_workers(client: Any, tmp_path: Path) -> None:
    fitted = cross_validate(Watching(str(tmp_path)), *IRIS, cv=8, return_estimator=True)["estimator"]
    pids = client.run(lambda dask_worker: [child.pid for child in children_of(dask_worker).children])
    for worker, children in pids.items():
        assert {estimator.pid_ for estimator in fitted} & {*children}, worker


def test_scikit_learns_progress_bar(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its messages come back from workers that cannot reach its socket, in full."""
    if callback_transport() is None:
        pytest.skip("this scikit-learn has no callbacks")
    from sklearn.callback import ProgressBar

    search = daskhpc.GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-8]}, cv=3, progress=False)
    search.set_callbacks(ProgressBar())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not support callbacks")
        search.fit(*IRIS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert "100%" in capsys.readouterr().out


def test_messages_of_callbacks_do_not_need_the_socket(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers could not connect: the address leads nowhere."""
    module = callback_transport()
    if module is None:
        pytest.skip("this scikit-learn has no callbacks")
    from sklearn.callback import ScoringMonitor

    original = module.open_listener

    def open_listener(consumer: Any, *, owner: Any = None) -> Any:
        handle = original(consumer, owner=owner)
        module._listeners.pop(handle.address).close()
        return handle

    monkeypatch.setattr("sklearn.callback._scoring_monitor.open_listener", open_listener, raising=False)
    assert ScoringMonitor is not None
    scores = daskhpc.GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=3, progress=False).fit(*IRIS)
    assert np.isfinite(scores.cv_results_["mean_test_score"]).all()


def test_scores_are_scikit_learns() -> None:
    expected = cross_val_score(GaussianNB(), *IRIS, cv=5, n_jobs=1)
    assert np.array_equal(cross_val_score(GaussianNB(), *IRIS, cv=5), expected)


def proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def memory(pids: list[int]) -> int:
    return sum(map(proportional, pids))


def total(x: Any, i: int) -> float:
    return float(x.sum()) + i


def met(folder: Path) -> int:
    """Wait for three others, so that each is in a child of its own; returns the process id."""
    meet(folder, 4)
    return os.getpid()


def memory_while_all_use(x: Any, i: int, pids: list[int], folder: Path) -> int:
    """What the processes take when all four calls have read all of x, and still have it; the first call looks."""
    x.sum()
    meet(folder, 4)
    if i:
        until((folder / "looked").exists)
        return 0
    found = memory(pids)
    (folder / "looked").touch()
    return found


def test_a_node_holds_shared_data_once(tmp_path: Path) -> None:
    """Four workers whose limit is below the size of X: it lies in the node's memory once, and nobody is restarted."""
    size = 400_000_000
    with (
        start_cluster(4, memory_limit="350MB", local_directory=str(tmp_path)) as cluster,
        Client(cluster, set_as_default=False) as own,
        own.as_current(),
    ):
        workers = {*own.run(os.getpid).values()}
        x = np.ones(size // 8)
        folders = [tmp_path / name for name in ("start", "use")]
        for folder in folders:
            folder.mkdir()
        # In all children: what is imported is not data.
        pids = [os.getpid(), *workers, *Parallel()(delayed(met)(folders[0]) for _ in range(4))]
        assert len({*pids}) == 9
        Parallel()(delayed(total)(x[:1000], i) for i in range(32))
        before = memory(pids)
        assert Parallel()(delayed(total)(x, i) for i in range(64)) == [x.sum() + i for i in range(64)]
        growth = max(Parallel()(delayed(memory_while_all_use)(x, i, pids, folders[1]) for i in range(4))) - before
        assert 0.9 * size < growth < 1.3 * size
        assert {*own.run(os.getpid).values()} == workers
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        until(lambda: memory(pids) - before < 0.2 * size, what="that the children let go")
