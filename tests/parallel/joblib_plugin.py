"""A pytest plugin: starts a cluster for joblib's own tests, keeps those that run the backend, and notes what they do.

`JOBLIB_SUITE_OUTCOMES` is the file that gets a JSON object, test -> outcome.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from daskhpc.cluster.workers import CappedNanny
from daskhpc.parallel.backend import DaskhpcBackend

running = ExitStack()
outcomes: dict[str, str] = {}


def pytest_sessionstart() -> None:
    cluster = running.enter_context(
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            worker_class=CappedNanny,
            memory_limit="2GiB",
        )
    )
    running.enter_context(Client(cluster))


def pytest_sessionfinish() -> None:
    running.close()
    Path(os.environ["JOBLIB_SUITE_OUTCOMES"]).write_text(json.dumps(outcomes))


def ours(item: Any) -> bool:
    """Whether a test runs the backend, by its parameters or as joblib's default, rather than one of joblib's."""
    callspec = getattr(item, "callspec", None)
    backends = [v for k, v in callspec.params.items() if k.endswith("backend")] if callspec else []
    return not backends or any(b in (None, "daskhpc") or isinstance(b, DaskhpcBackend) for b in backends)


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    left = [item for item in items if not ours(item)]
    items[:] = filter(ours, items)
    config.hook.pytest_deselected(items=left)


def pytest_runtest_logreport(report: Any) -> None:
    name = report.nodeid.partition("::")[2]
    if report.when == "call" or report.outcome != "passed":
        outcomes[name] = report.outcome if outcomes.get(name) != "failed" else "failed"
