"""Makes the name "daskhpc" known to joblib when joblib is imported, before or after daskhpc."""

from __future__ import annotations

import sys
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

from ..compat.joblib import keep_threads_of_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

_NAME = "daskhpc"
_SERIAL = "daskhpc, serial unless n_jobs says otherwise"


def install(default: bool = False) -> None:
    """Register the backend with joblib, now or as soon as joblib is imported.

    Parameters
    ----------
    default : bool
        Whether Parallel uses it when no backend is named. ``n_jobs`` then means what it means in joblib: a Parallel
        that names none is serial.
    """
    after_import("joblib.parallel", lambda joblib: _register(joblib, default))


def _make(**options: Any) -> Any:
    from .backend import DaskhpcBackend

    return DaskhpcBackend(**options)


def _own_variables() -> Mapping[str, str]:
    from ..cluster.children import own_variables

    return own_variables


def _register(joblib: Any, default: bool) -> None:
    keep_threads_of_processes(_own_variables)
    joblib.register_parallel_backend(_NAME, _make)
    if default:
        # What is made the default alone is for other threads than this one: a `parallel_config` is its thread's own.
        joblib.register_parallel_backend(_SERIAL, partial(_make, first_n_jobs=1), make_default=True)
        # A backend that was only made the default would never see calls that prefer threads.
        joblib.parallel_config(backend=_NAME, first_n_jobs=1)


def after_import(name: str, action: Callable[[Any], None]) -> None:
    """Call a function with a module as soon as that is imported, now if it is already.

    joblib looks up the name of a backend among those that are registered with it, and can be asked to register one only
    once it is imported. ``import daskhpc`` imports nothing that takes long, and joblib does. So for a
    program with ``import daskhpc`` and later ``parallel_config(backend="daskhpc")``, a finder watches for the import.
    """
    if name in sys.modules:
        action(sys.modules[name])
        return
    finder = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    if finder is None:
        sys.meta_path.insert(0, finder := _Finder())
    finder.actions.setdefault(name, []).append(action)


class _Finder:
    """Waits on ``sys.meta_path`` for modules, and leaves when all are imported."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Callable[[Any], None]]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        actions = self.actions.pop(fullname, None)
        if actions is None:
            return None
        if not self.actions:
            sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            execute = loader.exec_module

            def execute_and_act(module: ModuleType) -> None:
                del vars(loader)["exec_module"]
                execute(module)
                for action in actions:
                    action(module)

            vars(loader)["exec_module"] = execute_and_act
        return spec
