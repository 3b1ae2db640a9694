"""From ``cv_results_``, a fitted search or a sweep's table to trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DaskhpcError
from .columns import Column, Floats, columns_of, short_text
from .trials import Trials

MEAN = "mean_test_"
BOOKKEEPING = ("seconds", "host", "error")
MOST_FIXED = 110


def read_search(results: Any, score: str | None = None, params: Sequence[str] | None = None) -> Trials:
    """The candidates of a search.

    Parameters
    ----------
    results : mapping, pandas.DataFrame or fitted search
        scikit-learn's ``cv_results_``, a table of it, or the search that has it.
    score : str, optional
        ``accuracy`` for ``mean_test_accuracy``. By default the score that the search refits on, otherwise the first.
    params : sequence of str, optional
        The parameters to show, with or without the steps in front of them.

    Returns
    -------
    Trials
        Of a search by successive halving each candidate as it was last tried.

    Raises
    ------
    DaskhpcError
        Where there are no results in it, no such score or parameter, or every candidate failed.
    """
    table = _mapping(results)
    name = _score_name(table, results, score)
    rows = _last_rows(table)
    parameters: dict[str, Sequence[Any]] = {
        key.removeprefix("param_"): _values(table[key]) for key in table if key.startswith("param_")
    }
    columns = tuple(column.take(rows) for column in columns_of(parameters))

    def numbers(key: str) -> Floats | None:
        return np.asarray(table[key], dtype=float)[rows] if key in table else None

    scoring = getattr(results, "scoring", None)
    called = scoring if name == "score" and isinstance(scoring, str) else name
    tested = numbers(f"{MEAN}{name}")
    assert tested is not None
    rounds = numbers("iter")
    trials = Trials(
        columns,
        np.where(np.isfinite(tested), tested, np.nan),
        f"mean test {called}",
        numbers(f"std_test_{name}"),
        numbers(f"mean_train_{name}"),
        numbers(f"std_train_{name}"),
        None if rounds is None else rounds == rounds.max(),
    )
    return _finished(trials, params)


def read_sweep(table: Any, value: str | None = None, params: Sequence[str] | None = None) -> Trials:
    """The calls of a sweep.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per call: columns of parameters, then of results, and seconds, host, error.
    value : str, optional
        The result to show; by default the last column but those three.
    params : sequence of str, optional
        The parameters to show; by default all columns on the left of `value`.

    Returns
    -------
    Trials
        A call failed where its value is not finite or its error is not empty.

    Raises
    ------
    DaskhpcError
        Where the table is empty, has no such columns, or every call failed.
    """
    columns = {str(name): _values(column) for name, column in _mapping(table).items()}
    names = [name for name in columns if name not in BOOKKEEPING]
    if not names or not len(columns[names[0]]):
        raise DaskhpcError("There are no calls in this table.", _shape(columns), "the table that daskhpc.sweep returns")
    value = names[-1] if value is None else value
    if value not in columns:
        raise DaskhpcError("The table has no such column.", repr(value), f"value= one of {', '.join(names)}")
    wanted = params if params is not None else names[: names.index(value)] if value in names else names
    if absent := [name for name in wanted if name not in columns]:
        raise DaskhpcError("The table has no such column.", repr(absent[0]), f"params= some of {', '.join(names)}")
    given: dict[str, Sequence[Any]] = {name: columns[name] for name in wanted}
    score = _numbers(columns[value], value)
    if "error" in columns:
        failed = [bool(error) and error == error for error in columns["error"]]
        score = np.where(failed, np.nan, score)
    shown = Trials(columns_of(given), score, value, directed=False, things="calls")
    return _finished(shown, params)


def _mapping(results: Any) -> dict[str, Any]:
    held = getattr(results, "cv_results_", results)
    if hasattr(held, "columns") and hasattr(held, "to_numpy"):
        return {str(name): held[name].to_numpy() for name in held.columns}
    if isinstance(held, Mapping):
        return dict(held)
    raise DaskhpcError(
        "There are no results to draw in this.",
        f"{type(results).__name__}" + (", not fitted" if hasattr(results, "fit") else ""),
        "a fitted search, its cv_results_, a pandas.DataFrame of it, or plots.sweep(table) for the table of a sweep",
    )


def _score_name(table: Mapping[str, Any], results: Any, score: str | None) -> str:
    names = [key.removeprefix(MEAN) for key in table if key.startswith(MEAN)]
    if not names or not len(table[MEAN + names[0]]):
        raise DaskhpcError("There are no candidates in these results.", _shape(table), "a fitted search")
    if score is None:
        refit = getattr(results, "refit", None)
        return refit if isinstance(refit, str) and refit in names else names[0]
    name = score.removeprefix(MEAN)
    if name not in names:
        raise DaskhpcError("The search has no such score.", repr(score), f"score= one of {', '.join(names)}")
    return name


def _shape(table: Mapping[str, Any]) -> str:
    return f"{len(table)} columns ({short_text(', '.join(map(str, table)), 80)}), no rows" if table else "nothing"


def _values(column: Any) -> list[Any]:
    """The values of a parameter; NaN where scikit-learn masked them, since the candidate does not have it."""
    masks = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else np.zeros(len(column), bool)
    held = np.ma.getdata(column) if isinstance(column, np.ma.MaskedArray) else column
    return [math.nan if masked else held[place] for place, masked in enumerate(masks)]


def _last_rows(table: Mapping[str, Any]) -> Any:
    """The rows of each candidate's last iteration; all rows where there are no iterations."""
    count = len(next(values for key, values in table.items() if key.startswith(MEAN)))
    if "iter" not in table or "params" not in table:
        return np.arange(count)
    last = {repr(candidate): row for row, candidate in enumerate(table["params"])}
    return np.array(sorted(last.values()))


