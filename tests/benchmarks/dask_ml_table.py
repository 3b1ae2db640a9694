"""Write the table of docs/dask-ml.md: what of Dask-ML works with the installed releases.

Each part does something small, and what comes out is compared with scikit-learn. These are Dask-ML's faults and not
daskhpc's, so no test hangs on them:

    python tests/benchmarks/dask_ml_table.py
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from sklearn import cluster, decomposition, linear_model, metrics, naive_bayes, preprocessing
from sklearn.datasets import make_blobs

PAGE = Path(__file__).parents[2] / "docs" / "dask-ml.md"
BEGIN, END = "<!-- what works: begin -->", "<!-- what works: end -->"

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 4)) + 3
WIDE = np.random.default_rng(1).normal(size=(400, 30)) * np.linspace(1, 10, 30)
COUNTS = RNG.poisson(3, size=120)
VALUES = ROWS @ [1.0, -2, 0.5, 0] + RNG.normal(size=120) / 10
LABELS = (VALUES.mean() < VALUES).astype(int)
WORDS = pd.DataFrame({"city": ["Oslo", "Rome", "Lima"] * 20, "n": range(60)})

Case = Callable[[], Any]
CASES: dict[str, Case] = {}


def lazy(values: Any) -> Any:
    """Values in blocks of 40 rows."""
    return da.from_array(values, chunks=(40, *values.shape[1:]))


def frame() -> Any:
    return dd.from_pandas(WORDS, npartitions=3)


def categories() -> Any:
    return dd.from_pandas(WORDS.astype({"city": "category"}), npartitions=3)


def close(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    """Whether two outcomes are equal, but for rounding."""
    np.testing.assert_allclose(np.asarray(dask.compute(ours)[0], dtype=float), theirs, rtol=tolerance, atol=tolerance)


def case(name: str) -> Callable[[Case], Case]:
    """Name a case; what it raises is what the table says."""

    def keep(function: Case) -> Case:
        CASES[name] = function
        return function

    return keep


def scaled(name: str, **parameters: Any) -> Case:
    """A transformer gives what scikit-learn's of the same name gives."""

    def run() -> None:
        import dask_ml.preprocessing

        ours = getattr(dask_ml.preprocessing, name)(**parameters)
        theirs = getattr(preprocessing, name)(**parameters)
        close(ours.fit_transform(lazy(ROWS)), theirs.fit_transform(ROWS), 0.1 if "Quantile" in name else 1e-6)

    return run


for _name in ("StandardScaler", "MinMaxScaler", "PolynomialFeatures"):
    CASES[f"preprocessing.{_name}"] = scaled(_name)
CASES["preprocessing.QuantileTransformer"] = scaled("QuantileTransformer", n_quantiles=20)


@case("preprocessing.RobustScaler")
def _() -> None:
    from dask_ml.preprocessing import RobustScaler

    close(RobustScaler().fit(lazy(ROWS)).center_, np.median(ROWS, axis=0), 0.2)


@case("preprocessing.LabelEncoder")
def _() -> None:
    from dask_ml.preprocessing import LabelEncoder

    close(LabelEncoder().fit_transform(lazy(COUNTS)), preprocessing.LabelEncoder().fit_transform(COUNTS))


@case("preprocessing.OneHotEncoder, an array")
def _() -> None:
    from dask_ml.preprocessing import OneHotEncoder

    found = OneHotEncoder(sparse_output=False).fit_transform(lazy(LABELS[:, None]))
    close(found, np.eye(2)[LABELS])


@case("preprocessing.OneHotEncoder, a categorical dataframe")
def _() -> None:
    from dask_ml.preprocessing import OneHotEncoder

    found = OneHotEncoder(sparse_output=False).fit_transform(categories()[["city"]])
    assert len(found.columns) == 3
    close(found.sum(axis=0), [20, 20, 20])


@case("preprocessing.Categorizer")
def _() -> None:
    from dask_ml.preprocessing import Categorizer

    found = Categorizer(columns=["city"]).fit_transform(frame())
    assert list(found["city"].cat.categories) == ["Lima", "Oslo", "Rome"]


@case("preprocessing.DummyEncoder")
def _() -> None:
    from dask_ml.preprocessing import DummyEncoder

    close(DummyEncoder().fit_transform(categories())["city_Lima"].sum(), 20)


@case("preprocessing.OrdinalEncoder")
def _() -> None:
    from dask_ml.preprocessing import OrdinalEncoder

    close(OrdinalEncoder().fit_transform(categories())["city"].sum(), 60)


