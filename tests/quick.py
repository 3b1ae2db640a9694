"""Which tests are quick: those that start no process and no cluster, as far as their code shows.

No test is marked by hand. A test is quick if its folder or file is named here, it asks for no fixture that starts
something, and neither it nor a function of its module that it calls names a package that does. ``pytest -m quick`` runs
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

# Code that decides and computes little.
FOLDERS = {"launch", "runtime"}
FILES = {"test_config", "test_errors", "test_layers", "test_plan", "test_pool", "test_start_table"}
# Packages of Python, of others and of these tests that start processes or clusters.
STARTERS = {"subprocess", "multiprocessing", "distributed", "joblib", "nbclient"}
STARTERS |= {"bed", "cells", "clusters", "flavors", "kills", "place", "ranks", "recorder"}
FIXTURES = {"client", "flavor", "flavored_ranks", "openmpi", "place", "ranks", "slurm"}


def is_quick(item: pytest.Item) -> bool:
    """Whether a test counts as quick."""
    if not isinstance(item, pytest.Function):
        return False
    if item.path.parent.name not in FOLDERS and item.path.stem not in FILES:
        return False
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return not (FIXTURES & (set(item.fixturenames) - set(parameters))) and not starts(item.function, set())


def starts(function: Any, seen: set[Any]) -> bool:
    """Whether a function, or what it calls in its own module, names a package that starts processes or clusters."""
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType) or function in seen:
        return False
    seen.add(function)
    for name in names(function.__code__):
        value = function.__globals__.get(name)
        package = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "") or ""
        if {name, str(package).partition(".")[0]} & STARTERS:
            return True
        if getattr(value, "__module__", None) == function.__module__ and starts(value, seen):
            return True
    return False


def names(code: CodeType) -> Iterator[str]:
    """The names that code uses, imports inside it included."""
    yield from (name.partition(".")[0] for name in code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names(constant)
