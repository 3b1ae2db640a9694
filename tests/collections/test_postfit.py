"""ParallelPostFit: what it gives for Dask collections is what the estimator gives for the whole data."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import dask
import dask.array as da
import dask.dataframe as dd
import dask_ml.wrappers
import numpy as np
import pandas as pd
import pytest
import sklearn
import xarray as xr
from scipy import sparse
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from daskhpc import ParallelPostFit
from daskhpc.errors import DaskhpcError, DataTooLargeError

X, Y = make_classification(120, n_features=6, n_informative=4, n_classes=3, random_state=0)
NAMES = list("abcdef")
TABLE = pd.DataFrame(X, columns=NAMES, index=pd.date_range("2020", periods=120))
TOWNS = pd.DataFrame({"town": ["Oslo", "Rome", "Lima", "Oslo"] * 30, "size": np.arange(120.0)})


@pytest.fixture(autouse=True)
def _no_cluster() -> Any:
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


@pytest.fixture
def never_computed() -> Any:
    """A function that makes an array or frame whose blocks must not be computed."""

    def fail(block: Any) -> Any:
        raise AssertionError("a block was computed")

    def make(collection: Any) -> Any:
        if isinstance(collection, da.Array):
            return collection.map_blocks(fail, meta=collection._meta)
        return collection.map_partitions(fail, meta=collection._meta)

    return make


def lazy(values: Any, rows: int = 50) -> Any:
    return da.from_array(values, chunks=(rows, *values.shape[1:]))


def frame(table: pd.DataFrame = TABLE) -> Any:
    return dd.from_pandas(table, npartitions=3)


def same(found: Any, expected: Any, exact: bool = True) -> None:
    """Computed, it has the values, type and dtype that the estimator's whole output has, and said so before."""
    got = found.compute()
    if sparse.issparse(expected):
        assert type(got) is type(expected)
        assert found.dtype == got.dtype == expected.dtype
        got, expected = got.toarray(), expected.toarray()
    elif isinstance(expected, pd.DataFrame):
        assert list(found.columns) == list(expected.columns)
        assert list(found.dtypes) == list(expected.dtypes)
        pd.testing.assert_frame_equal(got, expected, check_freq=False)
        return
    else:
        assert found.ndim == expected.ndim
        assert found.dtype == got.dtype == expected.dtype
    (np.testing.assert_array_equal if exact else np.testing.assert_allclose)(got, expected)


def late(data: Any) -> Any:
    """Rows from 85 on, so that the first partitions have none."""
    return data.map_partitions(lambda part: part[part.index >= TABLE.index[85]])


METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["array", "frame", "values", "columns in chunks"])
def test_a_classifier_over_blocks(method: str, kind: str) -> None:
    model = LogisticRegression().fit(TABLE if kind == "frame" else X, Y)
    data = {
        "array": lambda: lazy(X),
        "frame": frame,
        "values": lambda: frame().values,
        "columns in chunks": lambda: da.from_array(X, chunks=(50, 4)),
    }[kind]()
    found = getattr(ParallelPostFit(model), method)(data)
    assert isinstance(found, da.Array)
    same(found, getattr(model, method)(TABLE if kind == "frame" else X), exact=False)


def test_rows_stay_chunked_as_they_were() -> None:
    wrapped = ParallelPostFit(LogisticRegression()).fit(X, Y)
    assert wrapped.predict(da.from_array(X, chunks=(50, 4))).chunks == ((50, 50, 20),)
    assert wrapped.predict_proba(lazy(X)).chunks == ((50, 50, 20), (3,))


def test_blocks_of_whole_rows_do_not_outgrow_the_chunk_size() -> None:
    wrapped = ParallelPostFit(LogisticRegression()).fit(X, Y)
    with dask.config.set({"array.chunk-size": "1kiB"}):
        assert max(wrapped.predict(da.from_array(X, chunks=(120, 1))).chunks[0]) < 50


def test_a_binary_decision_function_has_one_dimension() -> None:
    model = LinearSVC().fit(X, Y > 0)
    same(ParallelPostFit(model).decision_function(lazy(X)), model.decision_function(X), exact=False)


