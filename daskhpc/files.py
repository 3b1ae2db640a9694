"""Input files: found by path or pattern, examined by Dask, and what a file system lacks."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from errno import EAGAIN
from pathlib import Path
from typing import Any

from .errors import InputFileError

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

FILES_PER_TASK = 50
"""Files of which one task reads the beginning or the end."""


def matching(paths: Paths, example: str) -> list[str]:
    """The files of a path, a pattern, or a list of both; those of a pattern in their natural order.

    Parameters
    ----------
    paths : str, path, or list of them
    example : str
        A pattern that the message proposes.

    Returns
    -------
    list of str
        Absolute paths.

    Raises
    ------
    InputFileError
        If there are none.

    Examples
    --------
    >>> for name in ("part10.csv", "part9.csv"):
    ...     _ = Path(name).write_text("")
    >>> [os.path.basename(path) for path in matching("*.csv", "data/*.csv")]
    ['part9.csv', 'part10.csv']
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    names = [name for path in given for name in _matching_one(os.path.expanduser(os.fspath(path)), example)]
    if not names:
        raise InputFileError("There is no file to read.", "an empty list", f"a path, or a pattern: {example!r}")
    return names


def _matching_one(path: str, example: str) -> list[str]:
    from dask.utils import natural_sort_key

    if os.path.isfile(path):
        return [os.path.abspath(path)]
    if os.path.isdir(path):
        raise InputFileError(f"{path} is a folder.", "", f"a pattern: {os.path.join(path, '*')!r}")
    found = [path] if os.path.islink(path) else sorted(glob.glob(path, recursive=True), key=natural_sort_key)
    names = list(filter(os.path.isfile, found))
    lost = next((name for name in found if os.path.islink(name) and not os.path.exists(name)), None)
    if lost is not None:  # not left out: what is read would lack its part without a word
        raise InputFileError(
            f"{lost} is a link to a file that is not there.",
            os.readlink(lost),
            "datalad get or git annex get if that brings it; or a pattern that leaves the link out",
        )
    if not names:
        raise InputFileError(f"No file is called {path}.", f"in {Path.cwd()}", f"a path, or a pattern: {example!r}")
    return [os.path.abspath(name) for name in names]


def groups_of(items: Sequence[Any], number: int = FILES_PER_TASK) -> list[Sequence[Any]]:
    """Neighbouring items in groups, one for each task.

    Examples
    --------
    >>> groups_of("abcde", 2)
    ['ab', 'cd', 'e']
    """
    return [items[i : i + number] for i in range(0, len(items), number)]


def examined(function: Callable[..., Any], groups: Sequence[Sequence[Any]], *arguments: Any) -> list[Any]:
    """What a function returns for each item, computed by Dask in a task for each group.

    Parameters
    ----------
    function : callable
        Called with an item and `arguments`.
    groups : sequence of sequences
        The items.
    *arguments
        The same for all items.

    Returns
    -------
    list
        The results in the order of the items.

    Raises
    ------
    InputFileError
        That of the first item which has one. The tasks return errors instead of raising them: Dask would raise the one
        that comes first in time, so that the same files would be refused with another message each time.
    """
    import dask

    task = dask.delayed(_examined, pure=False)
    results = [result for group in dask.compute(*(task(function, g, arguments) for g in groups)) for result in group]
    for result in results:
        if isinstance(result, InputFileError):
            raise result
    return results


def _examined(function: Callable[..., Any], group: Sequence[Any], arguments: tuple[Any, ...]) -> list[Any]:
    results: list[Any] = []
    for item in group:
        try:
            results.append(function(item, *arguments))
        except InputFileError as error:
            results.append(error)
    return results


def without_locks(error: OSError) -> bool:
    """Whether HDF5 failed because the file system has no locks; a lock that a writer holds is another failure."""
    return "unable to lock file" in str(error) and f"errno = {EAGAIN}," not in str(error)
