"""Pi from random points, by all workers: the share of points of a square that lie in the quarter circle.

On a laptop:

    daskhpc run pi.py
    daskhpc scaling pi.py:estimate          # how much faster with more workers?

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m pi.py
"""

import math
import os
import time
from pathlib import Path

import joblib
import numpy as np

POINTS = int(os.environ.get("PI_POINTS", 1_000_000_000))
# Pieces of the work. Each has random numbers of its own, so any number of workers gives the same pi.
CALLS = 128

RESULTS = Path(__file__).parent / "results"

_AT_ONCE = 250_000  # points in memory at a time: they stay in the cache


def points_of(call: int) -> int:
    """How many points a call has; the calls share the points evenly, up to one."""
    return POINTS // CALLS + (call < POINTS % CALLS)


def inside(call: int) -> int:
    """How many points of a call lie in the quarter circle."""
    draw = np.random.default_rng([2024, call])
    left, found = points_of(call), 0
    while left:
        x = draw.random((2, min(left, _AT_ONCE)), dtype=np.float32)
        found += int(np.count_nonzero(x[0] * x[0] + x[1] * x[1] < 1))
        left -= x.shape[1]
    return found


def counts() -> list[int]:
    """The counts of all calls, by all workers."""
    return joblib.Parallel(n_jobs=-1)(joblib.delayed(inside)(call) for call in range(CALLS))


def estimate() -> float:
    """Pi by all workers."""
    return 4 * sum(counts()) / POINTS


def serial() -> float:
    """Pi in plain Python."""
    return 4 * sum(map(inside, range(CALLS))) / POINTS


def draw(found: list[int], path: Path) -> None:
    """How far the estimate is off after each call, beside its expected size."""
    from matplotlib.figure import Figure

    points = np.cumsum([points_of(call) for call in range(CALLS)])
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(points, abs(4 * np.cumsum(found) / points - math.pi), ".-", label="estimate after each call")
    axes.loglog(points, np.sqrt(math.pi * (4 - math.pi) / points), "--", color="gray", label="standard error")
    axes.set(xlabel="points", ylabel="distance from pi")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    began = time.perf_counter()
    found = counts()
    seconds = time.perf_counter() - began
    pi = 4 * sum(found) / POINTS
    print(f"pi = {pi:.6f} from {POINTS:,} points, {abs(pi - math.pi):.1e} off, in {seconds:.2f} s")
    try:
        RESULTS.mkdir(exist_ok=True)
        draw(found, RESULTS / "error.png")
        print("File: results/error.png")
    except ModuleNotFoundError as missing:
        print(f"No picture: {missing}; pip install 'daskhpc[plots]'")


if __name__ == "__main__":
    main()
