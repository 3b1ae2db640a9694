"""What daskhpc needs of dask-mpi beyond its public names."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any


def original_initialize() -> Callable[..., Any]:
    """dask-mpi's own ``initialize``, also if `replace_functions` has put another in its place."""
    function: Callable[..., Any] = importlib.import_module("dask_mpi.initialize").initialize
    return function


def replace_functions(**functions: Callable[..., Any]) -> None:
    """Put functions in the place of dask-mpi's public ones; does nothing if dask-mpi is not installed."""
    if importlib.util.find_spec("dask_mpi") is not None:
        package = importlib.import_module("dask_mpi")
        for name, function in functions.items():
            setattr(package, name, function)
