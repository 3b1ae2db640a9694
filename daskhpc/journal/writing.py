"""The journals that this process writes to, for whoever ends it in good time."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .journal import Journal

# A list, which any thread may append to and copy without a lock, and a forked child finds whole.
_journals: list[weakref.ref[Journal]] = []


def begun(journal: Journal) -> None:
    """A journal was opened to write."""
    _journals.append(weakref.ref(journal))


def ended(journal: Journal) -> None:
    """A journal was closed."""
    with contextlib.suppress(ValueError):
        _journals.remove(weakref.ref(journal))


def journals() -> list[Journal]:
    """Those that are open."""
    return [journal for each in list(_journals) if (journal := each()) is not None]
