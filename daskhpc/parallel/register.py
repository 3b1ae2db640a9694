"""Makes the name "daskhpc" known to joblib when joblib is imported, before or after daskhpc."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_NAME = "daskhpc"
_JOBLIB = "joblib.parallel"


def install(default: bool = False) -> None:
    """Register the backend with joblib, now or as soon as joblib is imported.

    Parameters
    ----------
    default : bool
        Whether it is what Parallel uses where nothing else was said.
    """
    if _JOBLIB in sys.modules:
        _register(sys.modules[_JOBLIB], default)
        return
    default = default or any(finder.default for finder in sys.meta_path if isinstance(finder, _Finder))
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.insert(0, _Finder(default))


def _make(**options: Any) -> Any:
    from .backend import DaskhpcBackend

    return DaskhpcBackend(**options)


def _register(joblib: Any, default: bool) -> None:
    joblib.register_parallel_backend(_NAME, _make, make_default=default)
    if default:
        # A backend that was only made the default would never see calls that prefer threads.
        joblib.parallel_config(backend=_NAME)


class _Finder:
    """Waits on ``sys.meta_path`` for joblib, and leaves when joblib is imported.

    joblib looks up the name of a backend among those that are registered with it, and can be asked to register one only
    once it is imported. ``import daskhpc`` imports nothing that takes long, and joblib does. So a program that
    says ``import daskhpc`` and later ``parallel_config(backend="daskhpc")`` needs somebody to see joblib's import.
    """

    def __init__(self, default: bool) -> None:
        self.default = default

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _JOBLIB:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            loader, default = spec.loader, self.default
            execute = loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                del vars(loader)["exec_module"]
                execute(module)
                _register(module, default)

            vars(loader)["exec_module"] = execute_and_register
        return spec
