"""Runs programs to learn what no variable and no file tells: the MPI library, srun's MPI types, the end of a job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from .model import Runtime, Sourced
from .mpi import MPILibrary, parse_library_version, parse_mpi_list
from .schedulers import scheduler_named

_SECONDS = 20.0
_LIBRARY = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"


def _output(argv: Sequence[str]) -> str | None:
    """Standard output and error of a command, None if it fails or is missing."""
    if shutil.which(argv[0]) is None:
        return None
    # A user may have set another form of times for all of Slurm's commands. A name in Latin-1 is no UTF-8.
    env = {**os.environ, "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True, env=env
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout + done.stderr).decode(errors="replace")


def installed_library() -> MPILibrary | None:
    """The MPI library that mpi4py finds, asked in a process of its own; None if there is none."""
    printed = _output([sys.executable, "-P", "-c", _LIBRARY])
    return parse_library_version(printed) if printed else None


def launcher_library(mpiexec: str) -> str | None:
    """The name of the MPI library that an ``mpiexec`` belongs to, None if its output does not show it."""
    printed = _output([mpiexec, "--version"]) or ""
    for name, pattern in (
        ("Open MPI", r"Open ?MPI|OpenRTE|PRRTE|prte"),
        ("Intel MPI", r"Intel\(R\) MPI"),
        ("MPICH", r"HYDRA|MPICH"),
    ):
        if re.search(pattern, printed, re.IGNORECASE):
            return name
    return None


def offered_mpi_types() -> tuple[str, ...]:
    """What ``srun --mpi=list`` offers; empty if there is no srun."""
    return parse_mpi_list(_output(["srun", "--mpi=list"]) or "")


def with_end_time(runtime: Runtime) -> Runtime:
    """`runtime` with the end of its job as the scheduler's own command prints it, if no variable tells it."""
    return runtime if runtime.end_time.value is not None else replace(runtime, end_time=asked_end_time(runtime))


def asked_end_time(runtime: Runtime) -> Sourced[float | None]:
    """The end of the job as the scheduler's own command prints it now; what `runtime` has if it prints none.

    The end moves when a job is suspended, or when its limit is changed.
    """
    scheduler, job = scheduler_named(runtime.scheduler.value), runtime.job.value
    command = scheduler.end_command(job) if job is not None else ()
    end = scheduler.parse_end(_output(command) or "", time.time(), job) if job is not None and command else None
    return runtime.end_time if end is None else end


def granted_memory(runtime: Runtime) -> tuple[str, str] | None:
    """The variable that gives the job's memory to its launcher, and its value from the scheduler's own command.

    A variable of the environment may be that of another job, in which this one was submitted.
    """
    scheduler, job = scheduler_named(runtime.scheduler.value), runtime.job.value
    command = scheduler.memory_command(job) if job is not None else ()
    return scheduler.parse_memory(_output(command) or "") if command else None
