"""The results of a journal as a table: one row per candidate of a search, or per call of a sweep."""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DaskhpcError, one_line
from ..journal.codec import TAG
from ..journal.reader import JournalReader, Note, Record
from ..sweep_table import LAST_COLUMNS, SweepCall, parameter_columns, sweep_table
from ..text import shortened
from .candidates import CandidateFit, search_table
from .searches import Searches

_REPR_MOST = 600


@dataclass(frozen=True, slots=True)
class Results:
    """The tables of a journal, and what is not in them.

    Attributes
    ----------
    kind : str
        "search", "sweep" or "calls".
    tables : dict of str to pandas.DataFrame
        By place in the program, which is empty but for "calls".
    calls : dict of str to pandas.DataFrame
        Of "calls": other calls than those of searches, by place, in the order in which they ended.
    parameters : tuple of str
        Of a sweep the columns of its parameters, in its order.
    left_out : int
        Fits that count no more, because the search was run again with other settings.
    """

    kind: str
    tables: dict[str, pd.DataFrame]
    calls: dict[str, pd.DataFrame] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def others(self) -> dict[str, int]:
        """How many calls that are no fits of a search each place made."""
        return {place: len(frame) for place, frame in self.calls.items()}

    @property
    def frame(self) -> pd.DataFrame:
        """All in one table; of "calls" those of searches, or else all calls, with a column ``place``."""
        if self.kind != "calls":
            return self.tables[""]
        placed = [table.assign(place=place) for place, table in (self.tables or self.calls).items()]
        frame = pd.concat(placed, ignore_index=True) if placed else pd.DataFrame({"place": []})
        return frame[["place", *(name for name in frame if name != "place")]]


def read(folder: str | os.PathLike[str]) -> Results:
    """The results in a journal.

    Raises
    ------
    JournalError
        When it is none, or another user's.
    """
    reader = JournalReader(folder)
    kind = reader.manifest.kind
    searches = Searches(kind, reader.notes("call"))
    timed = list(reader.each(_timed(_row if kind == "sweep" else functools.partial(_rows, searches))))
    if reader.unreadable:
        todo = "daskhpc journal check says which"
        warnings.warn(f"{reader.unreadable} results in {folder} cannot be read back; {todo}", stacklevel=3)
    rows = [value for _, value in timed]
    if kind == "sweep":
        plans = reader.notes("plan")
        parameters = tuple(plans[-1].data.get("parameters", ())) if plans else ()
        columns = tuple(parameter_columns(parameters).values())
        return Results(kind, {"": _sweep_table(rows, parameters)}, parameters=columns)
    counting = [row for some in rows for row in some]
    left_out = sum(not some for some in rows)
    if kind == "calls":
        return _of_program(counting, searches, left_out)
    saved = max(reader.notes("results"), key=lambda note: note.time, default=None)
    if saved is not None and saved.time >= max((searches.began, *(time for time, _ in timed))):
        return Results(kind, {"": _noted(saved)})
    table = search_table([fit for fit in counting if isinstance(fit, CandidateFit)])
    return Results(kind, {"": table}, left_out=left_out)


def _timed(read: Callable[[Record], Any]) -> Callable[[Record], tuple[float, Any]]:
    return lambda record: (float(record.fields["time"]), read(record))


def _noted(note: Note) -> pd.DataFrame:
    """The table that the search itself saved at its end; its ``attrs`` say which candidate it chose, for pictures."""
    data = note.decoded()
    table = pd.DataFrame(data["cv_results"])
    if data["best_index"] is not None:
        table.attrs["best_index"] = int(data["best_index"])
    return table


@dataclass(frozen=True, slots=True)
class _PlainCall:
    """A call that is no fit of a search, and its place in the program."""

    place: str
    time: float
    value: Any
    seconds: float
    host: str


def _call(record: Record, place: str) -> _PlainCall:
    """A number or a text as it is, anything else as a text: a table shows it, and it may need modules to be read."""
    try:
        value = record.decoded("value")
        shown = value if isinstance(value, bool | int | float | str) else shortened(repr(value), _REPR_MOST)
    except Exception as error:
        shown = f"(cannot be read here: {one_line(error)})"
    seconds, host, time = map(record.decoded, ("seconds", "host", "time"))
    return _PlainCall(place, time, shown, seconds, host)


def _rows(searches: Searches, record: Record) -> list[Any]:
    """A record as a row of each search that it belongs to; none if it counts no more."""
    return [_fit(title, record) for title in searches.of(record.key, record.about)]


