"""Starts all suites that were asked for when the first of them is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future

import pytest
from background import LIMIT, Ended, Suites


@pytest.fixture(scope="session")
def _suites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Ended]]]:
    with contextlib.closing(Suites()) as suites:
        started = {}
        for item in request.session.items:
            if "ended" in getattr(item, "fixturenames", ()):
                params = getattr(item, "callspec", None)
                module = item.getparent(pytest.Module).obj  # type: ignore[union-attr]
                suite = module.suite(tmp_path_factory.mktemp("suite"), **(params.params if params else {}))
                started[item.nodeid] = suites.start(suite)
        yield started


@pytest.fixture
def ended(request: pytest.FixtureRequest, _suites: Mapping[str, Future[Ended]]) -> Ended:
    """The end of the suite that the module's function `suite` makes of a test's parameters."""
    return _suites[request.node.nodeid].result(2 * LIMIT)
