"""Explains an import that failed because a file of the user has the name of a module of Python or of a package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder

from .errors import DaskhpcError


def explained(error: Exception) -> DaskhpcError | None:
    """The error that names the files, if files of the user hide modules; else None.

    Parameters
    ----------
    error : Exception
        What an import of this package raised.
    """
    files = hiding_files()
    return _error(files, f"{type(error).__name__}: {error}") if files else None


def hidden_packages() -> DaskhpcError | None:
    """Why a cluster cannot start, if a module beside the program hides a package that Dask needs; else None.

    Such a module may be imported without an error, as ``numpy.py`` is, and be missed in the middle of the start.
    """
    folder = os.path.realpath(sys.path[0] or os.curdir)
    files = [path for name in _NEEDED if os.path.isfile(path := os.path.join(folder, f"{name}.py"))]
    if sys.flags.safe_path or not files:
        return None
    others = [path for path in sys.path if os.path.realpath(path or os.curdir) != folder]
    found = {path: PathFinder.find_spec(os.path.basename(path)[:-3], others) for path in files}
    # What is a package elsewhere cannot be meant by a single file.
    hiding = [path for path, spec in found.items() if spec is not None and spec.submodule_search_locations]
    if not hiding:
        return None
    return _error(hiding, f"packages of these names in {os.path.dirname(_folder_of(found[hiding[0]]))}")


_NEEDED = (
    *("click", "cloudpickle", "dask", "dask_mpi", "distributed", "locket", "mpi4py", "msgpack", "numpy", "psutil"),
    *("sortedcontainers", "tblib", "toolz", "tornado", "yaml", "zict"),
)


def _folder_of(spec: ModuleSpec | None) -> str:
    return next(iter(spec.submodule_search_locations or ()), "") if spec is not None else ""


def _error(files: Iterable[str], found: str) -> DaskhpcError:
    first, *others = files
    return DaskhpcError(
        f"Files of yours have names of modules that Python or Dask needs: {', '.join([first, *others])}.",
        found,
        f"mv {first} another_name.py, and the same name where it is imported",
    )


def hiding_files() -> list[str]:
    """Modules that came from the folder of the program or from PYTHONPATH, and would be found in another place too."""
    asked = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    own = {os.path.realpath(folder or os.curdir) for folder in (sys.path[0], *asked)}
    others = [folder for folder in sys.path if os.path.realpath(folder or os.curdir) not in own]
    hiding = []
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "." in name or name in ("__main__", "daskhpc"):
            continue
        path = os.path.dirname(file) if os.path.basename(file) == "__init__.py" else file
        if os.path.realpath(os.path.dirname(path)) in own and PathFinder.find_spec(name, others) is not None:
            hiding.append(path)
    return hiding
