"""Threads of the client's own process, for calls that prefer threads and are not worth the way to the cluster."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
from joblib.parallel import SequentialBackend

from .pool import Call

_OVERHEAD_SECONDS = 0.5
_BYTES_PER_SECOND = 300e6


def pays(remaining: float, threads: int, slots: int, nbytes: int) -> bool:
    """Whether the cluster ends what remains sooner than the threads here, the way there included.

    Parameters
    ----------
    remaining : float
        Seconds of work that remain, were it done one call after the other.
    threads, slots : int
        Calls that run at once here, and there.
    nbytes : int
        What would have to be sent.
    """
    return remaining / threads - remaining / slots > _OVERHEAD_SECONDS + nbytes / _BYTES_PER_SECOND


class LocalThreads:
    """A pool of threads in this process.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.free = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="daskhpc")

    def left_for(self, remaining: float, slots: int, nbytes: int) -> bool:
        """Whether what remains is better done on the cluster."""
        return pays(remaining, self.threads, slots, nbytes)

    async def run(self, call: Call) -> tuple[bool, Any, float]:
        """Make a call, which `free` counts already; whether it went well, its value or its error, its seconds."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _make, call)
        finally:
            self.free += 1


def _make(call: Call) -> tuple[bool, Any, float]:
    began = time.perf_counter()
    try:
        with joblib.parallel_config(backend=SequentialBackend(nesting_level=1)):
            value = call.function(*call.args, **call.kwargs)
    except BaseException as error:
        return False, error, time.perf_counter() - began
    return True, value, time.perf_counter() - began
