"""Over two worker processes a search gives what scikit-learn gives on one, to the last bit, times apart."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import equal
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats as st
import sklearn
from distributed import Client, LocalCluster
from sklearn import model_selection
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import NMF, PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from daskhpc import search

Make = Callable[[Any], Any]  # the search classes' home -> a fitted search

iris = load_iris(return_X_y=True)
some_digits = tuple(part[:400] for part in load_digits(return_X_y=True))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two single-threaded worker processes."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def grid(estimator: Any, candidates: Any, data: Any = iris, fit: Mapping[str, Any] | None = None, **more: Any) -> Make:
    """A grid search, to be made of either home's class."""
    return lambda home: home.GridSearchCV(estimator, candidates, **{"cv": 3, **more}).fit(*data, **(fit or {}))


def scaled(*steps: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), *steps)


def texts() -> tuple[list[str], list[int]]:
    words = ["dask", "grid", "node", "rank", "tree", "wood", "leaf", "root"]
    random = np.random.default_rng(0)
    classes = [i % 2 for i in range(60)]
    return [" ".join(random.choice(words[2 * c :][:5], 6)) for c in classes], classes


def mixed_columns() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("numbers", numbers, ["age", "fare"]), ("port", OneHotEncoder(), ["port"])])


weights = np.linspace(0.1, 3, 150)
groups = np.arange(150) % 7
sparse_iris = (sp.csr_matrix(np.where(iris[0] > 2, iris[0], 0)), iris[1])