@case("preprocessing.BlockTransformer")
def _() -> None:
    from dask_ml.preprocessing import BlockTransformer

    close(BlockTransformer(np.log1p).fit_transform(lazy(ROWS**2)), np.log1p(ROWS**2))


@case("impute.SimpleImputer")
def _() -> None:
    from dask_ml.impute import SimpleImputer

    gaps = np.where(ROWS < 2, np.nan, ROWS)
    close(SimpleImputer().fit(lazy(gaps)).statistics_, np.nanmean(gaps, axis=0))


@case("compose.ColumnTransformer")
def _() -> None:
    from dask_ml.compose import ColumnTransformer
    from dask_ml.preprocessing import StandardScaler

    found = ColumnTransformer([("n", StandardScaler(), ["n"])]).fit_transform(frame())
    close(np.asarray(dask.compute(found)[0]).mean(), 0)


@case("cluster.KMeans")
def _() -> None:
    from dask_ml.cluster import KMeans

    points, group = make_blobs(120, centers=3, random_state=0, cluster_std=0.3)
    found = KMeans(3, random_state=0).fit(lazy(points))
    assert metrics.adjusted_rand_score(group, found.labels_.compute()) == 1
    close(found.inertia_, cluster.KMeans(3, random_state=0).fit(points).inertia_, 1e-3)


@case("cluster.SpectralClustering")
def _() -> None:
    from dask_ml.cluster import SpectralClustering

    points, group = make_blobs(120, centers=3, random_state=0, cluster_std=0.3)
    found = SpectralClustering(3, random_state=0, gamma=None, n_components=30).fit(lazy(points))
    assert metrics.adjusted_rand_score(group, np.asarray(found.labels_)) == 1


def components(name: str, **parameters: Any) -> Case:
    """A decomposition explains what scikit-learn's exact one explains."""

    def run() -> None:
        import dask_ml.decomposition

        found = getattr(dask_ml.decomposition, name)(n_components=5, **parameters).fit(
            da.from_array(WIDE, chunks=(100, 30))
        )
        exact = {"PCA": {"svd_solver": "full"}, "TruncatedSVD": {"algorithm": "arpack"}}
        theirs = getattr(decomposition, name)(5, **exact.get(name, {"batch_size": 100})).fit(WIDE)
        close(found.explained_variance_, theirs.explained_variance_, 0.05)

    return run


CASES["decomposition.TruncatedSVD()"] = components("TruncatedSVD")
CASES['decomposition.PCA(svd_solver="full")'] = components("PCA", svd_solver="full")
CASES['decomposition.IncrementalPCA(svd_solver="full")'] = components("IncrementalPCA", batch_size=100)
for _name in ("PCA", "IncrementalPCA"):
    _random = {"svd_solver": "randomized", "random_state": 0, "batch_size": 100}
    if _name == "PCA":
        del _random["batch_size"]
    CASES[f'decomposition.{_name}(svd_solver="randomized")'] = components(_name, **_random)
    CASES[f'decomposition.{_name}(svd_solver="randomized", iterated_power=4)'] = components(
        _name, iterated_power=4, **_random
    )


@case("linear_model.LinearRegression")
def _() -> None:
    from dask_ml.linear_model import LinearRegression

    found = LinearRegression(solver="lbfgs", penalty="l2", C=1e6, max_iter=500).fit(lazy(ROWS), lazy(VALUES))
    close(found.predict(lazy(ROWS)), linear_model.LinearRegression().fit(ROWS, VALUES).predict(ROWS), 0.05)


@case("linear_model.LogisticRegression")
def _() -> None:
    from dask_ml.linear_model import LogisticRegression

    found = LogisticRegression(solver="admm").fit(lazy(ROWS), lazy(LABELS))
    assert found.predict(lazy(ROWS)).compute().astype(int).tolist().count(1) > 30
    assert float(found.score(lazy(ROWS), lazy(LABELS))) > 0.9


@case("linear_model.PoissonRegression")
def _() -> None:
    from dask_ml.linear_model import PoissonRegression

    found = PoissonRegression(solver="newton").fit(lazy(ROWS), lazy(COUNTS))
    close(np.mean(found.predict(lazy(ROWS))), COUNTS.mean(), 0.1)


@case("naive_bayes.GaussianNB")
def _() -> None:
    from dask_ml.naive_bayes import GaussianNB

    found = GaussianNB().fit(lazy(ROWS), lazy(LABELS))
    close(found.predict(lazy(ROWS)), naive_bayes.GaussianNB().fit(ROWS, LABELS).predict(ROWS))


