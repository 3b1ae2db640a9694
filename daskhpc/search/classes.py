"""GridSearchCV, RandomizedSearchCV and the two halving classes: scikit-learn's classes, fitted on a Dask cluster."""

from __future__ import annotations

import copy
import functools
import inspect
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import joblib
from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from ..materialize import materialize
from .checkpoint import finish, kept
from .choice import chosen_client, options_in_block

if TYPE_CHECKING:
    from distributed import Client


_WHOLE = "A search needs its data whole on the client, and these Dask collections do not fit its memory."
_TODO = (
    "a sample, such as X.sample(frac=0.1) of a dataframe or X[:100_000] of an array; or, for all of the data, one "
    "model without a search: daskhpc.Incremental(estimator).fit(X, y) fits it block by block, "
    "daskhpc.ParallelPostFit(estimator) predicts on all of X after a fit to a sample"
)

_MORE = """
The parameters, attributes and methods are those of ``sklearn.model_selection.{name}``, and these:

Parameters
----------
n_jobs : int, optional
    None: all workers of the cluster. An int is joblib's: 1 is serially on the client, -1 all workers.
scheduler : distributed.Client, optional
    The cluster; by default the current client. Without any, the fits run on this machine as scikit-learn
    runs them. A clone keeps it, a pickle does not.
progress : bool or {{"auto", "bar", "lines", "html"}}, default="auto"
    How a fit on a cluster shows how far it is. "auto" suits the place where the program runs, False shows nothing.
checkpoint : path, optional
    The folder in which the result of every fit is kept. Fitted again, in another process too, the search makes only
    the fits that are not there, and draws the same candidates and splits, even without a seed.
retry_failed : bool, default=False
    Whether fits that failed are made again.

See Also
--------
sklearn.model_selection.{name}
"""


