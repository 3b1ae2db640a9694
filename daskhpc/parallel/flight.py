"""A task on its way to a worker, which may be lost meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from .pool import Call


@dataclass(slots=True, eq=False)
class Flight:
    """A task on its way.

    Attributes
    ----------
    calls : list[Call]
        Emptied when the worker is lost, and its calls go elsewhere.
    alone : bool
        Whether nothing else of the run is in the worker.
    gone : asyncio.Event
        Set when the worker is lost.
    """

    calls: list[Call]
    alone: bool
    gone: asyncio.Event = field(default_factory=asyncio.Event)


async def unless_gone(work: Awaitable[Any], gone: asyncio.Event) -> Any:
    """What `work` gives, None where `gone` is set first."""
    first, second = asyncio.ensure_future(work), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        return await first if first.done() else None
    finally:
        first.cancel()
        second.cancel()
