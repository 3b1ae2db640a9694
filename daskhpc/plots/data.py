"""What a picture shows: the candidates of a search, or the calls of a sweep, read from their tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DaskhpcError
from ..sweep_table import LAST_COLUMNS
from ..text import one_line, shortened

MEAN = "mean_test_"
NOT_SET = "not set"


@dataclass(frozen=True, slots=True, eq=False)
class PlotData:
    """Candidates of a search, or calls of a sweep.

    Parameters
    ----------
    parameters : pandas.DataFrame
        A row per candidate, and by full name (``svc__C``) a column per parameter that varies: of floats, or of
        categories of texts. NaN if a candidate does not have the parameter.
    outcome : pandas.DataFrame
        The same rows: ``score``, NaN if it failed; ``order``, the greater the better; and if they are known ``spread``,
        the standard deviation of the score, and ``train``, the score on the training data.
    names : dict of str to str
        The name of each parameter in the picture, ``C``.
    shown : tuple of str
        The full names of the parameters to show.
    asked : bool
        Whether the user named them.
    label : str
        What the score is called.
    mark : str
        What the star marks, "best", "chosen" or "best finite"; empty for a sweep, which has no best call.
    notes : tuple of str
        What stands below the title.
    """

    parameters: Any
    outcome: Any
    names: dict[str, str]
    shown: tuple[str, ...]
    asked: bool
    label: str
    mark: str
    notes: tuple[str, ...]

    @property
    def things(self) -> str:
        """What a row is."""
        return "candidates" if self.mark else "calls"

    @property
    def best(self) -> int | None:
        """The row of the best candidate, of equals the first, as scikit-learn has it; None for a sweep."""
        return int(self.outcome["order"].argmax()) if self.mark else None

    def of_kind(self, numeric: bool) -> list[str]:
        """The shown parameters that are numbers, or those that are not."""
        return [name for name in self.shown if is_numeric(self.parameters[name]) == numeric]

    def noted(self, *notes: str) -> PlotData:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def take(self, rows: Any) -> PlotData:
        """Some of the rows, by position or by a mask."""
        parameters, outcome = (frame.iloc[rows].reset_index(drop=True) for frame in (self.parameters, self.outcome))
        return replace(self, parameters=parameters, outcome=outcome)


def read_search(results: Any, score: str | None = None, params: Sequence[str] | None = None) -> PlotData:
    """The candidates of a search; of one by successive halving, each as it was last tried.

    Parameters and errors are those of :func:`daskhpc.plots.search`.
    """
    table, refit = _mapping(results), getattr(results, "refit", None)
    scores = [key.removeprefix(MEAN) for key in table if key.startswith(MEAN)]
    if not scores or not len(table[MEAN + scores[0]]):
        raise DaskhpcError("There are no candidates in these results.", _shape(table), "a fitted search")
    name = score.removeprefix(MEAN) if score is not None else refit if refit in scores else scores[0]
    if name not in scores:
        raise DaskhpcError("The search has no such score.", repr(score), f"score= one of {', '.join(scores)}")
    outcome = pd.DataFrame({"score": _numbers(table[MEAN + name], name)})
    infinite = bool(np.isposinf(np.asarray(table[MEAN + name], dtype=float)).any())
    for column, key in (("spread", f"std_test_{name}"), ("train", f"mean_train_{name}")):
        if key in table:
            outcome[column] = np.asarray(table[key], dtype=float)
    good = outcome["order"] = outcome["score"].copy()
    rows, notes = np.arange(len(outcome)), []
    if "iter" in table and "params" in table:
        rows = pd.Series([repr(candidate) for candidate in table["params"]]).drop_duplicates(keep="last").index
        rounds = np.asarray(table["iter"], dtype=float)
        # The best had all resources: scores on little data are not compared with scores on all of it.
        outcome.loc[rounds < rounds.max(), "order"] -= good.max() - good.min() + 1
        notes = ["each as last tried, with few resources or all"] if (rounds[rows] < rounds.max()).any() else []
    # A function as `refit` may choose another candidate than the one with the best mean.
    chosen, mark = getattr(results, "best_index_", getattr(results, "attrs", {}).get("best_index")), "best"
    if chosen is not None and (score is None or name == refit) and outcome["score"].notna()[chosen]:
        mark = "best" if outcome["order"][chosen] == outcome["order"].max() else "chosen"
        outcome.loc[chosen, "order"] = math.inf
    elif infinite or (chosen is not None and (score is None or name == refit)):  # the search's best cannot be drawn
        mark = "best finite"
    values = {key.removeprefix("param_"): _values(table[key]) for key in table if key.startswith("param_")}
    scoring = getattr(results, "scoring", None)
    label = f"mean test {scoring if name == 'score' and isinstance(scoring, str) else name}"
    return _checked(
        PlotData(_frame(values), outcome, short_names(values), (), False, label, mark, ()), rows, notes, params
    )


def read_sweep(table: Any, value: str | None = None, params: Sequence[str] | None = None) -> PlotData:
    """The calls of a sweep; one failed if its value is not finite, or its error not empty.

    Parameters and errors are those of :func:`daskhpc.plots.sweep`.
    """
    columns = {str(name): _values(column) for name, column in _mapping(table).items()}
    names = [name for name in columns if name not in LAST_COLUMNS]
    if not names or not len(columns[names[0]]):
        raise DaskhpcError("There are no calls in this table.", _shape(columns), "the table that daskhpc.sweep returns")
    value = names[-1] if value is None else value
    if value not in columns:
        raise DaskhpcError("The table has no such column.", repr(value), f"value= one of {', '.join(names)}")
    wanted = params if params is not None else names[: names.index(value)] if value in names else names
    if absent := [name for name in wanted if name not in columns]:
        raise DaskhpcError("The table has no such column.", repr(absent[0]), f"params= some of {', '.join(names)}")
    score = _numbers(columns[value], value)
    if "error" in columns:
        score[[bool(error) and error == error for error in columns["error"]]] = math.nan
    values = {name: columns[name] for name in wanted}
    data = PlotData(_frame(values), pd.DataFrame({"score": score}), short_names(values), (), False, value, "", ())
    return _checked(data, np.arange(len(score)), [], params)


def merged(data: PlotData, shown: Sequence[str]) -> PlotData:
    """One row for each combination of the shown parameters' values.

    Of a search it is the best candidate of each, of a sweep the mean of its calls. Rows without a value of a shown
    parameter are left out. The notes say what was done.
    """
    shown, names = list(shown), [data.names[name] for name in shown]
    whole = data.parameters[shown].notna().all(axis=1).to_numpy()
    rows = data.take(whole)
    if not rows.outcome["score"].notna().any():
        raise DaskhpcError(
            "There is nothing to draw over these parameters.",
            f"no {data.things[:-1]} has {' and '.join(names)} and a score",
            "params=[...] with other parameters",
        )
    if not whole.all():
        lacking = " or ".join(data.names[name] for name in shown if data.parameters[name].isna().any())
        rows = rows.noted(f"{(~whole).sum()} without {lacking} left out")
    keys, outcome = rows.parameters[shown], rows.outcome.copy()
    if not keys.duplicated().any():
        return rows
    others = ", ".join(data.names[name] for name in data.parameters if name not in shown)
    rows = rows.noted(f"{'best' if data.mark else 'mean'} over {shortened(others, 60) or f'repeated {data.things}'}")
    if data.mark:
        best_first = outcome["order"].sort_values(ascending=False, kind="stable", na_position="last").index
        return rows.take(keys.loc[best_first].drop_duplicates().index.sort_values())
    groups = outcome["score"].groupby([keys[name] for name in shown], observed=True)
    outcome["spread"], outcome["score"] = groups.transform("std", ddof=0), groups.transform("mean")
    return replace(rows, outcome=outcome).take(~keys.duplicated().to_numpy())


def is_numeric(column: Any) -> bool:
    """Whether a parameter's values are numbers, and not categories of texts."""
    return not isinstance(column.dtype, pd.CategoricalDtype)


