"""A pytest plugin: scikit-learn's own tests with daskhpc's search classes, or joblib's default backend, or both.

`SEARCH_SWAP=1` swaps the classes; `SEARCH_BACKEND=1` makes daskhpc's backend joblib's default; `SEARCH_CLIENT=1` starts
two single-threaded worker processes, which a default backend uses also where no n_jobs is given. `SEARCH_EXCLUDED` is a
JSON object, test -> reason: from scikit-learn 1.9 on these must be there and fail.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from contextlib import ExitStack
from typing import Any

import joblib
import pytest
import sklearn
from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.utils.fixes import parse_version

NAMES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
OWNERS = ("sklearn.model_selection._search", "sklearn.model_selection._search_successive_halving")

running = ExitStack()


def asked(name: str) -> bool:
    return os.environ.get(f"SEARCH_{name}") == "1"


def swap() -> None:
    """Put daskhpc's classes where scikit-learn's were imported, but for the modules that define those."""
    from daskhpc import search

    for name in NAMES:
        theirs, ours = getattr(model_selection, name), getattr(search, name)
        for module in [m for n, m in sys.modules.items() if n.startswith("sklearn.") and n not in OWNERS]:
            if vars(module).get(name) is theirs:
                setattr(module, name, ours)


if asked("SWAP"):
    swap()


def pytest_sessionstart() -> None:
    if asked("CLIENT"):
        from distributed import Client, LocalCluster

        cluster = running.enter_context(
            LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
        )
        running.enter_context(Client(cluster))
    if asked("BACKEND"):
        import daskhpc  # noqa: F401

        running.enter_context(joblib.parallel_config(backend="daskhpc", n_jobs=2 if asked("CLIENT") else 1))


def pytest_sessionfinish() -> None:
    running.close()


def about(item: Any) -> bool:
    """Whether a test sees what is swapped: by its module, or by a search in its name or its source."""
    of_searches = item.module.__name__.endswith(("test_search", "test_successive_halving", "test_metaestimators"))
    return of_searches or asked("BACKEND") or "SearchCV" in item.name or "SearchCV" in inspect.getsource(item.function)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    items[:] = filter(about, items)
    excluded = json.loads(os.environ.get("SEARCH_EXCLUDED", "{}"))
    found = set()
    written_for_it = parse_version(sklearn.__version__) >= parse_version("1.9")
    for item in items:
        for name in {item.name, getattr(item, "originalname", item.name)} & excluded.keys():
            found.add(name)
            item.add_marker(
                pytest.mark.xfail(
                    reason=excluded[name], strict=written_for_it and not excluded[name].startswith("by chance")
                )
            )
    if excluded.keys() - found and written_for_it:
        raise pytest.UsageError(
            f"excluded, but no test of scikit-learn {sklearn.__version__}: {excluded.keys() - found}"
        )
