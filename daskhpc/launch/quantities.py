"""Times and sizes in the forms that people type, each with one meaning, and schedulers' forms of them."""

from __future__ import annotations

import re
from datetime import timedelta

_TIME_UNITS = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_TIME_FORMS = "'90m', '2h30m', '1d12h', '1:30:00' (hours:minutes:seconds) or '1-12:00' (days-hours:minutes)"
_SIZE_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
MEBIBYTE = 1024**2


def seconds_of(value: object) -> int:
    """A length of time in seconds.

    Parameters
    ----------
    value : str or datetime.timedelta
        A text in a form of Slurm or PBS, or with units.

    Raises
    ------
    ValueError
        If it has no meaning, or more than one; its text says in words what is taken, or both readings.

    Examples
    --------
    >>> seconds_of("90m"), seconds_of("2h30m"), seconds_of("1-12:00"), seconds_of("1:00:00"), seconds_of("5:00")
    (5400, 9000, 129600, 3600, 300)
    >>> seconds_of("60:30")
    Traceback (most recent call last):
    ...
    ValueError: '1h30s' for 1 h 0 min 30 s, as Slurm and PBS read '60:30', or '60h30m' for 60 hours and 30 minutes
    """
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
    elif isinstance(value, str):
        seconds = _seconds(value.strip().lower())
    else:
        raise ValueError(f"a text such as {_TIME_FORMS}; a number alone is minutes to Slurm and seconds to PBS")
    if seconds < 1:
        raise ValueError(f"a time of one second or more, such as {_TIME_FORMS}")
    return seconds


def _seconds(text: str) -> int:
    if re.fullmatch(r"\d+", text):
        raise ValueError(f"'{text}m' for minutes, as Slurm reads '{text}', or '{text}s' for seconds, as PBS reads it")
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*", text)
    if parts and re.fullmatch(r"(?:\d+(?:\.\d+)?\s*(?:d|h|min|m|s)\s*)+", text):
        units = [unit[0] for _, unit in parts]
        if sorted(set(units), key="dhms".index) != units:
            raise ValueError(f"each unit once, the largest first, such as {_TIME_FORMS}")
        return round(sum(float(number) * _TIME_UNITS[unit] for number, unit in parts))
    if days := re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?", text):
        day, hour, minute, second = (int(part or 0) for part in days.groups())
        _in_range(text, (hour, 24), (minute, 60), (second, 60))
        return ((day * 24 + hour) * 60 + minute) * 60 + second
    if clock := re.fullmatch(r"(\d+):(\d+):(\d+)", text):
        hour, minute, second = map(int, clock.groups())
        _in_range(text, (minute, 60), (second, 60))
        return (hour * 60 + minute) * 60 + second
    if pair := re.fullmatch(r"(\d+):(\d+)", text):
        first, second = map(int, pair.groups())
        _in_range(text, (second, 60))
        if first >= 60:
            # A number of minutes above 59 may well mean hours.
            as_minutes = f"{first // 60}h{first % 60}m{second}s".replace("h0m", "h").replace("m0s", "m")
            words = f"{first // 60} h {first % 60} min {second} s"
            raise ValueError(
                f"'{as_minutes}' for {words}, as Slurm and PBS read '{text}', "
                f"or '{first}h{second}m' for {first} hours and {second} minutes"
            )
        return first * 60 + second
    raise ValueError(f"a time such as {_TIME_FORMS}")


def _in_range(text: str, *parts: tuple[int, int]) -> None:
    if any(value >= limit for value, limit in parts):
        raise ValueError(f"hours below 24, minutes and seconds below 60; '{text}' has more; such as {_TIME_FORMS}")


def clock(seconds: int) -> str:
    """A time as ``H:MM:SS``, which Slurm and PBS read alike.

    Examples
    --------
    >>> clock(5400), clock(129600)
    ('1:30:00', '36:00:00')
    """
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def mebibytes_of(value: object) -> int:
    """A size of memory in MiB; 0 for all memory of a node.

    Parameters
    ----------
    value : str
        With a unit. ``G``, ``GB`` and ``GiB`` are all 1024**3 bytes, which is what Slurm and PBS mean by them.

    Raises
    ------
    ValueError
        If it has no meaning, or more than one; its text says in words what is taken, or both readings.

    Examples
    --------
    >>> mebibytes_of("180G"), mebibytes_of("500 MB"), mebibytes_of("1.5GiB"), mebibytes_of("all")
    (184320, 500, 1536, 0)
    """
    text = str(value).strip().lower()
    if text in ("all", "0"):
        return 0
    if re.fullmatch(r"\d+", text):
        raise ValueError(f"'{text}M' for MiB, as Slurm reads '{text}', or '{text}' with its unit, such as '180G'")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", text)
    if found is None:
        raise ValueError("a size such as '180G' or '1500M', or 'all' for all memory of the node")
    mebibytes = int(float(found[1]) * _SIZE_UNITS[found[2]] / MEBIBYTE)
    if mebibytes < 1:
        raise ValueError("1M or more")
    return mebibytes


def size_words(mebibytes: int) -> str:
    """A size of memory in words.

    Examples
    --------
    >>> size_words(184320), size_words(1500), size_words(0)
    ('180 GiB', '1500 MiB', 'all memory')
    """
    if mebibytes == 0:
        return "all memory"
    return f"{mebibytes // 1024} GiB" if mebibytes % 1024 == 0 else f"{mebibytes} MiB"