@case("ensemble.BlockwiseVotingClassifier")
def _() -> None:
    from dask_ml.ensemble import BlockwiseVotingClassifier

    voting = BlockwiseVotingClassifier(linear_model.LogisticRegression(), classes=[0, 1])
    voting.fit(lazy(ROWS), lazy(LABELS))  # gives back None
    found = voting.predict(lazy(ROWS))
    assert metrics.accuracy_score(LABELS, found.compute()) > 0.9


def measured(name: str, truth: Any, guess: Any, **parameters: Any) -> Case:
    """A metric is scikit-learn's."""

    def run() -> None:
        import dask_ml.metrics

        ours = getattr(dask_ml.metrics, name)(lazy(truth), lazy(guess), **parameters)
        close(ours, getattr(metrics, name)(truth, guess, **parameters))

    return run


CASES["metrics.accuracy_score"] = measured("accuracy_score", LABELS, LABELS[::-1].copy())
CASES["metrics.log_loss"] = measured("log_loss", LABELS, np.clip(np.c_[1 - LABELS, LABELS], 0.2, 0.8))
for _name in (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_log_error",
    "r2_score",
):
    CASES[f"metrics.{_name}"] = measured(_name, ROWS[:, 0] ** 2, ROWS[:, 1] ** 2)


@case("metrics.pairwise_distances")
def _() -> None:
    from dask_ml.metrics import pairwise_distances

    close(pairwise_distances(lazy(ROWS), ROWS[:5]), metrics.pairwise_distances(ROWS, ROWS[:5]))


@case("model_selection.train_test_split")
def _() -> None:
    from dask_ml.model_selection import train_test_split

    train, test = train_test_split(lazy(ROWS), test_size=0.25, random_state=0)
    assert len(train) + len(test) == len(ROWS)


@case("model_selection.train_test_split, a dataframe")
def _() -> None:
    from dask_ml.model_selection import train_test_split

    train, test = train_test_split(frame(), test_size=0.25, random_state=0, shuffle=True)
    assert sorted([*train["n"].compute(), *test["n"].compute()]) == list(range(60))


@case("model_selection.KFold")
def _() -> None:
    from dask_ml.model_selection import KFold

    held = [test.compute() for _, test in KFold(3).split(lazy(ROWS))]
    assert sorted(np.concatenate(held)) == list(range(120))


@case("model_selection.ShuffleSplit")
def _() -> None:
    from dask_ml.model_selection import ShuffleSplit

    (train, test), *_ = ShuffleSplit(2, test_size=0.25, random_state=0).split(lazy(ROWS))
    assert len(np.intersect1d(train.compute(), test.compute())) == 0


@case("model_selection.HyperbandSearchCV")
def _() -> None:
    from dask_ml.model_selection import HyperbandSearchCV
    from distributed import Client

    search = HyperbandSearchCV(linear_model.SGDClassifier(), {"alpha": [1e-4, 1e-3]}, max_iter=3)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
        search.fit(lazy(ROWS), lazy(LABELS), classes=[0, 1])


def texts() -> Any:
    import dask.bag

    return dask.bag.from_sequence(["a list", "of words", "a list of words"] * 4, npartitions=2)


@case("feature_extraction.text.HashingVectorizer")
def _() -> None:
    from dask_ml.feature_extraction.text import HashingVectorizer

    assert HashingVectorizer(n_features=16).fit_transform(texts()).compute().shape == (12, 16)


@case("feature_extraction.text.CountVectorizer")
def _() -> None:
    from dask_ml.feature_extraction.text import CountVectorizer

    assert CountVectorizer().fit_transform(texts()).compute().sum() == 24


@case("datasets.make_classification")
def _() -> None:
    from dask_ml.datasets import make_classification

    X, y = make_classification(n_samples=100, chunks=50, random_state=0)
    assert X.compute().shape == (100, 20)
    assert set(y.compute()) == {0, 1}


def outcome(name: str) -> str:
    """What the table says of a case."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), dask.config.set(scheduler="threads", num_workers=2):
            warnings.simplefilter("ignore")
            CASES[name]()
    except AssertionError:
        return "gives something else than scikit-learn"
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        return f"fails: `{type(error).__name__}: {first[:90]}`"
    return "works"


def main() -> None:
    """Write the table."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    rows = "\n".join(f"| `{name}` | {outcome(name)} |" for name in CASES)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n| of `dask_ml` | today |\n|---|---|\n{rows}\n{END}{after}")


if __name__ == "__main__":
    main()
