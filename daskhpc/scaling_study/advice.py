"""The advice of a scaling study, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .laws import AmdahlFit, Point, ScalingRow, amdahl_speedup, karp_flatt

GOOD_EFFICIENCY = 0.7
"""Below it most computing centres ask for a reason; plots have a line there."""

_NOISY = 0.1  # of the median: as much as pyperf warns of
_SHORT_SECONDS = 0.5
_IDLE = 0.7
_SUPERLINEAR = 1.05
_OF_A_CORE = 0.05
_FASTER = 1.05

Trend = Literal["constant", "growing", "falling"]


def advice(table: Sequence[ScalingRow]) -> str:
    """How many workers to use, in one sentence.

    Parameters
    ----------
    table : sequence of ScalingRow
        By the number of workers.

    Returns
    -------
    str

    Examples
    --------
    >>> from daskhpc.scaling_study.laws import Timing, rows
    >>> times = ((1, 400), (4, 102), (8, 60), (16, 31))
    >>> advice(rows([Point(n, n, (Timing(seconds),)) for n, seconds in times]))
    'Use 16 workers: their efficiency is 0.81. More were not measured.'
    >>> advice(rows([Point(n, n, (Timing(seconds),)) for n, seconds in ((1, 80), (8, 12), (16, 9))]))
    'Use 8 workers: 16 are 1.3 times as fast, for 1.5 times the core-hours.'
    """
    if len(table) == 1:
        return f"Measure more than {_workers(table[0].workers)}: one point has no speed-up."
    good = max(index for index, row in enumerate(table) if row.efficiency >= GOOD_EFFICIENCY)
    best = table[good]
    if good == len(table) - 1:
        return f"Use {_workers(best.workers)}: their efficiency is {best.efficiency:.2f}. More were not measured."
    more = table[good + 1]
    faster = more.speedup / best.speedup
    cost = more.threads / best.threads / faster  # for the same work, in weak scaling too
    if faster < _FASTER:
        return f"Use {_workers(best.workers)}: {more.workers} are not faster."
    gain = f"{more.workers} are {faster:.1f} times as fast, for {cost:.1f} times the core-hours"
    return f"Use {_workers(best.workers)}: {gain}."


def remarks(
    points: Sequence[Point],
    table: Sequence[ScalingRow],
    fit: AmdahlFit | None,
    plain_seconds: float | None = None,
    equal_results: bool = True,
) -> list[str]:
    """What to know before the table is believed, a sentence or two for each.

    Parameters
    ----------
    points : sequence of Point
    table : sequence of ScalingRow
    fit : AmdahlFit, optional
        None in weak scaling.
    plain_seconds : float, optional
        What the same work takes without a cluster.
    equal_results : bool
        Whether the function returned the same for all numbers of workers.

    Returns
    -------
    list of str
    """
    said = []
    if fit is not None:
        said += _law(points, table, fit)
    if plain_seconds is not None:
        first = table[0].workers
        takes = "One worker takes" if first == 1 else f"{first} workers take"
        said.append(f"{takes} {table[0].seconds / plain_seconds:.2f} times as long as plain Python.")
    fast = [row for row in table if row.efficiency > _SUPERLINEAR]
    if fast:
        said.append(
            f"{_workers(fast[0].workers).capitalize()} are more than {fast[0].workers / table[0].workers:g} times as "
            "fast: a cache or a busier clock explains it, or the first point was disturbed."
        )
    noisy = [row for row in table if row.highest - row.lowest > _NOISY * row.seconds]
    if noisy:
        worst = max(noisy, key=lambda row: (row.highest - row.lowest) / row.seconds)
        spread = (worst.highest - worst.lowest) / worst.seconds
        said.append(
            f"The repeats of {_workers(worst.workers)} differ by {100 * spread:.0f} %: the machine was not quiet."
        )
    if any(row.seconds < _SHORT_SECONDS for row in table):
        said.append(f"A time below {_SHORT_SECONDS:g} s is mostly overhead: give the function more work.")
    idle = [row for row in table if 0 < row.busy < _IDLE]
    if idle:
        said.append(
            f"{_workers(idle[0].workers).capitalize()} computed for {100 * idle[0].busy:.0f} % of the time: they "
            "waited for calls, for data, or for a CPU. Use at least four calls for each worker, of 50 ms or more."
        )
    others = max(
        (timing.client_cpu + timing.scheduler_cpu) / timing.seconds for point in points for timing in point.timings
    )
    if others > _OF_A_CORE:
        said.append(f"Client and scheduler used up to {100 * others:.0f} % of a core, which workers could have used.")
    if not equal_results:
        said.append("The results differ: the function did not do the same work each time. Give it a seed.")
    return said


def trend(points: Sequence[Point], table: Sequence[ScalingRow]) -> Trend:
    """Whether Karp and Flatt's fraction changes between the first and the last number of workers.

    It changes if the ranges that the repeats give it do not touch.
    """
    base = points[0]

    def fractions(row: ScalingRow) -> tuple[float, float]:
        lowest, highest = (karp_flatt(base.median / s, row.workers / base.workers) for s in (row.lowest, row.highest))
        return lowest, highest

    first_low, first_high = fractions(table[1])
    last_low, last_high = fractions(table[-1])
    if last_low > first_high:
        return "growing"
    return "falling" if last_high < first_low else "constant"


def _law(points: Sequence[Point], table: Sequence[ScalingRow], fit: AmdahlFit) -> list[str]:
    if fit.serial >= 1:
        return ["More workers are not faster: the calls are too short, or the function does not use the workers."]
    said = [f"Amdahl's law fits with a serial fraction of {fit.serial:.3g}"]
    if fit.lowest < fit.highest:
        said[0] += f" ({fit.lowest:.3g} to {fit.highest:.3g} over the repeats)"
    if len(table) > 2:
        worst = max(range(len(fit.residuals)), key=lambda index: abs(fit.residuals[index]))
        said[0] += f". The largest residual is {100 * fit.residuals[worst]:+.1f} %, "
        said[0] += f"at {_workers(table[worst + 1].workers)}"
    said[0] += "."
    if len(table) < 3:
        return said
    first, last = table[1].serial_fraction, table[-1].serial_fraction
    change = trend(points, table)
    if change == "growing":
        said.append(
            f"The serial fraction e grows from {first:.3g} to {last:.3g}: overhead or communication grows with the "
            "workers, and Amdahl's law is too hopeful."
        )
    elif change == "falling":
        said.append(f"The serial fraction e falls from {first:.3g} to {last:.3g}: the first point is too slow.")
    elif fit.serial > 0.001:
        most = amdahl_speedup(fit.serial, float("inf"))
        base = "one" if table[0].workers == 1 else _workers(table[0].workers)
        said.append(f"With this serial fraction no number of workers is more than {most:.0f} times as fast as {base}.")
    return said


def _workers(number: int) -> str:
    return f"{number} worker" + ("" if number == 1 else "s")
