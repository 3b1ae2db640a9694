"""Fitted pipeline prefixes: shared where that changes nothing, compared bit by bit with scikit-learn alone."""

from __future__ import annotations

import contextlib
import copy
import functools
import pickle
import random
import warnings
from collections.abc import Iterator
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import Memory, parallel_config
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, f_classif
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import Isomap
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.model_selection._validation import _fit_and_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from daskhpc.parallel import prefix_cache
from daskhpc.parallel.content_keys import ContentPickler
from daskhpc.parallel.prefix_cache import PrefixCache, bytes_for_prefixes, shared
from daskhpc.parallel.prefix_costs import SharingCosts

X, Y = make_classification(90, 8, random_state=0)
SPLITS = list(KFold(3).split(X))
GIGABYTE = 1 << 30


class Step(TransformerMixin, BaseEstimator):
    """Adds `amount`; counts its fits."""

    fits = 0

    def __init__(self, amount: Any = 1) -> None:
        self.amount = amount

    def fit(self, X: Any, y: Any = None) -> Step:
        type(self).fits += 1
        self.mean_ = np.asarray(X).mean(axis=0)
        return self

    def transform(self, X: Any) -> Any:
        return np.asarray(X) - self.mean_ + float(np.sum(self.amount))


class Global(Step):
    """Draws from NumPy's global generator."""

    def fit(self, X: Any, y: Any = None) -> Step:
        super().fit(X)
        self.mean_ = np.random.rand(np.asarray(X).shape[1])
        return self


class Python(Step):
    """Draws from Python's."""

    def fit(self, X: Any, y: Any = None) -> Step:
        super().fit(X)
        self.mean_ = self.mean_ + random.random()
        return self


class Torch(Step):
    """Draws from PyTorch's."""

    def fit(self, X: Any, y: Any = None) -> Step:
        super().fit(X)
        self.mean_ = self.mean_ + pytest.importorskip("torch").rand(1).item()
        return self


class InPlace(Step):
    """Changes its input."""

    def transform(self, X: Any) -> Any:
        X += self.mean_
        return X


class Failing(Step):
    def fit(self, X: Any, y: Any = None) -> Step:
        super().fit(X)
        raise ValueError("no fit")


class Warning_(Step):
    def fit(self, X: Any, y: Any = None) -> Step:
        warnings.warn("not converged", ConvergenceWarning, stacklevel=1)
        return super().fit(X)


class Quiet(Step):
    """Catches a warning of its own."""

    def fit(self, X: Any, y: Any = None) -> Step:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            warnings.warn("never seen", stacklevel=1)
        return super().fit(X)


class Weighted(Step):
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Step:
        super().fit(X)
        if sample_weight is not None:
            self.mean_ = np.average(X, axis=0, weights=sample_weight)
        return self


class Slice(Step):
    """Gives a view of what it keeps."""

    def fit_transform(self, X: Any, y: Any = None, **_: Any) -> Any:
        self.fit(X)
        self.kept_ = np.asarray(X).copy()
        return self.kept_[:, :3]

    def transform(self, X: Any) -> Any:
        return np.asarray(X)[:, :3]


class Strided(Step):
    """Gives columns in reverse, without a copy."""

    def fit_transform(self, X: Any, y: Any = None, **_: Any) -> Any:
        return Step.transform(self.fit(X), X)[:, ::-2]

    def transform(self, X: Any) -> Any:
        return Step.transform(self, X)[:, ::-2]


class View(Step):
    """Gives a view of its input."""

    def transform(self, X: Any) -> Any:
        return X[:, :2]


class Ignoring(Step):
    """Does not use its parameter."""

    def transform(self, X: Any) -> Any:
        return np.asarray(X) - self.mean_


class Spoiler(ClassifierMixin, BaseEstimator):
    """Changes what it was given before the pipeline inside sees it."""

    def __init__(self, inner: Any = None, factor: int = 1) -> None:
        self.inner = inner
        self.factor = factor

    def fit(self, X: Any, y: Any) -> Spoiler:
        X **= self.factor
        self.inner_ = clone(self.inner).fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X: Any) -> Any:
        return self.inner_.predict(X)