def _fit(title: str, record: Record) -> CandidateFit | _PlainCall:
    about = record.decoded("about")
    value = record.decoded("value") if "params" in about and "split" in about else None
    if value is None or not (isinstance(value, dict) or not record.ok):
        return _call(record, title)
    outcome = value if isinstance(value, dict) else {}
    return CandidateFit(
        search=title,
        params=about["params"],
        identity=identity(record.about.get("params"), record.decode),
        number=int(about.get("candidate", 0)),
        split=int(about["split"]),
        splits=int(about.get("splits", 0)),
        candidates=int(about.get("candidates", 0)),
        test=_scores(outcome.get("test_scores")),
        train=_scores(outcome.get("train_scores")),
        fit_time=float(outcome.get("fit_time", np.nan)),
        score_time=float(outcome.get("score_time", np.nan)),
    )


def _scores(scores: Any) -> dict[str, float]:
    """By name; ``score`` if there is only one."""
    if scores is None:
        return {}
    if isinstance(scores, dict):
        return {str(name): float(score) for name, score in scores.items()}
    return {"score": float(scores)}


def identity(data: Any, decode: Callable[[Any], Any]) -> str:
    """A text that two values in the journal's form have in common if they are the same.

    Notes
    -----
    The journal's form is exact in value and type. Only pickles of the same object may differ, from process to process:
    an object goes by its type and its repr, if that is enough.
    """
    return json.dumps(_without_pickles(data, decode), sort_keys=True)


def _without_pickles(data: Any, decode: Callable[[Any], Any]) -> Any:
    if isinstance(data, list):
        return [_without_pickles(item, decode) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get(TAG) != "pickle":
        return {name: _without_pickles(item, decode) for name, item in data.items()}
    value = decode(data)
    text = repr(value)
    if " at 0x" in text or "..." in text or len(text) > _REPR_MOST:
        return data
    return f"{type(value).__module__}.{type(value).__qualname__} {text}"


def _of_program(rows: list[Any], searches: Searches, left_out: int) -> Results:
    fits: dict[str, list[CandidateFit]] = {}
    for fit in rows:
        if isinstance(fit, CandidateFit):
            fits.setdefault(fit.search, []).append(fit)
    calls: dict[str, list[_PlainCall]] = {}
    for call in sorted((row for row in rows if isinstance(row, _PlainCall)), key=attrgetter("time")):
        calls.setdefault(call.place, []).append(call)
    shown = ("value", "seconds", "host")
    frames = {
        place: pd.DataFrame({name: [getattr(call, name) for call in own] for name in shown})
        for place, own in calls.items()
    }
    tables = {title: search_table(own) for title, own in sorted(fits.items(), key=lambda of: searches.rank(of[0]))}
    return Results("calls", tables, frames, left_out=left_out)


def _row(record: Record) -> tuple[int, SweepCall]:
    """A call of a sweep, and its place in the table."""
    about = record.decoded("about")
    value = record.decoded("value") if record.ok else None
    seconds, host, error = map(record.decoded, LAST_COLUMNS)
    return int(about.get("index", 0)), SweepCall(about.get("params", {}), value, seconds, host, error)


def _sweep_table(rows: list[tuple[int, SweepCall]], parameters: Iterable[str]) -> pd.DataFrame:
    """The calls in the order of the sweep, whichever ended first."""
    return sweep_table([call for _, call in sorted(rows, key=itemgetter(0))], parameters)


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns hold numbers, or texts if there is anything else, as files can have it."""
    columns = {}
    for name in frame.columns:
        column = frame[name]
        mixed = column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _UNIFORM
        columns[name] = column.map(str, na_action="ignore") if mixed else column
    return pd.DataFrame(columns)


_UNIFORM = ("string", "boolean", "integer", "floating", "mixed-integer-float", "empty", "datetime", "date")


def score_column(frame: pd.DataFrame, score: str | None) -> str:
    """The column of a score: ``mean_test_accuracy`` for ``accuracy``, of a sweep ``accuracy``; by default the first.

    Raises
    ------
    DaskhpcError
        When there is none of that name.
    """
    means = [name for name in frame.columns if name.startswith("mean_test_")]
    names = [score, f"mean_test_{score}"] if score is not None else means[:1]
    for name in names:
        if name in frame.columns:
            return str(name)
    offered = [name.removeprefix("mean_test_") for name in means] or list(map(str, frame.columns))
    raise DaskhpcError("There is no such score.", str(score), f"--score {' | '.join(offered)}")


def scored_tables(tables: Mapping[str, pd.DataFrame], score: str | None) -> dict[str, tuple[pd.DataFrame, str]]:
    """The tables that have a score, by place, each with the score's column (`score_column`).

    Raises
    ------
    DaskhpcError
        If none of them has it.
    """
    found, refused = dict[str, tuple[pd.DataFrame, str]](), None
    for place, frame in tables.items():
        try:
            found[place] = frame, score_column(frame, score)
        except DaskhpcError as error:
            refused = refused or error
    if refused is not None and not found:
        raise refused
    return found
