"""What daskhpc needs of Python's standard library beyond its public names."""

from __future__ import annotations

import dis
from types import CodeType


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
