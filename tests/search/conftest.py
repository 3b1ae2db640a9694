"""Fixtures for the tests of searches: one BLAS thread, here as in the workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import start_cluster
from distributed import Client
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Sums in the order in which a worker process makes them."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def _workers() -> Iterator[Client]:
    with start_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def two_workers(_workers: Client) -> Iterator[Client]:
    """The current client of two single-threaded worker processes that daskhpc's Nannies keep."""
    with _workers.as_current():
        yield _workers
