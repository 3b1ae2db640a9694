"""A pytest plugin: two worker processes for joblib's own tests, of which those stay that can run daskhpc's backend.

`JOBLIB_OUTCOMES` is the file that gets a JSON object, test -> outcome.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clusters import start_cluster
from distributed import Client

from daskhpc.parallel.backend import DaskhpcBackend

running = ExitStack()
outcomes: dict[str, str] = {}


def pytest_sessionstart() -> None:
    running.enter_context(Client(running.enter_context(start_cluster(2))))


def pytest_sessionfinish() -> None:
    Path(os.environ["JOBLIB_OUTCOMES"]).write_text(json.dumps(outcomes))
    running.close()


@pytest.fixture(autouse=True)
def _two_workers() -> None:
    """A test before may have left a call that only the end of its worker process ends."""
    Client.current().wait_for_workers(2, timeout=100)


def ours(item: Any) -> bool:
    """Whether a test names no backend, so that joblib's default is used, or this one among others."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    backends = [value for name, value in parameters.items() if name.endswith("backend")]
    return not backends or any(b in (None, "daskhpc") or isinstance(b, DaskhpcBackend) for b in backends)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    items[:] = filter(ours, items)


def pytest_runtest_logreport(report: Any) -> None:
    name = report.nodeid.partition("::")[2]
    if report.when == "call" or report.outcome != "passed":
        outcomes[name] = "failed" if "failed" in (outcomes.get(name), report.outcome) else report.outcome
