"""Fixtures: a real Slurm of three nodes, and the MPI libraries to run on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import flavors
import pytest
from bed import BedUnavailable, SlurmBed
from flavors import Flavor


def _unavailable(reason: str) -> NoReturn:
    """Skip, or fail where DASKHPC_REQUIRE_SLURM=1 says that this machine must be able to."""
    if os.environ.get("DASKHPC_REQUIRE_SLURM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmBed]:
    """A Slurm of three nodes, one for the whole session; after each test its jobs are cancelled."""
    with contextlib.ExitStack() as stack:
        try:
            bed = stack.enter_context(SlurmBed())
        except BedUnavailable as error:
            _unavailable(str(error))
        yield bed


@pytest.fixture(autouse=True)
def _settled(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "slurm" in request.fixturenames:
        request.getfixturevalue("slurm").settle()


def _flavor(make: Callable[[], Flavor]) -> Flavor:
    try:
        return make()
    except FileNotFoundError as error:
        _unavailable(str(error))


@pytest.fixture(scope="session")
def openmpi() -> Mapping[str, str]:
    """The environment variables with which mpi4py uses Open MPI."""
    return _flavor(flavors.openmpi).env


@pytest.fixture(scope="session", params=["mpich", "openmpi"])
def flavor(request: pytest.FixtureRequest) -> Flavor:
    """Each MPI library in turn."""
    return _flavor(getattr(flavors, request.param))
