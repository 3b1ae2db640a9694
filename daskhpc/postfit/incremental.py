"""Incremental: a model trained on the blocks of a Dask collection, one after the other."""

from __future__ import annotations

import copy
import functools
import inspect
import uuid
from typing import Any

import dask
import dask.array as da
import dask_ml.wrappers
import numpy as np
from dask.base import is_dask_collection
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from sklearn.base import clone, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..clients import current_client
from ..errors import SettingsError
from .blocks import whole_rows
from .example_row import row_of
from .model_transfer import lazy_model
from .parallel_post_fit import ParallelPostFit
from .scoring import checked
from .xarray_samples import inner_array


class Incremental(ParallelPostFit, dask_ml.wrappers.Incremental):  # type: ignore[misc]
    """Train an estimator that has ``partial_fit`` on Dask collections of any size, block after block.

    Parameters
    ----------
    estimator : estimator
        Anything with ``partial_fit``. It is never changed: a clone is trained, ``estimator_``.
    scoring : str, callable, list or dict, optional
        As for `ParallelPostFit`.
    shuffle_blocks : bool, default=True
        Whether the blocks are taken in a random order.
    random_state : int or numpy.random.RandomState, optional
        Of that order.
    assume_equal_chunks : bool, default=True
        Whether blocks of unknown size in X and y are taken to be of the same sizes. False: their sizes are computed
        first.
    predict_meta, predict_proba_meta, transform_meta : array, pandas.DataFrame or pandas.Series, optional
        As for `ParallelPostFit`.

    Attributes
    ----------
    estimator_ : estimator
        The trained clone.

    Notes
    -----
    Names, signatures and meaning are those of `dask_ml.wrappers.Incremental`, of which this is a subclass. The result
    is that of a loop of ``partial_fit`` over the blocks in the same order: training is sequential, and only what makes
    the blocks (reading, preparing) runs in parallel.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.linear_model import SGDClassifier
    >>> X = da.random.default_rng(0).normal(size=(1000, 3), chunks=(100, 3))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> model = Incremental(SGDClassifier(random_state=0), random_state=0).fit(X, y, classes=[0, 1])
    >>> model.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        scoring: Any = None,
        shuffle_blocks: bool = True,
        random_state: Any = None,
        assume_equal_chunks: bool = True,
        predict_meta: Any = None,
        predict_proba_meta: Any = None,
        transform_meta: Any = None,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.shuffle_blocks = shuffle_blocks
        self.random_state = random_state
        self.assume_equal_chunks = assume_equal_chunks
        self.predict_meta = predict_meta
        self.predict_proba_meta = predict_proba_meta
        self.transform_meta = transform_meta

    def _model(self) -> Any:
        check_is_fitted(self, "estimator_")
        return self.estimator_

    def __sklearn_is_fitted__(self) -> bool:
        return "estimator_" in vars(self)

    def fit(self, X: Any, y: Any = None, **fit_kwargs: Any) -> Any:
        """Train a clone of the estimator on each block once.

        Parameters
        ----------
        X, y : array, frame, bag or Dask collection
            What is not Dask's is one block.
        **fit_kwargs
            Parameters of the estimator's ``partial_fit``. A classifier's ``classes``, if they are not given, are
            found in y first.

        Returns
        -------
        Incremental
            This object.

        Raises
        ------
        Exception
            The estimator's own, from the block on which it failed; ``estimator_`` stays as it was.
        """
        return self._train(clone(self.estimator), X, y, fit_kwargs)

    def partial_fit(self, X: Any, y: Any = None, **fit_kwargs: Any) -> Any:
        """Go on training the model as it is; as `fit` if there is none yet."""
        model = vars(self).get("estimator_")
        return self._train(clone(self.estimator) if model is None else model, X, y, fit_kwargs)

    def _train(self, model: Any, X: Any, y: Any, kwargs: dict[str, Any]) -> Any:
        if not hasattr(model, "partial_fit"):
            raise SettingsError(
                "Incremental trains an estimator block by block.",
                f"the class '{type(model).__name__}' does not implement 'partial_fit'",
                "daskhpc.ParallelPostFit(estimator), fitted on a sample; or an estimator that has partial_fit",
            )
        if self.scoring is not None:
            checked(model, self.scoring)
        X, y = whole_rows(inner_array(X)), inner_array(y)
        if _needs_classes(model, kwargs) and y is not None:
            kwargs = {**kwargs, "classes": _classes(y)}
        if is_dask_collection(X):
            steps, targets = _blocks(X, y, self.assume_equal_chunks)
            order = list(range(len(steps)))
            if self.shuffle_blocks:
                check_random_state(self.random_state).shuffle(order)
            pairs = [(steps[i], targets[i]) for i in order]
            self.estimator_ = _chain(lazy_model(model, current_client()), pairs, kwargs).compute()
        else:
            (y,) = dask.compute(y) if is_dask_collection(y) else (y,)
            self.estimator_ = _step(copy.deepcopy(model), X, y, kwargs=kwargs)
        self._example = row_of(X)
        return self


def _chain(model: Delayed, pairs: list[tuple[Any, Any]], kwargs: dict[str, Any]) -> Delayed:
    """The model after every block, each of its tasks waiting for the one before."""
    # Why a graph of one's own and not dask.delayed: each call of that copies all layers so far, so that the time for a
    # chain would grow with the square of its length.
    name = f"partial-fit-{uuid.uuid4().hex}"
    step = functools.partial(_step, kwargs=kwargs)
    last: Any = (name, "begin")
    # Each step trains in place what the one before gave; the first a copy, since others may use the model that was.
    layer: dict[Any, Any] = {last: (copy.deepcopy, model.key)}
    for i, (X, y) in enumerate(pairs):
        layer[(name, i)] = (step, last, X.key, None if y is None else y.key)
        last = (name, i)
    parts = [model, *(part for pair in pairs for part in pair if part is not None)]
    # The blocks of a collection share its graph, which is merged once.
    sources = list({id(part.dask): part for part in parts}.values())
    return Delayed(last, HighLevelGraph.from_collections(name, layer, dependencies=sources), layer=name)


def _step(model: Any, X: Any, y: Any, *, kwargs: dict[str, Any]) -> Any:
    """Train a model on one block, in place; one without rows, as a filter leaves it, is passed over."""
    if getattr(X, "shape", (1,))[0] == 0:
        return model
    return model.partial_fit(X, y, **kwargs) if y is not None else model.partial_fit(X, **kwargs)


def _needs_classes(model: Any, kwargs: dict[str, Any]) -> bool:
    if "classes" in kwargs or hasattr(model, "classes_") or not is_classifier(model):
        return False
    return "classes" in inspect.signature(model.partial_fit).parameters


def _classes(y: Any) -> Any:
    """All labels there are, found block by block."""
    if not is_dask_collection(y):
        return np.unique(y)
    blocks = y.to_delayed()
    each = [dask.delayed(np.unique, pure=True)(block) for block in np.ravel(np.asarray(blocks, dtype=object))]
    return np.unique(np.concatenate([labels for labels in dask.compute(*each) if len(labels)]))


def _blocks(X: Any, y: Any, assume_equal: bool) -> tuple[list[Any], list[Any]]:
    """The blocks of X and those of y that belong to them, each lazy."""
    if is_dask_collection(X) and not is_dask_collection(y) and y is not None:
        y = _cut(y, X)
    if isinstance(X, da.Array) and isinstance(y, da.Array):
        if not assume_equal and (np.isnan(X.shape[0]) or np.isnan(y.shape[0])):
            X, y = X.compute_chunk_sizes(), y.compute_chunk_sizes()
        if not np.isnan(X.shape[0]) and X.shape[0] == y.shape[0] and X.chunks[0] != y.chunks[0]:
            y = y.rechunk({0: X.chunks[0]})
    parts = _parts(X)
    targets = [None] * len(parts) if y is None else _parts(y)
    if len(parts) != len(targets):
        raise SettingsError(
            "Incremental takes the blocks of X and y in pairs.",
            f"{len(parts)} blocks of X, {len(targets)} of y",
            "X and y from the same collection; or y.rechunk(X.chunks[0]) if the sizes are known",
        )
    return parts, targets


def _cut(y: Any, X: Any) -> Any:
    """Labels that are no Dask collection, in blocks like those of X."""
    if not isinstance(X, da.Array):
        sizes = tuple(X.map_partitions(len).compute())
    elif np.isnan(X.shape[0]):
        sizes = X.compute_chunk_sizes().chunks[0]
    else:
        sizes = X.chunks[0]
    values = np.asarray(y)
    return da.from_array(values, chunks=(sizes, *((size,) for size in values.shape[1:])))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, da.Array):
        # not optimized one by one, so that X and y share what they are both made of
        return list(whole_rows(value).to_delayed(optimize_graph=False).ravel())
    return list(value.to_delayed())
