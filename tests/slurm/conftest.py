"""Fixtures: a real Slurm of three nodes, for the tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from bed import BedUnavailable, SlurmBed
from machine import unavailable


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmBed]:
    """A Slurm of three nodes, one for the whole session; after each test its jobs are cancelled."""
    with contextlib.ExitStack() as stack:
        try:
            bed = stack.enter_context(SlurmBed())
        except BedUnavailable as error:
            unavailable(str(error))
        yield bed


@pytest.fixture(autouse=True)
def _settled(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "slurm" in request.fixturenames:
        request.getfixturevalue("slurm").settle()
