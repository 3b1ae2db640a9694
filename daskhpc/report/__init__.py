"""What a journal has: how far a run is, and its results as a table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["results"]


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
