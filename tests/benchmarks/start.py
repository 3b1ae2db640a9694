"""How long a job takes from srun to its first finished task: daskhpc beside dask-mpi, on the Slurm test bed.

Both start four ranks on two nodes, alternately, and time the same program with one import changed. Nothing else may
run on the machine meanwhile. Prints the table of docs/benchmarks.md:

    make benchmark
"""

from __future__ import annotations

import shlex
import statistics
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "slurm")]

from bed import SlurmBed  # noqa: E402

ROUNDS = 7
FIRST_TASK = """
from distributed import Client
client = Client()
client.submit(lambda: 1).result()
import os, time
print(time.time() - float(os.environ["BEGAN"]))
"""
PROGRAMS = {
    "dask_mpi.initialize()": "from dask_mpi import initialize\ninitialize()\n" + FIRST_TASK,
    "dask_mpi.initialize(dashboard=False)": "from dask_mpi import initialize\ninitialize(dashboard=False)\n"
    + FIRST_TASK,
    "daskhpc.initialize()": "from daskhpc import initialize\ninitialize()\n" + FIRST_TASK,
    "daskhpc.start(), which waits for all workers": "import daskhpc\ndaskhpc.start()\n" + FIRST_TASK,
}


def measure(bed: SlurmBed, folder: Path, program: str) -> float:
    """Seconds from srun to the first finished task."""
    (folder / "program.py").write_text(program)
    line = "srun --overcommit --distribution=cyclic --ntasks=4 --cpus-per-task=4 --kill-on-bad-exit=1 --mpi=pmi2"
    (folder / "job.sh").write_text(
        f"#!/bin/bash\nexport BEGAN=$(date +%s.%N)\n{line} {shlex.quote(sys.executable)} program.py\n"
    )
    job = bed.sbatch(folder / "job.sh", "--nodes=2", "--cpus-per-task=4", "--output=out", "--error=err", cwd=folder)
    fields = bed.wait(job, 120)
    if fields["ExitCode"] != "0:0":
        raise SystemExit((folder / "err").read_text())
    return float((folder / "out").read_text())


def main() -> None:
    with SlurmBed() as bed, tempfile.TemporaryDirectory() as folder:
        seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        for _ in range(ROUNDS):
            for name, program in PROGRAMS.items():
                seconds[name].append(measure(bed, Path(folder), program))
    base = statistics.median(seconds["dask_mpi.initialize()"])
    print("| program | median, s | fastest, s | slowest, s | beside dask-mpi |\n|---|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"| `{name}` | {median:.2f} | {min(times):.2f} | {max(times):.2f} | {median / base:.2f} |")


if __name__ == "__main__":
    main()