CASES: dict[str, Make] = {
    "svc on digits": grid(SVC(), {"C": [1, 10], "gamma": [1e-4, 1e-3]}, some_digits),
    "train scores": grid(SVC(), {"C": [0.1, 10]}, return_train_score=True),
    "one candidate": grid(SVC(), {}),
    "list of grids": grid(SVC(), [{"C": [1, 2]}, {"kernel": ["linear"], "C": [0.1]}]),
    "prefixes": grid(
        Pipeline([("scale", StandardScaler()), ("pca", PCA()), ("svc", SVC())]),
        {"pca__n_components": [2, 3], "svc__C": [0.1, 1, 10], "scale__with_std": [True, False]},
    ),
    "randomised prefixes": grid(
        make_pipeline(PCA(2, svd_solver="randomized", random_state=0), SVC()), {"svc__C": [0.1, 1, 10]}
    ),
    "prefix in place": grid(
        make_pipeline(StandardScaler(copy=False), MinMaxScaler(copy=False), SVC()), {"svc__C": [0.1, 1, 10]}
    ),
    "nested pipelines": grid(
        Pipeline([("pre", scaled(PCA(2))), ("svc", SVC())]), {"pre__pca__whiten": [True, False], "svc__C": [0.1, 1]}
    ),
    "feature union": grid(
        make_pipeline(FeatureUnion([("pca", scaled(PCA(2))), ("best", equal.best_of_k(2))]), SVC()),
        {"featureunion__best__k": [1, 2], "svc__C": [0.1, 1]},
    ),
    "pipeline subclass": grid(
        equal.LoudPipeline([("scale", StandardScaler()), ("logistic", LogisticRegression())]),
        {"logistic__C": [0.001, 0.01, 1]},
    ),
    "passthrough": grid(
        Pipeline([("scale", "passthrough"), ("reduce", PCA(2)), ("svc", SVC())]),
        {"scale": [StandardScaler(), MinMaxScaler(), "passthrough"], "reduce": [PCA(3), "passthrough"]},
    ),
    "steps replaced": grid(
        Pipeline([("scale", StandardScaler()), ("model", SVC())]),
        [{"model": [SVC()], "model__C": [1, 2]}, {"model": [LinearSVC(random_state=0)], "model__C": [0.1]}],
    ),
    "pipeline with memory None and a path": grid(scaled(SVC()), {"memory": [None], "svc__C": [1, 10]}),
    "1, 1.0 and True": grid(equal.Typed(), {"value": [1, 1.0, True]}),
    "True, 1.0 and 1": grid(equal.Typed(), {"value": [True, 1.0, 1]}),
    "forest features 1 and 1.0": grid(
        RandomForestClassifier(10, random_state=0), {"max_features": [1, 1.0], "bootstrap": [True, False]}
    ),
    "multimetric": grid(SVC(), {"C": [0.1, 1]}, scoring=["accuracy", "f1_macro"], refit="f1_macro"),
    "scorer that returns a dict": grid(
        equal.Noting(max_iter=500),
        {"C": [0.1, 1]},
        scoring=lambda e, X, y: {"a": e.score(X, y), "n": len(y)},
        refit="a",
    ),
    "groups": grid(SVC(), {"C": [0.1, 1]}, fit={"groups": groups}, cv=GroupKFold(3)),
    "sample weights": grid(SVC(), {"C": [0.1, 1]}, fit={"sample_weight": weights}, scoring=make_scorer(equal.weighted)),
    "callable refit": grid(SVC(), {"C": [0.01, 0.1, 1]}, refit=equal.simplest),
    "no refit": grid(SVC(), {"C": [0.01, 0.1, 1]}, refit=False),
    "failing, nan": grid(equal.Failing(max_iter=500), {"C": [1, 10, 2]}),
    "failing, a number": grid(equal.Failing(max_iter=500), {"C": [1, 10, 2]}, error_score=-1),
    "shuffled splits": grid(SVC(), {"C": [0.1, 1]}, cv=StratifiedKFold(3, shuffle=True, random_state=5)),
    "a generator of splits": lambda home: grid(
        SVC(), {"C": [0.1, 1]}, cv=KFold(3, shuffle=True, random_state=1).split(*iris)
    )(home),
    "regression": grid(Ridge(), {"alpha": [0.1, 10]}, cv=ShuffleSplit(4, random_state=0), scoring="r2"),
    "stochastic gradient, seeded": grid(SGDClassifier(random_state=7), {"alpha": [1e-4, 1e-2]}),
    "sparse X": grid(LinearSVC(random_state=0), {"C": [0.1, 1]}, sparse_iris),
    "sparse X, prefix": grid(
        make_pipeline(NMF(2, random_state=0, max_iter=50), SVC()), {"svc__C": [0.1, 1]}, sparse_iris
    ),
    "texts": grid(
        make_pipeline(TfidfVectorizer(), SVC()), {"svc__C": [1, 2], "tfidfvectorizer__binary": [True, False]}, texts()
    ),
    "columns of a frame": grid(
        make_pipeline(mixed_columns(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1], "columntransformer__numbers__simpleimputer__strategy": ["mean", "median"]},
        equal.passengers(),
    ),
    "Fortran order": grid(scaled(PCA(2), SVC()), {"svc__C": [0.1, 1]}, (np.asfortranarray(iris[0]), iris[1])),
    "single precision": grid(scaled(PCA(2), SVC()), {"svc__C": [0.1, 1]}, (iris[0].astype("f4"), iris[1])),
    "precomputed kernel": grid(SVC(kernel="precomputed"), {"C": [0.1, 1]}, (iris[0] @ iris[0].T, iris[1])),
    "no y": grid(PCA(), {"n_components": [1, 2]}, (iris[0],)),
    "lists": grid(SVC(), {"C": [0.1, 1]}, (iris[0].tolist(), iris[1].tolist())),
    "two outputs": grid(Ridge(), {"alpha": [0.1, 1]}, (iris[0], np.c_[iris[1], iris[0][:, 0]])),
    "n_jobs=2": grid(SVC(), {"C": [0.1, 1]}, n_jobs=2),
    "randomized": lambda home: home.RandomizedSearchCV(
        scaled(SVC()), {"svc__C": st.loguniform(1e-2, 1e2), "svc__gamma": st.uniform(0, 1)}, n_iter=8, random_state=3
    ).fit(*iris),
    "halving grid": lambda home: home.HalvingGridSearchCV(
        scaled(SVC()), {"svc__C": [0.01, 0.1, 1, 10], "svc__gamma": [0.1, 1]}, random_state=3, cv=3, factor=2
    ).fit(*iris),
    "halving random": lambda home: home.HalvingRandomSearchCV(
        RandomForestClassifier(random_state=0),
        {"max_depth": [2, 3, None], "max_features": st.randint(1, 4)},
        resource="n_estimators",
        max_resources=12,
        n_candidates=6,
        random_state=3,
        cv=3,
        factor=2,
    ).fit(*iris),
}


