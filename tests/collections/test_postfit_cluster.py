"""ParallelPostFit on worker processes: where the model goes, and that nothing else moves."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask._task_spec import Alias
from distributed import Client, Future
from distributed.client import wait
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import SGDRegressor
from waiting import until

from daskhpc import Incremental, ParallelPostFit
from daskhpc.postfit.model_transfer import CARRIED_BYTES, IN_GRAPH_BYTES


class Heavy(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model of some bytes that notes each time it arrives in a process."""

    def __init__(self, nbytes: int, diary: str) -> None:
        self.nbytes = nbytes
        self.diary = diary

    def fit(self, X: Any, y: Any) -> Any:
        self.weights_ = np.random.default_rng(0).integers(0, 255, self.nbytes, dtype="uint8")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.asarray(X)[:, 0] + len(self.weights_)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        with open(self.diary, "a") as diary:
            diary.write(f"{os.getpid()}\n")


DATA = da.arange(400, chunks=5, dtype=float)[:, None]


def fitted(nbytes: int, folder: Path) -> ParallelPostFit:
    return ParallelPostFit(Heavy(nbytes, str(folder / "diary")).fit(np.zeros((2, 1)), [0, 1]))


def models(client: Client) -> list[Any]:
    """The keys of the models that a client holds; another thread changes its futures."""
    return [key for key in list(client.futures) if str(key).startswith("model-")]


@pytest.mark.parametrize("nbytes", [100_000, 2 * IN_GRAPH_BYTES])
@pytest.mark.parametrize("frames", [False, True])
def test_a_model_reaches_each_process_once(nbytes: int, frames: bool, client: Client, tmp_path: Path) -> None:
    wrapped = fitted(nbytes, tmp_path)
    data = dd.from_dask_array(DATA, columns=["a"]) if frames else DATA
    found = wrapped.predict(data)
    if nbytes < IN_GRAPH_BYTES:
        assert len(pickle.dumps(dict(found.__dask_graph__()))) < 1.5 * nbytes + 500_000
    np.testing.assert_array_equal(found.compute(), np.arange(400) + nbytes)
    arrivals = (tmp_path / "diary").read_text().split()
    workers = {str(pid) for pid in client.run(os.getpid).values()}
    assert len(arrivals) == len(set(arrivals)) <= 2
    assert set(arrivals) <= workers


def test_a_large_model_is_sent_ahead_once_and_goes_with_its_last_user(client: Client, tmp_path: Path) -> None:
    gc.collect()
    until(lambda: not models(client), what="the release of the models of tests before")
    wrapped = fitted(2 * IN_GRAPH_BYTES, tmp_path)
    first, second = wrapped.predict(DATA), wrapped.predict(DATA + 1)
    assert len((tmp_path / "diary").read_text().split()) == 2
    keys = models(client)
    assert len(keys) == 1
    dask.compute(first, second)
    del wrapped, first
    gc.collect()
    assert keys[0] in client.futures
    np.testing.assert_array_equal(second.compute(), np.arange(400) + 1 + 2 * IN_GRAPH_BYTES)
    del second
    gc.collect()
    until(lambda: keys[0] not in client.futures)  # Dask's loop does it


def test_a_large_model_stays_with_every_worker_until_it_is_used(client: Client, tmp_path: Path) -> None:
    """Dask's memory manager, which looks every two seconds, takes other copies away that no task waits for."""
    other = client.scatter([b"other"], broadcast=True, hash=False)
    found = fitted(2 * IN_GRAPH_BYTES, tmp_path).predict(DATA)
    client.amm.run_once()
    until(lambda: len(next(iter(client.who_has(other).values()))) == 1, 60)
    for _ in range(2):
        found.compute()
        client.amm.run_once()
    assert len((tmp_path / "diary").read_text().split()) == 2


def test_a_large_model_that_is_gone_is_sent_again(client: Client, tmp_path: Path) -> None:
    wrapped = fitted(2 * IN_GRAPH_BYTES, tmp_path)
    wrapped.predict(DATA)
    client.cancel([Future(key, client) for key in models(client)])
    assert wrapped.predict(DATA).compute()[0] == 2 * IN_GRAPH_BYTES


def test_a_small_model_can_be_computed_without_the_client_it_was_made_with(client: Client, tmp_path: Path) -> None:
    found = fitted(1000, tmp_path).predict(DATA)
    np.testing.assert_array_equal(found.compute(scheduler="synchronous"), np.arange(400) + 1000)


def test_predictions_can_be_kept_on_the_workers(client: Client, tmp_path: Path) -> None:
    kept = client.persist(fitted(1000, tmp_path).predict(DATA))
    wait(kept)
    assert kept.sum().compute() == np.arange(400).sum() + 400 * 1000


def test_a_score_on_the_cluster(client: Client, tmp_path: Path) -> None:
    wrapped = fitted(0, tmp_path)
    assert wrapped.score(DATA, DATA[:, 0]) == 1.0
    frame = dd.from_pandas(pd.DataFrame({"a": np.arange(40.0)}), npartitions=4)
    assert wrapped.score(frame[["a"]], frame["a"]) == 1.0


def test_training_goes_on_with_a_copy_of_what_the_workers_have(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskhpc.postfit.model_transfer.IN_GRAPH_BYTES", 0)
    X = np.random.default_rng(0).normal(size=(60, 3))
    data = da.from_array(X, chunks=(20, 3))
    made = Incremental(SGDRegressor(random_state=0)).fit(X, X[:, 0])
    before, expected = made.predict(data), made.estimator_.predict(X)
    made.partial_fit(data, data[:, 1])
    np.testing.assert_array_equal(before.compute(), expected)
    assert not np.allclose(made.estimator_.predict(X), expected)


@pytest.mark.parametrize(("carried", "fused"), [(CARRIED_BYTES, True), (0, False)])
def test_a_block_is_made_and_predicted_in_one_task(carried: int, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tasks carry the model."""
    monkeypatch.setattr("daskhpc.postfit.model_transfer.CARRIED_BYTES", carried)
    X = np.random.default_rng(0).normal(size=(40, 3))
    made = da.random.default_rng(0).normal(size=(40, 3), chunks=(10, 3))
    (found,) = dask.optimize(ParallelPostFit(SGDRegressor()).fit(X, X[:, 0]).predict(made))
    tasks = [task for task in dict(found.__dask_graph__()).values() if not isinstance(task, Alias)]
    assert len(tasks) == (4 if fused else 9)
