"""Calls of a sweep: what each returned or failed with, how long it took, and on which host."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import one_line


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes
    ----------
    value : Any
        What it returned.
    error : str or None
        What it raised: "ValueError: ...", one line.
    seconds : float
    host : str
    """

    value: Any
    error: str | None
    seconds: float
    host: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A function as a sweep calls it.

    Attributes
    ----------
    function : callable
    record : bool
        Whether what it raises is an outcome too.
    """

    function: Callable[..., Any]
    record: bool

    def __call__(self, parameters: Mapping[str, Any], index: int) -> Outcome:
        """Call the function; `index` is the call's row in the table."""
        began = time.perf_counter()
        value, error = None, None
        try:
            value = self.function(**parameters)
        except (Exception, SystemExit) as raised:  # `sys.exit` of a simulation is an error of its parameters
            if not self.record:
                raise
            error = one_line(raised)
        return Outcome(value, error, time.perf_counter() - began, socket.gethostname())
