"""What daskhpc needs of Python's standard library beyond its public names."""

from __future__ import annotations

import dis
import warnings
from types import CodeType
from typing import Any


def exception_entries(code: CodeType) -> list[tuple[int, int, int, int, bool]] | None:
    """Where a code object catches exceptions: start, end and target as offsets, the stack's depth, `lasti`.

    Returns
    -------
    list of tuples or None
        None if this Python's `dis` does not tell; ``code.co_exceptiontable`` has the same in bytes.
    """
    entries = getattr(dis.Bytecode(code), "exception_entries", None)
    if entries is None:
        return None
    return [(entry.start, entry.end, entry.target, entry.depth, entry.lasti) for entry in entries]


def warning_hook() -> Any:
    """The function by which ``warnings`` shows a warning, None if this release of Python has none.

    It sees every warning that is shown, whatever the program's ``showwarning`` and ``catch_warnings`` are, and from
    every thread; ``warnings.catch_warnings`` is for one thread at a time.
    """
    return vars(warnings).get("_showwarnmsg")


def set_warning_hook(function: Any) -> None:
    """Let `function` show warnings in place of `warning_hook`."""
    vars(warnings)["_showwarnmsg"] = function


def warnings_reach() -> tuple[Any, Any]:
    """Where warnings go that are shown; another answer later means that somebody caught them meanwhile."""
    return vars(warnings).get("_showwarnmsg_impl"), warnings.showwarning