class ClusterSearch:
    """What the search classes here add to scikit-learn's, which each of them names as its next base.

    Notes
    -----
    The signature that `inspect` (and so ``get_params``) sees is that of scikit-learn's class, with these parameters at
    its end, whatever the release of scikit-learn.
    """

    __not_of_results__ = frozenset({"scheduler", "progress"})  # for the journal's keys of a search in another's fits

    def __init__(
        self,
        *args: Any,
        scheduler: Client | None = None,
        progress: bool | str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        retry_failed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.scheduler = scheduler
        self.progress = progress
        self.checkpoint = checkpoint
        self.retry_failed = retry_failed

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if ClusterSearch in cls.__bases__:
            setattr(cls, "__init__", _init(super().__init__))  # noqa: B010
            summary, heading, examples = inspect.cleandoc(cls.__doc__ or "").partition("Examples\n--------\n")
            more = _MORE.format(name=cls.__name__)
            cls.__doc__ = f"{summary.rstrip()}\n{more}" + (f"\n{heading}{examples}\n" if heading else "")

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Run every fit of the search, then refit, as scikit-learn does.

        Parameters
        ----------
        X, y
            Data, as scikit-learn takes them, or Dask arrays, dataframes and series that fit the memory of this process.
        **params
            Parameters of the estimator's fit, the scorer and the splitter; Dask collections too.

        Returns
        -------
        object
            This search.

        Raises
        ------
        SettingsError
            If `scheduler` is not an open client.
        DataTooLargeError
            If Dask collections do not fit the memory of this process.
        JournalError
            If the checkpoint cannot be used, or is of other work: what differs is named.
        """
        client = chosen_client(self.scheduler)
        data = materialize({"X": X, "y": y, **params}, client, _WHOLE, _TODO)
        with kept(self, data) as keeper, _engine(client, self.progress, type(self).__name__, keeper, self.retry_failed):
            super().fit(**data)  # type: ignore[misc]
        if keeper is not None:
            finish(self, keeper)
        return self

    def __sklearn_clone__(self) -> Any:
        bare = copy.copy(self)
        bare.scheduler = None
        twin = super(ClusterSearch, bare).__sklearn_clone__()  # type: ignore[misc]
        twin.scheduler = self.scheduler
        return twin

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        memo[id(self.scheduler)] = self.scheduler
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "scheduler": None}  # type: ignore[dict-item]


def _init(parents: Any) -> Any:
    """``ClusterSearch.__init__`` with a signature of its own: scikit-learn's parameters, then those added here."""

    @functools.wraps(parents)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        ClusterSearch.__init__(self, *args, **kwargs)

    own = [p for p in inspect.signature(ClusterSearch.__init__).parameters.values() if p.kind is p.KEYWORD_ONLY]
    theirs = inspect.signature(parents)
    __init__.__signature__ = theirs.replace(parameters=[*theirs.parameters.values(), *own])  # type: ignore[attr-defined]
    return __init__


def _engine(client: Any, progress: Any, label: str, keeper: Any, retry_failed: bool) -> AbstractContextManager[Any]:
    """What joblib runs the fits in: daskhpc's backend on a client's cluster, joblib's own choice without one.

    With a checkpoint it is daskhpc's backend also without a cluster, on this machine.
    """
    if client is None and keeper is None:
        return nullcontext()
    engine: AbstractContextManager[Any] = joblib.parallel_config(
        backend="daskhpc",
        client=client,
        progress=progress,
        label=label,
        first_n_jobs=1 if client is None else -1,
        **options_in_block(keeper, retry_failed),
    )
    return engine


class GridSearchCV(ClusterSearch, model_selection.GridSearchCV):  # type: ignore[misc]
    """Try every candidate of a grid, cross-validated, on a Dask cluster.

    Examples
    --------
    Without a client the fits run in this process; after ``client = daskhpc.start()`` the same lines use the cluster.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from daskhpc import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model, candidates = LogisticRegression(max_iter=500), {"C": [1e-4, 1.0]}
    >>> search = GridSearchCV(model, candidates, cv=3, progress=False)
    >>> search.fit(X, y).best_params_
    {'C': 1.0}
    """


class RandomizedSearchCV(ClusterSearch, model_selection.RandomizedSearchCV):  # type: ignore[misc]
    """Try candidates drawn from distributions, cross-validated, on a Dask cluster.

    Examples
    --------
    Without a client the fits run in this process; after ``client = daskhpc.start()`` the same lines use the cluster.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from daskhpc import RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model, candidates = LogisticRegression(max_iter=500), {"C": [1e-4, 1.0]}
    >>> search = RandomizedSearchCV(model, candidates, n_iter=2, cv=3, progress=False)
    >>> search.fit(X, y).best_params_
    {'C': 1.0}
    """


class HalvingGridSearchCV(ClusterSearch, model_selection.HalvingGridSearchCV):  # type: ignore[misc]
    """Try every candidate of a grid on little data, and the better ones on more, on a Dask cluster.

    Examples
    --------
    Without a client the fits run in this process; after ``client = daskhpc.start()`` the same lines use the cluster.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from daskhpc import HalvingGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model, candidates = LogisticRegression(max_iter=500), {"C": [1e-4, 1.0]}
    >>> search = HalvingGridSearchCV(model, candidates, cv=3, random_state=0, progress=False)
    >>> search.fit(X, y).n_candidates_[0]
    2
    """


class HalvingRandomSearchCV(ClusterSearch, model_selection.HalvingRandomSearchCV):  # type: ignore[misc]
    """Try drawn candidates on little data, and the better ones on more, on a Dask cluster.

    Examples
    --------
    Without a client the fits run in this process; after ``client = daskhpc.start()`` the same lines use the cluster.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from daskhpc import HalvingRandomSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model, candidates = LogisticRegression(max_iter=500), {"C": [1e-4, 1.0]}
    >>> search = HalvingRandomSearchCV(model, candidates, n_candidates=2, cv=3, random_state=0, progress=False)
    >>> search.fit(X, y).n_candidates_[0]
    2
    """
