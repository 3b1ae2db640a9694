"""Fixtures for all tests: the MPI libraries, and programs run as real ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import flavors
import pytest
from flavors import Flavor
from machine import unavailable
from ranks import Ranks


def _flavor(make: Callable[[], Flavor]) -> Flavor:
    try:
        return make()
    except FileNotFoundError as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def openmpi() -> Mapping[str, str]:
    """The environment variables with which mpi4py uses Open MPI."""
    return _flavor(flavors.openmpi).env


@pytest.fixture(scope="session", params=["mpich", "openmpi"])
def flavor(request: pytest.FixtureRequest) -> Flavor:
    """Each MPI library in turn."""
    return _flavor(getattr(flavors, request.param))


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[Ranks]:
    """Runs programs as MPI ranks of MPICH, and sees that none of their processes is left."""
    with Ranks(flavors.mpich(), tmp_path) as runner:
        yield runner


@pytest.fixture
def flavored_ranks(flavor: Flavor, tmp_path: Path) -> Iterator[Ranks]:
    """The same with each MPI library in turn."""
    with Ranks(flavor, tmp_path) as runner:
        yield runner