def numbers_of(column: Any) -> Any:
    """A parameter's values as floats; of categories their places in order."""
    return (column if is_numeric(column) else column.cat.codes).to_numpy(dtype=float)


def distinct(column: Any) -> Any:
    """A parameter's different values as floats in order, without NaN."""
    return np.unique(column.dropna()) if is_numeric(column) else np.unique(column.cat.codes).astype(float)


def text_of(column: Any, number: float) -> str:
    """One of a parameter's values for people."""
    return number_text(number) if is_numeric(column) else shortened(column.cat.categories[int(number)], 24)


def number_text(number: float) -> str:
    """A number with three digits, or the whole part of a greater one."""
    whole = (float(number).is_integer() or abs(number) >= 1e3) and abs(number) < 1e5
    return f"{number:.0f}" if whole else f"{number:.3g}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without the steps in front of it, ``svc__C`` as ``C``, if no other name ends in the same way."""
    parts = {name: name.split("__") for name in names}
    short = {}
    for name, steps in parts.items():
        ends = [steps[-length:] for length in range(1, len(steps)) if steps[-length]]
        unique = [end for end in ends if sum(other[-len(end) :] == end for other in parts.values()) == 1]
        short[name] = "__".join(unique[0] if unique else steps)
    return short


def as_column(values: Sequence[Any]) -> Any:
    """A parameter's values as floats if all are numbers, otherwise as categories: numbers, texts, "not set"."""
    missing = [isinstance(value, Real) and math.isnan(value) for value in values]
    numbers = [v for v in values if isinstance(v, Real) and not isinstance(v, bool) and not math.isnan(v)]
    if numbers and len(numbers) + sum(missing) == len(values) and all(map(math.isfinite, numbers)):
        return pd.Series([float(value) for value in values], dtype=float)
    names = [getattr(value, "__name__", value) if callable(value) else value for value in values]
    texts = [NOT_SET if lacks else one_line(str(name)) for name, lacks in zip(names, missing, strict=True)]
    sizes = {one_line(str(number)): float(number) for number in numbers}
    order = sorted(dict.fromkeys(texts), key=lambda text: (text == NOT_SET, sizes.get(text, math.inf)))
    return pd.Series(pd.Categorical(texts, order))


