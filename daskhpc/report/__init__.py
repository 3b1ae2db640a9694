"""What a journal has: how far a run is, and its results as a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["crosstab", "results"]


def results(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """The results in a journal, also while they are being computed.

    Parameters
    ----------
    folder : path
        The one that was given as ``checkpoint``.

    Returns
    -------
    pandas.DataFrame
        Of a search the table of its ``cv_results_``; while the search is unfinished, with what there is, and a column
        ``splits_done``. Of a sweep a row per call: parameters, results, ``seconds``, ``host``, ``error``. Of a program
        that ran under ``daskhpc run --checkpoint`` the tables of all searches, with a column ``place``.

    Raises
    ------
    JournalError
        If the folder is no journal, or another user's.

    Examples
    --------
    >>> import daskhpc, daskhpc.report
    >>> table = daskhpc.sweep(pow, {"base": [2, 3], "exp": [4]}, checkpoint="powers", progress=False)
    >>> daskhpc.report.results("powers")["value"].tolist()
    [16, 81]
    """
    from .tables import read

    return read(folder).frame


def crosstab(actual: Any, predicted: Any, names: Sequence[str] | None = None) -> pd.DataFrame:
    """How often each class was predicted as each class.

    Parameters
    ----------
    actual, predicted : array-like, shape (n,)
        Class labels or, with `names`, class numbers.
    names : sequence of str, optional
        The name of each class, by its number.

    Returns
    -------
    pandas.DataFrame
        A row for each actual class and a column for each predicted one, the same classes in both: those that were never
        predicted have a column of zeros, and all of `names` are there. Its sum is n.

    Raises
    ------
    ValueError
        If the lengths differ, or a number has no name.

    Examples
    --------
    >>> import daskhpc
    >>> daskhpc.report.crosstab(["sea", "sea", "forest"], ["sea", "river", "forest"])
    predicted  forest  river  sea
    actual
    forest          1      0    0
    river           0      0    0
    sea             0      1    1
    """
    import numpy as np
    import pandas as pd

    rows, columns = np.asarray(actual).ravel(), np.asarray(predicted).ravel()
    if len(rows) != len(columns):
        raise ValueError(f"{len(rows)} actual and {len(columns)} predicted classes: each sample has one of both")
    classes = np.union1d(rows, columns) if names is None else np.arange(len(names))
    if names is not None and not np.isin(np.concatenate([rows, columns]), classes).all():
        raise ValueError(f"a class number that is none of 0 to {len(names) - 1}, the numbers of `names`")
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(classes, rows), np.searchsorted(classes, columns)), 1)
    labels = list(classes if names is None else names)
    return pd.DataFrame(counts, pd.Index(labels, name="actual"), pd.Index(labels, name="predicted"))
