"""Pi from random points, by all workers: the share of points of a square that lie in the quarter circle.

On a laptop:

    daskhpc run pi.py
    daskhpc scaling pi.py:estimate          # how much faster with more workers?

on a cluster: ``sbatch job.sbatch`` or ``qsub job.pbs``.
"""

import math
import os
import time

import joblib
import numpy as np

POINTS = int(os.environ.get("PI_POINTS", 1_000_000_000))
# Pieces of the work. Each has random numbers of its own, so any number of workers gives the same pi.
CALLS = 128

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


def estimate() -> float:
    """Pi by all workers."""
    return 4 * sum(joblib.Parallel(n_jobs=-1)(joblib.delayed(inside)(call) for call in range(CALLS))) / POINTS


def serial() -> float:
    """Pi in plain Python."""
    return 4 * sum(map(inside, range(CALLS))) / POINTS


def main() -> None:
    began = time.perf_counter()
    pi = estimate()
    print(f"pi = {pi:.6f} from {POINTS:,} points, {abs(pi - math.pi):.1e} off, in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
