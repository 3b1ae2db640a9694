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
        That was given as ``checkpoint``.

    Returns
    -------
    pandas.DataFrame
        Of a search the table of its ``cv_results_``; while the search is unfinished, with what there is, and a column
        ``splits_done``. Of a sweep a row per call: parameters, results, ``seconds``, ``host``, ``error``. Of a program
        that ran under ``daskhpc run --checkpoint`` the tables of all searches, with a column ``place``.

    Raises
    ------
    JournalError
        When the folder is no journal, or another user's.
    """
    from .tables import read

    return read(folder).frame
