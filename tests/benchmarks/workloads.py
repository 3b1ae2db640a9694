"""What search.py measures: searches and plain calls, each with its serial time and its ideal."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from joblib import delayed
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

# Milliseconds of a serial fit, which the number of samples is chosen for.
CALIBRATED = {"1 ms": (1.0, 1.3), "2-3 ms": (2.0, 3.0)}
SAMPLES = (40, 20_000)


class Search(NamedTuple):
    """A search over a grid, without refit."""

    estimator: Any
    grid: dict[str, Any]
    cv: Any
    X: Any
    y: Any
    shares_prefix: bool = False

    @property
    def text(self) -> str:
        """One line that describes the work."""
        grid = " and ".join(f"`{name}`" for name in self.grid)
        rows, columns = self.X.shape
        return (
            f"{self.fits:,} fits of `{self.estimator}` over {grid} ({self.candidates} candidates, {self.cv} splits) "
            f"on {rows:,} x {columns} values"
        )

    @property
    def candidates(self) -> int:
        return len(ParameterGrid(self.grid))

    @property
    def fits(self) -> int:
        return self.candidates * self.cv

    def small(self) -> Search:
        """The same with few candidates and few rows, to warm the workers."""
        rows = min(len(self.X), 400)
        grid = {name: list(values)[:3] for name, values in self.grid.items()}
        return self._replace(grid=grid, X=self.X[:rows], y=self.y[:rows])

    def of(self, search: type, **options: Any) -> dict[str, Any]:
        """The results of a search class."""
        fitted = search(self.estimator, self.grid, cv=self.cv, refit=False, **options).fit(self.X, self.y)
        results: dict[str, Any] = fitted.cv_results_
        return results

    def serial(self) -> dict[str, Any]:
        """What scikit-learn finds without parallelism."""
        return self.of(GridSearchCV)

    def on(self, engine: Any) -> dict[str, Any]:
        """What an engine finds."""
        return engine.search(self)

    def half(self, number: int) -> Search:
        """Half of the fits: every second split where prefixes are shared within one, else every second candidate."""
        if self.shares_prefix:
            return self._replace(cv=list(StratifiedKFold(self.cv).split(self.X, self.y))[number::2])
        name, values = max(self.grid.items(), key=lambda item: len(item[1]))
        return self._replace(grid={**self.grid, name: list(values)[number::2]})

    def once(self) -> dict[str, Any]:
        """What scikit-learn finds without parallelism when each prefix of the pipeline is fitted once per split."""
        estimator = clone(self.estimator).set_params(memory=FitOnce()) if self.shares_prefix else self.estimator
        return self._replace(estimator=estimator).of(GridSearchCV)


class FitOnce:
    """A `memory` for a Pipeline that keeps fitted transformers in this process and finds them for next to nothing."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}

    def __deepcopy__(self, memo: Any) -> FitOnce:
        return self

    def cache(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """As joblib's; a training set is known by every fiftieth of its rows."""

        def cached(transformer: Any, X: Any, *args: Any, **options: Any) -> Any:
            key = (tuple(sorted(transformer.get_params().items())), X[::50].tobytes())
            if key not in self.kept:
                self.kept[key] = function(transformer, X, *args, **options)
            return self.kept[key]

        return cached


class Reads(NamedTuple):
    """Plain calls of joblib's Parallel, each of which reads a page or more of every part of X."""

    X: Any
    calls: int
    shares_prefix = False

    @property
    def text(self) -> str:
        """One line that describes the work."""
        return f"{self.calls} calls `Parallel(...)(delayed(total)(X, column) ...)` that sum a column each"

    @property
    def fits(self) -> int:
        return self.calls

    def small(self) -> Reads:
        """The same with few calls and few rows, to warm the workers."""
        return Reads(self.X[:400], 16)

    def each(self) -> Iterator[Any]:
        """The calls."""
        return (delayed(total)(self.X, number % self.X.shape[1]) for number in range(self.calls))

    def serial(self) -> dict[str, Any]:
        """The sums, computed here."""
        return {"sums": [function(*args) for function, args, _ in self.each()]}

    def on(self, engine: Any) -> dict[str, Any]:
        """The sums, computed by an engine."""
        return {"sums": engine.call(self)}


Work = Search | Reads


def total(X: Any, column: int) -> float:
    """The sum of a column; in rows of 800 bytes it lies on every page of X."""
    return float(X[:, column].sum())


def differing(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """By how much entries differ that are not the same to the last bit, times apart; NaN where there is no telling."""
    names = [name for name in expected if "_time" not in name]
    distances = {name: distance(found[name], expected[name]) if name in found else np.nan for name in names}
    return {name: each for name, each in distances.items() if each != 0}


def distance(found: Any, expected: Any) -> float:
    """The largest difference of two columns of results, 0 only where all is the same."""
    one, other = np.asarray(found), np.asarray(expected)
    if {one.dtype.kind, other.dtype.kind} - {"f", "i"} or one.shape != other.shape:
        return 0 if list(found) == list(expected) else np.nan
    return 0 if np.array_equal(one, other, equal_nan=True) else float(np.abs(one - other).max())


def tiny(samples: int, quick: bool) -> Search:
    """Fits of a millisecond."""
    X, y = make_regression(samples, 20, noise=1.0, random_state=0)
    return Search(Ridge(solver="cholesky"), {"alpha": np.logspace(-3, 3, 80 if quick else 400)}, 5, X, y)


def small(samples: int, quick: bool) -> Search:
    """Fits of two or three milliseconds."""
    X, y = make_classification(samples, 20, class_sep=0.5, random_state=0)
    return Search(LogisticRegression(), {"C": np.logspace(-3, 1, 80 if quick else 400)}, 5, X, y)


def digits(samples: int, quick: bool) -> Search:
    """Fits of a tenth of a second, of unequal length."""
    X, y = load_digits(return_X_y=True)
    number = 3 if quick else 8
    return Search(SVC(), {"C": np.logspace(-1, 2, number), "gamma": np.logspace(-4, -1.5, number)}, 5, X, y)


def prefix(samples: int, quick: bool) -> Search:
    """A costly transformer under a cheap end."""
    X, y = make_classification(300 if quick else 1800, 200 if quick else 750, n_informative=50, random_state=0)
    pipeline = Pipeline([("reduce", PCA(svd_solver="full")), ("end", RidgeClassifier())])
    grid = {"reduce__n_components": [20, 40, 80], "end__alpha": np.logspace(-2, 3, 6)}
    return Search(pipeline, grid, 4, X, y, shares_prefix=True)


def wide(quick: bool) -> np.ndarray[Any, Any]:
    """200 MB of float64; a tenth of it in a quick run."""
    return np.random.default_rng(0).standard_normal((25_000 if quick else 250_000, 100))


def reads(samples: int, quick: bool) -> Reads:
    """Cheap reads of a large X."""
    return Reads(wide(quick), 32 if quick else 64)


def large(samples: int, quick: bool) -> Search:
    """A search on a large X with a cheap estimator, which copies none of it."""
    X = wide(quick)
    y = (X[:, :10].sum(axis=1) > 0).astype(int)
    estimator = SGDClassifier(max_iter=1, tol=None, random_state=0)
    return Search(estimator, {"alpha": np.logspace(-6, -2, 4)}, 4, X, y)


class Workload(NamedTuple):
    """A kind of work and the number of single-threaded worker processes that it is for."""

    make: Callable[[int, bool], Work]
    workers: int = 2

    @property
    def for_memory(self) -> bool:
        """Whether the memory of the node is what counts."""
        return self.workers > 2


WORKLOADS = {
    "1 ms": Workload(tiny),
    "2-3 ms": Workload(small),
    "SVC on digits": Workload(digits),
    "costly prefix": Workload(prefix),
    "200 MB X, reads": Workload(reads, workers=8),
    "200 MB X, search": Workload(large, workers=8),
}


def calibrate(name: str) -> tuple[int, float]:
    """The number of samples for which a serial fit takes the time that the workload is named for, and that time in ms.

    Notes
    -----
    Bisection; where even the smallest data take longer than wanted, the smallest data it is.
    """
    low, high = CALIBRATED[name]
    fewest, most = SAMPLES
    samples = fewest
    for _ in itertools.repeat(None, 10):
        taken = milliseconds(name, samples)
        if low <= taken <= high or (taken > high and samples == fewest):
            break
        fewest, most = (samples, most) if taken < low else (fewest, samples)
        samples = int((fewest * most) ** 0.5)
    return samples, taken


def milliseconds(name: str, samples: int) -> float:
    """The serial time of a fit, the fastest of five small searches."""
    work = WORKLOADS[name].make(samples, True)
    assert isinstance(work, Search)
    work = work._replace(grid={key: list(values)[::4] for key, values in work.grid.items()})
    return min(seconds(work.serial)[0] for _ in range(5)) / work.fits * 1000


def seconds_of_half(work: Search, number: int, start: Any) -> float:
    """How long half of the fits take, begun when every process that makes a half is ready."""
    half = work.half(number)
    work.small().half(number).once()
    start.wait(timeout=60)
    return seconds(half.once)[0]


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, and what it gives."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result
