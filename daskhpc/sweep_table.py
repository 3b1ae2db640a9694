"""The table of a sweep: one row per call, made in the same way by ``sweep()`` and from its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

LAST_COLUMNS = ("seconds", "host", "error")


class SweepCall(NamedTuple):
    """One call of a sweep: its parameters, what it returned, and its error, which is None if it returned."""

    parameters: Mapping[str, Any]
    value: Any
    seconds: float
    host: str
    error: str | None


def parameter_columns(names: Iterable[str]) -> dict[str, str]:
    """The column of each parameter: its own name, with ``param_`` before it if it is that of one of the last columns.

    Examples
    --------
    >>> parameter_columns(["x", "host"])
    {'x': 'x', 'host': 'param_host'}
    """
    return _columns(names, "param_", set(LAST_COLUMNS))


def sweep_table(calls: Sequence[SweepCall], names: Iterable[str] = ()) -> pd.DataFrame:
    """Make the table of a sweep.

    Parameters
    ----------
    calls : sequence of SweepCall
        In the order of the rows.
    names : iterable of str
        Parameters whose columns come first, in this order; others follow in the order of the calls.

    Returns
    -------
    pandas.DataFrame
        A row per call, and columns of parameters, of results, and ``seconds``, ``host``, ``error``. A mapping that a
        call returned has a column per entry, any other result the column ``value``. No column overwrites another one: a
        parameter that is called like one of the last three columns gets ``param_`` before its name, and a result
        that is called like any of these columns ``result_``. What a call does not have is NaN.

    Examples
    --------
    >>> table = sweep_table([SweepCall({"host": "a"}, 2.0, 0.1, "node1", None)])
    >>> table.to_dict("records")
    [{'param_host': 'a', 'value': 2.0, 'seconds': 0.1, 'host': 'node1', 'error': None}]
    """
    import pandas as pd

    parameters = parameter_columns([*names, *(name for call in calls for name in call.parameters)])
    outcomes = [_entries(call) for call in calls]
    # Calls that all failed have a column "value" too, so that a sweep's columns do not depend on which calls succeeded.
    found = [name for outcome in outcomes for name in outcome] or ["value"]
    results = _columns(found, "result_", {*parameters.values(), *parameters, *LAST_COLUMNS})
    rows = [
        {parameters[name]: value for name, value in call.parameters.items()}
        | {results[name]: value for name, value in outcome.items()}
        for call, outcome in zip(calls, outcomes, strict=True)
    ]
    table = pd.DataFrame(rows, columns=[*parameters.values(), *results.values()])
    for name in LAST_COLUMNS:
        values = [getattr(call, name) for call in calls]
        # As objects, because a column of texts would turn the None of a call without an error into NaN.
        table[name] = pd.Series(values, dtype=object) if name == "error" else values
    return table


def _entries(call: SweepCall) -> dict[str, Any]:
    """The results of a call by name; of a failed one nothing."""
    if call.error is not None:
        return {}
    if isinstance(call.value, Mapping):
        return {str(name): value for name, value in call.value.items()}
    return {"value": call.value}


def _columns(names: Iterable[str], prefix: str, taken: set[str]) -> dict[str, str]:
    """A column for each name: with the prefix before it, as often as it takes to differ from all others."""
    columns: dict[str, str] = {}
    distinct = dict.fromkeys(names)
    for name in distinct:
        column = name
        while column in taken or (column != name and column in distinct):
            column = prefix + column
        columns[name] = column
        taken = {*taken, column}
    return columns
