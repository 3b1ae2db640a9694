"""The types of a Dask frame's columns, as they were when the model was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.dataframe.dispatch import make_meta

from ..compat.dask_expr import pandas_below
from ..errors import SettingsError
from ..materialize import has_na_text, with_nan

OBJECT, FLOAT = np.dtype(object), np.dtype(float)


def as_fitted(X: Any, known: Any, guess: bool) -> Any:
    """A Dask frame whose columns have the types that the model was fitted with.

    Dask's frames have text with NA, nullable numbers and categories of each partition. Pandas has text with NaN,
    NumPy's numbers and one set of categories. Scikit-learn fails on NA among text, and some models take the codes of
    categories for what they are.

    Parameters
    ----------
    X : dask.array.Array, dask.dataframe.DataFrame or dask.dataframe.Series
        Arrays stay as they are.
    known : object
        A row of the data that the model was fitted to; None if none is known.
    guess : bool
        Whether columns become what pandas would have if no row is known, as scikit-learn wants it.

    Returns
    -------
    object
        `X` itself if nothing is to be done; else lazy, one step for each partition.

    Raises
    ------
    SettingsError
        If a column is text now, and was of other objects in the fit.
    """
    if isinstance(X, dd.Series):
        fitted = getattr(known, "dtype", None) if isinstance(known, pd.Series) else None
        target = _target(X.dtype, fitted, guess)
        return X if target is None else X.map_partitions(_cast, target, meta=_cast(make_meta(X), target))
    if not isinstance(X, dd.DataFrame) or not X.columns.is_unique:
        return X
    row = known if isinstance(known, pd.DataFrame) and known.columns.is_unique else pd.DataFrame()
    if known is None and guess:
        _refuse_texts_of_other_objects(X)
    found = {name: _target(X.dtypes[name], row[name].dtype if name in row else None, guess) for name in X.columns}
    targets = {name: target for name, target in found.items() if target is not None}
    for name in targets:
        if name in row and has_na_text(X.dtypes[name]):
            _refuse_other_objects(name, row[name])
    return X.map_partitions(_cast_all, targets, meta=_cast_all(make_meta(X), targets)) if targets else X


def row_of_booleans(X: Any) -> pd.DataFrame | None:
    """True for each column of true, false and gaps: as objects they would look like text."""
    if not isinstance(X, dd.DataFrame) or not X.columns.is_unique:
        return None
    return pd.DataFrame({name: [True] for name in X.columns if isinstance(X.dtypes[name], pd.BooleanDtype)})


def _target(dtype: Any, fitted: Any, guess: bool) -> Any:
    """The dtype that a column has to get; None if it stays as it is."""
    if dtype == fitted or (fitted is None and not guess):
        return None
    if has_na_text(dtype):
        return (
            None if has_na_text(fitted) else fitted if _is_nan_text(fitted) else with_nan(pd.Series(dtype=dtype)).dtype
        )
    if isinstance(dtype, pd.CategoricalDtype):
        return fitted if isinstance(fitted, pd.CategoricalDtype) and fitted.categories is not None else None
    numpy_dtype = getattr(dtype, "numpy_dtype", None)
    if numpy_dtype is None or isinstance(fitted, pd.api.extensions.ExtensionDtype):
        return None
    return OBJECT if numpy_dtype.kind == "b" else FLOAT


def _refuse_texts_of_other_objects(X: dd.DataFrame) -> None:
    """As below for a model that was fitted before: the pandas frame that Dask was given has the objects yet."""
    source = pandas_below(X)
    for name in X.columns if isinstance(source, pd.DataFrame) and source.columns.is_unique else ():
        if has_na_text(X.dtypes[name]) and name in source:
            _refuse_other_objects(name, source[name], "before Dask made text of it", "in the pandas frame")


def _refuse_other_objects(
    name: Any, fitted: pd.Series, then: str = "when the model was fitted", at: str = "in the fit"
) -> None:
    """Dask makes text of columns of objects, such as true, false and gaps: the model would not know "True" again."""
    values = fitted.dropna() if fitted.dtype in (OBJECT, np.dtype(bool)) else fitted[:0]
    if len(values) and not isinstance(values.iloc[0], str):
        raise SettingsError(
            f"Column {name!r} is text here and was none {then}.",
            f"{values.iloc[0]!r} of type {type(values.iloc[0]).__name__} {at}",
            f'astype({{{name!r}: "boolean"}}) before Dask gets the frame, or '
            'dask.config.set({"dataframe.convert-string": False})',
        )


def _is_nan_text(dtype: Any) -> bool:
    return dtype == OBJECT or isinstance(dtype, pd.StringDtype)


def _cast_all(frame: pd.DataFrame, targets: Mapping[Any, Any]) -> pd.DataFrame:
    columns = {name: _cast(column, targets[name]) if name in targets else column for name, column in frame.items()}
    return pd.DataFrame(columns, index=frame.index)


def _cast(column: pd.Series, target: Any) -> pd.Series:
    if isinstance(target, pd.CategoricalDtype):
        # of those that the fit did not have, a cast would make gaps
        return column.astype(target) if column.cat.categories.isin(target.categories).all() else column
    if target == OBJECT:
        return column.astype(object).where(column.notna(), np.nan)
    if target == FLOAT:
        return pd.Series(column.to_numpy(float, na_value=np.nan), column.index, name=column.name)
    return column.astype(target)
