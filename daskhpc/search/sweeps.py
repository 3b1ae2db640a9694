"""``daskhpc.sweep``: call one function with many parameters on the cluster, and give a table of the results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import joblib

from ..errors import SettingsError
from ..journal.describe import describe
from ..journal.tokens import token
from ..parallel.checkpoints import SYNC_SECONDS, SearchCheckpoint, opened
from ..parallel.measured import Measured
from ..sweep_table import SweepCall, sweep_table
from .choice import chosen_client, options_in_block

if TYPE_CHECKING:
    import os

    import pandas as pd
    from distributed import Client

Space = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def sweep(
    function: Callable[..., Any],
    space: Space,
    n: int | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    errors: str = "record",
    retry_failed: bool = False,
    scheduler: Client | None = None,
    progress: bool | str = "auto",
) -> pd.DataFrame:
    """Call a function with many parameters across the cluster.

    Parameters
    ----------
    function : callable
        Called as ``function(**parameters)``. It returns a value, or a dict of several.
    space : mapping or list of mappings
        Per parameter a list of values, or a distribution of `scipy.stats`. Without `n`, all combinations are called;
        with it, so many draws. A list of mappings gives the parameters of each call.
    n : int, optional
        How many draws.
    checkpoint : path, optional
        The folder in which results are saved: calls whose results are there are not made again.
    seed : int, optional
        Of the draws. By default it is the checkpoint's, the same each time; without one it is new each time.
    errors : {"record", "raise"}
        Whether a call that raises is a row with its error, or ends the sweep.
    retry_failed : bool
        Whether calls that failed, and are in the checkpoint, are made again.
    scheduler : distributed.Client, optional
        The cluster; the current client by default. Without any, processes of this machine do the work.
    progress : bool or {"auto", "bar", "lines", "html"}
        How it shows how far it is.

    Returns
    -------
    pandas.DataFrame
        A row per call: its parameters, ``value`` or the entries of the dict that was returned, ``seconds``, ``host``,
        and ``error``, which is None if the call returned. A parameter that is called ``seconds``, ``host`` or ``error``
        has ``param_`` before its name, and an entry that is called like another column ``result_``.

    Raises
    ------
    SettingsError
        If `space`, `n` or `errors` cannot be used, or `scheduler` is no open client.
    JournalError
        If the checkpoint cannot be used, or is of another function.
    Exception
        With ``errors="raise"`` the first one that a call raises.

    Notes
    -----
    A call that takes its worker process down is made once more, alone, and is then a row with its error.

    Examples
    --------
    >>> import daskhpc
    >>> table = daskhpc.sweep(pow, {"base": [2, 3], "exp": [0, 4]}, progress=False)
    >>> print(table[["base", "exp", "value"]].to_string(index=False))
     base  exp  value
        2    0      1
        2    4     16
        3    0      1
        3    4     81
    """
    if errors not in ("record", "raise"):
        raise SettingsError("errors= of a sweep is 'record' or 'raise'.", repr(errors), "errors='record'")
    client = chosen_client(scheduler)
    keeper = None
    if checkpoint is not None:
        parts = {"function": {"token": token(function).hex(), "text": describe(function)}}
        keeper = SearchCheckpoint(opened(checkpoint, "sweep", parts))
        seed = keeper.journal.seed if seed is None else seed
    calls = calls_of(space, n, seed)
    if keeper is not None:
        names = list(dict.fromkeys(name for parameters in calls for name in parameters))
        keeper.journal.note("plan", {"parameters": names, "total": len(calls)})
    measured = Measured(function, errors == "record")
    options = options_in_block(keeper, retry_failed)
    with joblib.parallel_config(backend="daskhpc", client=client, progress=progress, label="sweep", **options):
        outcomes = joblib.Parallel(n_jobs=-1, pre_dispatch="all")(
            joblib.delayed(measured)(parameters, index) for index, parameters in enumerate(calls)
        )
    if keeper is not None:
        keeper.journal.sync(SYNC_SECONDS)
    return sweep_table(
        [
            SweepCall(parameters, outcome.value, outcome.seconds, outcome.host, outcome.error)
            for parameters, outcome in zip(calls, outcomes, strict=True)
        ]
    )


def calls_of(space: Space, n: int | None, seed: int | None) -> list[dict[str, Any]]:
    """The parameters of each call of a sweep, in order.

    Raises
    ------
    SettingsError
        For a space that cannot be swept, or not without `n`.
    """
    if not isinstance(space, Mapping):
        return _listed(space, n)
    if not space:
        raise SettingsError("The space of a sweep is empty.", repr(space), "space={'C': [0.1, 1, 10]}")
    for name, values in space.items():
        if not isinstance(name, str) or not (_drawn(values) or _finite(values)):
            raise SettingsError(
                "A parameter of a sweep has a list of values, or a distribution of scipy.stats.",
                f"{name!r}: {describe(values)}",
                f"{{{name!r}: [{values!r}]}}"
                if isinstance(values, str | int | float)
                else "a list, such as [0.1, 1, 10]",
            )
    empty = [name for name, values in space.items() if not _drawn(values) and not len(values)]
    if empty:
        raise SettingsError("A parameter of a sweep has no values.", ", ".join(empty), "give it one, or leave it out")
    distributions = [name for name, values in space.items() if _drawn(values)]
    if n is None:
        if distributions:
            raise SettingsError(
                "A distribution is drawn from n times.", f"{', '.join(distributions)}, and no n", "n=100"
            )
        return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise SettingsError("n= of a sweep is how many draws.", repr(n), "n=100")
    return _draws(space, n, seed, bool(distributions))


def _listed(space: Any, n: int | None) -> list[dict[str, Any]]:
    if not isinstance(space, Sequence) or isinstance(space, str | bytes):
        found = describe(space)
        raise SettingsError("The space of a sweep is a mapping, or a list of them.", found, "space={'C': [0.1, 1, 10]}")
    wrong = next((each for each in space if not isinstance(each, Mapping)), None)
    if wrong is not None:
        raise SettingsError(
            "Each call of a sweep has a mapping of its parameters.", repr(wrong), "[{'C': 1}, {'C': 2}]"
        )
    if n is not None:
        raise SettingsError("n= goes with lists and distributions.", f"n={n} and a list of calls", f"space[:{n}]")
    if not space:
        raise SettingsError("The space of a sweep is empty.", repr(space), "[{'C': 1}, {'C': 2}]")
    return [dict(each) for each in space]


def _draws(space: Mapping[str, Any], n: int, seed: int | None, endless: bool) -> list[dict[str, Any]]:
    from sklearn.model_selection import ParameterSampler

    most = math.inf if endless else math.prod(len(values) for values in space.values())
    if n > most:
        raise SettingsError(
            "There are fewer combinations than draws, which are all different.",
            f"n={n}, {most} combinations",
            "leave n out, to have each of them once",
        )
    drawn = ParameterSampler(dict(space), n, random_state=seed)
    return [{name: parameters[name] for name in space} for parameters in drawn]


def _drawn(values: Any) -> bool:
    return hasattr(values, "rvs")


def _finite(values: Any) -> bool:
    return (
        hasattr(values, "__len__") and hasattr(values, "__getitem__") and not isinstance(values, str | bytes | Mapping)
    )
