"""Time series resampled as pandas does, whatever the partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas
from dask.dataframe.dispatch import make_meta, meta_nonempty

from ..errors import SettingsError

SUMMARIES: dict[str, tuple[str, ...]] = {
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
"""What a summary of a partition has, for each way to summarize; squares are those of deviations from the mean."""


How = str | Mapping[Any, Any]


def resample(frame: Any, rule: str, how: How = "mean", time: str | None = None) -> Any:
    """A time series summarized over equal times: what ``frame.compute().resample(rule).how()`` gives.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame or Series
        Rows in any order, within partitions and over them.
    rule : str
        As in pandas: ``"h"``, ``"15min"``, ``"D"``, ``"ME"``.
    how : str or dict
        ``mean``, ``sum``, ``min``, ``max``, ``count``, ``size``, ``first``, ``last``, ``std`` or ``var``; or a mapping
        of columns to these or to lists of these, as in pandas. Each way takes a pass over its columns.
    time : str, optional
        The column of times; by default the index.

    Returns
    -------
    dask.dataframe.DataFrame or Series
        One partition with a row for each time, those without data included.

    Raises
    ------
    SettingsError
        If there is no such rule, way to summarize or column, or a column is not of times or numbers.

    Notes
    -----
    Each partition is summarized on the worker that has it, and the summaries are put together as a tree. For some rules
    the times depend on the first and the last row (``"7h"``, ``"2D"``, times with a zone); these are computed before.
    Variances are put together as in Chan, Golub, LeVeque, *Algorithms for computing the sample variance* (1983).

    Examples
    --------
    >>> import dask.dataframe
    >>> hours = pandas.DataFrame({"x": range(48)}, index=pandas.date_range("2020-01-01", periods=48, freq="h"))
    >>> resample(dask.dataframe.from_pandas(hours, npartitions=5), "D").compute()
                   x
    2020-01-01  11.5
    2020-01-02  35.5
    """
    _check_rule(rule)
    if isinstance(how, Mapping):
        return _by_column(frame, rule, how, time)
    if not isinstance(how, str) or how not in SUMMARIES:
        ways = ", ".join(SUMMARIES)
        raise SettingsError(f"resample cannot summarize by {how!r}.", "", f"how= one of {ways}; or {{column: one}}")
    table = frame if frame.ndim == 2 else frame.to_frame(name="value" if frame.name is None else frame.name)
    meta = _meta(table, rule, how, time)
    ends = _ends(table, rule, time, meta)
    part: dict[str, Any] = {"rule": rule, "how": how, "time": time}
    summaries = table.map_partitions(
        _summary, *ends, **part, meta=_summary(make_meta(table), None, None, **part), enforce_metadata=False
    )
    merge = partial(_merged, how=how)
    merged = summaries.reduction(merge, aggregate=merge, combine=merge, meta=make_meta(summaries), split_every=8)
    result = merged.map_partitions(_finished, *ends, rule=rule, how=how, empty=meta, meta=meta, enforce_metadata=False)
    return result if frame.ndim == 2 or how == "size" else result[meta.columns[0]].rename(frame.name)


def _check_rule(rule: str) -> None:
    try:
        if pandas.tseries.frequencies.to_offset(rule) is None:
            raise ValueError("no rule at all")
    except (ValueError, TypeError) as error:
        some = "rule='h', '15min', 'D', 'MS' (begin of the month), 'ME' (its end)"
        raise SettingsError(f"A frame cannot be resampled by {rule!r}.", str(error), some) from None


def _by_column(frame: Any, rule: str, how: Mapping[Any, Any], time: str | None) -> Any:
    """Columns that are each summarized in their own ways, side by side."""
    known = [] if frame.ndim < 2 else [name for name in frame.columns if name != time]
    for name in how:
        if name not in known:
            found = f"columns {', '.join(map(str, known))}" if known else "a series, which has no columns"
            raise SettingsError(f"resample has no column {name!r} to summarize.", found, "how={column: 'mean'}")
    pairs = [(name, way) for name, ways in how.items() for way in (ways if isinstance(ways, list | tuple) else [ways])]
    if not pairs:
        raise SettingsError("resample has nothing to summarize.", "an empty mapping", "how={column: 'mean'}")
    parts = {}
    for way in dict.fromkeys(way for _, way in pairs):
        names = [name for name, other in pairs if other == way]
        parts[way] = resample(frame[[*names, *([] if time is None else [time])]], rule, way, time)
    several = not all(isinstance(ways, str) for ways in how.values())
    arguments: dict[str, Any] = {"pairs": pairs, "ways": list(parts), "several": several}
    meta = _beside(*map(make_meta, parts.values()), **arguments)
    first, *others = parts.values()
    return first.map_partitions(_beside, *others, **arguments, meta=meta, enforce_metadata=False)


def _beside(*parts: Any, pairs: Sequence[tuple[Any, str]], ways: Sequence[str], several: bool) -> pandas.DataFrame:
    """The columns of several results; as in pandas, of two levels if a column has a list of ways."""
    results = dict(zip(ways, parts, strict=True))
    columns = [results[way] if way == "size" else results[way][name] for name, way in pairs]
    keys = pairs if several else [name for name, _ in pairs]
    table = pandas.concat(columns, axis=1, keys=range(len(columns)))
    table.columns = pandas.MultiIndex.from_tuples(keys) if several else pandas.Index(keys)
    return table


def timed(frame: Any, time: str | None) -> Any:
    """The rows that have a time, indexed by it, in its order."""
    frame = frame if time is None else frame.set_index(time)
    return frame[frame.index.notna()].sort_index(kind="stable")


def _meta(table: Any, rule: str, how: str, time: str | None) -> Any:
    """An empty result."""
    sample = meta_nonempty(make_meta(table))
    try:
        some = timed(sample, time)
        if not isinstance(some.index, pandas.DatetimeIndex):
            raise TypeError(f"the index is {some.index.dtype}")
        if how == "sum" and any(isinstance(dtype, pandas.StringDtype) for dtype in some.dtypes):
            raise TypeError("texts of several partitions cannot be joined in the order of time")
        _summary(sample, None, None, rule=rule, how=how, time=time)
        return getattr(some.resample(rule), how)().iloc[:0]
    except (TypeError, ValueError, KeyError) as error:
        what = "columns" if time is None else f"columns, {time!r} the times"
        raise SettingsError(
            f"This frame cannot be resampled by {rule!r} to its {how}.",
            f"{error}; {what}: {', '.join(f'{name} {dtype}' for name, dtype in sample.dtypes.items())}",
            "time='a column of times', frame[[columns of numbers]], or how='count'",
        ) from None


def _ends(table: Any, rule: str, time: str | None, meta: Any) -> tuple[Any, Any]:
    """The first and the last time; None for each if they make no difference."""
    if _aligned(rule, meta.index):
        return None, None
    # Divisions do not tell them: a selection of rows keeps those of the frame that it selects from.
    times = table.index.to_series() if time is None else table[time]
    return times.min(), times.max()


def _aligned(rule: str, times: pandas.DatetimeIndex) -> bool:
    """Whether pandas' times are the same wherever the data begin."""
    offset = pandas.tseries.frequencies.to_offset(rule)
    if times.tz is not None:
        return False
    if isinstance(offset, pandas.tseries.offsets.Tick):
        return bool(pandas.Timedelta("1D") % pandas.Timedelta(offset) == pandas.Timedelta(0))
    return isinstance(offset, pandas.tseries.offsets.Day) and offset.n == 1


