"""What a rank sets in its own process before Dask starts: BLAS caps, log levels, Dask's configuration."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import dask

from ..chunk_size import array_chunk_size
from ..errors import StartError
from ..own_files import own_scratch
from ..runtime.blas_threads import blas_variables, lowered_by_user
from ..text import counted
from . import http_door
from .children import own_variables
from .encryption import use_in_dask
from .plan import CLIENT, SCHEDULER, WORKER, RankPlan
from .program_signals import leave_signals_to_program, let_program_answer_signals
from .quiet_end import drop_records_of_the_end
from .session import ClusterMember
from .world import say

_INTERVALS = {
    # Whether an event loop is late, looked at 50 times a second
    "distributed.admin.tick.interval": ("20ms", "500ms"),
    # Samples of what a worker's threads do, each of which stops them: 4 % to 6 % of the time of a search
    "distributed.worker.profile.interval": ("10ms", "100ms"),
}
"""Dask's own interval, and the one that leaves the processors to the tasks."""
_ALLOWED_FAILURES = "distributed.scheduler.allowed-failures"
_DASKS_FAILURES, _FAILURES = 3, 2
_OPEN_FILES = 65536
_TEMPORARY = "temporary-directory"
_LINK = "distributed.dashboard.link"
_SCHEDULER_PRELOAD, _WORKER_PRELOAD = "distributed.scheduler.preload", "distributed.worker.preload"
_OWN = "DASKHPC_OWN_VARIABLES"
_limits: list[Any] = []
_of_cluster = contextlib.ExitStack()


def prepare(member: ClusterMember) -> None:
    """Set up this process for its role."""
    reduce_dask_polling()
    plan = member.plan
    use_in_dask(member.encryption.identity, plan.role)
    workers = sum(other.processes.value for other in member.plans)
    too_few = allow_open_files(workers)
    if too_few and plan.role == SCHEDULER:
        say(f"warning on {plan.host}: {too_few}")
    if plan.role == CLIENT:
        suit_chunks(member.plans)
        link = http_door.with_secret(dask.config.get(_LINK), member.secret)
        _of_cluster.enter_context(dask.config.set({_LINK: link}))
        let_program_answer_signals()
    else:
        leave_signals_to_program()
        drop_records_of_the_end()
    if plan.role == CLIENT or (plan.role == WORKER and not member.own_workers):
        cap_blas_threads(plan.blas_threads.value)
    elif plan.role == SCHEDULER:
        cap_blas_threads(1)
        limit_worker_deaths_per_task()
        preload = [
            http_door.PRELOAD,
            *http_door.other_preloads(_SCHEDULER_PRELOAD),
            "daskhpc.cluster.scheduler_preload",
        ]
        door = http_door.scheduler_configuration(member.secret, member.settings.dashboard)
        scratch = own_scratch(dask.config.get(_TEMPORARY) or tempfile.gettempdir())
        dask.config.set({_SCHEDULER_PRELOAD: preload, _TEMPORARY: scratch, **door})
    if plan.role == WORKER:
        dask.config.set(http_door.worker_configuration(member.secret))
        if not member.own_workers:
            dask.config.set({_WORKER_PRELOAD: [http_door.PRELOAD, *http_door.other_preloads(_WORKER_PRELOAD)]})


def forget_secret() -> None:
    """After the cluster has closed: links to a dashboard are Dask's own again."""
    _of_cluster.close()


def allow_open_files(workers: int) -> str:
    """Raise this process's soft limit of open files, which is 1024 on most systems, towards the hard one.

    Dask's scheduler and client have some three connections for each worker process, and Dask keeps no more of them than
    half of the limit. ``dask scheduler`` raises its own limit, too.

    Returns
    -------
    str
        What is wrong if the hard limit is too low for so many workers; else empty.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    needed = 500 + 3 * workers
    wanted = max(_OPEN_FILES, needed) if unlimited else min(hard, max(_OPEN_FILES, needed))
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a system that has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if unlimited or hard >= needed:
        return ""
    return (
        f"a process may have {hard} files open, and {counted(workers, 'worker')} need about {needed} in the scheduler; "
        "ask for fewer workers with more threads (--nthreads), or for a higher hard limit (ulimit -Hn)"
    )


def reduce_dask_polling() -> None:
    """Let Dask look less often at what its processes do, unless its settings were changed."""
    for name, (dasks, ours) in _INTERVALS.items():
        if dask.config.get(name) == dasks:
            dask.config.set({name: ours})


def suit_chunks(plans: Sequence[RankPlan]) -> None:
    """Let every ``chunks="auto"`` of Dask fit the smallest worker, unless the user set ``array.chunk-size``."""
    limited = [plan for plan in plans if plan.role == WORKER and plan.memory_limit.value]
    if limited:
        array_chunk_size.suit(min(plan.memory_limit.value // plan.nthreads.value for plan in limited))


def limit_worker_deaths_per_task() -> None:
    """Let a task fail when it has ended its worker process three times, unless Dask's setting (4 times) was changed.

    For a scheduler that starts after this call.
    """
    if dask.config.get(_ALLOWED_FAILURES) == _DASKS_FAILURES:
        dask.config.set({_ALLOWED_FAILURES: _FAILURES})


def interactive() -> bool:
    """Whether a person types at this process: an error is then raised, and ends nothing."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def check_directory(directory: str | None) -> StartError | None:
    """Why workers cannot write into a directory that was set, None if they can; it is made if it is missing."""
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


def cap_blas_threads(threads: int) -> None:
    """Cap BLAS and OpenMP in this process, unless the user's environment already does.

    Libraries that are loaded later read the environment; threadpoolctl caps those that NumPy has already loaded.
    """
    limits = lowered_by_user(blas_variables(threads), os.environ)
    missing = {name: value for name, value in limits.items() if name not in os.environ}
    _set_variables(missing)
    if missing and "numpy" in sys.modules:
        import threadpoolctl

        _limits.append(threadpoolctl.threadpool_limits(max(map(int, missing.values()))))


def set_dask_log_level(level: str) -> None:
    """Set the level of Dask's loggers, here and in worker processes, unless the user configured logging."""
    if dask.config.get("logging", default=None) is None:
        logging.getLogger("distributed").setLevel(level.upper())
        _set_variables({"DASK_LOGGING__DISTRIBUTED": level})


def _set_variables(variables: dict[str, str]) -> None:
    own_variables.update(variables)
    # So that a job which the program submits does not take them for the user's (`launch.inherited`).
    lines = (f"{name}={value}" for name, value in own_variables.items() if name != _OWN)
    os.environ[_OWN] = own_variables[_OWN] = "\n".join(lines)
    os.environ.update(variables)
