"""Incremental: block after block, the model that a loop of ``partial_fit`` would give."""

from __future__ import annotations

import traceback
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import dask_ml.wrappers
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import make_classification
from sklearn.decomposition import IncrementalPCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV

from daskhpc import Incremental, ParallelPostFit
from daskhpc.errors import DaskhpcError

X, Y = make_classification(120, n_features=6, n_informative=4, n_classes=3, random_state=0)
TABLE = pd.DataFrame(X, columns=list("abcdef"))
CLASSES = [0, 1, 2]


@pytest.fixture(autouse=True)
def _few_threads() -> Any:
    with dask.config.set(num_workers=2):
        yield


def lazy(values: Any, rows: int = 50) -> Any:
    return da.from_array(values, chunks=(rows, *values.shape[1:]))


def loop(model: Any, order: list[int], X: Any = X, y: Any = Y, rows: int = 50, **kwargs: Any) -> Any:
    for i in order:
        part = slice(i * rows, (i + 1) * rows)
        model.partial_fit(X[part], y[part], **kwargs)
    return model


@pytest.mark.parametrize("kind", ["arrays", "columns in chunks", "other blocks", "numpy labels", "values"])
def test_it_is_a_loop_over_the_blocks(kind: str) -> None:
    table = dd.concat([dd.from_pandas(TABLE[i : i + 50].assign(y=Y[i : i + 50]), npartitions=1) for i in (0, 50, 100)])
    given, labels = {
        "arrays": lambda: (lazy(X), lazy(Y)),
        "columns in chunks": lambda: (da.from_array(X, chunks=(50, 4)), lazy(Y)),
        "other blocks": lambda: (lazy(X), lazy(Y, 33)),
        "numpy labels": lambda: (lazy(X), Y),
        "values": lambda: (table[list("abcdef")].values, table["y"].values),
    }[kind]()
    given_to = SGDClassifier(random_state=0)
    found = Incremental(given_to, shuffle_blocks=False).fit(given, labels, classes=CLASSES)
    np.testing.assert_array_equal(found.coef_, loop(clone(given_to), [0, 1, 2], classes=CLASSES).coef_)
    assert not hasattr(given_to, "coef_")


