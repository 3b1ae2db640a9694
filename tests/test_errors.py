"""The exception tree: three parts, one base."""

from __future__ import annotations

import copy
import inspect
import pickle

import distributed  # noqa: F401  # its import changes how exceptions are pickled
import pytest

from daskhpc import errors
from daskhpc.errors import DaskhpcError, LaunchError, SettingsError, StartError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("It broke.",), "It broke."),
        (("It broke.", "a crack"), "It broke.\n  found: a crack"),
        (("It broke.", "", "glue"), "It broke.\n  try:   glue"),
        (("It broke.", "a crack", "glue"), "It broke.\n  found: a crack\n  try:   glue"),
    ],
)
def test_what_happened_what_was_found_what_to_type_next(parts: tuple[str, ...], text: str) -> None:
    assert str(DaskhpcError(*parts)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_can_travel_between_processes(kind: type[DaskhpcError]) -> None:
    error = kind("It broke.", "a crack", "glue")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), kind(*error.args)):
        assert type(twin) is kind
        assert (twin.happened, twin.found, twin.todo) == ("It broke.", "a crack", "glue")
        assert str(twin) == str(error)


def test_one_tree() -> None:
    assert set(KINDS) >= {DaskhpcError, SettingsError, StartError, LaunchError}
    assert all(issubclass(kind, DaskhpcError) for kind in KINDS)


@pytest.mark.parametrize(("kind", "base"), [(SettingsError, ValueError), (StartError, RuntimeError)])
def test_each_is_also_what_pythons_own_tree_calls_it(kind: type[DaskhpcError], base: type[Exception]) -> None:
    with pytest.raises(base, match=r"It broke\."):
        raise kind("It broke.")


def test_the_exit_code_is_none_that_python_or_a_shell_uses() -> None:
    assert errors.EXIT_FAILED == 70