def _numbers(values: Sequence[Any], name: str) -> Floats:
    try:
        score = np.array([math.nan if value is None else float(value) for value in values])
    except (TypeError, ValueError):
        kinds = sorted({type(value).__name__ for value in values})
        raise DaskhpcError(
            "Only numbers can be drawn.", f"column {name!r} with {', '.join(kinds)}", "value= a numeric result"
        ) from None
    return np.where(np.isfinite(score), score, np.nan)


def _finished(trials: Trials, params: Sequence[str] | None) -> Trials:
    """With what varies and is asked for, and with notes on what failed and what does not vary."""
    total, failed = len(trials.score), int(np.isnan(trials.score).sum())
    if failed == total:
        raise DaskhpcError(
            f"Every one of the {trials.things} failed.",
            f"{failed} of {total} without a score",
            "error_score='raise' to see the first error" if trials.directed else "the column 'error' of the table",
        )
    varying = tuple(column for column in trials.columns if column.varies)
    fixed = [f"{c.name} = {c.text(c.distinct[0])}" for c in trials.columns if not c.varies and len(c.distinct)]
    if not varying:
        raise DaskhpcError(
            "There is nothing to draw: no parameter varies.",
            f"{total} {trials.things}, {', '.join(fixed) or 'no parameters'}",
            "a search over two or more values of a parameter",
        )
    notes = [f"{total} {trials.things}"] + ([f"{failed} of {total} failed"] if failed else [])
    if trials.final is not None and not trials.final.all():
        notes.append("each as last tried, with few resources or all")
    if fixed:
        notes.append(short_text(f"fixed: {', '.join(fixed)}", MOST_FIXED))
    asked = tuple(dict.fromkeys(_asked(varying, trials.columns, name) for name in params or ()))
    return replace(trials, columns=varying, notes=tuple(notes), asked=asked)


def _asked(varying: Sequence[Column], columns: Sequence[Column], name: str) -> str:
    for column in varying:
        if name.removeprefix("param_") in (column.full, column.name):
            return column.full
    known = any(name.removeprefix("param_") in (column.full, column.name) for column in columns)
    raise DaskhpcError(
        "This parameter does not vary." if known else "There is no such parameter.",
        repr(name),
        f"params= some of {', '.join(column.full for column in varying)}",
    )
