"""Dask's scheduler preload: remembers the scheduler that dask_mpi.initialize starts, and adds its dashboard late."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from ..compat.distributed import hear_workers_before_counting_them_silent
from .session import session

_DASHBOARD = "distributed.dashboard.scheduler"
_AFTER_SECONDS = 1.0


def dask_setup(scheduler: Any) -> None:
    """Remember the scheduler, and give it its dashboard once the cluster stands; Dask calls this when it starts."""
    session.scheduler = scheduler
    hear_workers_before_counting_them_silent(scheduler)
    if session.member is not None and session.member.settings.dashboard:
        scheduler.loop.add_callback(_add_dashboard, scheduler)


async def _add_dashboard(scheduler: Any) -> None:
    """Load the dashboard's code, which takes longer than all else in a scheduler's start, after the workers came."""
    await asyncio.sleep(_AFTER_SECONDS)
    try:
        dashboard = await asyncio.to_thread(importlib.import_module, _DASHBOARD)
    except ImportError:
        return
    dashboard.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="")
