"""What a model makes of one row: the type, width and dtype of its output, known before anything is computed."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.array.utils import meta_from_array
from dask.base import is_dask_collection
from dask.dataframe.dispatch import make_meta
from dask.dataframe.utils import meta_nonempty
from scipy import sparse
from sklearn.exceptions import NotFittedError


def row_of(X: Any) -> Any:
    """A row of the data that a model is fitted to, None if there is none to be had without computing."""
    if X is None or is_dask_collection(X):
        return None
    with contextlib.suppress(Exception):
        if hasattr(X, "iloc"):
            return _first_values(X) if isinstance(X, pd.DataFrame) and X.columns.is_unique else X.iloc[:1].copy()
        return X.tocsr()[:1] if sparse.issparse(X) else np.array(X[:1])
    return None


def _first_values(frame: pd.DataFrame) -> pd.DataFrame:
    """The first row; among objects the first that is no gap, since a gap does not show their type."""
    row = frame.iloc[:1].copy()
    for name in row.columns[(row.dtypes.astype(str) == "object") & row.isna().all()]:
        values = frame[name].dropna()
        if len(values):
            row[name] = pd.Series([values.iloc[0]], row.index, dtype=object)
    return row


def output_for_one_row(estimator: Any, method: str, X: Any, known: Any) -> Any:
    """What a fitted model's method gives for a block of a Dask collection, tried on one row made for that.

    Parameters
    ----------
    estimator : object
        The fitted model.
    method : str
        "predict", "transform", ...
    X : dask.array.Array, dask.dataframe.DataFrame or dask.dataframe.Series
        Of which only names, width and dtypes are looked at.
    known : object
        What `row_of` found when the model was fitted. A row of it is one that the model accepts, as that of an encoder
        which refuses unknown categories; without it the row is of zeros, or of Dask's own example values.

    Raises
    ------
    Exception
        Scikit-learn's own, if the columns are not those of the fit.
    """
    row = _row_like_array(X, estimator, method, known) if hasattr(X, "chunks") else _row_like_frame(X, known)
    try:
        with np.errstate(all="ignore"):
            return getattr(estimator, method)(row)
    except NotFittedError:
        raise
    except Exception as error:
        error.add_note(
            f"The model was tried on one row made from the names and dtypes alone, to know what `{method}` returns. "
            f"If that row is at fault and not the data, fit the model through this wrapper to NumPy or pandas data, or "
            f"say what is returned with an empty array or frame: {method}_meta=..."
        )
        raise


def empty_like(output: Any) -> Any:
    """An output without its rows; of a list of outputs, the list."""
    if isinstance(output, list):
        return [empty_like(each) for each in output]
    if sparse.issparse(output):
        return type(output)((0, *output.shape[1:]), dtype=output.dtype)
    return output.iloc[:0] if hasattr(output, "iloc") else np.asanyarray(output)[:0]


def _row_like_array(X: Any, estimator: Any, method: str, known: Any) -> Any:
    widths = [getattr(estimator, "n_features_in_", 1) if np.isnan(width) else int(width) for width in X.shape[1:]]
    row = None if known is None else _cast(known, (1, *widths), X.dtype)
    if row is None:
        row = np.zeros((1, *widths), dtype=X.dtype)
    empty = meta_from_array(X)
    if sparse.issparse(empty):
        return type(empty)(row)
    if hasattr(empty, "__array_function__"):
        return np.asarray(row, like=empty)
    warnings.warn(
        f"The result of `{method}` for blocks of type {type(empty).__name__} is guessed with a NumPy array; if "
        f"that is wrong, provide explicit `{method}_meta` with an empty array of the right kind.",
        stacklevel=5,
    )
    return row


def _cast(known: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A known row as an array, None if it is of another shape or cannot be of that dtype."""
    values = known.toarray() if sparse.issparse(known) else np.asarray(known)
    if values.shape != shape:
        return None
    with contextlib.suppress(TypeError, ValueError), np.errstate(all="ignore"):
        return values.astype(dtype)
    return None


def _row_like_frame(X: Any, known: Any) -> Any:
    row = _with_values(meta_nonempty(make_meta(X)).iloc[:1])
    if isinstance(X, dd.Series):
        value = known if isinstance(known, pd.Series) else None if known is None else pd.Series(np.ravel(known)[:1])
        return row if value is None else _known_column(value, row)
    if isinstance(known, np.ndarray) and known.shape == row.shape:
        known = pd.DataFrame(known, columns=row.columns)
    if not isinstance(known, pd.DataFrame) or not row.columns.is_unique or not known.columns.is_unique:
        return row
    columns = [_known_column(known[name], row[name]) if name in known else row[name] for name in row.columns]
    return pd.concat(columns, axis=1) if columns else row


def _with_values(row: Any) -> Any:
    """A row with true in place of a bare ``object()``, which Dask has for objects and no model takes.

    Text has a dtype of its own in Dask's frames, so what pandas keeps as objects there is true, false and gaps.
    """
    if isinstance(row, pd.Series):
        return pd.Series([True], row.index, object, row.name) if type(row.iloc[0]) is object else row
    if not row.columns.is_unique:
        return row
    return pd.concat([_with_values(row[name]) for name in row.columns], axis=1) if len(row.columns) else row


def _known_column(known: Any, made: Any) -> Any:
    """A known value as a column like the one made, which is given back if that cannot be."""
    value = known.set_axis(made.index).rename(made.name)
    if isinstance(made.dtype, pd.CategoricalDtype) and value[0:1].isin(made.cat.categories).sum() == 0:
        return value.astype("category")
    with contextlib.suppress(TypeError, ValueError):
        return value.astype(made.dtype)
    return made
