"""Numbers, durations and long texts in words, the same in every message, table and report."""

from __future__ import annotations

ELLIPSIS = "..."


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    Parameters
    ----------
    number : int
    noun : str
        In the singular; its plural is made with an "s".

    Examples
    --------
    >>> counted(1, "node"), counted(2000, "fit")
    ('1 node', '2,000 fits')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bytes_text(count: float) -> str:
    """A number of bytes in Dask's own units.

    Examples
    --------
    >>> bytes_text(8), bytes_text(8e6)
    ('8 B', '7.63 MiB')
    """
    from dask.utils import format_bytes

    return str(format_bytes(int(count)))


def duration(seconds: float) -> str:
    """How long something took, in at most two units.

    Examples
    --------
    >>> duration(2.54), duration(35), duration(125), duration(4800), duration(270_000)
    ('2.5 s', '35 s', '2 min 5 s', '1 h 20 min', '3 d 3 h')
    """
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = round(seconds)
    first = next(n for n, (_, size) in enumerate(units) if whole >= size)
    (unit, size), (small_unit, small_size) = units[first : first + 2]
    rest = whole % size // small_size
    return f"{whole // size:,} {unit}" + (f" {rest} {small_unit}" if rest else "")


def duration_left(seconds: float) -> str:
    """How long something will still take, no finer than an estimate can be.

    Examples
    --------
    >>> duration_left(38), duration_left(190), duration_left(5400), duration_left(200_000)
    ('40 s', '3 min', '90 min', '2.5 days')
    """
    if seconds <= 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds <= 90 * 60:
        return f"{round(seconds / 60)} min"
    value, unit = (seconds / 3600, "h") if seconds <= 36 * 3600 else (seconds / 86400, "days")
    return f"{round(2 * value) / 2:g} {unit}" if value < 10 else f"{round(value):,} {unit}"


def rate(per_second: float) -> str:
    """A rate in the first unit of time in which it is 1 or more.

    Examples
    --------
    >>> rate(1200), rate(3.4), rate(0.2), rate(0.0005)
    ('1,200/s', '3.4/s', '12/min', '1.8/h')
    """
    units = ((1, "s"), (60, "min"))
    value, unit = next(((per_second * s, u) for s, u in units if per_second * s >= 1), (per_second * 3600, "h"))
    return f"{value:,.0f}/{unit}" if value >= 10 else f"{value:.2g}/{unit}"


def one_line(text: str) -> str:
    """A text with every run of white space as one space.

    Examples
    --------
    >>> one_line("a\\n  b")
    'a b'
    """
    return " ".join(text.split())


def shortened(text: str, longest: int) -> str:
    """The beginning of a text, in one line of at most `longest` characters.

    Examples
    --------
    >>> shortened("linear regression", 9)
    'linear...'
    """
    line = one_line(text)
    return line if len(line) <= longest else line[: max(longest - len(ELLIPSIS), 0)] + ELLIPSIS[:longest]


def printable(text: str) -> str:
    """A text without control characters, which would steer the terminal that shows it.

    Examples
    --------
    >>> printable("red \\x1b[31m")
    'red  [31m'
    """
    return "".join(c if c.isprintable() else " " for c in text)
