"""The cells of the table in docs/reference/all-endings.md, and how one is run."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import flavors
from bed import ENDED, SlurmBed
from ranks import Ranks

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "all-endings.md"
LAUNCHERS = ("mpiexec of MPICH", "mpiexec of Open MPI", "srun pmi2", "srun pmix", "srun, no MPI", "LocalCluster")
PMI = {"srun pmi2": "pmi2", "srun pmix": "pmix", "srun, no MPI": "none"}
SECONDS = 15.0
START_DEADLINE = 6
MEMORY = 2500  # MB of the memory cgroup of a cell that uses its memory up
WORKING = 15  # seconds before the time limit is near
LONG = ("node lost", "time limit")
GROUPS = Path("/sys/fs/cgroup/memory")
NODES = {"scheduler": "node1", "client": "node2", "worker's rank": "node3"}


class Cell(NamedTuple):
    """One way for a job to end: a cause that meets a role in a phase under a launcher, and what is to be seen."""

    cause: str
    role: str
    phase: str
    launcher: str
    codes: frozenset[int]
    said: str

    def __str__(self) -> str:
        return f"{self.cause}, {self.role}, {self.phase}, {self.launcher}"

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        launched = 8.0 if self.launcher in PMI else 4.0
        return launched + {"SIGINT": 5, "out of memory": 5}.get(self.cause, 0)

    @property
    def pairs(self) -> set[tuple[str, ...]]:
        """What a spread of cells is to cover; causes and launchers meet in the whole table only."""
        values = (self.cause, self.role, self.phase, self.launcher)
        return {pair for pair in combinations(values, 2) if pair != (self.cause, self.launcher)}


class Ended(NamedTuple):
    """A job that has ended: how, what it wrote, how long after its cause, and what was left of it."""

    code: int
    out: str
    err: str
    seconds: float
    left: Sequence[object]


def cells() -> list[Cell]:
    """Every cell of the table, in its order.

    A row is: cause, role, phase, a column for each launcher with the exit codes, what is printed. Causes, roles and
    phases that are separated by semicolons make a cell each; "-" stands where there is no such case.
    """
    rows = [
        [part.strip() for part in line.strip().strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    found = []
    for row in rows:
        if len(row) != 4 + len(LAUNCHERS) or row[0] in ("cause", "---"):
            continue
        causes, roles, phases = ([value.strip() for value in part.split(";")] for part in row[:3])
        for cause in causes:
            for role in roles:
                for phase in phases:
                    for launcher, codes in zip(LAUNCHERS, row[3:-1], strict=True):
                        if codes != "-":
                            allowed = frozenset(int(code) for code in re.findall(r"\d+", codes))
                            found.append(Cell(cause, role, phase, launcher, allowed, row[-1]))
    return found


def spread(every: Sequence[Cell]) -> list[Cell]:
    """A few quick cells in which every pair of a cause, a role, a phase and a launcher occurs, but causes by launchers.

    Lost nodes and time limits take long; test_survival.py and test_requeue.py have one of each.
    """
    left = [cell for cell in every if cell.cause not in LONG]
    missing = set().union(*(cell.pairs for cell in left))
    chosen: list[Cell] = []
    while missing:
        best = max(left, key=lambda cell: len(cell.pairs & missing) / cell.seconds)
        missing -= best.pairs
        left.remove(best)
        chosen.append(best)
    return chosen


def run(cell: Cell, folder: Path, bed: SlurmBed | None) -> Ended:
    """Run the job of a cell and wait for its end and for that of its processes."""
    env = {
        "ENDING": f"{cell.cause};{cell.role};{cell.phase}",
        "DELAY": f"{random.Random(str(cell)).uniform(0.01, 1.5 if cell.phase == 'starting' else 0.3):.2f}",
        "PYTHONUNBUFFERED": "1",
    }
    if cell.phase == "starting" and cell.role in ("worker's rank", "early rank"):
        env["DASK_DASKHPC__START_DEADLINE"] = str(START_DEADLINE)  # under srun it is alone on its node
    if cell.phase == "starting" and cell.role == "worker process":
        env["DASK_DISTRIBUTED__WORKER__PRELOAD"] = repr([str(HERE / "preload.py")])
    if cell.cause == "out of memory":
        # The nodes of the bed share this group. When a worker is to die under srun, scheduler and client stay out of
        # it: now and then the kernel ends a second process before the memory of the first is free.
        spared = '[ "${SLURM_PROCID:-2}" -lt 2 ] || ' if cell.role == "worker process" else ""
        with memory_cgroup(f"daskhpc-test-{os.getpid()}") as group:
            enter = f'{spared}echo 0 > {group}/cgroup.procs; exec "$@"'
            return _run(cell, folder, bed, env, ["sh", "-c", enter, "sh"])
    return _run(cell, folder, bed, env, [])


def _run(cell: Cell, folder: Path, bed: SlurmBed | None, env: dict[str, str], before: list[str]) -> Ended:
    program = [*before, sys.executable, str(HERE / "program.py")]
    if cell.launcher in PMI:
        assert bed is not None
        return _on_the_bed(cell, folder, bed, env, program)
    flavor = flavors.openmpi() if cell.launcher == LAUNCHERS[1] else flavors.mpich()
    runner = Ranks(flavor, folder)
    launch = [] if cell.launcher == "LocalCluster" else [flavor.mpiexec, "-n", "4"]
    began = time.time()
    done = runner.run([*before, *launch, *program[len(before) :]], 200, env)
    left = runner.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    code = done.code if done.code >= 0 else 128 - done.code
    return Ended(code, done.out, done.err, began + done.seconds - _cause(done.err, began), left)


def _says(file: Path, text: str) -> bool:
    return file.exists() and text in file.read_text()


def _cause(err: str, began: float) -> float:
    """When the cause came, the last time it was said; from the start on if nothing says so."""
    times = [float(text) for text in re.findall(r"the cause comes at ([\d.]+)", err)]
    return max(times, default=began)


def _on_the_bed(cell: Cell, folder: Path, bed: SlurmBed, env: dict[str, str], program: list[str]) -> Ended:
    flavor = flavors.openmpi() if cell.launcher == "srun pmix" else flavors.mpich()
    srun = ["srun", "--overcommit", "--distribution=cyclic", "--cpus-per-task=4", f"--mpi={PMI[cell.launcher]}"]
    script = folder / "job.sh"
    script.write_text(f"#!/bin/bash\n{shlex.join([*srun, '--ntasks=5', *program])}\n")
    options = ["--nodes=3", "--no-requeue", "--mem=4G", "--cpus-per-task=4", "--output=job.out", "--error=job.err"]
    if cell.cause == "time limit":
        options.append("--time=1")
        env["DASK_DASKHPC__TIME_MARGIN"] = str(60 - WORKING)
    began = time.time()
    job = bed.sbatch(script, *options, cwd=folder, env={**flavor.env, **env})
    out, err = folder / "job.out", folder / "job.err"
    if cell.cause == "node lost":
        computes = partial(_says, out, "started")
        bed.until(lambda: computes() or bed.show(job)["JobState"] in ENDED, 150, "the job to start")
        began = time.time()
        if computes():
            bed.stop(NODES[cell.role])
    fields = bed.wait(job, 200)
    ended = time.time()
    bed.until(lambda: not bed.processes(job) or time.time() > ended + 15, 60, "the job's processes")
    status, _, signum = fields["ExitCode"].partition(":")
    text = err.read_text() if err.exists() else ""
    if cell.cause == "time limit":
        began = datetime.fromisoformat(fields["StartTime"]).timestamp() + WORKING
    code = int(status) or (128 + int(signum) if int(signum) else 0)
    if fields["JobState"] == "NODE_FAIL" and not code:
        code = 137  # Slurm's state tells; the batch shell was on that node
    return Ended(code, out.read_text(), text, ended - _cause(text, began), bed.processes(job))


@contextlib.contextmanager
def memory_cgroup(name: str) -> Iterator[Path]:
    """A memory cgroup of version 1, which all processes of the job join."""
    group = GROUPS / name
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(MEMORY << 20))
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        end = time.monotonic() + 60
        while (group / "cgroup.procs").read_text().strip() and time.monotonic() < end:
            time.sleep(0.02)
        group.rmdir()


def can_limit_memory() -> bool:
    """Whether a memory cgroup can be made here."""
    try:
        with memory_cgroup(f"daskhpc-test-{os.getpid()}"):
            return True
    except OSError:
        return False
