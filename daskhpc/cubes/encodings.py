"""xarray's encodings: how values are written again, if each file has its own."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

OF_ONE_FILE = ("source", "original_shape", "chunks", "preferred_chunks", "shards")
# What does not touch values. All else may (scale, offset, fill value, units, calendar, types, lengths of texts, and
# filters that round), so it is kept only if it is the same in all files.
STORAGE = frozenset([
    "zlib", "szip", "zstd", "bzip2", "blosc", "shuffle", "complevel", "fletcher32", "contiguous", "chunksizes",
    "compression", "compression_opts", "compressor", "compressors", "coordinates", "grid_mapping",
])  # fmt: skip
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def kept(encoding: Mapping[Any, Any]) -> dict[Any, Any]:
    """Without what holds only for the file that it came from."""
    return {key: value for key, value in encoding.items() if key not in OF_ONE_FILE}


def differing(encoding: Mapping[Any, Any], first: Mapping[Any, Any]) -> frozenset[Hashable]:
    """The keys in which two encodings differ.

    Examples
    --------
    >>> sorted(differing({"scale_factor": 0.1, "_FillValue": np.nan, "zlib": True}, {"_FillValue": np.nan}))
    ['scale_factor', 'zlib']
    """
    one, other = kept(encoding), kept(first)
    return frozenset(
        key for key in {*one, *other} if key not in one or key not in other or _differ(one[key], other[key])
    )


def _differ(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or np.shape(one) != np.shape(other):
        return True
    if isinstance(one, np.dtype) and one.metadata != other.metadata:  # the names of an enum's numbers
        return True
    return not np.all((one == other) | ((one != one) & (other != other)))


def agreed(encoding: Mapping[Any, Any], differing: Collection[Hashable]) -> dict[Any, Any]:
    """An encoding of the first file, if these keys are others in some file: it writes what all files hold.

    Parameters
    ----------
    encoding : mapping
        Of the first file.
    differing : collection
        Keys in which another file differs.

    Returns
    -------
    dict
        All that changes values is gone, if any of it differs: scale, offset, type and fill value belong together.

    Examples
    --------
    >>> encoding = {"dtype": np.dtype("int16"), "scale_factor": 0.1, "zlib": True, "shuffle": True}
    >>> agreed(encoding, {"shuffle"})
    {'dtype': dtype('int16'), 'scale_factor': 0.1, 'zlib': True}
    >>> agreed(encoding, {"scale_factor", "shuffle"})
    {'zlib': True}
    """
    exact = STORAGE.issuperset(differing)
    return {key: value for key, value in encoding.items() if key not in differing and (exact or key in STORAGE)}


def agreed_in_chunks(encoding: Mapping[Any, Any], differing: Collection[Hashable], dtype: Any) -> dict[Any, Any]:
    """The same for a variable that stays in the files; times get units that lose nothing.

    Dask's arrays of times need both units and type, or neither, and xarray gives the bounds of times the units alone.
    """
    if STORAGE.issuperset(differing) and not _in_fractions(encoding, dtype):
        return agreed(encoding, differing)
    stored = {key: value for key, value in encoding.items() if key in STORAGE and key not in differing}
    exact: dict[str, Any] = {}
    if dtype.kind == "m":
        exact = {"units": UNITS[np.datetime_data(dtype)[0]], "dtype": np.dtype("int64")}
    elif "since" in encoding.get("units", ""):
        unit = UNITS[np.datetime_data(dtype)[0]] if dtype.kind == "M" else "microseconds"
        calendar = "proleptic_gregorian" if dtype.kind == "M" else encoding.get("calendar", "standard")
        exact = {"units": f"{unit} since 1970-01-01", "calendar": calendar, "dtype": np.dtype("int64")}
    return {**stored, **exact}


def _in_fractions(encoding: Mapping[Any, Any], dtype: Any) -> bool:
    """Whether times are stored as fractions of days or the like: written again, these are off by a nanosecond."""
    return dtype.kind in "mM" and np.dtype(encoding.get("dtype", "int64")).kind == "f"


def agreed_in_memory(variable: xr.Variable, differing: Collection[Hashable]) -> dict[Any, Any]:
    """The same for a variable in memory: if the first file's encoding gives back all values, it stays.

    So files of a month each, in hours since their own first day, stay hours since the first of these days.
    """
    exact = STORAGE.issuperset(differing) and not _in_fractions(variable.encoding, variable.dtype)
    if exact or _gives_back(variable):
        return agreed(variable.encoding, STORAGE.intersection(differing))
    return {key: value for key, value in variable.encoding.items() if key in STORAGE and key not in differing}


def _gives_back(variable: xr.Variable) -> bool:
    plain = variable.to_base_variable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # xarray warns if it takes other units than those given
            again = xr.conventions.decode_cf_variable("", xr.conventions.encode_cf_variable(plain))
            return bool(again.dtype.kind == plain.dtype.kind and again.load().equals(plain))
    except Exception:  # whatever it is that does not fit
        return False
