"""A real cluster of worker processes for the tests of the joblib backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clusters import start_cluster


@pytest.fixture(scope="session")
def _two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from distributed import Client

    folder = str(tmp_path_factory.mktemp("workers"))
    with start_cluster(2, local_directory=folder) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(_two_workers: Any) -> Iterator[Any]:
    """The current client of two single-threaded worker processes."""
    _two_workers.wait_for_workers(2, timeout=30)
    with _two_workers.as_current():
        yield _two_workers
