"""What is known of Python's standard library beyond its public names is still so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from daskhpc.compat import python
from daskhpc.compat.python import set_warning_hook, warning_hook, warnings_reach


def test_where_code_catches_exceptions_is_known() -> None:
    def catching() -> None:
        try:
            print()
        except ValueError:
            print("caught")

    assert python.exception_entries(catching.__code__)
    assert python.exception_entries((lambda: 1).__code__) == []


def test_every_warning_that_is_shown_passes_the_hook() -> None:
    """If this fails, see how warnings.py shows a warning: fits whose warnings are not seen are never shared."""
    original, seen = warning_hook(), list[Any]()
    assert callable(original)

    def note(message: Any) -> None:
        seen.append(str(message.message))
        original(message)

    set_warning_hook(note)
    try:
        assert warning_hook() is note
        with pytest.warns(UserWarning, match="told"):
            warnings.warn("told", stacklevel=1)
    finally:
        set_warning_hook(original)
    assert seen == ["told"]


def test_where_warnings_go_is_another_place_while_they_are_caught() -> None:
    before = warnings_reach()
    assert None not in before
    with warnings.catch_warnings(record=True):
        assert warnings_reach() != before
    assert warnings_reach() == before