def _bins(times: pandas.DatetimeIndex, ends: tuple[Any, Any], rule: str) -> tuple[pandas.DatetimeIndex, Any]:
    """The labels of all times between two ends, and the position among them of each row; rows are in order of time.

    pandas itself is asked, with one row more at each end, so that labels, closed sides and months are pandas' own.
    """
    between = pandas.DatetimeIndex(ends, name=times.name).as_unit(times.unit)
    every = pandas.Series(0, index=between).resample(rule).count().index
    rows = pandas.Series(0, index=between[:1].append([times, between[1:]]))
    return every, rows.groupby(pandas.Grouper(freq=rule)).ngroup().to_numpy()[1:-1]


def _summary(part: pandas.DataFrame, low: Any, high: Any, *, rule: str, how: str, time: str | None) -> pandas.DataFrame:
    """What is known of each time in a partition: a table with a group of columns for each of `SUMMARIES`."""
    frame = timed(part, time)
    if "sum" in SUMMARIES[how] and how != "sum":  # as in pandas, such a sum has no end at 64 bits
        whole = [name for name, dtype in frame.dtypes.items() if pandas.api.types.is_integer_dtype(dtype)]
        frame[whole] = frame[whole] / 1
    times = labels = frame.index
    if len(frame):
        every, positions = _bins(times, (times[0], times[-1]) if low is None else (low, high), rule)
        labels = every[positions]
    groups = frame.groupby(labels)
    summary = {name: getattr(groups, name)() for name in SUMMARIES[how] if name != "squares"}
    if "squares" in SUMMARIES[how]:
        summary["squares"] = groups.var(ddof=0) * summary["count"]
    if how in ("first", "last"):
        stamps = pandas.Series(times, index=times)
        when = pandas.DataFrame({c: stamps.where(frame[c].notna().to_numpy()) for c in frame}, index=times)
        summary["time"] = getattr(when.groupby(labels), how)()
    return pandas.concat(summary, axis=1)