class Own(Pipeline):
    """A user's pipeline."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    Step.fits = 0
    for kind in Step.__subclasses__():
        kind.fits = 0
    before = warnings.showwarning, list(warnings.filters)
    yield
    assert (warnings.showwarning, warnings.filters) == before


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> PrefixCache:
    """One that goes on where it does not pay: what these tests fit is tiny."""
    monkeypatch.setattr(SharingCosts, "worthwhile", lambda self: True)
    return PrefixCache(GIGABYTE)


def run(
    estimator: Any,
    cache: PrefixCache | None,
    parameters: Any = None,
    data: Any = X,
    y: Any = Y,
    split: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """One call of scikit-learn's, with or without sharing."""
    train, test = SPLITS[split]
    estimator = clone(estimator)
    arguments = {
        "scorer": check_scoring(estimator),
        "train": train,
        "test": test,
        "verbose": 0,
        "parameters": parameters,
        "fit_params": None,
        "score_params": None,
        "return_estimator": True,
        "return_train_score": True,
        "return_times": True,
        "error_score": "raise",
        **more,
    }
    if cache is None:
        return dict(_fit_and_score(estimator, data, y, **arguments))
    with shared(cache, estimator, parameters) as saved:
        result = dict(_fit_and_score(estimator, data, y, **arguments))
    assert saved.seconds >= 0
    clean(result.get("estimator"))
    return result


def clean(estimator: Any) -> None:
    """Nothing of ours is left."""
    assert b"daskhpc." not in cloudpickle.dumps(estimator)
    assert [p for p in prefix_cache._pipelines(estimator) if isinstance(p.memory, prefix_cache._Memory)] == []


def content(value: Any) -> bytes:
    """All that an estimator is, to the bit: attributes, dtypes, orders."""
    return ContentPickler({}).content(value).digest()


def same(plain: dict[str, Any], ours: dict[str, Any], data: Any = X) -> None:
    assert ours["test_scores"] == plain["test_scores"]
    assert ours["train_scores"] == plain["train_scores"]
    one, other = plain["estimator"], ours["estimator"]
    for method in ("decision_function", "predict_proba", "predict", "transform"):
        if hasattr(one, method):
            left, right = getattr(one, method)(copy.deepcopy(data)), getattr(other, method)(copy.deepcopy(data))
            assert content(left) == content(right)
    assert content(one) == content(other)


def compare(
    estimator: Any, grid: list[Any], cache: PrefixCache, data: Any = X, splits: tuple[int, ...] = (0, 1), **more: Any
) -> None:
    """Every candidate twice on each split, plain and shared."""
    for _ in range(2):
        for split in splits:
            for parameters in grid:
                plain = run(estimator, None, copy.deepcopy(parameters), data, split=split, **more)
                ours = run(estimator, cache, copy.deepcopy(parameters), data, split=split, **more)
                same(plain, ours, data)


FRAME = pd.DataFrame(X, columns=[f"c{i}" for i in range(8)]).assign(
    kind=np.where(X[:, 0] > 0, "a", "b"), n=np.arange(90)
)
FRAME.iloc[3, 1] = np.nan
TEXTS = [f"{'good' if y else 'bad'} word{i % 7} thing{i % 11}" for i, y in enumerate(Y)]
SVM = [{"svc__C": 0.5}, {"svc__C": 2.0}]
COLUMNS = ColumnTransformer(
    [
        ("num", make_pipeline(SimpleImputer(), StandardScaler()), ["c0", "c1", "n"]),
        ("cat", OneHotEncoder(), ["kind"]),
        ("as", "passthrough", ["c5"]),
    ]
)
SPOILT = ColumnTransformer(
    [
        ("first", make_pipeline(View(), StandardScaler(copy=False)), slice(0, 4)),
        ("then", make_pipeline(PCA(3), StandardScaler()), slice(0, 6)),
    ]
)
HOLES = np.where(np.random.RandomState(1).rand(*X.shape) < 0.1, np.nan, X)


