"""The search classes: scikit-learn's in all but where they run."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from dask.sizeof import sizeof
from distributed import Client, LocalCluster
from sklearn import model_selection
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from daskhpc import search
from daskhpc.errors import DaskhpcError, DataTooLargeError, SettingsError
from daskhpc.materialize import fits, is_dask, materialize
from daskhpc.search.choice import chosen_client

pytestmark = pytest.mark.filterwarnings("ignore:The total space of parameters")

ADDED = ("scheduler", "progress", "checkpoint", "retry_failed")
NAMES = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]
GRID = {"C": [0.1, 1, 10]}


def make(name: str, estimator: Any = None, home: Any = search, grid: Any = None, **more: Any) -> Any:
    """A small search of one of the classes, of daskhpc or of scikit-learn."""
    options: dict[str, Any] = {"cv": 2}
    if name != "GridSearchCV":
        options["random_state"] = 0
    if name == "HalvingGridSearchCV":
        options["min_resources"] = "smallest"
    if name == "RandomizedSearchCV":
        options["n_iter"] = 2
    return getattr(home, name)(SVC() if estimator is None else estimator, grid or GRID, **{**options, **more})


@pytest.fixture(scope="module")
def iris() -> Any:
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two single-threaded workers, in this process: these tests ask who runs what, not what comes out."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


@pytest.mark.parametrize("name", NAMES)
class TestAsScikitLearns:
    def test_names_and_signature(self, name: str) -> None:
        ours, theirs = getattr(search, name), getattr(model_selection, name)
        assert issubclass(ours, theirs)
        assert ours.__name__ == name
        parameters = inspect.signature(ours).parameters
        assert [*parameters] == [*inspect.signature(theirs).parameters, *ADDED]
        assert all(str(parameters[n]) == str(p) for n, p in inspect.signature(theirs).parameters.items())
        assert parameters["scheduler"].kind is parameters["progress"].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"sklearn.model_selection.{name}" in ours.__doc__
        assert "scheduler : " in ours.__doc__

    def test_parameters(self, name: str) -> None:
        ours, theirs = make(name).get_params(), make(name, home=model_selection).get_params()
        assert [ours.pop(added) for added in ADDED] == [None, "auto", None, False]
        assert ours.keys() == theirs.keys()
        assert make(name).set_params(progress=False, estimator__C=3).get_params()["estimator__C"] == 3

    def test_wrong_arguments(self, name: str) -> None:
        with pytest.raises(TypeError, match="grille"):
            make(name, grille=1)
        with pytest.raises(TypeError, match="estimator"):
            getattr(search, name)()

    @pytest.mark.parametrize(
        ("estimator", "grid"), [(LogisticRegression(), GRID), (Ridge(), {"alpha": [0.1, 1]})], ids=["C", "R"]
    )
    def test_check_estimator(self, name: str, estimator: Any, grid: Any) -> None:
        results = []
        for home in (search, model_selection):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                checks = check_estimator(make(name, estimator, home, grid), on_fail=None, on_skip=None)
            results.append([(check["check_name"], check["status"]) for check in checks])
        assert results[0] == results[1]
        assert ("check_estimators_pickle", "passed") in results[0]

    def test_what_kind_it_is(self, name: str) -> None:
        assert is_classifier(make(name))
        assert not is_regressor(make(name))
        assert is_regressor(make(name, Ridge(), grid={"alpha": [1]}))
        assert make(name).__sklearn_tags__() == make(name, home=model_selection).__sklearn_tags__()

    def test_how_it_looks(self, name: str) -> None:
        assert repr(make(name)) == repr(make(name, home=model_selection))
        page = make(name)._repr_html_()
        assert name in page
        assert "SVC" in page

    def test_a_fit(self, name: str, iris: Any) -> None:
        ours, theirs = make(name).fit(*iris), make(name, home=model_selection).fit(*iris)
        assert ours.best_params_ == theirs.best_params_
        assert ours.score(*iris) == theirs.score(*iris)
        assert vars(ours).keys() - vars(theirs).keys() == {*ADDED}

    def test_a_fitted_search_is_small(self, name: str, iris: Any) -> None:
        X = np.tile(iris[0], (20, 1))
        y = np.tile(iris[1], 20)
        sizes = [
            len(pickle.dumps(make(name, Ridge(), home, {"alpha": [1]}).fit(X, y))) for home in (search, model_selection)
        ]
        assert sizes[0] <= sizes[1] + 64
        assert sizes[0] < X.nbytes / 2

    def test_a_class_derived_from_it(self, name: str) -> None:
        class Mine(getattr(search, name)):  # type: ignore[misc]
            def __init__(self, estimator: Any, *, scheduler: Any = None, depth: int = 2) -> None:
                super().__init__(estimator, GRID, scheduler=scheduler, cv=depth)
                self.depth = depth

        mine = Mine(SVC(), depth=3)
        assert (mine.cv, mine.progress) == (3, "auto")
        assert set(mine.get_params(deep=False)) == {"estimator", "scheduler", "depth"}


@pytest.mark.parametrize("name", NAMES)
class TestTheClientItHolds:
    def test_clones_keep_it(self, name: str, client: Client) -> None:
        original = make(name, scheduler=client)
        twin = clone(original)
        assert twin.scheduler is original.scheduler is client
        assert twin.estimator is not original.estimator
        assert clone(make(name)).scheduler is None

    def test_copies_keep_it(self, name: str, client: Client, iris: Any) -> None:
        original = make(name, scheduler=client)
        assert copy.copy(original).scheduler is client
        twin = copy.deepcopy([original, original])
        assert twin[0] is twin[1]
        assert twin[0].scheduler is client
        assert twin[0].param_grid is not original.param_grid if hasattr(original, "param_grid") else True

    def test_a_pickle_drops_it(self, name: str, client: Client) -> None:
        original = make(name, scheduler=client)
        again = pickle.loads(pickle.dumps(original))
        assert again.scheduler is None
        assert original.scheduler is client
        assert len(pickle.dumps(original)) == len(pickle.dumps(make(name)))


def test_a_fitted_search_is_read_where_no_cluster_is(iris: Any, tmp_path: Path) -> None:
    file = tmp_path / "search.pkl"
    file.write_bytes(pickle.dumps(make("GridSearchCV").fit(*iris)))
    program = (
        "import pickle, sys\n"
        "search = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert 'distributed' not in sys.modules and 'dask' not in sys.modules\n"
        "print(search.predict([[5, 3, 1, 0]]), type(search).__module__.split('.')[0])"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, timeout=200)
    assert done.stdout == "[0] daskhpc\n", done.stderr


def test_without_a_cluster_distributed_is_not_imported() -> None:
    program = (
        "import sys, daskhpc.search as s\n"
        "from sklearn.svm import SVC\n"
        "s.GridSearchCV(SVC(), {'C': [1]}, cv=2).fit([[0], [1], [0], [1]], [0, 1, 0, 1])\n"
        "print([n for n in ('distributed', 'dask', 'mpi4py', 'dask_ml') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout == "[]\n", done.stderr


class TestWhichClient:
    def test_none(self) -> None:
        assert chosen_client() is None

    def test_the_current_one(self, client: Client) -> None:
        assert chosen_client() is client

    def test_the_one_asked_for(self, client: Client, cluster: LocalCluster) -> None:
        with Client(cluster, set_as_default=False) as other:
            assert chosen_client(other) is other
            assert chosen_client() is client
            with other.as_current():
                assert chosen_client() is other

    def test_a_closed_one_is_none(self, cluster: LocalCluster) -> None:
        with Client(cluster):
            pass
        assert chosen_client() is None
        with Client(cluster, set_as_default=False) as client:
            pass
        with client.as_current():
            assert chosen_client() is None

    def test_none_in_a_task(self, client: Client) -> None:
        assert client.submit(lambda: chosen_client() is None, pure=False).result(timeout=60)

    @pytest.mark.parametrize(
        ("scheduler", "found"),
        [
            ("tcp://10.0.0.1:8786", r"an address[^$]*distributed\.Client\('tcp://10\.0\.0\.1:8786'\)"),
            ("threads", r"a name[^$]*n_jobs=-1"),
            (dask.get, "a function"),
            (7, "7, a int"),
        ],
        ids=["address", "name", "function", "number"],
    )
    def test_what_is_no_client(self, scheduler: Any, found: str, iris: Any) -> None:
        with pytest.raises(SettingsError, match=found) as caught:
            search.GridSearchCV(SVC(), GRID, scheduler=scheduler).fit(*iris)
        assert isinstance(caught.value, ValueError)
        assert caught.value.todo

    def test_a_closed_one_asked_for(self, cluster: LocalCluster, iris: Any) -> None:
        with Client(cluster, set_as_default=False) as client:
            pass
        with pytest.raises(SettingsError, match="closed"):
            search.GridSearchCV(SVC(), GRID, scheduler=client).fit(*iris)


class Seam(joblib.parallel.SequentialBackend):  # type: ignore[misc]
    """A backend that keeps what it was made with and runs everything here."""

    made: list[dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.made.append(kwargs)


class TestTheSeam:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        monkeypatch.setattr(Seam, "made", [], raising=False)
        monkeypatch.setitem(joblib.parallel.BACKENDS, "daskhpc", Seam)
        return Seam.made

    @pytest.mark.parametrize("name", NAMES)
    def test_what_the_backend_is_told(self, name: str, made: list[dict[str, Any]], client: Client, iris: Any) -> None:
        make(name, scheduler=client, progress="lines").fit(*iris)
        assert len(made) >= 1
        assert made[0]["client"] is client
        assert (made[0]["progress"], made[0]["first_n_jobs"]) == ("lines", -1)

    def test_no_client_no_backend(self, made: list[dict[str, Any]], iris: Any) -> None:
        make("GridSearchCV").fit(*iris)
        assert made == []


computed: list[int] = []


def noted(block: Any) -> Any:
    """The block; the workers of these tests are in this process."""
    computed.append(len(block))
    return block


def bring(data: dict[str, Any], client: Any) -> dict[str, Any]:
    return materialize(data, client, "Too large.", "a sample")


class TestDaskData:
    def test_what_is_dask(self) -> None:
        frame = dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=2)
        assert all(map(is_dask, [da.ones(3), frame, frame.a, dask.delayed(1)]))
        assert not any(map(is_dask, [np.ones(3), pd.DataFrame(), None, "dask", search.GridSearchCV, 1, [da.ones(2)]]))

    def test_what_arrays_share_is_computed_once(self, client: Client) -> None:
        whole = da.ones((10, 3), chunks=(5, 3)).map_blocks(noted, meta=np.empty((0, 0)))
        computed.clear()
        out = bring({"X": whole[:, :2], "y": whole[:, 2], "weight": whole[:, 2][whole[:, 0] > 0]}, client)
        assert [value.shape for value in out.values()] == [(10, 2), (10,), (10,)]
        assert computed == [5, 5]

    @pytest.mark.parametrize("with_client", [True, False])
    def test_arrays_with_frames(
        self, with_client: bool, request: pytest.FixtureRequest, recwarn: pytest.WarningsRecorder
    ) -> None:
        client = request.getfixturevalue("client") if with_client else None
        frame = pd.DataFrame({"a": np.arange(10.0), "b": list("abcdefghij")})
        lazy = dd.from_pandas(frame, npartitions=2)
        weight = da.arange(10, chunks=5)
        values = {"w": -weight, "X": lazy, "y": lazy.a, "weight": weight, "groups": [1, 2], "z": None}
        out = bring(values, client)
        assert list(out) == list(values)
        assert out["X"].a.tolist() == out["y"].tolist() == out["weight"].tolist() == list(range(10))
        assert out["w"].tolist() == [-number for number in range(10)]  # Dask gives such a mixture in another order
        assert isinstance(out["X"], pd.DataFrame)
        assert out["X"].b.tolist() == list("abcdefghij")
        assert out["groups"] is values["groups"]
        assert out["z"] is None
        # What tests before have left open may be closed in this moment.
        assert [str(w.message) for w in recwarn if w.category is not ResourceWarning] == []

    def test_what_is_measured_does_not_depend_on_what_dask_measured_before(self, client: Client) -> None:
        sizeof(np.sum)  # of a type that cannot be pickled, and Dask's function remembers it
        frame = dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=2)
        assert bring({"X": frame}, client)["X"].a.tolist() == [1, 2]

    @pytest.mark.parametrize("with_client", [True, False])
    def test_single_values(self, with_client: bool, request: pytest.FixtureRequest) -> None:
        client = request.getfixturevalue("client") if with_client else None
        frame = dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=2)
        out = bring({"X": dask.delayed(np.ones)(3), "weight": frame.a.sum()}, client)
        assert out["X"].tolist() == [1, 1, 1]
        assert out["weight"] == 3

    def test_unknown_chunks(self, client: Client) -> None:
        x = da.arange(10, chunks=5)
        assert bring({"X": x[x > 3]}, client)["X"].tolist() == [4, 5, 6, 7, 8, 9]

    def test_a_search_takes_them(self, iris: Any) -> None:
        X, y = da.from_array(iris[0], chunks=50), da.from_array(iris[1], chunks=50)
        weight = da.from_array(np.linspace(1, 2, len(iris[1])), chunks=50)
        ours = make("GridSearchCV").fit(X, y, sample_weight=weight)
        theirs = make("GridSearchCV", home=model_selection).fit(*iris, sample_weight=weight.compute())
        assert ours.cv_results_["mean_test_score"].tolist() == theirs.cv_results_["mean_test_score"].tolist()
        assert make("GridSearchCV").fit(X, iris[1]).best_params_ == make("GridSearchCV").fit(*iris).best_params_

    def test_what_fits(self) -> None:
        assert fits(0, 0)
        assert fits(50, 100)
        assert not fits(51, 100)

    def test_what_does_not_fit(self) -> None:
        huge = da.zeros((10**9, 10**6), chunks=(10**6, 10**3))
        with pytest.raises(DataTooLargeError, match=r"X 7\.\d+ PiB.*available(?s:.*)sample") as caught:
            make("GridSearchCV").fit(huge, np.zeros(3))
        assert isinstance(caught.value, DaskhpcError)

    def test_what_is_measured_does_not_fit(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        frame = dd.from_pandas(pd.DataFrame({"a": np.arange(100_000.0)}), npartitions=3)
        monkeypatch.setattr("daskhpc.materialize.spare_memory", lambda: 1_000_000)
        with pytest.raises(DataTooLargeError, match=r"X 7\d\d.* kiB"):
            bring({"X": frame}, client)
        assert bring({"X": frame.head(10, compute=False)}, client)["X"].a.tolist() == list(range(10))


@pytest.mark.parametrize("name", NAMES)
def test_inside_cross_validation(name: str, iris: Any) -> None:
    ours, theirs = (cross_val_score(make(name, home=home), *iris, cv=3) for home in (search, model_selection))
    assert ours.tolist() == theirs.tolist()


def test_the_halving_switch_is_thrown_by_importing_the_package() -> None:
    program = (
        "import sys, daskhpc\n"
        "assert 'sklearn' not in sys.modules\n"
        "import daskhpc.search\n"
        "from sklearn.model_selection import HalvingGridSearchCV\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ}, timeout=200)
