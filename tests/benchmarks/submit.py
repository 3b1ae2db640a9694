"""From a command on the login node to the first finished task: ``daskhpc submit`` beside sbatch of a script by hand.

Both run one program on two nodes of the Slurm test bed, in turn; what differs is who wrote the job script. The row
below them is how long the command itself takes. Nothing else may run on the machine meanwhile:

    python tests/benchmarks/submit.py [ROUNDS]
"""

from __future__ import annotations

import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "slurm")]

from bed import SlurmBed  # noqa: E402

ROUNDS = 7
PROGRAM = """
import time
import daskhpc
client = daskhpc.start()
client.submit(lambda: 1).result()
print("FIRST", time.time())
"""
PYTHON = shlex.quote(sys.executable)
BY_HAND = f"""\
#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --cpus-per-task=4 --mem=2G --time=5 --output=by-hand.txt
export SRUN_CPUS_PER_TASK=4
srun --overcommit --distribution=cyclic --ntasks=4 --kill-on-bad-exit=1 --mpi=pmi2 {PYTHON} program.py
"""
SHAPE = ("--nodes=2", "--cpus-per-task=4", "--mem=2G", "--time=5m")
WAYS = {
    "sbatch of a script by hand": ["sbatch", "--parsable", "by-hand.sbatch"],
    "daskhpc submit": [sys.executable, "-P", "-m", "daskhpc", "submit", *SHAPE, "--output=submitted.txt", "program.py"],
}
LOGS = {"sbatch of a script by hand": "by-hand.txt", "daskhpc submit": "submitted.txt"}


def measure(bed: SlurmBed, folder: Path, way: str) -> tuple[float, float]:
    """Seconds from the command's start to the first finished task, and to the command's end."""
    log = folder / LOGS[way]
    log.unlink(missing_ok=True)
    began = time.time()
    done = bed.run(WAYS[way], 60, folder, {"XDG_STATE_HOME": str(folder / "state")})
    said = time.time() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    bed.wait(int(done.stdout), 120)
    first = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("FIRST")]
    if not first:
        raise SystemExit(log.read_text())
    return float(first[0]) - began, said


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with SlurmBed() as bed, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "program.py").write_text(PROGRAM)
        (folder / "by-hand.sbatch").write_text(BY_HAND)
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in list(WAYS)[:: 1 if number % 2 else -1]:
                seconds[way].append(measure(bed, folder, way))
    base = statistics.median(first for first, _ in seconds[next(iter(WAYS))])
    print("| command | to the first task, median, s | fastest, slowest | more than by hand, s | the command alone, s |")
    print("|---|---|---|---|---|")
    for way, times in seconds.items():
        firsts, commands = zip(*times, strict=True)
        median = statistics.median(firsts)
        alone = statistics.median(commands)
        print(f"| `{way}` | {median:.2f} | {min(firsts):.2f}, {max(firsts):.2f} | {median - base:.2f} | {alone:.2f} |")


if __name__ == "__main__":
    main()