def check_equal(ours: Any, theirs: Any) -> None:
    """Two fitted searches are the same, times apart."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, values in theirs.cv_results_.items():
        if not name.endswith("_time"):
            check_column(name, ours.cv_results_[name], values)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_", "n_features_in_", "n_resources_"):
        if hasattr(theirs, name):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert hasattr(ours, "best_estimator_") == hasattr(theirs, "best_estimator_")
    if hasattr(theirs, "best_params_"):
        assert repr(ours.best_params_) == repr(theirs.best_params_)


def check_column(name: str, ours: Any, theirs: Any) -> None:
    if name == "params":
        assert repr(ours) == repr(theirs)
        return
    assert type(ours) is type(theirs), name
    assert ours.dtype == theirs.dtype, name
    if isinstance(theirs, np.ma.MaskedArray):
        assert np.ma.getmaskarray(ours).tolist() == np.ma.getmaskarray(theirs).tolist(), name
        assert repr(ours.tolist()) == repr(theirs.tolist()), name
    else:
        assert ours.tobytes() == theirs.tobytes(), f"{name}: {ours} against {theirs}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_equal_to_scikit_learn(case: str, client: Client) -> None:
    theirs = CASES[case](model_selection)
    ours = CASES[case](search)
    check_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("frames", [False, True])
def test_dask_collections(frames: bool, client: Client) -> None:
    X, y = pd.DataFrame(iris[0], columns=list("abcd")), pd.Series(iris[1], name="kind")
    whole: Any = (X, y) if frames else iris
    parts = (
        (dd.from_pandas(X, 4), dd.from_pandas(y, 4)) if frames else [da.from_array(part, chunks=40) for part in iris]
    )
    ours, theirs = (
        grid(scaled(SVC()), {"svc__C": [0.1, 1, 10]}, parts)(search),
        grid(scaled(SVC()), {"svc__C": [0.1, 1, 10]}, whole)(model_selection),
    )
    check_equal(ours, theirs)
    assert getattr(ours, "feature_names_in_", np.array([])).tolist() == (list("abcd") if frames else [])


def test_metadata_routing(client: Client) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LogisticRegression(max_iter=500).set_fit_request(sample_weight=True)
        scorer = make_scorer(equal.weighted).set_score_request(sample_weight=True)
        case = grid(
            estimator,
            {"C": [0.01, 1]},
            fit={"sample_weight": weights, "groups": groups},
            cv=GroupKFold(3),
            scoring=scorer,
        )
        check_equal(case(search), case(model_selection))


def test_a_failing_fit_raises_what_it_raised(client: Client) -> None:
    case = grid(equal.Failing(max_iter=500), {"C": [1, 10]}, error_score="raise")
    with pytest.raises(ArithmeticError, match="C is 10"):
        case(search)


def test_failing_fits_are_counted_as_scikit_learn_counts_them(client: Client) -> None:
    texts = []
    for home in (search, model_selection):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            grid(equal.Failing(max_iter=500), {"C": [1, 10]})(home)
        texts.append([str(w.message).splitlines()[1] for w in caught if w.category is FitFailedWarning])
    assert texts[0] == texts[1] == ["3 fits failed out of a total of 6."]


def children(dask_worker: Any) -> list[int]:
    from daskhpc.cluster.children import children_of

    return [child.pid for child in children_of(dask_worker).children]


def test_where_the_fits_run(client: Client, tmp_path: Path) -> None:
    found = grid(
        equal.Meeting(str(tmp_path)),
        {"C": list(np.geomspace(0.01, 1, 8))},
        scoring=equal.accuracy_and_process,
        refit="accuracy",
    )(search)
    fitted = {int(pid) for i in range(3) for pid in found.cv_results_[f"split{i}_test_fitted"]}
    scored = {int(pid) for i in range(3) for pid in found.cv_results_[f"split{i}_test_scored"]}
    processes = {worker: set(pids) for worker, pids in client.run(children).items()}
    assert fitted == scored <= set().union(*processes.values())
    assert all(pids & fitted for pids in processes.values()), "a worker made no fit"
    assert found.best_estimator_.pid_ == os.getpid()


def test_one_job_stays_on_the_client(client: Client) -> None:
    found = grid(
        equal.Noting(max_iter=500), {"C": [0.1]}, scoring=equal.accuracy_and_process, refit="accuracy", n_jobs=1
    )(search)
    assert found.cv_results_["split0_test_fitted"] == [os.getpid()]


def test_a_search_in_a_cross_validation(client: Client) -> None:
    options: Any = ({"C": [0.1, 1]}, {"cv": 2})
    ours, theirs = (
        model_selection.cross_val_score(home.GridSearchCV(SVC(), options[0], **options[1], **more), *iris, cv=3)
        for home, more in ((search, {"scheduler": client}), (model_selection, {}))
    )
    assert ours.tolist() == theirs.tolist()