@pytest.mark.parametrize(
    ("estimator", "grid", "data"),
    [
        (make_pipeline(StandardScaler(), SVC()), SVM, X),
        (make_pipeline(StandardScaler(), PCA(3), SVC()), SVM, X),
        (make_pipeline(StandardScaler(), PCA(3), SVC()), SVM, np.asfortranarray(X)),
        (make_pipeline(PCA(3, svd_solver="arpack", random_state=0), SVC()), SVM, X),
        (make_pipeline(PCA(3, svd_solver="full"), StandardScaler(), SVC()), SVM, X),
        (make_pipeline(make_pipeline(StandardScaler(), PolynomialFeatures()), SVC()), SVM, X),
        (make_pipeline(make_union(PCA(2), make_pipeline(StandardScaler(), SelectKBest(k=2))), SVC()), SVM, X),
        (make_pipeline(COLUMNS, SVC()), SVM, FRAME),
        (make_pipeline(COLUMNS, StandardScaler().set_output(transform="pandas"), SVC()), SVM, FRAME),
        (make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0), SVC()), SVM, TEXTS),
        (make_pipeline(TfidfVectorizer(), SelectKBest(k=4), SVC()), SVM, np.array(TEXTS, dtype=object)),
        (make_pipeline(SelectKBest(k=4), SVC()), SVM, sparse.csr_matrix(np.where(X > 0, X, 0))),
        (make_pipeline(KNNImputer(), StandardScaler(), SVC()), SVM, HOLES),
        (make_pipeline(KNNImputer(copy=False), StandardScaler(copy=False), SVC()), SVM, HOLES),
        (make_pipeline(SelectFromModel(DecisionTreeClassifier(random_state=0)), SVC()), SVM, X),
        (make_pipeline(Isomap(n_components=3), StandardScaler(copy=False), SVC()), SVM, X),
        (make_pipeline(KMeans(3, n_init=1, random_state=0), SVC()), SVM, X),
        (make_pipeline("passthrough", StandardScaler(), None, SVC()), SVM, X),
        (make_pipeline(SPOILT, SVC()), SVM, X),
        (make_pipeline(View(), StandardScaler(copy=False), SVC()), SVM, X),
        (
            make_pipeline(Step(), Spoiler(make_pipeline(MinMaxScaler(), SVC()))),
            [{"spoiler__factor": factor} for factor in (1, 2, 3)],
            X,
        ),
        (make_pipeline(Slice(), StandardScaler(copy=False), SVC()), SVM, X),
        (make_pipeline(Strided(), StandardScaler(), SVC()), SVM, X),
        (make_pipeline(FunctionTransformer(lambda a: a * 2), SVC()), SVM, X),
        (make_pipeline(FunctionTransformer(), StandardScaler(copy=False), SVC()), SVM, X),
        (BaggingClassifier(make_pipeline(StandardScaler(), SVC()), 2, random_state=0), [{}], X),
        (Pipeline([("a", StandardScaler()), ("b", make_pipeline(PCA(2), SVC()))]), [{"b__svc__C": 3}, {}], X),
        (
            Pipeline([("a", StandardScaler()), ("svc", SVC())]),
            [{"a": PCA(2)}, {"a": "passthrough"}, {"a": make_pipeline(PCA(3), MinMaxScaler())}],
            X,
        ),
        (
            Pipeline([("m", SVC())]),
            [{"m": make_pipeline(StandardScaler(), SVC(C=c))} for c in (1, 2)],
            X,
        ),
        (
            Pipeline([("s", GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [1, 2]}, cv=2))]),
            [{}],
            X,
        ),
    ],
    ids=lambda value: None if isinstance(value, (list, np.ndarray, pd.DataFrame)) else type(value).__name__,
)
def test_results_are_scikit_learns_to_the_bit(estimator: Any, grid: Any, data: Any, cache: PrefixCache) -> None:
    if isinstance(estimator, Pipeline) and isinstance(estimator.steps[-1][1], GridSearchCV):
        estimator = clone(estimator).steps[-1][1].estimator  # its times differ: see the next test
    compare(estimator, grid, cache, data)


