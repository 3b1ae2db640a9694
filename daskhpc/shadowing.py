"""Explains an import that failed because a file of the user has the name of a module of Python or of a package."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

from .errors import DaskhpcError


def explained(error: Exception) -> DaskhpcError | None:
    """The error that names the files, if files of the user hide modules; else None.

    Parameters
    ----------
    error : Exception
        What an import of this package raised.
    """
    files = hiding_files()
    if not files:
        return None
    return DaskhpcError(
        f"Files of yours have names of modules that Python or Dask needs: {', '.join(files)}.",
        f"{type(error).__name__}: {error}",
        f"mv {files[0]} another_name.py, and the same name where it is imported",
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
