"""Take a scikit-learn, Dask or xarray script from a laptop to a Slurm or PBS cluster over MPI.

Importing this package starts nothing; every public name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .parallel.register import install as _install

if TYPE_CHECKING:
    from . import arrays, bags, cubes, ddp, errors, frames, plots, report
    from .cluster import initialize, send_close_signal
    from .computing import compute, persist
    from .explaining import explain
    from .jobs import Job, submit
    from .postfit import Incremental, ParallelPostFit
    from .runtime import Runtime, discover
    from .scaling_study import scaling
    from .search import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV, sweep
    from .settings import Settings
    from .starting import start

__version__ = "0.1.0"

_HOMES = {
    "GridSearchCV": "search",
    "HalvingGridSearchCV": "search",
    "HalvingRandomSearchCV": "search",
    "Incremental": "postfit",
    "Job": "jobs",
    "ParallelPostFit": "postfit",
    "RandomizedSearchCV": "search",
    "Runtime": "runtime",
    "Settings": "settings",
    "arrays": "",
    "bags": "",
    "compute": "computing",
    "cubes": "",
    "ddp": "",
    "discover": "runtime",
    "errors": "",
    "explain": "explaining",
    "frames": "",
    "initialize": "cluster",
    "persist": "computing",
    "plots": "",
    "report": "",
    "scaling": "scaling_study",
    "send_close_signal": "cluster",
    "start": "starting",
    "submit": "jobs",
    "sweep": "search",
}

__all__ = [
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "Incremental",
    "Job",
    "ParallelPostFit",
    "RandomizedSearchCV",
    "Runtime",
    "Settings",
    "arrays",
    "bags",
    "compute",
    "cubes",
    "ddp",
    "discover",
    "errors",
    "explain",
    "frames",
    "initialize",
    "persist",
    "plots",
    "report",
    "scaling",
    "send_close_signal",
    "start",
    "submit",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'daskhpc' has no attribute {name!r}; it has {', '.join(__all__)}")
    home = _HOMES[name]
    if name in ("start", "initialize"):
        from .shadowing import hidden_packages

        if (hidden := hidden_packages()) is not None:
            raise hidden
    try:
        module = importlib.import_module(f".{home or name}", __name__)
    except (ImportError, AttributeError) as error:
        from .shadowing import explained

        known = explained(error)
        if known is None:
            raise
        raise known from None
    return getattr(module, name) if home else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_install()