_MERGE = {"count": "sum", "size": "sum", "sum": "sum", "min": "min", "max": "max"}


def _merged(summaries: pandas.DataFrame, *, how: str) -> pandas.DataFrame:
    """Summaries of several partitions, one below the other, as one."""
    if how in ("first", "last"):
        values = _by_time(summaries[how], summaries["time"], how)
        times = summaries["time"].groupby(level=0)
        return pandas.concat({how: values, "time": times.min() if how == "first" else times.max()}, axis=1)
    parts = {name: summaries[name].groupby(level=0).agg(_MERGE[name]) for name in SUMMARIES[how] if name in _MERGE}
    if "squares" in SUMMARIES[how]:
        mean = (parts["sum"] / parts["count"]).reindex(summaries.index)
        apart = summaries["sum"] / summaries["count"] - mean
        parts["squares"] = (summaries["squares"] + summaries["count"] * apart**2).groupby(level=0).sum()
    return pandas.concat(parts, axis=1)


def _by_time(values: pandas.DataFrame, times: pandas.DataFrame, how: str) -> pandas.DataFrame:
    """The earliest or the latest value of each column."""
    columns = {}
    for name in values:
        order = times[name].reset_index(drop=True).sort_values(kind="stable").index
        columns[name] = getattr(values[name].iloc[order].groupby(level=0), how)()
    return pandas.DataFrame(columns)


def _finished(summary: pandas.DataFrame, low: Any, high: Any, *, rule: str, how: str, empty: Any) -> Any:
    """The result: a row for each time; those without data are as pandas has them."""
    if not len(summary):
        return empty
    if how in ("std", "var"):
        freedom = summary["count"] - 1
        result = (summary["squares"] / freedom).where(freedom > 0)
        result = result**0.5 if how == "std" else result
    else:
        result = summary["sum"] / summary["count"] if how == "mean" else summary[how]
    labels = pandas.DatetimeIndex(result.index, name=empty.index.name)
    every, _ = _bins(labels, (labels.min(), labels.max()) if low is None else (low, high), rule)
    if how == "sum":  # that of nothing depends on the type: 0, no time
        result = result.apply(lambda column: column.reindex(every, fill_value=column.iloc[:0].sum()))
    else:
        if how in ("min", "max", "first", "last") and len(every) > len(result):  # as pandas has gaps in them
            flags = [name for name, dtype in result.dtypes.items() if dtype == "bool"]
            result = result.astype(dict.fromkeys(flags, "float64"))
        result = result.reindex(every, **({"fill_value": 0} if how in ("count", "size") else {}))
    if how in ("mean", "std", "var"):  # as in pandas, of short floats these are short
        result = result.astype(empty.dtypes)
    return result.rename(empty.name) if how == "size" else result[list(empty.columns)]
