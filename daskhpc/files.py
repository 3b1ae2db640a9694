"""Input files: found by path or pattern, and what a file system lacks."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from errno import EAGAIN
from pathlib import Path

from .errors import InputFileError

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def found(paths: Paths, example: str) -> list[str]:
    """The files of a path, a pattern, or a list of both, those of a pattern in their natural order.

    Parameters
    ----------
    paths : str, path, or list of them
    example : str
        A pattern, for those who gave none.

    Raises
    ------
    InputFileError
        Where there are none.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    names = [name for one in given for name in _of_one(os.path.expanduser(os.fspath(one)), example)]
    if not names:
        raise InputFileError("There is no file to read.", "an empty list", f"a path, or a pattern: {example!r}")
    return names


def _of_one(path: str, example: str) -> list[str]:
    from dask.utils import natural_sort_key

    if os.path.isfile(path):
        return [os.path.abspath(path)]
    if os.path.isdir(path):
        raise InputFileError(f"{path} is a folder.", "", f"a pattern: {os.path.join(path, '*')!r}")
    names = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)), key=natural_sort_key)
    if not names:
        raise InputFileError(f"No file is called {path}.", f"in {Path.cwd()}", f"a path, or a pattern: {example!r}")
    return [os.path.abspath(name) for name in names]


def without_locks(error: OSError) -> bool:
    """Whether HDF5 failed because the file system has no locks; a lock that a writer holds is none of it."""
    return "unable to lock file" in str(error) and f"errno = {EAGAIN}," not in str(error)
