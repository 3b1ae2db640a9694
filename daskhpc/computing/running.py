"""dask.compute and dask.persist with progress, and with the figures of the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dask
from dask.base import get_scheduler, unpack_collections

from ..compat.dask import compute_in_order
from ..errors import one_line
from ..parallel.progress import Progress, progress_for
from .figures import Figures
from .progress import ProgressThread, standing
from .reports import PAGE, Page, Report, checked, show, write_data
from .schedulers import ClusterScheduler, LocalScheduler, RunScheduler

if TYPE_CHECKING:
    from distributed import Client

_figures: list[Figures] = []


def compute(
    *objs: Any, report: Report = None, client: Client | None = None, progress: bool | str = "auto"
) -> tuple[Any, ...]:
    """``dask.compute``, with progress, and with the figures of the run.

    Parameters
    ----------
    *objs : Any
        As of ``dask.compute``: Dask's collections and what is made of them, such as xarray's objects, also within
        lists, tuples, dicts and sets. All else is handed back as it is.
    report : path or True, optional
        A file for the figures: ``run.json``, or ``run.html`` for Dask's performance report with the figures above it.
        True prints them on standard error.
    client : distributed.Client, optional
        The cluster to compute on; by default as ``dask.compute``: the current client's, else this machine.
    progress : bool or {"auto", "bar", "lines", "html"}
        How it shows how far it is.

    Returns
    -------
    tuple
        A result for each object.

    Raises
    ------
    SettingsError
        For a `report` that cannot be written, or an unknown `progress`; before anything is computed.
    Exception
        What a task raised, as Dask gives it. Tasks that have not begun are dropped then, as at an interrupt.

    Notes
    -----
    `last` gives the figures of the last run, with or without a report.

    Examples
    --------
    >>> import dask.array as da
    >>> total, seven = compute(da.ones(100, chunks=10).sum(), 7, progress=False)
    >>> float(total), seven
    (100.0, 7)
    >>> last().count > 10, last().name
    (True, 'compute')
    """
    results: tuple[Any, ...] = _run("compute", dask.compute, objs, report, client, progress)
    return results


def persist(
    *objs: Any, report: Report = None, client: Client | None = None, progress: bool | str = "auto"
) -> tuple[Any, ...]:
    """``dask.persist`` that waits until all is there, with progress, and with the figures of the run.

    Parameters
    ----------
    *objs, report, client, progress
        As of `compute`.

    Returns
    -------
    tuple
        The same objects, whose chunks or partitions are in the memory of the workers.

    Raises
    ------
    SettingsError, Exception
        As of `compute`.

    Notes
    -----
    ``dask.persist`` returns at once and raises nothing; what a task raised comes up when a result is asked for.

    Examples
    --------
    >>> import dask.array as da
    >>> (x,) = persist(da.ones(100, chunks=10) + 1, progress=False)
    >>> x.npartitions, last().name
    (10, 'persist')
    """
    results: tuple[Any, ...] = _run("persist", _persist, objs, report, client, progress)
    return results


def last() -> Figures | None:
    """The figures of the last run of `compute` or `persist` in this process; None before the first."""
    return _figures[-1] if _figures else None


def _persist(*collections: Any, scheduler: RunScheduler) -> Any:
    """dask.persist, which leaves results on the cluster only if it knows the scheduler as one: before 2026, never."""
    if isinstance(scheduler, ClusterScheduler):
        return scheduler.persist(collections)
    return dask.persist(*collections, scheduler=scheduler)


def _run(
    name: str, call: Callable[..., Any], objs: Any, report: Report, client: Client | None, progress: bool | str
) -> Any:
    collections, repack = unpack_collections(*objs)
    if not collections:
        return objs
    get = get_scheduler(scheduler=client, collections=collections)
    owner = getattr(get, "__self__", None)  # a client is chosen by its bound method `get`
    cluster = owner is not None and hasattr(owner, "run_on_scheduler")
    path = checked(report, cluster)
    shown = progress_for(progress, name, unit="tasks")
    page = Page(owner, path) if path is not None and path.suffix.lower() == PAGE else None
    scheduler = ClusterScheduler(owner) if cluster else LocalScheduler(get)
    computed, figures = _counted_run(name, call, collections, scheduler, shown)
    results = repack(computed)
    _figures[:] = [figures]
    try:
        if page is not None:
            page.write(figures)
        elif path is not None:
            write_data(figures, path)
        elif report is True:
            show(figures)
    except OSError as error:  # the results are not given up for it
        said = f"The report of this run is not written: {one_line(error)}. daskhpc.computing.last() has the figures."
        warnings.warn(said, stacklevel=3)
    return results


def _counted_run(
    name: str, call: Callable[..., Any], objs: Any, scheduler: RunScheduler, shown: Progress
) -> tuple[Any, Figures]:
    """Compute with progress; an interrupt, or what a task raises, leaves nothing behind."""
    progress = ProgressThread(scheduler.counts_now, shown)
    try:
        scheduler.begin()
        with progress:
            results = compute_in_order(call, objs, scheduler=scheduler)
            seconds = progress.seconds
        figures, counts = scheduler.end(name, seconds)
    except BaseException:
        scheduler.drop()
        shown.close(standing(progress.counts, progress.seconds))
        raise
    shown.close(standing(counts, seconds))
    return results, figures
