"""The arithmetic of scaling: speed-up, efficiency, the laws of Amdahl and of Gustafson, Karp and Flatt's fraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Timing:
    """What one call of the function took.

    Attributes
    ----------
    seconds : float
        Wall time.
    worker_cpu, client_cpu, scheduler_cpu : float
        CPU seconds of the workers that took part with their child processes, of the client, and of the scheduler. If
        the scheduler lives in the client's process, its seconds are those of the client.
    """

    seconds: float
    worker_cpu: float = 0.0
    client_cpu: float = 0.0
    scheduler_cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """All timings of one number of workers.

    Attributes
    ----------
    workers, threads : int
        Worker processes, and the threads of all of them.
    timings : tuple[Timing, ...]
        One for each repeat, in the order of the repeats.
    """

    workers: int
    threads: int
    timings: tuple[Timing, ...]

    @property
    def seconds(self) -> list[float]:
        """The wall times."""
        return [timing.seconds for timing in self.timings]

    @property
    def median(self) -> float:
        """The median of the wall times."""
        return median(self.seconds)

    @property
    def busy(self) -> float:
        """The share of the wall time in which the workers' threads used a CPU, 0 to 1; the median of the repeats."""
        return median(timing.worker_cpu / (self.threads * timing.seconds) for timing in self.timings)


class ScalingRow(NamedTuple):
    """One line of the table of a study.

    Attributes
    ----------
    workers, threads : int
    seconds, lowest, highest : float
        The median of the wall times, and their range. For five repeats the range is a confidence interval of the
        median of 94 % (Hoefler and Belli, SC 2015, section 3.1.3).
    speedup, efficiency : float
        Over the point with the fewest workers.
    serial_fraction : float or None
        Karp and Flatt's in strong scaling, Gustafson's in weak scaling; None for the first point.
    core_seconds : float
        Threads times seconds: what an allocation is charged.
    busy : float
        See `Point`.
    """

    workers: int
    threads: int
    seconds: float
    lowest: float
    highest: float
    speedup: float
    efficiency: float
    serial_fraction: float | None
    core_seconds: float
    busy: float


class AmdahlFit(NamedTuple):
    """Amdahl's law, fitted to a study.

    Attributes
    ----------
    serial : float
        The serial fraction that fits best.
    lowest, highest : float
        Its range if each repeat is fitted alone.
    residuals : tuple[float, ...]
        For each point after the first, measured over predicted time, less one.
    """

    serial: float
    lowest: float
    highest: float
    residuals: tuple[float, ...]


def amdahl_speedup(serial: float, n: float) -> float:
    """The speed-up of n workers for a fixed amount of work, ``1 / (s + (1 - s) / n)``.

    Parameters
    ----------
    serial : float
        The fraction s of the work that one worker does alone, 0 to 1.
    n : float
        Workers.

    Returns
    -------
    float

    Notes
    -----
    G. M. Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities",
    AFIPS 1967.

    Examples
    --------
    >>> amdahl_speedup(0.05, 16), amdahl_speedup(0.05, 1e9)  # at most 1 / s, with any number of workers
    (9.14..., 19.99...)
    """
    return 1 / (serial + (1 - serial) / n)


def gustafson_speedup(serial: float, n: float) -> float:
    """The speed-up of n workers for n times the work, ``n - s (n - 1)``.

    Parameters
    ----------
    serial : float
        The fraction s of the run time that is serial, 0 to 1.
    n : float
        Workers.

    Returns
    -------
    float

    Notes
    -----
    J. L. Gustafson, "Reevaluating Amdahl's law", Communications of the ACM 31 (1988).

    Examples
    --------
    >>> gustafson_speedup(0.05, 16)
    15.25
    """
    return n - serial * (n - 1)


def karp_flatt(speedup: float, n: float) -> float:
    """The serial fraction that a measured speed-up stands for, ``(1 / S - 1 / n) / (1 - 1 / n)``.

    If it is the same for all n, a serial part limits the speed-up. If it grows with n, overhead or communication does.
    If it falls, the first point is too slow: look at caches and at the measurement.

    Parameters
    ----------
    speedup : float
        The speed-up S of n workers.
    n : float
        Workers, more than 1.

    Returns
    -------
    float
        Negative if the speed-up is more than n.

    Notes
    -----
    A. H. Karp and H. P. Flatt, "Measuring parallel processor performance", Communications of the ACM 33 (1990).

    Examples
    --------
    The published times of a Monte Carlo pi are 400 s on one core, and 102, 60 and 31 s on 4, 8 and 16. They do not
    have one serial fraction:

    >>> [round(karp_flatt(400 / seconds, n), 4) for n, seconds in ((4, 102), (8, 60), (16, 31))]
    [0.0067, 0.0286, 0.016]
    """
    return (1 / speedup - 1 / n) / (1 - 1 / n)


