"""A real cluster of worker processes for the tests of collections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import start_cluster
from distributed import Client


@pytest.fixture(scope="session")
def _workers_for_collections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = str(tmp_path_factory.mktemp("workers"))
    with start_cluster(2, local_directory=folder) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(_workers_for_collections: Client) -> Iterator[Client]:
    """The current client of two single-threaded worker processes of 2 GiB each."""
    _workers_for_collections.wait_for_workers(2, timeout=30)
    with _workers_for_collections.as_current():
        yield _workers_for_collections
