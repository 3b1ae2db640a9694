"""What is known of Python's standard library beyond its public names is still so."""

from __future__ import annotations

from daskhpc.compat import python


def test_where_code_catches_exceptions_is_known() -> None:
    def catching() -> None:
        try:
            print()
        except ValueError:
            print("caught")

    assert python.exception_entries(catching.__code__)
    assert python.exception_entries((lambda: 1).__code__) == []
