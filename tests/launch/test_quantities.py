"""Times and sizes in the forms that people type."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpc.launch.quantities import clock, mebibytes_of, seconds_of, size_words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("90min", 5400),
        ("90 m", 5400),
        ("2h30m", 9000),
        ("2h 30m", 9000),
        ("1.5h", 5400),
        ("1d12h", 129_600),
        ("45s", 45),
        ("1-12", 129_600),
        ("1-12:00", 129_600),
        ("1-12:00:30", 129_630),
        ("0-00:05", 300),
        ("1:00:00", 3600),
        ("100:00:00", 360_000),
        ("5:00", 300),
        ("59:59", 3599),
        (timedelta(hours=2), 7200),
    ],
)
def test_times(text: object, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("60:30", "'1h30s' for 1 h 0 min 30 s, as Slurm and PBS read '60:30', or '60h30m' for 60 hours and 30 minutes"),
        ("90:00", "'1h30m' for 1 h 30 min 0 s, as Slurm and PBS read '90:00', or '90h0m' for 90 hours and 0 minutes"),
        ("90", "'90m' for minutes, as Slurm reads '90', or '90s' for seconds, as PBS reads it"),
        (90, "a number alone is minutes to Slurm and seconds to PBS"),
        ("1:60:00", "below 60"),
        ("1-24:00", "below 24"),
        ("5:60", "below 60"),
        ("30m2h", "the largest first"),
        ("0m", "one second or more"),
        ("-5m", "a time such as"),
        ("soon", "a time such as"),
        ("", "a time such as"),
    ],
)
def test_times_that_are_refused(text: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        seconds_of(text)


@given(st.integers(min_value=60, max_value=9999), st.integers(min_value=0, max_value=59))
@settings(deadline=None)
def test_both_readings_that_a_refusal_offers_are_taken(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="as Slurm and PBS read") as caught:
        seconds_of(f"{first}:{second:02}")
    as_minutes, as_hours = (str(caught.value).split("'")[at] for at in (1, 5))
    assert seconds_of(as_minutes) == first * 60 + second
    assert seconds_of(as_hours) == first * 3600 + second * 60


@given(st.integers(min_value=1, max_value=10**7))
@settings(deadline=None)
def test_a_time_is_read_back_as_it_is_written(seconds: int) -> None:
    assert seconds_of(clock(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("180G", 184_320), ("180GB", 184_320), ("180 gib", 184_320), ("1500M", 1500), ("1T", 1024**2), ("2048k", 2)],
)
def test_sizes(text: str, mebibytes: int) -> None:
    assert mebibytes_of(text) == mebibytes


def test_all_memory_and_parts_of_a_unit() -> None:
    assert [mebibytes_of(text) for text in ("0", "all", "1.5G")] == [0, 0, 1536]


@pytest.mark.parametrize(
    ("text", "words"),
    [("180", "'180M' for MiB, as Slurm reads '180'"), ("1k", "1M or more"), ("-1G", "a size such as"), ("big", "all")],
)
def test_sizes_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mebibytes_of(text)


def test_words() -> None:
    assert (size_words(184_320), size_words(0)) == ("180 GiB", "all memory")
