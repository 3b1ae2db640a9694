"""xarray's arrays of samples: what a model makes of them keeps the samples' dimension and coordinates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..errors import SettingsError


def is_cube(X: Any) -> bool:
    """Whether it is an xarray.DataArray; imports nothing for that."""
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(X, xarray.DataArray)


def inner_array(X: Any) -> Any:
    """The array inside a DataArray; anything else as it is."""
    return X.data if is_cube(X) else X


def labelled(X: Any, method: Callable[[Any], Any], classes: Any) -> Any:
    """A method's output for the data of a DataArray, as a DataArray.

    Parameters
    ----------
    X : xarray.DataArray
        Of two dimensions: samples, features.
    method : callable
        Takes the data and gives an array with one row per sample, a list of arrays, or a frame.
    classes : array or None
        Names of the output's columns, if these are classes.

    Returns
    -------
    xarray.DataArray, a list of them, or a frame
        Samples keep their dimension and every coordinate along it. The second dimension, if there is one, is "class"
        with the classes as its coordinate, or else "output". A frame is given back as it is.
    """
    if X.ndim != 2:
        raise SettingsError(
            "A model takes samples and features, a DataArray of two dimensions.",
            f"{X.ndim}: {', '.join(map(str, X.dims))}",
            'X.stack(sample=[...]).transpose("sample", ...) of all dimensions but that of the features',
        )
    output = method(X.data)
    if isinstance(output, list):
        several = classes if isinstance(classes, list) else [None] * len(output)
        return [_wrapped(X, each, names) for each, names in zip(output, several, strict=True)]
    return output if hasattr(output, "columns") else _wrapped(X, output, classes)


def _wrapped(X: Any, output: Any, classes: Any) -> Any:
    import xarray

    samples = X.isel({X.dims[1]: 0}, drop=True)
    if output.ndim == 1:
        return xarray.DataArray(output, coords=samples.coords, dims=samples.dims).rename(None)
    # A chain of classifiers has a list of classes for each of its outputs.
    by_class = classes is not None and not isinstance(classes, list) and len(classes) == output.shape[1]
    dims = (*samples.dims, "class" if by_class else "output")
    result = xarray.DataArray(output, coords=samples.coords, dims=dims).rename(None)
    return result.assign_coords({"class": classes}) if by_class else result
