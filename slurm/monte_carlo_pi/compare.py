"""Scaling of both programs in one run, a time of each in turn, so that a busy minute disturbs both.

    daskhpc run --processes 1 --nthreads 1 compare.py

on one node. The tables and pictures go to the folders ``scaling-dask`` and ``scaling-mpi4py``.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pi

import daskhpc
from daskhpc.scaling_study import ScalingStudy

HERE = Path(__file__).parent
FOREIGN = re.compile("PMI|PMIX|OMPI|MPI|HYD|SLURM|PBS")


def seconds_of_mpi(ranks: int, mpiexec: str) -> float:
    """Run the MPI program, without the variables of the MPI job that this program is a rank of."""
    env = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
    env |= {"OMP_NUM_THREADS": "1", "PI_POINTS": str(pi.POINTS)}
    line = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", str(HERE / "pi_mpi4py.py")]
    done = subprocess.run(line, env=env, check=True, capture_output=True, text=True)
    return float(re.search(r"ranks, ([\d.]+) s", done.stdout)[1])


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--mpiexec", default=str(Path(sys.executable).with_name("mpiexec")))
    given = options.parse_args()
    client = daskhpc.start()
    workers = len(client.ncores())
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= workers]
    mpi: dict[int, list[float]] = {count: [] for count in counts}

    def then_mpi(text: str) -> None:
        count = min(counts, key=lambda n: (len(mpi[n]), n))
        mpi[count].append(seconds_of_mpi(count, given.mpiexec))

    dask = daskhpc.scaling(pi.estimate, counts, repeats=given.repeats, plain=False, on_time=then_mpi)
    for name, study in {"dask": dask, "mpi4py": ScalingStudy.of_seconds(mpi)}.items():
        print(f"# {name}\n\n{study}\n")
        study.save(HERE / f"scaling-{name}")


main()
