"""Time series: resampled as pandas does, whatever the partitions, and drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe
import numpy as np
import pandas
import pytest
from distributed import Client
from pandas.testing import assert_frame_equal, assert_series_equal

from daskhpc import frames
from daskhpc.errors import SettingsError
from daskhpc.frames.resampling import SUMMARIES


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def series(zone: str | None = None, rows: int = 400) -> pandas.DataFrame:
    """Rows in no order over five days around a change of the clocks, with a day of which there is nothing."""
    draw = np.random.default_rng(0)
    times = pandas.Timestamp("2021-03-26 05:00") + pandas.to_timedelta(draw.integers(0, 5 * 86400, rows), unit="s")
    times = pandas.DatetimeIndex(times, name="when")
    times = times[(times < "2021-03-27 10:00") | (times > "2021-03-28 10:00")]
    times = times if zone is None else times.tz_localize("UTC").tz_convert(zone)
    values = draw.normal(size=len(times))
    gaps = np.where(draw.random(len(times)) < 0.3, np.nan, values * 1e6)
    return pandas.DataFrame({"f": values, "i": draw.integers(0, 100, len(times)), "g": gaps}, index=times)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("rule", "zone"),
    [("h", None), ("7h", "Europe/Berlin"), ("D", "Europe/Berlin"), ("2D", None), ("W", None), ("ME", None)],
)
def test_it_is_what_pandas_gives(rule: str, ordered: bool, zone: str | None) -> None:
    frame = series(zone).sort_index() if ordered else series(zone)
    lazy = dask.dataframe.from_pandas(frame, npartitions=4, sort=ordered)
    results = dask.compute({how: frames.resample(lazy, rule, how) for how in SUMMARIES})[0]
    for how, got in results.items():
        want = getattr(frame.resample(rule), how)()
        (assert_series_equal if how == "size" else assert_frame_equal)(got, want, rtol=1e-11)


def test_a_column_of_times_and_a_series() -> None:
    frame = series()
    lazy = dask.dataframe.from_pandas(frame.reset_index(), npartitions=4)
    got = frames.resample(lazy, "h", time="when")
    assert_frame_equal(got.compute(), frame.resample("h").mean())
    assert got.columns.tolist() == ["f", "i", "g"]
    of_one = frames.resample(dask.dataframe.from_pandas(frame["i"], npartitions=4, sort=False), "h", "sum")
    assert_series_equal(of_one.compute(), frame["i"].resample("h").sum())


def test_empty_partitions_and_missing_times() -> None:
    frame = series().reset_index()
    frame.loc[::7, "when"] = pandas.NaT
    lazy = dask.dataframe.from_pandas(frame, npartitions=5)
    lazy = lazy[lazy["i"] < 5]
    want = frame[frame["i"] < 5].dropna(subset="when").set_index("when").resample("7h").std()
    assert_frame_equal(frames.resample(lazy, "7h", "std", time="when").compute(), want, rtol=1e-11)
    assert len(frames.resample(lazy[lazy["i"] > 99], "h", time="when").compute()) == 0


@pytest.mark.parametrize("rule", ["MS", "7D", "W"])
def test_a_selection_of_rows_has_its_own_ends(rule: str) -> None:
    """It keeps the divisions of the frame that it selects from."""
    frame = pandas.DataFrame({"x": range(300)}, index=pandas.date_range("2020-01-01", periods=300))
    lazy = dask.dataframe.from_pandas(frame, npartitions=3)
    chosen = lazy[(lazy["x"] > 70) & (lazy["x"] < 160)]
    assert chosen.known_divisions
    assert_frame_equal(frames.resample(chosen, rule).compute(), chosen.compute().resample(rule).mean())


@pytest.mark.parametrize("dtype", ["int64", "Int64"])
@pytest.mark.parametrize("how", ["mean", "std", "var"])
def test_a_sum_of_whole_numbers_beyond_64_bits(how: str, dtype: str) -> None:
    """Such as nanoseconds since 1970."""
    hours = pandas.date_range("2020-01-01", periods=20, freq="h")
    frame = pandas.DataFrame({"x": pandas.Series(hours.as_unit("ns").astype("int64")).astype(dtype).array}, index=hours)
    lazy = dask.dataframe.from_pandas(frame, npartitions=3)
    assert_frame_equal(frames.resample(lazy, "D", how).compute(), getattr(frame.resample("D"), how)(), rtol=1e-11)


@pytest.mark.parametrize(
    ("values", "how"),
    [
        (pandas.to_timedelta([1, 2, 3], unit="s"), "sum"),
        *(([True, True, False], how) for how in ("min", "max", "first", "last", "sum")),
    ],
)
def test_days_without_durations_and_flags(values: Any, how: str) -> None:
    frame = pandas.DataFrame({"x": values}, index=pandas.to_datetime(["2020-01-01", "2020-01-01", "2020-01-04"]))
    got = frames.resample(dask.dataframe.from_pandas(frame, npartitions=2), "D", how).compute()
    assert_frame_equal(got, getattr(frame.resample("D"), how)(), check_freq=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rule": "h"}, "cannot be resampled"),
        ({"rule": "h", "time": "text"}, "cannot be resampled"),
        ({"rule": "h", "time": "none"}, "cannot be resampled"),
        ({"rule": "hour?", "time": "when"}, "cannot be resampled"),
        ({"rule": None, "time": "when"}, "cannot be resampled by None"),
        ({"rule": "h", "time": "when"}, "text string"),
        ({"rule": "h", "how": "median"}, "'median'"),
    ],
)
def test_what_cannot_be_resampled_is_said_at_once(options: dict[str, Any], words: str) -> None:
    lazy = dask.dataframe.from_pandas(series().reset_index().assign(text="x"), npartitions=2)
    with pytest.raises(SettingsError, match=words):
        frames.resample(lazy, **options)


@pytest.mark.parametrize(("column", "how"), [("text", "sum"), ("when", "mean"), ("took", "std")])
def test_what_has_no_such_summary_is_said_at_once(column: str, how: str) -> None:
    frame = series()
    frame = frame.assign(text="x", when=frame.index, took=frame.index - frame.index[0])[[column]]
    with pytest.raises(SettingsError, match=f"'D' to its {how}[\\s\\S]*columns: {column} "):
        frames.resample(dask.dataframe.from_pandas(frame, npartitions=2, sort=False), "D", how)


@pytest.mark.parametrize("how", ["mean", "std", "var"])
@pytest.mark.parametrize("dtype", ["float32", "Float32"])
def test_short_floats_stay_short(how: str, dtype: str) -> None:
    frame = series()[["f"]].astype(dtype)
    got = frames.resample(dask.dataframe.from_pandas(frame, npartitions=3, sort=False), "7h", how)
    assert_frame_equal(got.compute(), getattr(frame.resample("7h"), how)(), check_freq=False, rtol=1e-5)
    assert got.dtypes.equals(got.compute().dtypes)


@pytest.mark.parametrize(
    "how",
    [
        {"f": "mean"},
        {"i": "sum", "f": "max", "g": "count"},
        {"g": ["min", "std"], "f": ["mean"]},
        {"i": ["size", "sum"], "g": "first"},
    ],
)
@pytest.mark.parametrize("rule", ["7h", "ME"])
def test_columns_that_are_summarized_in_their_own_ways(how: dict[str, Any], rule: str) -> None:
    frame = series("Europe/Berlin")
    want = frame.resample(rule).agg(how)
    got = frames.resample(dask.dataframe.from_pandas(frame, npartitions=4, sort=False), rule, how)
    assert got.columns.tolist() == want.columns.tolist()
    assert_frame_equal(got.compute(), want, rtol=1e-11)
    lazy = dask.dataframe.from_pandas(frame.reset_index(), npartitions=4)
    assert_frame_equal(frames.resample(lazy, rule, how, time="when").compute(), want, rtol=1e-11)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("D", {"z": "mean"}), "no column 'z'.*\n.*columns f, i, g"),
        (("D", {"f": "middle"}), "cannot summarize by 'middle'"),
        (("D", {"f": max}), "cannot summarize by"),
        (("D", ["mean"]), "cannot summarize by .'mean'.*\n?.*{column: one}"),
        (("D", {}), "nothing to summarize"),
        (("fortnight",), "be resampled by 'fortnight'.*\n.*\n.*rule='h'"),
    ],
)
def test_rules_and_ways_that_there_are_not(arguments: tuple[Any, ...], words: str) -> None:
    lazy = dask.dataframe.from_pandas(series(), npartitions=2, sort=False)
    with pytest.raises(SettingsError, match=words):
        frames.resample(lazy, *arguments)
    with pytest.raises(SettingsError, match=r"a series, which has no columns|cannot|nothing|be resampled"):
        frames.resample(lazy["f"], *arguments)


def test_texts_can_be_counted() -> None:
    frame = series().assign(text="x")
    lazy = dask.dataframe.from_pandas(frame, npartitions=3)
    assert_frame_equal(frames.resample(lazy, "D", "count").compute(), frame.resample("D").count())


def test_pictures(tmp_path: Path) -> None:
    frame = series().assign(text="x")
    lazy = dask.dataframe.from_pandas(frame.reset_index(), npartitions=3)
    ax = frames.plot_time(lazy, "h", time="when")
    assert [line.get_label() for line in ax.lines] == ["f", "i", "g"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), frame.resample("h")["f"].mean())
    ax.figure.savefig(tmp_path / "a.png")
    assert frames.plot_time(frame["f"], ax=ax) is ax
    assert len(ax.lines) == 4
    xs = ax.lines[3].get_xdata()
    assert (xs[1:] >= xs[:-1]).all()
    with pytest.raises(SettingsError, match="no column of numbers"):
        frames.plot_time(frame[["text"]])


def test_on_worker_processes(client: Client) -> None:
    frame = series()
    with dask.config.set(scheduler=client):
        lazy = dask.dataframe.from_pandas(frame, npartitions=20, sort=False)
        assert_frame_equal(frames.resample(lazy, "h", "std").compute(), frame.resample("h").std(), rtol=1e-11)
