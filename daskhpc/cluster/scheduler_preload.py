"""Dask's scheduler preload: remembers the scheduler that dask_mpi.initialize starts."""

from __future__ import annotations

from typing import Any

from ..compat.distributed import hear_workers_before_counting_them_silent
from .session import session


def dask_setup(scheduler: Any) -> None:
    """Remember the scheduler; Dask calls this when it starts."""
    session.scheduler = scheduler
    hear_workers_before_counting_them_silent(scheduler)