def gustafson_fraction(speedup: float, n: float) -> float:
    """The serial fraction that a measured scaled speed-up stands for, ``(n - S) / (n - 1)``: Gustafson's law, solved.

    Parameters
    ----------
    speedup : float
        The scaled speed-up S: n times the work of the first point, over the ratio of the times.
    n : float
        Workers, more than 1.

    Returns
    -------
    float

    Examples
    --------
    >>> gustafson_fraction(gustafson_speedup(0.05, 16), 16)
    0.05
    """
    return (n - speedup) / (n - 1)


def rows(points: Sequence[Point], weak: bool = False) -> list[ScalingRow]:
    """The table of a study.

    Parameters
    ----------
    points : sequence of Point
        The one with the fewest workers comes first: it is the base of all speed-ups.
    weak : bool
        Whether the work grew with the workers. Then the speed-up is the scaled one, and the efficiency is the first
        time over the time.

    Returns
    -------
    list of ScalingRow

    Examples
    --------
    >>> points = [Point(n, n, (Timing(seconds),)) for n, seconds in ((1, 400), (4, 102), (8, 60), (16, 31))]
    >>> for row in rows(points):
    ...     print(f"{row.workers:2} {row.speedup:6.2f} {row.efficiency:.2f} {row.core_seconds:.0f}")
     1   1.00 1.00 400
     4   3.92 0.98 408
     8   6.67 0.83 480
    16  12.90 0.81 496
    """
    base = points[0]
    table = []
    for point in points:
        n = point.workers / base.workers
        ratio = base.median / point.median
        speedup = n * ratio if weak else ratio
        fraction = gustafson_fraction if weak else karp_flatt
        table.append(
            ScalingRow(
                point.workers,
                point.threads,
                point.median,
                min(point.seconds),
                max(point.seconds),
                speedup,
                speedup / n,
                fraction(speedup, n) if n > 1 else None,
                point.threads * point.median,
                point.busy,
            )
        )
    return table


def fit_amdahl(points: Sequence[Point]) -> AmdahlFit | None:
    """Fit Amdahl's law to a strong scaling study.

    With ``y = 1 / S - 1 / n`` and ``x = 1 - 1 / n`` the law is ``y = s x``, a line through the origin. Its least
    squares are ``s = sum(x y) / sum(x x)``: the mean of Karp and Flatt's fractions, with weights ``x x``.

    Parameters
    ----------
    points : sequence of Point
        The one with the fewest workers comes first. It is taken as exact, the median of its repeats.

    Returns
    -------
    AmdahlFit or None
        None for fewer than two points.

    Examples
    --------
    >>> points = [Point(n, n, (Timing(seconds),)) for n, seconds in ((1, 400), (4, 102), (8, 60), (16, 31))]
    >>> fit = fit_amdahl(points)
    >>> round(fit.serial, 4), [round(residual, 3) for residual in fit.residuals]
    (0.018, [-0.032, 0.066, -0.023])
    """
    if len(points) < 2:
        return None
    base = points[0]
    ns = [point.workers / base.workers for point in points[1:]]
    serial = _fitted(base.median, ns, [point.median for point in points[1:]])
    repeats = min(len(point.timings) for point in points[1:])
    alone = [_fitted(base.median, ns, [point.seconds[turn] for point in points[1:]]) for turn in range(repeats)]
    predicted = [base.median / amdahl_speedup(serial, n) for n in ns]
    residuals = tuple(point.median / time - 1 for point, time in zip(points[1:], predicted, strict=True))
    return AmdahlFit(serial, min(alone), max(alone), residuals)


def _fitted(first: float, ns: Sequence[float], seconds: Sequence[float]) -> float:
    pairs = [(1 - 1 / n, time / first - 1 / n) for n, time in zip(ns, seconds, strict=True)]
    return sum(x * y for x, y in pairs) / sum(x * x for x, _ in pairs)
