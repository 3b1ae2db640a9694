"""The same search with MPI alone, for those who want to see it: scatter, compute, gather.

    mpiexec -n 4 python -m mpi4py search_mpi4py.py

All ranks compute, rank 0 too. Any number of ranks gives the same table, ``results_mpi4py.csv``. ``-m mpi4py`` ends all
ranks if one of them raises; without it the others would wait for that rank for ever.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import students

HERE = Path(__file__).parent


def share(draws, rank, size):
    """The draws of one rank: every size-th. Each draw is in exactly one share, whatever the size is."""
    return draws[rank::size]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--draws", type=int, default=1000)
    given = options.parse_args()
    from mpi4py import MPI  # starts MPI

    world = MPI.COMM_WORLD

    # One rank reads the file and draws; a file system does not see a thousand readers.
    data = draws = None
    if world.rank == 0:
        data = students.read(HERE / "students.csv")
        draws = 10 ** np.random.default_rng(0).uniform(-4, 4, given.draws)
    (X, y), draws = world.bcast((data, draws))

    world.Barrier()
    began = MPI.Wtime()
    own = [(C, students.accuracy(C, X, y)) for C in share(draws, world.rank, world.size)]
    computed = MPI.Wtime() - began
    parts = world.gather(own)
    slowest, fastest = world.reduce(computed, MPI.MAX), world.reduce(computed, MPI.MIN)

    if world.rank == 0:
        table = pd.DataFrame([row for part in parts for row in part], columns=["C", "accuracy"])
        table = table.sort_values(["accuracy", "C"], ascending=[False, True])
        table.to_csv(HERE / "results_mpi4py.csv", index=False)
        print(table.head().to_string(index=False))
        print(f"\n{len(table)} values of C, {table.C.nunique()} different, by {world.size} ranks")
        print(f"The slowest rank computed for {slowest:.1f} s, the fastest for {fastest:.1f} s")
        print("File: results_mpi4py.csv")


if __name__ == "__main__":
    main()