def test_the_usual_transformers_are_shared(cache: PrefixCache) -> None:
    for estimator, data, steps in [
        (make_pipeline(StandardScaler(), PCA(3), SVC()), X, 2),
        (make_pipeline(PCA(3, svd_solver="arpack", random_state=0), SVC()), X, 1),
        (make_pipeline(COLUMNS, SVC()), FRAME, 1),
        (make_pipeline(COLUMNS, StandardScaler().set_output(transform="pandas"), SVC()), FRAME, 2),
        (make_pipeline(TfidfVectorizer(), SelectKBest(k=4), SVC()), TEXTS, 2),
        (make_pipeline(KNNImputer(), SVC()), HOLES, 1),
        (make_pipeline(Isomap(n_components=3), SVC()), X, 1),
        (make_pipeline(Strided(), SVC()), X, 1),
        (make_pipeline(SelectKBest(f_classif, k=3), SVC()), X, 1),
        (make_pipeline(FunctionTransformer(lambda a: a * 2), SVC()), X, 1),
    ]:
        cache.clear()
        for parameters in SVM:
            run(estimator, cache, parameters, data)
        assert cache.hits == steps, estimator


def test_a_search_inside(cache: PrefixCache) -> None:
    search = GridSearchCV(make_pipeline(Step(), SVC()), {"svc__C": [1, 2, 3]}, cv=2)
    plain, ours = run(search, None)["estimator"], run(search, cache)["estimator"]
    assert cache.hits == 4
    assert ours.best_estimator_.memory is None
    assert content(plain.best_estimator_) == content(ours.best_estimator_)
    assert np.array_equal(plain.cv_results_["mean_test_score"], ours.cv_results_["mean_test_score"])


