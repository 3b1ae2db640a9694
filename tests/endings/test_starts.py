"""Many starts and ends, one after the other: none hangs, none leaves a process or a file, each has its exit code.

STARTS says how many under mpiexec (200 by ``make test-endings``); under srun it is a quarter of that.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from bed import SlurmBed
from flavors import mpich
from ranks import Ranks

STARTS = int(os.environ.get("STARTS", "10"))
PROGRAM = """
import sys
import daskhpc

client = daskhpc.start()
print(client.submit(sum, [1, 2, 3]).result(), flush=True)
code = int(sys.argv[1])
if code == 1:
    raise ValueError("raised by the test")
sys.exit(code)
"""
CODES = (0, 3, 1)
DASKS_LOCKS = ("global.lock", "purge.lock")  # of its scratch folder: two empty files for all runs


# A program with a shared memory of its own; the names of what it leaves there.
PRIVATE = 'mount -t tmpfs shm /dev/shm && "$@"; code=$?; ls -A /dev/shm >> "$0"; exit $code'


@pytest.mark.timeout(900 + 60 * STARTS)
def test_starts_and_ends_under_mpiexec(tmp_path: Path) -> None:
    """Nothing stays in the working directory, in the temporary directory or in shared memory."""
    work, temporary = tmp_path / "work", tmp_path / "tmp"
    work.mkdir()
    temporary.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    shared = tmp_path / "shared memory"
    shared.touch()
    for number in range(STARTS):
        code = CODES[number % len(CODES)]
        with Ranks(mpich(), work) as ranks:
            command = [ranks.flavor.mpiexec, "-n", "4", sys.executable, str(program), str(code)]
            if os.geteuid() == 0:  # as in the test's own Slurm; other tests have the machine's shared memory
                command = ["unshare", "--mount", "bash", "-c", PRIVATE, str(shared), *command]
            done = ranks.run(command, env={"TMPDIR": str(temporary)})
        assert (done.code, done.out) == (code, "6\n"), (number, done)
        for file in work.glob("*.std*"):
            file.unlink()
        left = [p for p in (*work.rglob("*"), *temporary.rglob("*")) if not p.is_dir()]
        assert [p for p in left if p.name not in DASKS_LOCKS] == []
    assert shared.read_text() == ""


@pytest.mark.slurm
@pytest.mark.timeout(900 + 15 * STARTS)
def test_starts_and_ends_under_srun(slurm: SlurmBed, tmp_path: Path) -> None:
    """One batch job with a step after the other."""
    count = max(3, STARTS // 4)
    (tmp_path / "program.py").write_text(PROGRAM)
    codes = " ".join(str(CODES[number % len(CODES)]) for number in range(count))
    srun = "srun --overcommit --distribution=cyclic --cpus-per-task=4 --ntasks=5 --mpi=pmi2"
    list_shared = "srun --ntasks=3 --ntasks-per-node=1 bash -c 'ls /dev/shm'"
    (tmp_path / "job.sh").write_text(
        f"#!/bin/bash\n{list_shared} > before\nfor code in {codes}; do\n"
        f"    {srun} {shlex.quote(sys.executable)} program.py $code\n    echo $code $?\ndone\n{list_shared} > after\n"
    )
    options = ("--nodes=3", "--mem=2G", "--cpus-per-task=4", "--output=job.out", "--error=job.err")
    job = slurm.sbatch(tmp_path / "job.sh", *options, cwd=tmp_path)
    fields = slurm.wait(job, 120 + 50 * count)
    assert fields["JobState"] == "COMPLETED"
    lines = (tmp_path / "job.out").read_text().splitlines()
    expected = [line for code in codes.split() for line in ("6", f"{code} {code}")]
    assert lines == expected, (tmp_path / "job.err").read_text()
    assert slurm.left_of(job) == []
    before, after = (sorted((tmp_path / name).read_text().splitlines()) for name in ("before", "after"))
    assert after == before
    assert {p.name for p in tmp_path.iterdir()} == {"program.py", "job.sh", "job.out", "job.err", "before", "after"}
