"""What a journal's records say of a call, as numbers and short texts for people; payloads are not read."""

from __future__ import annotations

import contextlib
import re
from typing import Any, NoReturn

from ..errors import JournalError
from ..journal.codec import TAG, decode
from ..journal.reader import Record

_LONGEST = 60


def number(data: Any) -> float | None:
    """A number in the journal's form; None for anything else."""
    if isinstance(data, dict) and data.get(TAG) in ("float", "int", "scalar"):
        with contextlib.suppress(TypeError, ValueError):
            return float(decode(data, _unread))
    return float(data) if isinstance(data, int | float) else None


def texts(params: Any) -> dict[str, str]:
    """Parameters in the journal's form as short texts for people; of objects in payloads only that they are there."""
    if not isinstance(params, dict) or TAG in params:
        return {}
    return {name: _short(_text(value)) for name, value in params.items()}


def _text(data: Any) -> str:
    if isinstance(data, dict) and data.get(TAG) == "pickle":
        return "(object)"
    try:
        value = decode(data, _unread)
    except JournalError:
        return "(objects)"
    return repr(value.item() if isinstance(data, dict) and data.get(TAG) == "scalar" else value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _unread(digest: str, size: int) -> NoReturn:
    raise JournalError("Payloads are not read here", digest)


def cause(record: Record) -> str:
    """Why a call failed, in one line: ``ValueError: gamma must be positive``."""
    value = record.fields.get("value")
    trace = value.get("fit_error") if isinstance(value, dict) and TAG not in value else None
    return last_error(trace) if isinstance(trace, str) else printable(str(record.fields.get("error") or "no cause"))


def last_error(trace: str) -> str:
    """The line of a traceback that names the exception, without the exception's module."""
    lines = [line for line in trace.splitlines() if line.strip()]
    after = max((n for n, line in enumerate(lines) if line.startswith('  File "')), default=-1)
    named = next((line for line in lines[after + 1 :] if not line.startswith(" ")), lines[-1] if lines else "no cause")
    return printable(re.sub(r"^(?:\w+\.)+(?=\w+(?::|$))", "", named.strip()))


def printable(text: str) -> str:
    """A line without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