@pytest.mark.parametrize("pays", [True, False])
def test_any_order_of_candidates(pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pays:
        monkeypatch.setattr(SharingCosts, "worthwhile", lambda self: True)
    draw = random.Random(0)
    steps = [
        StandardScaler(),
        StandardScaler(copy=False),
        "passthrough",
        PCA(2),
        InPlace(),
        FunctionTransformer(),
        make_union(StandardScaler(copy=False), make_pipeline(MinMaxScaler(), PCA(2))),
        make_union(InPlace(), make_pipeline(MinMaxScaler(copy=False), PCA(2))),
        make_pipeline(MinMaxScaler(copy=False), StandardScaler(copy=False)),
        Slice(),
        Strided(),
        View(),
        SPOILT,
    ]
    pipeline = Pipeline([("a", StandardScaler()), ("b", PCA(2)), ("c", "passthrough"), ("svc", SVC())])
    cache = PrefixCache(GIGABYTE if pays else 100_000)
    for _ in range(120):
        parameters = {name: copy.deepcopy(draw.choice(steps)) for name in "abc"}
        parameters["svc__C"] = draw.choice([1, 2])
        split = draw.randrange(2)
        plain = run(pipeline, None, copy.deepcopy(parameters), split=split, error_score=-1.0)
        ours = run(pipeline, cache, parameters, split=split, error_score=-1.0)
        assert (ours["fit_error"] is None) is (plain["fit_error"] is None)
        if plain["fit_error"] is None:
            same(plain, ours)


def test_types_of_parameters_tell(cache: PrefixCache) -> None:
    amounts = [1, 1.0, True, np.float64(1), 0.0, -0.0, "1", b"1", (1,), [1], np.array([1]), np.array([1.0]), np.nan]
    for _ in range(2):
        for amount in amounts:
            run(make_pipeline(Ignoring(copy.deepcopy(amount)), SVC()), cache)
        assert cache.misses == len(amounts)
    assert cache.hits == len(amounts)


def test_content_of_data_tells(cache: PrefixCache) -> None:
    frame = pd.DataFrame(X)
    turned = [X[:60], np.asfortranarray(X[:60])]
    assert len({content(data) for data in [*turned, X[:60].tolist(), turned[0][:, ::1].copy()]}) == 3
    for data in (X, X.astype(np.float32), np.where(X > 0, X, 0.0), np.where(X > 0, X, -0.0)):
        run(make_pipeline(Step(), SVC()), cache, data=data)
    for data in (frame, frame.set_axis(range(10, 100)), frame.rename(columns={0: 9}), frame.astype("float32")):
        run(make_pipeline(Step(), SVC()), cache, data=data)
    assert (cache.hits, cache.misses) == (0, 8)
    run(make_pipeline(Step(), SVC()), cache, data=X.copy())
    run(make_pipeline(Step(), SVC()), cache, data=pd.DataFrame(X.copy()))
    assert (cache.hits, cache.misses) == (2, 8)


def test_configuration_tells(cache: PrefixCache) -> None:
    pipeline = make_pipeline(StandardScaler(), SVC())
    plain = run(pipeline, cache)
    with sklearn.config_context(transform_output="pandas"):
        ours, expected = run(pipeline, cache)["estimator"], run(pipeline, None)["estimator"]
        assert content(ours) == content(expected)
    assert cache.hits == 0
    assert not hasattr(plain["estimator"][-1], "feature_names_in_")
    assert hasattr(ours[-1], "feature_names_in_")


def test_fit_parameters_tell(cache: PrefixCache) -> None:
    pipeline = make_pipeline(Weighted(), SVC())
    for scale in (1, 2, 1):
        weights = {"weighted__sample_weight": np.arange(90) ** scale, "svc__sample_weight": np.ones(90)}
        same(run(pipeline, None, fit_params=weights), run(pipeline, cache, fit_params=weights))
    assert (cache.hits, cache.misses) == (1, 2)


def test_subclasses_and_own_memory_are_left_alone(cache: PrefixCache, tmp_path: Any) -> None:
    memory = Memory(tmp_path, verbose=0)
    for pipeline in (Own([("a", Step()), ("svc", SVC())]), Pipeline([("a", Step()), ("svc", SVC())], memory=memory)):
        for _ in range(2):
            result = run(pipeline, cache)
        assert type(result["estimator"].memory) is type(pipeline.memory)
    assert cache.misses == 0


def test_a_search_over_memory_is_left_alone(cache: PrefixCache, tmp_path: Any) -> None:
    pipeline = make_pipeline(Step(), SVC())
    for memory in (None, str(tmp_path), None):
        assert run(pipeline, cache, {"memory": memory})["estimator"].memory == memory
    assert cache.misses == 0


@pytest.mark.parametrize("kind", [Global, Python, Torch])
def test_random_fits_are_made_each_time(kind: type[Step], cache: PrefixCache) -> None:
    pipeline = make_pipeline(kind(), SVC())
    made = []
    for one in (None, cache):
        random.seed(0)
        np.random.seed(0)
        if kind is Torch:
            pytest.importorskip("torch").manual_seed(0)
        made.append([content(run(pipeline, one)["estimator"]) for _ in range(3)])
    assert made[0] == made[1]
    assert len(set(made[0])) == 3
    assert (cache.hits, kind.fits) == (0, 6)


@pytest.mark.parametrize("generator", [np.random.RandomState(0), np.random.default_rng(0), random.Random(0)])
def test_generators_among_parameters_are_not_shared(generator: Any, cache: PrefixCache) -> None:
    for holder in (generator, [generator], {"a": (generator,)}, Step(generator), functools.partial(print, generator)):
        for _ in range(2):
            run(make_pipeline(Ignoring(holder), SVC()), cache)
    assert (cache.hits, cache.misses) == (0, 0)


def test_random_state_none_without_a_draw_is_shared(cache: PrefixCache) -> None:
    for _ in range(2):
        run(make_pipeline(PCA(3, svd_solver="full"), SVC()), cache)
    assert cache.hits == 1


def test_in_place_fits_are_made_each_time(cache: PrefixCache) -> None:
    for _ in range(3):
        run(make_pipeline(InPlace(), SVC()), cache)
    assert (cache.hits, InPlace.fits) == (0, 3)


def test_failing_fits_raise_as_they_would(cache: PrefixCache) -> None:
    pipeline = make_pipeline(Step(), Failing(), SVC())
    for _ in range(2):
        with pytest.raises(ValueError, match="no fit"):
            run(pipeline, cache)
    result = run(pipeline, cache, error_score=np.nan)
    assert "ValueError: no fit" in result["fit_error"]
    assert (cache.hits, Failing.fits) == (2, 3)


def test_an_estimator_is_clean_after_an_exception(cache: PrefixCache) -> None:
    inner = make_pipeline(Step(), SVC())
    outer = make_pipeline(Failing(), SVC())
    with contextlib.suppress(KeyboardInterrupt), shared(cache, outer, {"svc": inner}):
        assert inner.memory is not None
        raise KeyboardInterrupt
    assert inner.memory is None
    clean([inner, outer])


def test_a_memory_leaves_no_trace(cache: PrefixCache) -> None:
    pipeline = make_pipeline(Step(), SVC())
    with shared(cache, pipeline, None):
        memory = pipeline.memory
        assert clone(pipeline).memory is copy.deepcopy(pipeline).memory is memory
        assert repr(memory) == "None"
        assert pickle.loads(pickle.dumps(pipeline)).memory is None
        other = clone(pipeline)
        assert "memory" not in repr(pipeline)
    other.fit(X, Y)  # a clone that outlives the call works alone
    assert cache.misses == 0
    assert b"daskhpc." not in pickle.dumps(other)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(COLUMNS, SVC()),
        make_pipeline(FeatureUnion([("a", make_pipeline(StandardScaler(), "passthrough"))]), SVC()),
    ],
)
def test_nested_pipelines_are_clean(estimator: Any, cache: PrefixCache) -> None:
    for parameters in SVM:
        fitted = run(estimator, cache, parameters, FRAME if estimator[0] is COLUMNS else X)["estimator"]
        nested = [p for p in prefix_cache._pipelines(fitted) if p is not fitted]
        assert nested
        assert {p.memory for p in nested} == {None}


