"""Which client a search runs on, and with which options."""

from __future__ import annotations

import sys
from typing import Any

from joblib.parallel import get_active_backend

from ..clients import current_client, inside_task
from ..errors import SettingsError

ENDED = ("closing", "closed")


def chosen_client(scheduler: Any = None) -> Any:
    """The client that a search uses; None if scikit-learn runs the search by itself.

    Parameters
    ----------
    scheduler : distributed.Client, optional
        The one that was asked for; without it, the current one.

    Returns
    -------
    distributed.Client or None
        None inside a Dask task, whose worker the search may not leave, and if no client is open.

    Raises
    ------
    SettingsError
        If `scheduler` is anything but an open, synchronous client.
    """
    if scheduler is not None:
        _check(scheduler)
    if inside_task():
        return None
    return scheduler if scheduler is not None else current_client()


def options_in_block(keeper: Any, retry_failed: bool) -> dict[str, Any]:
    """A search's or a sweep's own options, and others of the ``parallel_config(backend="daskhpc")`` that it is in."""
    active, _ = get_active_backend()
    options: dict[str, Any] = active.for_blocks_inside() if hasattr(active, "for_blocks_inside") else {}
    options["retry_failed"] = retry_failed or options.get("retry_failed", False)
    return options if keeper is None else {**options, "checkpoint": keeper}


def _check(scheduler: Any) -> None:
    found, todo = _refusal(scheduler)
    if found:
        raise SettingsError("scheduler= of a search takes an open distributed.Client, or None.", found, todo)


def _refusal(scheduler: Any) -> tuple[str, str]:
    """What is wrong with a scheduler and what to type instead; empty if it is fine."""
    if isinstance(scheduler, str) and ":" in scheduler:
        return f"{scheduler!r}, an address", f"scheduler=distributed.Client({scheduler!r})"
    if isinstance(scheduler, str):
        return (
            f"{scheduler!r}, a name",
            "leave scheduler out and say n_jobs=-1: without a client joblib runs the search on this machine, "
            "and `with joblib.parallel_config('threading'):` around fit makes it use threads",
        )
    if "distributed" not in sys.modules or not isinstance(scheduler, sys.modules["distributed"].Client):
        return f"{scheduler!r}, a {type(scheduler).__name__}", "scheduler=client, with client = distributed.Client(...)"
    if scheduler.status in ENDED:
        return f"{scheduler!r}, which is {scheduler.status}", "a new client, or leave scheduler out"
    if scheduler.asynchronous:
        return (
            f"{scheduler!r}, which is asynchronous",
            "distributed.Client(...) outside a coroutine",
        )
    return "", ""
