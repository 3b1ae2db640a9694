"""Fixtures for all tests: the MPI libraries, programs run as real ranks, a real Slurm, a cluster on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import flavors
import pytest
from bed import BedUnavailable, SlurmBed
from clusters import start_cluster
from flavors import Flavor
from hypothesis import HealthCheck, settings
from machine import unavailable
from ranks import Ranks

# An example, and the drawing of its values, may take as long as the machine stands still.
settings.register_profile("no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")


@cache
def _group(file: str) -> str:
    """With pytest-xdist, the tests of one group run in one process: all that need the Slurm, or all of one file."""
    if file.startswith("tests/suites/"):
        return "suites"
    text = Path(__file__).parents[1].joinpath(file).read_text()
    return "slurm" if "SlurmBed" in text or 'getfixturevalue("slurm")' in text else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The two long groups begin first."""
    first = {"slurm": 0, "suites": 1}
    items.sort(key=lambda item: first.get(_group(item.nodeid.partition("::")[0]), 2))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let pytest-xdist go by `_group`."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    return Groups(config, log)


def _flavor(make: Callable[[], Flavor]) -> Flavor:
    try:
        return make()
    except FileNotFoundError as error:
        unavailable(str(error))


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    """`daskhpc.start` sets environment variables in this process: the next file's tests do not inherit them."""
    before = dict(os.environ)
    yield
    os.environ.update(before)  # never empty: a Nanny in this process may be starting a worker
    for name in {*os.environ} - {*before}:
        del os.environ[name]


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


@pytest.fixture(scope="session")
def _two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from distributed import Client

    folder = str(tmp_path_factory.mktemp("workers"))
    with start_cluster(2, local_directory=folder) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(_two_workers: Any) -> Iterator[Any]:
    """The current client of two single-threaded worker processes of 2 GiB each."""
    _two_workers.wait_for_workers(2, timeout=120)
    with _two_workers.as_current():
        yield _two_workers
