"""Time series resampled as pandas does, whatever the partitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from ..errors import SettingsError

FINAL: dict[str, tuple[str, ...]] = {
    "count": ("count",),
    "size": ("size",),
    "sum": ("sum",),
    "mean": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "first": ("first",),
    "last": ("last",),
    "std": ("count", "sum", "squares"),
    "var": ("count", "sum", "squares"),
}
"""What is kept of each partition for each way to summarize."""

TOGETHER = 8
"""Partitions whose summaries one task puts together."""


def resample(frame: Any, rule: str, how: str = "mean", time: str | None = None) -> Any:
    """A time series summarized over equal times: what ``frame.compute().resample(rule).how()`` gives.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame or Series
        Rows in any order, within partitions and over them.
    rule : str
        As in pandas: ``"h"``, ``"15min"``, ``"D"``, ``"ME"``.
    how : str
        ``mean``, ``sum``, ``min``, ``max``, ``count``, ``size``, ``first``, ``last``, ``std`` or ``var``.
    time : str, optional
        The column of times; by default the index.

    Returns
    -------
    dask.dataframe.DataFrame or Series
        One partition with a row for each time, those without data included.

    Raises
    ------
    SettingsError
        Where there is no such way to summarize, or a column is not of times or numbers.

    Notes
    -----
    Each partition is summarized where it is, and the summaries are put together as a tree. Rules that depend on
    where the data begin (``"7h"``, ``"2D"``, times with a zone) need the first and the last time before: unless
    divisions say them, the times are read once for that. Variances are put together as in
    Chan, Golub, LeVeque, *Algorithms for computing the sample variance* (1983).
    """
    if how not in FINAL:
        raise SettingsError(f"resample cannot summarize by {how!r}.", "", f"how= one of {', '.join(FINAL)}")
    series = frame.ndim == 1
    table = frame.to_frame(name="value" if frame.name is None else frame.name) if series else frame
    meta = _meta(table, rule, how, time)
    result = _frame(_graph(table, rule, how, time, meta), meta)
    if series and how != "size":
        return result[meta.columns[0]].rename(frame.name)
    return result


def timed(frame: Any, time: str | None) -> Any:
    """The rows with a time, indexed by it, in its order."""
    frame = frame if time is None else frame.set_index(time)
    return frame[frame.index.notna()].sort_index(kind="stable")


def _meta(table: Any, rule: str, how: str, time: str | None) -> Any:
    """An empty result."""
    sample = table._meta_nonempty
    try:
        some = timed(sample, time)
        if not isinstance(some.index, pandas.DatetimeIndex):
            raise TypeError(f"the index is {some.index.dtype}")
        return getattr(some.resample(rule), how)().iloc[:0]
    except (TypeError, ValueError, KeyError) as error:
        what = "columns" if time is None else f"columns, {time!r} the times"
        raise SettingsError(
            f"This frame cannot be resampled by {rule!r} to its {how}.",
            f"{error}; {what}: {', '.join(f'{name} {dtype}' for name, dtype in sample.dtypes.items())}",
            "time='a column of times', frame[[columns of numbers]], or how='count'",
        ) from None


def _graph(table: Any, rule: str, how: str, time: str | None, meta: Any) -> Delayed:
    """The tasks, made by hand: of thousands of Delayed objects each would copy the graph of all others."""
    parts = table.to_delayed()
    name = f"resample-{tokenize(table, rule, how, time)}"
    options: dict[str, Any] = {"rule": rule, "how": how, "ends": None, "time": time}
    needs: list[Any] = parts[:1]
    tasks: dict[Any, Any] = {}
    ends: list[Any] = []
    if not _aligned(rule, meta.index):
        if time is None and table.known_divisions:
            options["ends"] = table.divisions[0], table.divisions[-1]
        else:
            times = (table.index.to_series() if time is None else table[time]).to_delayed()
            needs = [*needs, *times[:1]]
            tasks |= {(name, "extremes", i): (_extremes, part.key) for i, part in enumerate(times)}
            tasks[name, "ends"] = _extremes_of_all, list(tasks)
            ends = [(name, "ends")]
    here = [(name, "summary", i) for i in range(len(parts))]
    tasks |= {key: (partial(_summary, **options), part.key, *ends) for key, part in zip(here, parts, strict=True)}
    level = 0
    while len(here) > 1:
        groups = [here[i : i + TOGETHER] for i in range(0, len(here), TOGETHER)]
        here = [(name, f"level {level}", i) for i in range(len(groups))]
        tasks |= {key: (_together, group) for key, group in zip(here, groups, strict=True)}
        level += 1
    del options["time"]
    tasks[name] = partial(_finished, meta=meta, **options), here[0], *ends
    return Delayed(name, HighLevelGraph.from_collections(name, tasks, dependencies=needs))


def _frame(result: Delayed, meta: Any) -> Any:
    import dask.dataframe

    return dask.dataframe.from_delayed([result], meta=meta, verify_meta=False)


def _extremes(times: pandas.Series) -> tuple[Any, Any]:
    return times.min(), times.max()


def _extremes_of_all(some: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    lows, highs = (pandas.Series([pair[i] for pair in some]).dropna() for i in (0, 1))
    return (lows.min(), highs.max()) if len(lows) else (None, None)


def _aligned(rule: str, times: pandas.DatetimeIndex) -> bool:
    """Whether the times that rows are put together over are the same wherever the data begin."""
    offset = pandas.tseries.frequencies.to_offset(rule)
    if times.tz is not None:
        return False
    if isinstance(offset, pandas.tseries.offsets.Tick):
        return bool(pandas.Timedelta("1D") % pandas.Timedelta(offset) == pandas.Timedelta(0))
    return isinstance(offset, pandas.tseries.offsets.Day) and offset.n == 1


def _bins(times: pandas.DatetimeIndex, ends: tuple[Any, Any], rule: str) -> tuple[pandas.DatetimeIndex, Any]:
    """All times over which rows are put together between the ends, and for each of sorted rows which one is its own."""
    between = pandas.DatetimeIndex(ends, name=times.name).as_unit(times.unit)
    every = pandas.Series(0, index=between).resample(rule).count().index
    rows = pandas.Series(0, index=between[:1].append([times, between[1:]]))
    return every, rows.groupby(pandas.Grouper(freq=rule)).ngroup().to_numpy()[1:-1]


Summary = dict[str, Any] | None
Ends = tuple[Any, Any] | None


def _summary(
    part: pandas.DataFrame, found: Ends = None, *, rule: str, how: str, time: str | None, ends: Ends
) -> Summary:
    """What is kept of a partition; None of an empty one."""
    frame = timed(part, time)
    if not len(frame):
        return None
    times = frame.index
    every, own = _bins(times, found or ends or (times[0], times[-1]), rule)
    groups = frame.groupby(every[own])
    kept = FINAL[how]
    if kept[0] in ("first", "last"):
        stamps = pandas.Series(times, index=times)
        when = pandas.DataFrame({c: stamps.where(frame[c].notna().to_numpy()) for c in frame}, index=times)
        return {"values": getattr(groups, how)(), "times": getattr(when.groupby(every[own]), how)()}
    summary = {name: getattr(groups, name)() for name in kept if name != "squares"}
    if "squares" in kept:
        summary["squares"] = groups.var(ddof=0) * summary["count"]
    return summary


def _together(some: list[Summary]) -> Summary:
    """Summaries put together, in the order of the partitions."""
    there = [summary for summary in some if summary is not None]
    if len(there) <= 1:
        return there[0] if there else None
    stacked = {name: pandas.concat([summary[name] for summary in there]) for name in there[0]}
    groups = {name: table.groupby(level=0) for name, table in stacked.items()}
    if "times" in stacked:
        return stacked
    summary = {name: _MERGE[name](group) for name, group in groups.items() if name != "squares"}
    if "squares" in stacked:
        mean = (summary["sum"] / summary["count"]).reindex(stacked["sum"].index)
        apart = stacked["sum"] / stacked["count"] - mean
        summary["squares"] = (stacked["squares"] + stacked["count"] * apart**2).groupby(level=0).sum()
    return summary


_MERGE: dict[str, Callable[[Any], Any]] = {
    "count": lambda groups: groups.sum(),
    "size": lambda groups: groups.sum(),
    "sum": lambda groups: groups.sum(),
    "min": lambda groups: groups.min(),
    "max": lambda groups: groups.max(),
}


def _by_time(values: pandas.DataFrame, times: pandas.DataFrame, how: str) -> pandas.DataFrame:
    """The earliest or the latest value of each column."""
    columns = {}
    for name in values:
        order = times[name].reset_index(drop=True).sort_values(kind="stable").index
        columns[name] = getattr(values[name].iloc[order].groupby(level=0), how)()
    return pandas.DataFrame(columns)


def _finished(summary: Summary, found: Ends = None, *, meta: Any, rule: str, how: str, ends: Ends) -> Any:
    """The result: a row for each time, in pandas' way for those without data."""
    if summary is None:
        return meta
    if how in ("std", "var"):
        freedom = summary["count"] - 1
        result = (summary["squares"] / freedom).where(freedom > 0)
        result = result**0.5 if how == "std" else result
    elif how == "mean":
        result = summary["sum"] / summary["count"]
    elif how in ("first", "last"):
        result = _by_time(summary["values"], summary["times"], how)
    else:
        result = summary[how]
    labels = pandas.DatetimeIndex(result.index, name=meta.index.name)
    every, _ = _bins(labels, found or ends or (labels.min(), labels.max()), rule)
    fill = {"fill_value": 0} if how in ("count", "size", "sum") else {}
    result = result.reindex(every, **fill)
    return result if how == "size" else result[list(meta.columns)]