def _frame(values: Mapping[str, Sequence[Any]]) -> Any:
    return pd.DataFrame({name: as_column(column) for name, column in values.items()})


def _mapping(results: Any) -> dict[str, Any]:
    table = getattr(results, "cv_results_", results)
    if isinstance(table, pd.DataFrame):
        return {str(name): table[name].to_numpy() for name in table.columns}
    if isinstance(table, Mapping):
        return dict(table)
    raise DaskhpcError(
        "There are no results to draw in this.",
        f"{type(results).__name__}" + (", not fitted" if hasattr(results, "fit") else ""),
        "a fitted search, its cv_results_, a pandas.DataFrame of it, or plots.sweep(table) for the table of a sweep",
    )


def _values(column: Any) -> list[Any]:
    """The values of a column; NaN if scikit-learn masked one, because the candidate does not have the parameter."""
    masked: Any = column
    return list(masked.astype(object).filled(math.nan)) if isinstance(column, np.ma.MaskedArray) else list(column)


def _numbers(values: Sequence[Any], name: str) -> Any:
    try:
        score = np.array([math.nan if value is None else float(value) for value in values])
    except (TypeError, ValueError):
        types = ", ".join(sorted({type(value).__name__ for value in values}))
        raise DaskhpcError(
            "Only numbers can be drawn.", f"column {name!r} with {types}", "value= a numeric result"
        ) from None
    return np.where(np.isfinite(score), score, math.nan)


def _shape(table: Mapping[str, Any]) -> str:
    return f"{len(table)} columns ({shortened(', '.join(map(str, table)), 80)}), no rows" if table else "nothing"


def _checked(data: PlotData, rows: Any, notes: Sequence[str], params: Sequence[str] | None) -> PlotData:
    """The rows, the parameters that vary, those to show, and notes on what failed and on what does not vary."""
    data = data.take(rows)
    total, failed = len(data.outcome), int(data.outcome["score"].isna().sum())
    if failed == total:
        raise DaskhpcError(
            f"None of the {data.things} has a number that can be drawn.",
            f"{failed} of {total} failed, or have no finite {data.label}",
            "error_score='raise' to see the first error, or a scorer that gives finite numbers"
            if data.mark
            else "the column 'error' of the table, or a result that is a number",
        )
    varying = [name for name in data.parameters if data.parameters[name].nunique(dropna=False) > 1]
    fixed = [
        f"{data.names[name]} = {text_of(column, distinct(column)[0])}"
        for name, column in data.parameters.items()
        if name not in varying and column.notna().all()
    ]
    if not varying:
        raise DaskhpcError(
            "There is nothing to draw: no parameter varies.",
            f"{total} {data.things}, {', '.join(fixed) or 'no parameters'}",
            "a search over two or more values of a parameter",
        )
    asked = tuple(dict.fromkeys(_asked(data, varying, name) for name in params or ()))
    counts = [f"{total} {data.things}", *([f"{failed} of {total} failed"] if failed else [])]
    same = [shortened(f"fixed: {', '.join(fixed)}", 110)] if fixed else []
    return replace(
        data,
        parameters=data.parameters[varying],
        shown=asked or tuple(varying),
        asked=bool(asked),
        notes=(*counts, *notes, *same),
    )


def _asked(data: PlotData, varying: Sequence[str], name: str) -> str:
    # The column itself first: a sweep's parameter called "host" has the column "param_host".
    names = (name, name.removeprefix("param_"))
    known = [full for asked in names for full in data.parameters if asked in (full, data.names[full])]
    for full in known:
        if full in varying:
            return str(full)
    raise DaskhpcError(
        "This parameter does not vary." if known else "There is no such parameter.",
        repr(name),
        f"params= some of {', '.join(varying)}",
    )