def test_warnings_are_given_again(cache: PrefixCache) -> None:
    pipeline = make_pipeline(Warning_(), SVC())
    for _ in range(3):
        with pytest.warns(ConvergenceWarning, match="not converged") as seen:
            run(pipeline, cache)
        assert [(w.filename, w.category) for w in seen if is_of_a_fit(w)] == [(__file__, ConvergenceWarning)]
    assert Warning_.fits == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            run(pipeline, cache)


def test_a_warning_that_a_fit_swallows_is_not_given(cache: PrefixCache) -> None:
    assert [shown(lambda: run(make_pipeline(Quiet(), SVC()), cache)) for _ in range(2)] == [[], []]


def test_what_is_given_out_is_nobody_elses(cache: PrefixCache) -> None:
    pipeline = make_pipeline(Step(), InPlace(), LinearSVC(random_state=0))
    first = run(pipeline, cache)["estimator"]
    before = content(first)
    second = run(pipeline, cache)["estimator"]
    assert second[0] is not first[0]
    second[0].mean_ += 1
    assert content(first) == before == content(run(pipeline, cache)["estimator"])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharingCosts, "worthwhile", lambda self: True)
    cache = PrefixCache(30_000)
    run(make_pipeline(Step(0), SVC()), cache)
    one = cache.nbytes
    assert 0 < one < 15_000
    for amount in range(1, 30):
        run(make_pipeline(Step(0), SVC()), cache)
        run(make_pipeline(Step(amount), SVC()), cache)
        assert cache.nbytes <= 30_000
    assert cache.hits == 29  # used each time, so never the one to go
    run(make_pipeline(Step(1), SVC()), cache)
    assert cache.hits == 29
    small = PrefixCache(one)  # larger than half of it
    run(make_pipeline(Step(0), SVC()), small)
    assert small.nbytes == 0
    cache.clear()
    assert cache.nbytes == cache.hits == 0


def test_cheap_fits_are_let_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = SharingCosts(fits=2, kept=1, fastest=1.0, price=2.0)
    assert not ledger.worthwhile()
    assert SharingCosts(fits=2, kept=1, fastest=2.0, price=1.0).worthwhile()
    assert SharingCosts(fits=3, kept=0, fastest=1.0).worthwhile(), "none was kept yet, so nobody knows the price"
    assert not SharingCosts(fits=4, kept=0).worthwhile()
    monkeypatch.setattr(SharingCosts, "worthwhile", lambda self: False)
    cache = PrefixCache(GIGABYTE)
    for _ in range(3):
        run(make_pipeline(Step(), SVC()), cache)
    assert (cache.hits, cache.misses, Step.fits) == (0, 0, 3)


