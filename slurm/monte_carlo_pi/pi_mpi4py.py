"""The same pi with MPI: each rank counts, and ``Reduce`` adds the counts.

    mpiexec -n 4 python -m mpi4py pi_mpi4py.py

Counts are added and not estimates: a rank with more points then counts for more. The time is that between two barriers.
"""

import math

import numpy as np
import pi
from mpi4py import MPI


def main() -> None:
    world = MPI.COMM_WORLD
    pi.inside(0)  # the first call imports and warms up
    world.Barrier()
    began = MPI.Wtime()
    own = np.array(sum(pi.inside(call) for call in range(world.rank, pi.CALLS, world.size)))
    total = np.zeros_like(own)
    world.Reduce(own, total, op=MPI.SUM)
    world.Barrier()
    seconds = MPI.Wtime() - began
    if world.rank == 0:
        value = 4 * int(total) / pi.POINTS
        print(f"pi = {value:.6f} from {pi.POINTS:,} points, {abs(value - math.pi):.1e} off")
        print(f"{world.size} ranks, {seconds:.3f} s")


if __name__ == "__main__":
    main()
