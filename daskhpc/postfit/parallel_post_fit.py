"""ParallelPostFit: fit on what fits a node, predict and transform any amount of data block by block."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import dask.array as da
import dask_ml.wrappers
import sklearn
from dask.base import is_dask_collection
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ..clients import current_client
from ..materialize import materialize
from .blocks import MethodCall, is_frame, over_blocks, whole_rows
from .example_row import empty_like, output_for_one_row, row_of
from .fitted_types import as_fitted, row_of_booleans
from .model_transfer import model_for_tasks
from .scoring import checked, score_of
from .xarray_samples import inner_array, is_cube, labelled

_FIT = "Scikit-learn fits data that are whole in one process, and these Dask collections do not fit its memory."
_FIT_TODO = (
    "fit a sample, as X[:100_000] or X.sample(frac=0.01), and predict all; or daskhpc.Incremental(estimator), which "
    "fits block by block"
)


class Delegated:
    """A method that exists if the wrapped estimator has one of its name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self.function
        estimator = vars(instance).get("estimator_", instance.estimator)
        if not hasattr(estimator, self.function.__name__):
            raise AttributeError  # Python then calls the instance's __getattr__, whose error has more
        return MethodType(self.function, instance)


class ParallelPostFit(dask_ml.wrappers.ParallelPostFit):  # type: ignore[misc]
    """Predict, transform and score Dask collections block by block, with a model fitted on what fits a node.

    Parameters
    ----------
    estimator : estimator
        Fitted or not. It is never changed: ``fit`` fits a clone, ``estimator_``.
    scoring : str, callable, list or dict, optional
        What ``score`` computes, as scikit-learn takes it; by default what the estimator's own ``score`` is.
    predict_meta, predict_proba_meta, transform_meta : array, pandas.DataFrame or pandas.Series, optional
        An empty example of what the method returns. By default the model is tried on one row.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone. Every attribute of it that ends with an underscore can be read from the wrapper too.

    Notes
    -----
    Names, signatures and meaning are those of `dask_ml.wrappers.ParallelPostFit`, of which this is a subclass. Each
    method takes NumPy, pandas and SciPy data, and gives what the estimator gives; and Dask arrays, dataframes and
    series, and xarray's arrays, and gives a lazy one. The model is sent once to each worker process.

    The columns of a Dask dataframe get the types of the pandas frame that the model was fitted to here: text with NaN
    in place of NA, NumPy's numbers in place of nullable ones, its categories. With a scikit-learn estimator that was
    fitted before, they get those that ``pandas.read_csv`` gives.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> sample = np.arange(10.0)[:, None]
    >>> model = ParallelPostFit(LinearRegression()).fit(sample, 2 * sample[:, 0])
    >>> predicted = model.predict(da.arange(1000.0, chunks=100)[:, None])
    >>> predicted.numblocks, predicted[-1].compute().round().item()
    ((10,), 1998.0)
    """

    def _model(self) -> Any:
        """The fitted model, or the estimator that may have been fitted before."""
        return vars(self).get("estimator_", self.estimator)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_") and name != "estimator_":
            model = vars(self).get("estimator_", vars(self).get("estimator"))
            if model is not None:
                return getattr(model, name)
        if isinstance(inspect.getattr_static(type(self), name, None), Delegated):
            raise AttributeError(f"The wrapped estimator '{self.estimator}' does not have a '{name}' method.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> Any:
        return {name: value for name, value in super().__getstate__().items() if name != "_sent_model"}

    def __sklearn_tags__(self) -> Any:
        return super().__sklearn_tags__() if self.estimator is None else copy.deepcopy(get_tags(self.estimator))

    def __sklearn_is_fitted__(self) -> bool:
        try:
            check_is_fitted(self._model())
        except (sklearn.exceptions.NotFittedError, TypeError):
            return False
        return True

    def fit(self, X: Any, y: Any = None, **kwargs: Any) -> Any:
        """Fit a clone of the estimator.

        Parameters
        ----------
        X, y : array, frame or Dask collection
            Dask collections are brought to this process if they fit its memory. An estimator that is not
            scikit-learn's gets them as they are.
        **kwargs
            Parameters of the estimator's ``fit``.

        Returns
        -------
        ParallelPostFit
            This object.

        Raises
        ------
        DataTooLargeError
            If Dask arrays do not fit the memory of this process.
        """
        return self._learn(clone(self.estimator, safe=False), "fit", X, y, kwargs)

    @Delegated
    def partial_fit(self, X: Any, y: Any = None, **kwargs: Any) -> Any:
        """Train a copy of the model as it is with one more batch; as `fit` otherwise."""
        return self._learn(copy.deepcopy(self._model()), "partial_fit", X, y, kwargs)

    def _learn(self, model: Any, method: str, X: Any, y: Any, kwargs: dict[str, Any]) -> Any:
        if self.scoring is not None:
            checked(model, self.scoring)
        X, y = inner_array(X), inner_array(y)
        if _all_of_scikit_learn(model):
            data = materialize({"X": X, "y": y, **kwargs}, current_client(), _FIT, _FIT_TODO)
            X, y, kwargs = data.pop("X"), data.pop("y"), data
        getattr(model, method)(X, y, **kwargs)
        self.estimator_ = model
        self._example = row_of(X)
        return self

    @Delegated
    def predict(self, X: Any) -> Any:
        """What the model predicts for each row: labels, values, or several of them."""
        return self._over(X, "predict", self.predict_meta)

    @Delegated
    def predict_proba(self, X: Any) -> Any:
        """The probability of each class for each row; of several outputs, a list."""
        return self._over(X, "predict_proba", self.predict_proba_meta)

    @Delegated
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of the probability of each class for each row."""
        return self._over(X, "predict_log_proba", self.predict_proba_meta)

    @Delegated
    def decision_function(self, X: Any) -> Any:
        """The decision function's value for each row, or for each row and class."""
        return self._over(X, "decision_function", None)

    @Delegated
    def transform(self, X: Any) -> Any:
        """Each row transformed: an array, a sparse one, or a dataframe if the estimator is set to give pandas."""
        return self._over(X, "transform", self.transform_meta)

    def score(self, X: Any, y: Any = None, compute: bool = True, sample_weight: Any = None) -> Any:
        """The score of the predictions.

        Parameters
        ----------
        X, y : array, frame or Dask collection
        compute : bool, default=True
            False gives something lazy.
        sample_weight : array, optional

        Returns
        -------
        float, dict of floats, or a lazy one
            What scikit-learn's scorer gives for the whole data.

        Raises
        ------
        DataTooLargeError
            If labels and predictions do not fit the memory of this process, and the score is none of those that
            are summed over the blocks: accuracy, r2, and the negative mean squared and absolute errors.
        """
        X, y, sample_weight, model = inner_array(X), inner_array(y), inner_array(sample_weight), self._model()
        if not any(map(is_dask_collection, (X, y, sample_weight))):
            weight = {} if sample_weight is None else {"sample_weight": sample_weight}
            return checked(model, self.scoring)(model, X, y, **weight) if self.scoring else model.score(X, y, **weight)
        return score_of(self, model, self._rows(X), y, compute, sample_weight)

    def _rows(self, X: Any) -> Any:
        """X with whole rows in each block, and in the types of the fit."""
        return as_fitted(whole_rows(X), vars(self).get("_example"), _all_of_scikit_learn(self._model()))

    def _over(self, X: Any, method: str, meta: Any) -> Any:
        """A method of the model over X, block by block if X is lazy."""
        model = self._model()
        if is_cube(X):
            classes = None if method in ("predict", "transform") else getattr(model, "classes_", None)
            return labelled(X, lambda data: self._over(data, method, meta), classes)
        if not (isinstance(X, da.Array) or is_frame(X)):
            return getattr(model, method)(X)
        example = vars(self).get("_example")
        example = row_of_booleans(X) if example is None else example
        X = self._rows(X)
        if meta is None:
            meta = output_for_one_row(model, method, X, example)
        self._sent_model = model_for_tasks(model, X.npartitions, current_client(), vars(self).get("_sent_model"))
        return over_blocks(X, self._sent_model, MethodCall(method, empty_like(meta), sklearn.get_config()))


def _all_of_scikit_learn(estimator: Any) -> bool:
    """Whether an estimator and those inside it are scikit-learn's, which take no Dask collections."""
    parts = [estimator, *(estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ())]
    return all(type(part).__module__.partition(".")[0] == "sklearn" for part in parts if hasattr(part, "fit"))
