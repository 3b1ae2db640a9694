"""What daskhpc needs of dask-mpi beyond its public names is still there."""

from __future__ import annotations

import inspect

import dask_mpi
import pytest

from daskhpc.compat import dask_mpi as compat


def test_dask_mpis_own_function_is_found_though_it_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it has the arguments that daskhpc gives it."""
    for name in ("initialize", "execute", "send_close_signal"):
        monkeypatch.setattr(dask_mpi, name, getattr(dask_mpi, name))
    own = dask_mpi.initialize
    compat.replace_functions(initialize=print, execute=print, send_close_signal=print)
    assert dask_mpi.initialize is dask_mpi.execute is dask_mpi.send_close_signal is print
    assert compat.original_initialize() is own
    given = {"interface", "nthreads", "local_directory", "memory_limit", "dashboard", "dashboard_address", "protocol"}
    assert given | {"worker_class", "worker_options", "comm", "exit"} <= set(inspect.signature(own).parameters)