def test_frames_keep_their_names() -> None:
    table = dd.from_pandas(TABLE.assign(y=Y), npartitions=3)
    found = Incremental(SGDClassifier(random_state=0), shuffle_blocks=False).fit(table[list("abcdef")], table["y"])
    assert list(found.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(found.predict(table[list("abcdef")]).compute(), found.estimator_.predict(TABLE))


def test_a_cluster_gives_the_same(client: Client) -> None:
    found = Incremental(SGDClassifier(random_state=0), shuffle_blocks=False).fit(lazy(X), lazy(Y))
    np.testing.assert_array_equal(found.coef_, loop(SGDClassifier(random_state=0), [0, 1, 2], classes=CLASSES).coef_)
    assert found.score(lazy(X), lazy(Y)) == found.estimator_.score(X, Y)


def test_the_order_of_blocks_is_drawn_from_the_random_state() -> None:
    order = [0, 1, 2]
    np.random.RandomState(3).shuffle(order)
    found = Incremental(SGDClassifier(random_state=0), random_state=3).fit(lazy(X), lazy(Y), classes=CLASSES)
    assert order != [0, 1, 2]
    np.testing.assert_array_equal(found.coef_, loop(SGDClassifier(random_state=0), order, classes=CLASSES).coef_)


@pytest.mark.parametrize("labels", [Y, np.array(["low", "mid", "high"])[Y]])
def test_classes_are_found_where_they_are_not_given(labels: Any) -> None:
    first = np.argsort(labels, kind="stable")  # the first block lacks some
    found = Incremental(SGDClassifier(random_state=0), shuffle_blocks=False).fit(lazy(X[first]), lazy(labels[first]))
    assert list(found.classes_) == sorted(set(labels))
    assert list(Incremental(SGDClassifier()).fit(X, labels).classes_) == sorted(set(labels))


def test_partial_fit_goes_on_and_fit_begins_anew() -> None:
    made = Incremental(SGDRegressor(random_state=0), shuffle_blocks=False)
    made.partial_fit(lazy(X[:100]), lazy(X[:100, 0])).partial_fit(lazy(X[100:]), lazy(X[100:, 0]))
    once = loop(SGDRegressor(random_state=0), [0, 1, 2], y=X[:, 0])
    np.testing.assert_array_equal(made.coef_, once.coef_)
    assert made.t_ == once.t_
    np.testing.assert_array_equal(made.fit(lazy(X), lazy(X[:, 0])).coef_, once.coef_)


def test_numpy_data_are_one_block() -> None:
    found = Incremental(SGDClassifier(random_state=0)).partial_fit(X, Y, classes=CLASSES)
    expected = SGDClassifier(random_state=0).partial_fit(X, Y, classes=CLASSES)
    np.testing.assert_array_equal(found.coef_, expected.coef_)


def test_models_without_labels() -> None:
    found = Incremental(IncrementalPCA(2), shuffle_blocks=False).fit(lazy(X, 40))
    expected = IncrementalPCA(2)
    for i in range(0, 120, 40):
        expected.partial_fit(X[i : i + 40])
    np.testing.assert_allclose(found.transform(lazy(X)).compute(), expected.transform(X))
    assert Incremental(MiniBatchKMeans(3)).fit(lazy(X)).predict(lazy(X)).dtype == np.int32


def test_blocks_without_rows_are_passed_over() -> None:
    some = lazy(X)
    some = some[some[:, 0] > np.sort(X[100:, 0])[-1]]
    assert 0 in [len(block) for block in dask.compute(*some.to_delayed().ravel())]
    Incremental(SGDRegressor()).fit(some, some[:, 0])


class Failing(BaseEstimator):  # type: ignore[misc]
    """Fails at a block with a negative value."""

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        self.seen_ = getattr(self, "seen_", 0) + self.checked(X)
        return self

    def checked(self, X: Any) -> int:
        if X.min() < 0:
            raise ValueError("a block with negative values")
        return len(X)


@pytest.mark.parametrize("kind", ["threads", "cluster"])
def test_a_failure_keeps_its_traceback_and_the_model_that_was(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "cluster":
        request.getfixturevalue("client")
    made = Incremental(Failing(), shuffle_blocks=False).fit(lazy(abs(X)))
    before = made.estimator_
    with pytest.raises(ValueError, match="negative values") as caught:
        made.partial_fit(da.concatenate([lazy(abs(X)), lazy(X)]))
    assert "checked" in [step.name for step in traceback.extract_tb(caught.value.__traceback__)]
    assert made.estimator_ is before
    assert before.seen_ == 120


def test_what_it_refuses() -> None:
    with pytest.raises(DaskhpcError, match="does not implement 'partial_fit'"):
        Incremental(KMeans()).fit(lazy(X))
    with pytest.raises(DaskhpcError, match="3 blocks of X, 2 of y"):
        Incremental(SGDRegressor()).fit(dd.from_pandas(TABLE, npartitions=3), lazy(X[:, 0], 60))
    with pytest.raises(ValueError, match="metric function rather than a scorer"):
        Incremental(SGDRegressor(), scoring=dask_ml.metrics.r2_score).fit(lazy(X), lazy(X[:, 0]))
    with pytest.raises(NotFittedError):
        Incremental(SGDRegressor()).predict(lazy(X))


def test_it_is_dask_ml_s_class_and_can_be_searched_over() -> None:
    made = Incremental(SGDClassifier(random_state=0))
    assert isinstance(made, dask_ml.wrappers.Incremental)
    assert isinstance(made, ParallelPostFit)
    assert made.get_params()["estimator__random_state"] == 0
    assert "shuffle_blocks" in made.get_params()
    search = GridSearchCV(made, {"estimator__alpha": [1e-4, 1e-2]}, cv=3).fit(X, Y, classes=CLASSES)
    plain = search.best_estimator_.estimator_
    np.testing.assert_array_equal(search.predict(lazy(X)).compute(), plain.predict(X))
