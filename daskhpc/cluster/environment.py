"""What a rank sets in its own process before Dask starts: BLAS caps, log levels, Dask's configuration."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import dask

from ..chunk_size import array_chunk_size
from ..errors import StartError
from .interrupts import ignore_interrupts
from .plan import CLIENT, SCHEDULER, WORKER, RankPlan
from .session import Member
from .workers import caps

_CALMER = {
    # Whether an event loop is late, looked at 50 times a second
    "distributed.admin.tick.interval": ("20ms", "500ms"),
    # Samples of what a worker's threads do, each of which stops them: 4 % to 6 % of the time of a search
    "distributed.worker.profile.interval": ("10ms", "100ms"),
}
"""Dask's own interval, and the one that leaves the processors to the tasks."""
_limits: list[Any] = []


def prepare(member: Member) -> None:
    """Set up this process for its role."""
    calm()
    plan = member.plan
    if plan.role == CLIENT:
        suit_chunks(member.plans)
    else:
        ignore_interrupts()
    if plan.role == CLIENT or (plan.role == WORKER and not member.own_workers):
        cap(plan.blas_threads.value)
    elif plan.role == SCHEDULER:
        cap(1)
        preload = [*dask.config.get("distributed.scheduler.preload"), "daskhpc.cluster.preload"]
        dask.config.set({"distributed.scheduler.preload": preload})


def calm() -> None:
    """Let Dask look less often at what its processes do, unless its settings were changed."""
    for name, (dasks, ours) in _CALMER.items():
        if dask.config.get(name) == dasks:
            dask.config.set({name: ours})


def suit_chunks(plans: Sequence[RankPlan]) -> None:
    """Let every ``chunks="auto"`` of Dask fit the smallest worker, unless the user set ``array.chunk-size``."""
    limited = [plan for plan in plans if plan.role == WORKER and plan.memory_limit.value]
    if limited:
        array_chunk_size.suit(min(plan.memory_limit.value // plan.nthreads.value for plan in limited))


def interactive() -> bool:
    """Whether a person types at this process: an error is then raised, and ends nothing."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def check_directory(directory: str | None) -> StartError | None:
    """Why workers cannot write into a directory that was set, None where they can; it is made where it is missing."""
    if directory is None:
        return None
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"daskhpc")
    except OSError as error:
        return StartError(
            "The local directory cannot be written to.", str(error), "another one, or none: the local scratch is used"
        )
    return None


def cap(threads: int) -> None:
    """Cap BLAS and OpenMP in this process, unless the user's environment already does.

    Libraries that are loaded later read the environment; those already loaded with NumPy are told by threadpoolctl.
    """
    missing = {name: value for name, value in caps(threads).items() if name not in os.environ}
    os.environ.update(missing)
    if missing and "numpy" in sys.modules:
        import threadpoolctl

        _limits.append(threadpoolctl.threadpool_limits(threads))


def quiet(level: str) -> None:
    """Set the level of Dask's loggers, here and in worker processes, unless the user configured logging."""
    if dask.config.get("logging", default=None) is None:
        logging.getLogger("distributed").setLevel(level.upper())
        os.environ["DASK_LOGGING__DISTRIBUTED"] = level
