"""The variables that set how many threads BLAS and OpenMP libraries start, and how many the user's own ask for."""

from __future__ import annotations

from collections.abc import Mapping

from .model import Sourced

BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def blas_variables(threads: int) -> dict[str, str]:
    """The environment that caps BLAS and OpenMP libraries at `threads`."""
    return dict.fromkeys(BLAS_VARIABLES, str(threads))


def lowered_by_user(limits: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """The caps, lowered if the user's own environment asks for fewer threads.

    A library whose own variable is not set goes by ``OMP_NUM_THREADS``, as it does by itself.

    Examples
    --------
    >>> lowered_by_user({"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "1"})
    {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    """

    def least(name: str, limit: str) -> str:
        asked = _first_number(env.get(name) or env.get("OMP_NUM_THREADS", ""))
        return str(min(asked, int(limit))) if asked else limit

    return {name: least(name, limit) for name, limit in limits.items()}


def omp_threads(env: Mapping[str, str | None]) -> Sourced[int | None]:
    """The threads that ``OMP_NUM_THREADS`` asks for; of a list for nested levels ("4,2") the first.

    Examples
    --------
    >>> omp_threads({"OMP_NUM_THREADS": "4,2"}).value, omp_threads({"OMP_NUM_THREADS": "many"}).value
    (4, None)
    """
    asked = _first_number(env.get("OMP_NUM_THREADS") or "")
    return Sourced(asked, "OMP_NUM_THREADS" if asked else "not set")


def _first_number(text: str) -> int | None:
    """The number of threads in a variable such as ``OMP_NUM_THREADS``; None if it has none."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None
