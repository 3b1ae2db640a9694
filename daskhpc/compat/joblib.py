"""What daskhpc needs of joblib beyond its public names."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any


def keep_one_ahead(parallel: Any) -> None:
    """Let a Parallel give each call away as soon as the caller has made it, rather than ``n_jobs`` of them at once.

    It takes as many calls at once from the caller's iterator as it believes can run; a call that takes long to make
    would keep those before it waiting. Parallel asks the backend for the number once and keeps it; with a release that
    keeps it elsewhere, calls arrive ``n_jobs`` at a time.
    """
    parallel._cached_effective_n_jobs = 1


def dispatch(parallel: Any, most: float = math.inf) -> None:
    """Let a Parallel make calls now, rather than one as each result comes (``pre_dispatch``): all, or at most so many.

    The calls that joblib's own callbacks make meanwhile are made under the same lock. With a release that keeps its
    iterator elsewhere, the calls come a few at a time.
    """
    lock = getattr(parallel, "_lock", None)
    while lock is not None and most > 0 and not is_exhausted(parallel):
        with lock:
            if not is_exhausted(parallel):
                parallel.dispatch_next()
        most -= 1


def dispatch_rest(parallel: Any) -> None:
    """Let a Parallel give away at once what it has taken from the caller's iterator: the last calls, in many batches.

    It gives one away as each result comes. With a release that keeps them elsewhere, it goes on doing so.
    """
    ready = getattr(parallel, "_ready_batches", None)
    left = ready.qsize() if ready is not None else 0
    if left:
        dispatch(parallel, left + 1)  # once more, so that it notices the end


def call_of(parallel: Any) -> Any:
    """What tells a Parallel's calls apart, new before it begins one; None with a release that has no such thing."""
    return getattr(parallel, "_call_id", None)


def is_exhausted(parallel: Any) -> bool:
    """Whether a Parallel has made all its calls."""
    return getattr(parallel, "_original_iterator", None) is None


def raise_early_error(parallel: Any) -> None:
    """Raise the error of a batch that failed before the first call was dispatched.

    With ``pre_dispatch="all"`` joblib forgets an error that the caller's own iterator raised before its first call.
    """
    if not getattr(parallel, "n_dispatched_tasks", 1):
        from joblib.parallel import TASK_ERROR

        for tracker in list(getattr(parallel, "_jobs", ())):
            if tracker.status == TASK_ERROR:
                tracker.get_result(None)


def is_aborting(parallel: Any) -> bool:
    """Whether a Parallel stops because a call failed or its caller went away.

    One backend serves all Parallel objects of a ``parallel_config``, and joblib does not say which of them it aborts.
    """
    return bool(getattr(parallel, "_aborting", True))


def has_ended(parallel: Any) -> bool:
    """Whether a Parallel neither runs nor is held open by a ``with`` block."""
    return not getattr(parallel, "_running", False) and not getattr(parallel, "_managed_backend", False)


def threads_of_processes(backend: Any, n_jobs: int) -> dict[str, str]:
    """The variables by which joblib's own processes have ``inner_max_num_threads``, or their share of the CPUs.

    None with a release that prepares the environment of its processes elsewhere.
    """
    prepare = getattr(backend, "_prepare_worker_env", None)
    found: dict[str, str] = prepare(n_jobs) if prepare is not None else {}
    return found


def keep_threads_of_processes(own_variables: Callable[[], Mapping[str, str]]) -> None:
    """Let joblib's own processes have as many threads of BLAS as without daskhpc: CPUs over ``n_jobs``.

    joblib keeps to the environment's variables for threads. For the program's own process that is what daskhpc has set
    there, all CPUs of its rank: each of ``n_jobs`` processes would take all of them. With a release that prepares the
    environment of its processes elsewhere, they do.

    Parameters
    ----------
    own_variables : callable
        Gives the variables that daskhpc has set in this process.
    """
    from joblib.parallel import ParallelBackendBase, cpu_count

    prepare = getattr(ParallelBackendBase, "_prepare_worker_env", None)
    if prepare is None or hasattr(prepare, "__wrapped__"):
        return

    @functools.wraps(prepare)
    def prepare_worker_env(self: Any, n_jobs: int) -> dict[str, str]:
        variables: dict[str, str] = prepare(self, n_jobs)
        if self.inner_max_num_threads is None:
            for name, value in own_variables().items():
                if name in variables and os.environ.get(name) == value:
                    variables[name] = str(max(cpu_count() // n_jobs, 1))
        return variables

    ParallelBackendBase._prepare_worker_env = prepare_worker_env