@pytest.mark.parametrize("labels", [Y.astype("int8"), np.array(["low", "mid", "high"])[Y], Y.astype(float)])
def test_labels_keep_their_dtype(labels: Any) -> None:
    model = RandomForestClassifier(5, random_state=0).fit(X, labels)
    same(ParallelPostFit(model).predict(lazy(X)), model.predict(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_regressor_of_several_outputs(dtype: str) -> None:
    data = X.astype(dtype)
    model = LinearRegression().fit(data, data[:, :2] * 2)
    same(ParallelPostFit(model).predict(lazy(data)), model.predict(data), exact=False)
    named = LinearRegression().fit(TABLE, X[:, :2])
    same(ParallelPostFit(named).predict(frame()), named.predict(TABLE), exact=False)


@pytest.mark.parametrize("kind", [lazy, "frame"])
def test_probabilities_of_several_outputs_are_a_list(kind: Any) -> None:
    data = TABLE if kind == "frame" else X
    model = MultiOutputClassifier(LogisticRegression()).fit(data, np.c_[Y, Y > 0])
    wrapped = ParallelPostFit(model)
    given = frame() if kind == "frame" else lazy(X)
    found = wrapped.predict_proba(given)
    assert [each.shape[1] for each in found] == [3, 2]
    for each, expected in zip(found, model.predict_proba(data), strict=True):
        same(each, expected, exact=False)
    same(wrapped.predict(given), model.predict(data))

    def how_many(estimator: Any, samples: Any, labels: Any) -> float:
        return float(sum(chance.sum() for chance in estimator.predict_proba(samples)))

    assert ParallelPostFit(model, scoring=how_many).score(given, lazy(Y)) == pytest.approx(240)


@pytest.mark.parametrize("fitted_before", [True, False])
def test_pandas_in_and_out(fitted_before: bool) -> None:
    scaler = StandardScaler().set_output(transform="pandas")
    expected = clone(scaler).fit(TABLE).transform(TABLE)
    wrapped = ParallelPostFit(scaler.fit(TABLE)) if fitted_before else ParallelPostFit(scaler).fit(TABLE)
    found = wrapped.transform(frame())
    assert isinstance(found, dd.DataFrame)
    assert found.divisions == frame().divisions
    same(found, expected)


def test_an_array_in_and_pandas_out_counts_all_rows() -> None:
    scaler = StandardScaler().set_output(transform="pandas").fit(X)
    found = ParallelPostFit(scaler).transform(lazy(X))
    assert found.divisions == (0, 50, 100, 119)
    same(found, scaler.transform(X))
    unknown = ParallelPostFit(scaler).transform(frame().values).compute()
    np.testing.assert_array_equal(unknown.to_numpy(), scaler.transform(X).to_numpy())


def test_the_settings_of_scikit_learn_go_along() -> None:
    wrapped = ParallelPostFit(StandardScaler()).fit(TABLE)
    with sklearn.config_context(transform_output="pandas"):
        found = wrapped.transform(frame())
        expected = wrapped.estimator_.transform(TABLE)
    same(found, expected)


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_sparse_output(kind: str) -> None:
    table = TOWNS[["town"]] if kind == "frame" else TOWNS[["size"]].to_numpy() % 3
    encoder = OneHotEncoder().fit(table)
    found = ParallelPostFit(OneHotEncoder()).fit(table).transform(frame(table) if kind == "frame" else lazy(table))
    assert isinstance(found._meta, type(encoder.transform(table)))
    same(found, encoder.transform(table))


def test_sparse_input() -> None:
    data = sparse.csr_array(np.where(X > 0, X, 0))
    model = SGDClassifier(random_state=0).fit(data, Y)
    blocks = da.from_array(data, chunks=(50, 6), asarray=False)
    same(ParallelPostFit(model).predict(blocks), model.predict(data))


@pytest.mark.parametrize("names", ["str", "object", "category"])
def test_a_frame_with_text_is_transformed(names: str) -> None:
    table = TOWNS.astype({"town": names})
    steps = make_column_transformer((OrdinalEncoder(), ["town"]), (StandardScaler(), ["size"]))
    found = ParallelPostFit(make_pipeline(steps, SimpleImputer())).fit(table).transform(frame(table))
    same(found, make_pipeline(steps, SimpleImputer()).fit_transform(table))


def test_a_model_fitted_before_that_refuses_made_up_text_says_what_to_give() -> None:
    encoder = OneHotEncoder(sparse_output=False).fit(TOWNS[["town"]])
    with pytest.raises(ValueError, match="unknown categories") as caught:
        ParallelPostFit(encoder).transform(frame(TOWNS[["town"]]))
    assert "transform_meta=..." in caught.value.__notes__[0]
    found = ParallelPostFit(encoder, transform_meta=np.empty((0, 3))).transform(frame(TOWNS[["town"]]))
    same(found, encoder.transform(TOWNS[["town"]]))


def test_texts_in_a_series() -> None:
    texts = pd.Series(["a list", "of words", "of a list"] * 4)
    model = TfidfVectorizer().fit(texts)
    same(ParallelPostFit(model).transform(dd.from_pandas(texts, npartitions=2)), model.transform(texts), exact=False)


@pytest.mark.parametrize("method", METHODS)
def test_partitions_without_rows(method: str) -> None:
    model = LogisticRegression().fit(TABLE, Y)
    data, some = frame(), late(frame())
    assert min(some.map_partitions(len).compute()) == 0
    expected = getattr(model, method)(TABLE.iloc[85:])
    same(getattr(ParallelPostFit(model), method)(some), expected, exact=False)
    assert getattr(ParallelPostFit(model), method)(data[data["a"] > 1e9]).compute().shape[1:] == expected.shape[1:]


def test_partitions_without_rows_of_pandas_and_sparse_output() -> None:
    scaler = StandardScaler().set_output(transform="pandas").fit(TABLE)
    same(ParallelPostFit(scaler).transform(late(frame())), scaler.transform(TABLE.iloc[85:]))
    towns = frame(TOWNS[["town"]])
    encoder = ParallelPostFit(OneHotEncoder()).fit(TOWNS[["town"]])
    assert encoder.transform(towns[towns["town"] == "Bonn"]).compute().shape == (0, 3)


@pytest.mark.parametrize(
    ("columns", "words"), [(NAMES[::-1], "same order"), (NAMES[:-1], "missing"), ([*NAMES, "g"], "unseen at fit")]
)
def test_other_columns_are_refused_before_any_compute(columns: list[str], words: str, never_computed: Any) -> None:
    data = never_computed(dd.from_pandas(TABLE.reindex(columns=columns, fill_value=1.0), npartitions=3))
    model = ParallelPostFit(LogisticRegression()).fit(TABLE, Y)
    with pytest.raises(ValueError, match=words):
        model.predict(data)


def test_an_array_of_another_width_is_refused_before_any_compute(never_computed: Any) -> None:
    model = ParallelPostFit(LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="5 features, but LogisticRegression is expecting 6"):
        model.predict(never_computed(lazy(X[:, :5])))


@pytest.mark.parametrize("wrap", [lazy, "frame", "cube"])
def test_nothing_is_computed_by_asking(wrap: Any, never_computed: Any) -> None:
    model = ParallelPostFit(LogisticRegression()).fit(TABLE if wrap == "frame" else X, Y)
    data = never_computed(frame() if wrap == "frame" else lazy(X))
    data = xr.DataArray(data, dims=("time", "band")) if wrap == "cube" else data
    for method in METHODS:
        with pytest.raises(AssertionError, match="a block was computed"):
            getattr(model, method)(data).compute()


# what is not lazy


def test_data_that_is_not_lazy_is_the_estimator_s_own_matter() -> None:
    model = LogisticRegression().fit(TABLE, Y)
    for method in METHODS:
        np.testing.assert_array_equal(getattr(ParallelPostFit(model), method)(TABLE), getattr(model, method)(TABLE))


def test_fit_leaves_the_estimator_as_it_is() -> None:
    given = LogisticRegression(C=2)
    wrapped = ParallelPostFit(given)
    assert wrapped.fit(X, Y) is wrapped
    assert wrapped.estimator is given
    assert not hasattr(given, "coef_")
    assert wrapped.estimator_.C == 2
    np.testing.assert_array_equal(wrapped.coef_, wrapped.estimator_.coef_)


def test_partial_fit_goes_on_with_a_copy() -> None:
    before = SGDClassifier(random_state=0).partial_fit(X[:60], Y[:60], classes=[0, 1, 2])
    weights = before.coef_.copy()
    wrapped = ParallelPostFit(before).partial_fit(X[60:], Y[60:])
    np.testing.assert_array_equal(before.coef_, weights)
    np.testing.assert_array_equal(wrapped.coef_, before.partial_fit(X[60:], Y[60:]).coef_)


def test_lazy_predictions_are_of_the_model_as_it_was() -> None:
    wrapped = ParallelPostFit(LogisticRegression()).fit(X, Y)
    before = wrapped.predict(lazy(X))
    expected = before.compute()
    wrapped.fit(X, 2 - Y)
    np.testing.assert_array_equal(before.compute(), expected)


@pytest.mark.parametrize("data", [lazy, "frame"])
def test_fit_takes_dask_collections_that_fit(data: Any) -> None:
    given, labels = (frame(), dd.from_pandas(pd.Series(Y), npartitions=3)) if data == "frame" else (lazy(X), lazy(Y))
    wrapped = ParallelPostFit(LogisticRegression()).fit(given, labels)
    np.testing.assert_allclose(wrapped.coef_, LogisticRegression().fit(X, Y).coef_)
    assert hasattr(wrapped, "feature_names_in_") is (data == "frame")


def test_fit_refuses_what_does_not_fit_this_process() -> None:
    with pytest.raises(DataTooLargeError, match="fit a sample"):
        ParallelPostFit(LinearRegression()).fit(da.zeros((1 << 40, 8)), da.zeros(1 << 40))


def test_a_model_of_another_kind_gets_dask_collections_as_they_are() -> None:
    class Own(BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            self.seen_ = type(X)
            return self

    assert ParallelPostFit(Own()).fit(lazy(X), Y).seen_ is da.Array


# an estimator among estimators


def test_it_is_dask_ml_s_class() -> None:
    assert isinstance(ParallelPostFit(LinearRegression()), dask_ml.wrappers.ParallelPostFit)


def test_it_is_of_the_kind_of_its_estimator() -> None:
    assert is_classifier(ParallelPostFit(LinearSVC()))
    assert is_regressor(ParallelPostFit(LinearRegression()))
    assert not is_classifier(ParallelPostFit(StandardScaler()))


def test_methods_are_there_where_the_estimator_has_them() -> None:
    wrapped = ParallelPostFit(LinearRegression())
    assert hasattr(wrapped, "predict")
    assert not any(hasattr(wrapped, name) for name in ("predict_proba", "decision_function", "transform", "classes_"))
    with pytest.raises(AttributeError, match="does not have a 'predict_proba' method"):
        wrapped.predict_proba(X)
    with pytest.raises(NotFittedError):
        wrapped.predict(lazy(X))


def test_clones_parameters_and_pickles() -> None:
    wrapped = ParallelPostFit(LogisticRegression(C=3), scoring="accuracy").fit(X, Y)
    wrapped.predict(lazy(X))
    twin = clone(wrapped)
    assert twin.get_params()["estimator__C"] == 3
    assert not hasattr(twin, "estimator_")
    assert twin.set_params(estimator__C=4).estimator.C == 4
    for copied in (pickle.loads(pickle.dumps(wrapped)), cloudpickle.loads(cloudpickle.dumps(wrapped))):
        np.testing.assert_array_equal(copied.predict(lazy(X)).compute(), wrapped.estimator_.predict(X))


def test_it_can_be_shown_before_and_after_fit() -> None:
    wrapped = ParallelPostFit(LogisticRegression(C=3))
    for each in (wrapped, clone(wrapped).fit(X, Y)):
        assert "C=3" in repr(each)
        assert "LogisticRegression" in each._repr_html_()


def test_it_is_a_step_of_a_pipeline() -> None:
    steps = make_pipeline(ParallelPostFit(StandardScaler()), ParallelPostFit(LogisticRegression())).fit(X, Y)
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    same(steps.predict_proba(lazy(X)), plain.predict_proba(X), exact=False)


# scores


SCORES = ("accuracy", "r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error")


@pytest.mark.parametrize("scoring", [*SCORES, "f1_macro", "roc_auc_ovr", "neg_log_loss", None])
@pytest.mark.parametrize(
    "kind", ["array", "other blocks", "frame", "numpy labels", "frame and array", "array and frame"]
)
def test_scores_of_a_classifier_are_scikit_learn_s(scoring: str | None, kind: str) -> None:
    model = LogisticRegression().fit(TABLE if kind.startswith("frame") else X, Y)
    given, labels = {
        "array": lambda: (lazy(X), lazy(Y)),
        "other blocks": lambda: (lazy(X), lazy(Y, 33)),
        "frame": lambda: (frame(), frame(pd.DataFrame({"y": Y}, index=TABLE.index))["y"]),
        "numpy labels": lambda: (lazy(X), Y),
        "frame and array": lambda: (frame(), lazy(Y)),
        "array and frame": lambda: (lazy(X), frame(pd.DataFrame({"y": Y}, index=TABLE.index))["y"]),
    }[kind]()
    data = TABLE if kind.startswith("frame") else X
    expected = sklearn.metrics.get_scorer(scoring)(model, data, Y) if scoring else model.score(data, Y)
    wrapped = ParallelPostFit(model, scoring=scoring)
    assert wrapped.score(given, labels) == pytest.approx(expected, rel=1e-12)
    late = wrapped.score(given, labels, compute=False)
    assert dask.is_dask_collection(late)
    assert late.compute() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_r2_of_a_regressor(shift: float) -> None:
    values = X @ np.arange(6) + np.sin(np.arange(120)) + shift
    model = LinearRegression().fit(X, values)
    some = da.from_array(X, chunks=((50, 0, 70), 6))
    assert ParallelPostFit(model).score(some, lazy(values)) == pytest.approx(model.score(X, values), rel=1e-9)


def test_scores_of_several_outputs() -> None:
    model = LinearRegression().fit(X[:, :3], X[:, 3:5])
    assert ParallelPostFit(model).score(lazy(X[:, :3]), lazy(X[:, 3:5])) == pytest.approx(
        model.score(X[:, :3], X[:, 3:5])
    )


def test_r2_of_labels_that_are_no_numbers_fails_as_scikit_learn_s() -> None:
    words = np.array(["low", "mid", "high"])[Y]
    model = LogisticRegression().fit(X, words)
    with pytest.raises(ValueError, match="could not convert string to float"):
        ParallelPostFit(model, scoring="r2").score(lazy(X), lazy(words))
    assert ParallelPostFit(model).score(lazy(X), lazy(words)) == model.score(X, words)


@pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # of what tests before have left open
@pytest.mark.parametrize("kind", ["str", "category", "object"])
def test_words_of_a_frame_are_labels(kind: str) -> None:
    table = TABLE.assign(level=np.array(["low", "mid", "high"])[Y]).astype({"level": kind})
    wrapped = ParallelPostFit(LogisticRegression()).fit(table[NAMES], table["level"])
    for scoring in (None, "f1_macro"):
        expected = wrapped.set_params(scoring=scoring).score(table[NAMES], table["level"])
        assert wrapped.score(frame(table)[NAMES], frame(table)["level"]) == pytest.approx(expected)


def test_scorers_of_one_s_own_and_several() -> None:
    model = LogisticRegression().fit(X, Y)

    def own(estimator: Any, data: Any, labels: Any) -> float:
        assert is_classifier(estimator)
        return float(np.mean(estimator.predict(data) == labels))

    assert ParallelPostFit(model, scoring=own).score(lazy(X), lazy(Y)) == model.score(X, Y)
    with pytest.raises(DaskhpcError, match="compute=True"):
        ParallelPostFit(model, scoring=own).score(lazy(X), lazy(Y), compute=False)
    assert ParallelPostFit(model, scoring=make_scorer(accuracy_score)).score(lazy(X), lazy(Y)) == model.score(X, Y)
    several = ParallelPostFit(model, scoring=["accuracy", "neg_log_loss"]).score(lazy(X), lazy(Y))
    assert several["accuracy"] == model.score(X, Y)
    assert sorted(several) == ["accuracy", "neg_log_loss"]


def test_scores_with_weights() -> None:
    weights = np.linspace(0, 1, 120)
    model = LogisticRegression().fit(X, Y)
    assert ParallelPostFit(model).score(lazy(X), lazy(Y), sample_weight=lazy(weights)) == pytest.approx(
        model.score(X, Y, weights)
    )


@pytest.mark.parametrize("model", [LogisticRegression(), KMeans(3, random_state=0, n_init=1)])
@pytest.mark.parametrize("scoring", [None, "f1_macro"])
def test_a_lazy_score_with_weights_of_a_frame(model: Any, scoring: str | None) -> None:
    table = TABLE.assign(y=Y, weight=np.linspace(0, 1, 120))
    whole = ParallelPostFit(model, scoring=scoring).fit(table[NAMES], table["y"])
    expected = whole.score(table[NAMES], table["y"], sample_weight=table["weight"])
    lazy_table = frame(table)
    late = whole.score(lazy_table[NAMES], lazy_table["y"], compute=False, sample_weight=lazy_table["weight"])
    assert late.compute() == pytest.approx(expected)


def test_a_pipeline_s_score_is_summed_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskhpc.postfit.scoring.materialize", None)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    assert ParallelPostFit(model).score(lazy(X), lazy(Y)) == model.score(X, Y)


def test_labels_that_do_not_fit_are_refused_before_any_compute() -> None:
    model = ParallelPostFit(LogisticRegression(), scoring="f1_macro").fit(X, Y)
    with pytest.raises(DataTooLargeError, match="summed over the blocks"):
        model.score(da.zeros((1 << 42, 6), chunks=(1 << 36, 6)), da.zeros(1 << 42, chunks=1 << 36))


# xarray


def cube(values: Any = X) -> Any:
    return xr.DataArray(
        lazy(values),
        dims=("time", "band"),
        coords={"time": TABLE.index, "band": NAMES, "season": ("time", np.arange(120) % 4), "sensor": 7},
    )


def test_an_xarray_array_keeps_what_belongs_to_its_samples() -> None:
    wrapped = ParallelPostFit(LogisticRegression()).fit(cube(), Y)
    found = wrapped.predict(cube())
    assert isinstance(found.data, da.Array)
    assert found.dims == ("time",)
    assert set(found.coords) == {"time", "season", "sensor"}
    np.testing.assert_array_equal(found, wrapped.estimator_.predict(X))
    chance = wrapped.predict_proba(cube())
    assert chance.dims == ("time", "class")
    assert list(chance["class"]) == [0, 1, 2]
    np.testing.assert_allclose(chance, wrapped.estimator_.predict_proba(X))
    assert chance.name is None
    xr.testing.assert_equal(wrapped.predict(cube().compute()), found.compute())
    assert wrapped.score(cube(), xr.DataArray(lazy(Y), dims="time")) == wrapped.estimator_.score(X, Y)


def test_the_columns_of_a_chain_are_outputs() -> None:
    chain = ClassifierChain(LogisticRegression()).fit(X, np.c_[Y > 1, Y > 0])
    found = ParallelPostFit(chain).predict_proba(cube())
    assert found.dims == ("time", "output")
    np.testing.assert_allclose(found, chain.predict_proba(X))


def test_stacked_dimensions_can_be_unstacked() -> None:
    values = X.reshape(10, 12, 6)
    stacked = xr.DataArray(da.from_array(values, chunks=(5, 12, 6)), dims=("y", "x", "band")).stack(at=("y", "x"))
    scaler = ParallelPostFit(StandardScaler()).fit(X)
    found = scaler.transform(stacked.transpose("at", "band")).unstack("at")
    assert dict(found.sizes) == {"output": 6, "y": 10, "x": 12}
    np.testing.assert_allclose(found.transpose("y", "x", "output"), scaler.transform(X).reshape(10, 12, 6))
    with pytest.raises(DaskhpcError, match=r"stack\(sample="):
        scaler.transform(stacked.unstack("at"))
