"""Questions that only another program can answer: which MPI library is here, and what srun offers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from .model import Runtime, Sourced
from .mpi import MPILibrary, parse_library_version

_SECONDS = 20.0
# A Slurm job without a limit is said to end a year after its start.
_NO_LIMIT_SECONDS = 360 * 24 * 3600.0
_LIBRARY = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"


def _output(argv: Sequence[str]) -> str | None:
    """Standard output and error of a command, None where it fails or is missing."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout + done.stderr


def installed_library() -> MPILibrary | None:
    """The MPI library that mpi4py finds, asked in a process of its own; None where there is none."""
    said = _output([sys.executable, "-c", _LIBRARY])
    return parse_library_version(said) if said else None


def launcher_library(mpiexec: str) -> str | None:
    """The name of the MPI library that an ``mpiexec`` belongs to, None where it does not say."""
    said = _output([mpiexec, "--version"]) or ""
    for name, pattern in (
        ("Open MPI", r"Open ?MPI|OpenRTE|PRRTE|prte"),
        ("Intel MPI", r"Intel\(R\) MPI"),
        ("MPICH", r"HYDRA|MPICH"),
    ):
        if re.search(pattern, said, re.IGNORECASE):
            return name
    return None


def offered_mpi_types() -> tuple[str, ...]:
    """What ``srun --mpi=list`` offers; empty where there is no srun."""
    return parse_mpi_list(_output(["srun", "--mpi=list"]) or "")


def with_end_time(runtime: Runtime) -> Runtime:
    """`runtime` with the end of its Slurm job, asked of squeue where no variable tells it (before Slurm 23.02)."""
    if runtime.scheduler.value != "slurm" or runtime.end_time.value is not None or runtime.job.value is None:
        return runtime
    said = (_output(["squeue", "--noheader", "--jobs", runtime.job.value, "--format", "%e"]) or "").strip()
    try:
        end = datetime.fromisoformat(said).timestamp()
    except ValueError:
        return runtime
    if end - time.time() > _NO_LIMIT_SECONDS:
        return replace(runtime, end_time=Sourced(None, "no time limit"))
    return replace(runtime, end_time=Sourced(end, "squeue"))


def parse_mpi_list(text: str) -> tuple[str, ...]:
    """The plug-in names in the output of ``srun --mpi=list``.

    Slurm 22.05 prints them after a heading, one a line; later releases add a line of PMIx versions.
    """
    names: list[str] = []
    for line in text.splitlines():
        line = line.strip().removeprefix("srun: ")
        _, colon, listed = line.partition(":")
        words = re.split(r"[,\s]+", listed) if colon else [line]
        names += [w for w in words if re.fullmatch(r"\w+", w) and w not in names]
    return tuple(names)


def srun_mpi(library: MPILibrary, offered: Sequence[str]) -> str | None:
    """The ``--mpi`` type of srun that fits a library, None where srun offers none.

    Open MPI talks PMIx. MPICH, MVAPICH and Intel MPI talk PMI-2; Cray MPICH has a type of its own on its machines.
    """
    if library.name == "Open MPI":
        wanted = ["pmix", *sorted((o for o in offered if o.startswith("pmix_v")), reverse=True)]
    elif library.name.startswith("Cray"):
        wanted = ["cray_shasta", "pmi2"]
    else:
        wanted = ["pmi2", "cray_shasta"]
    return next((kind for kind in wanted if kind in offered), None)