def test_saved_seconds_are_those_of_the_fit(cache: PrefixCache, monkeypatch: pytest.MonkeyPatch) -> None:
    now, fit, seconds = [0.0], Step.fit, []

    def fit_for_three_seconds(self: Any, X: Any, y: Any = None) -> Step:
        now[0] += 3.0
        return fit(self, X, y)

    monkeypatch.setattr(prefix_cache, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Step, "fit", fit_for_three_seconds)
    for _ in range(2):
        estimator = make_pipeline(Step(), SVC())
        with shared(cache, estimator, None) as saved:
            estimator.fit(X, Y)
        seconds.append(saved.seconds)
    assert seconds == [0.0, 3.0]


def is_of_a_fit(warning: warnings.WarningMessage) -> bool:
    """What tests before have left open may be closed at any moment, and is warned of then."""
    return warning.category is not ResourceWarning


def shown(function: Any) -> list[tuple[str, type[Warning], str, int]]:
    """The warnings that a call shows."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        function()
    return [(str(w.message), w.category, w.filename, w.lineno) for w in seen if is_of_a_fit(w)]


def test_what_is_shown_is_what_is_shown_without_sharing(cache: PrefixCache) -> None:
    """Those of a fit inside another one too, each as often and in the same order."""
    nested = make_pipeline(Warning_(1), make_pipeline(Warning_(2), Quiet(), StandardScaler()), Warning_(3), SVC())
    for pipeline in (make_pipeline(Warning_(), SVC()), nested, make_pipeline(make_union(Warning_(), PCA(2)), SVC())):
        plain = shown(lambda pipeline=pipeline: run(pipeline, None))
        assert plain
        assert [shown(lambda pipeline=pipeline: run(pipeline, cache)) for _ in range(3)] == [plain] * 3
    assert cache.hits > 0


def test_what_the_filters_let_through_now(cache: PrefixCache) -> None:
    pipeline = make_pipeline(Warning_(), SVC())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(pipeline, cache)
    assert len(shown(lambda: run(pipeline, cache))) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert shown_by_default(lambda: run(pipeline, cache)) == 0


def shown_by_default(function: Any) -> int:
    """How many warnings a call shows with the filters that there are."""
    with warnings.catch_warnings(record=True) as seen:
        function()
    return len(seen)


def test_threads_inside_a_fit(cache: PrefixCache) -> None:
    """A nested Parallel runs in threads: they share nothing, and what they warn of is not mixed up."""
    union = FeatureUnion([(name, make_pipeline(Warning_(), Step(), StandardScaler())) for name in "abcd"], n_jobs=4)
    pipeline = make_pipeline(union, SVC())
    with parallel_config(backend="threading"):
        plain, ours = [], []
        expected = shown(lambda: plain.append(run(pipeline, None)))
        for _ in range(3):
            assert shown(lambda: ours.append(run(pipeline, cache))) == expected
    for result in ours:
        same(plain[0], result)
    assert cache.misses == 1, "only the main thread's own fits are shared"
    assert cache.hits == 2


def test_callbacks_see_every_fit(cache: PrefixCache) -> None:
    class Context:
        _callbacks = (1,)

    def _fit_transform_one(transformer: Any, X: Any, y: Any, weight: Any = None, **_: Any) -> Any:
        return transformer.fit_transform(X, y), transformer

    for context, hits in ((Context(), 0), (None, 1)):
        for _ in range(2):
            pipeline = make_pipeline(Step(), SVC())
            with shared(cache, pipeline, None):
                call = pipeline.memory.cache(_fit_transform_one, ignore=["caller", "callback_ctx"])
                call(Step(), X, Y, weight=None, message=object(), caller=object(), callback_ctx=context)
        assert cache.hits == hits


def test_plain_estimators_pass(cache: PrefixCache) -> None:
    same(run(LogisticRegression(), None), run(LogisticRegression(), cache))
    assert cache.misses == 0


@pytest.mark.parametrize(("limit", "most"), [(0, 1 << 30), (1 << 30, (1 << 30) // 10), (1 << 40, 1 << 30)])
def test_prefixes_take_a_share_of_the_workers_memory(limit: int, most: int) -> None:
    assert bytes_for_prefixes(limit, slots=2) == most
