"""A machine as far as ``daskhpc run`` looks: a Python environment, a PATH and variables, with fakes as executables."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import daskhpc

ROOT = Path(daskhpc.__file__).parents[1]

MPI_LIST = """MPI plugin types are...
\tcray_shasta
\tnone
\tpmi2
\tpmix
specific pmix plugin versions available: pmix_v4"""

LIBRARIES = {
    "MPICH": "MPICH Version:      5.0.2\nMPICH Release date: unknown",
    "Open MPI": "Open MPI v5.0.11, package: Open MPI builder@host Distribution, ident: 5.0.11",
    "Intel MPI": "Intel(R) MPI Library 2021.11 for Linux* OS",
    "MVAPICH": "MVAPICH2 Version      :\t2.3.7",
    "Cray MPICH": "MPI VERSION    : CRAY MPICH version 8.1.29 (ANL base 3.4a2)",
}
LAUNCHERS = {
    "MPICH": "HYDRA build details:\n    Version:                                 5.0.2",
    "Open MPI": "mpiexec (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/",
    "Intel MPI": "Intel(R) MPI Library for Linux* OS, Version 2021.11 Build 20231005",
    "other": "mpiexec of somebody else",
}
FORGOTTEN = ("SLURM", "PBS", "PMI", "OMPI", "DASK", "MPI", "HYD", "PYTHON", "SRUN")


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


class Place:
    """A folder with an environment's ``bin``, a ``bin`` on the PATH, and a working directory.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / 'it\'s a "folder"; echo no'
        self.bin = folder / "some bin"
        self.beside = folder / "environment" / "bin"
        for made in (self.work, self.bin, self.beside):
            made.mkdir(parents=True)
        self.python = self.beside / "python"
        self.modules = folder / "modules"
        self.env: dict[str, str] = {}
        self._environment()

    def _environment(self) -> None:
        """The test environment's Python and packages, with no other program beside the Python."""
        base = Path(os.path.realpath(sys.executable))
        self.python.symlink_to(base)
        (self.beside.parent / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
        packages = Path(sysconfig.get_path("purelib"))
        there = self.beside.parent / packages.relative_to(packages.parents[2])
        there.parent.mkdir(parents=True)
        there.symlink_to(packages)

    def fake(self, name: str, body: str, beside: bool = False) -> Path:
        """Put a program of sh on the PATH, or beside the Python."""
        path = (self.beside if beside else self.bin) / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def mpiexec(self, library: str, name: str = "mpiexec", beside: bool = False) -> Path:
        """Put a launcher that knows its version, and otherwise records how it was called."""
        record = shlex.quote(str(self.folder / "record"))
        return self.fake(
            name,
            f"if [ \"$*\" = --version ]; then /bin/cat <<'END'\n{LAUNCHERS[library]}\nEND\nexit; fi\n"
            f"printf '%s\\0' \"$@\" >{record}\n/usr/bin/env -0 >{record}.env\nexit 7",
            beside,
        )

    def srun(self, offered: str = MPI_LIST) -> Path:
        """Put an srun that knows its MPI types, and otherwise records how it was called."""
        record = shlex.quote(str(self.folder / "record"))
        return self.fake(
            "srun",
            f"if [ \"$*\" = --mpi=list ]; then /bin/cat <<'END'\n{offered}\nEND\nexit; fi\n"
            f"printf '%s\\0' \"$@\" >{record}\n/usr/bin/env -0 >{record}.env\nexit 7",
        )

    def mpi4py(self, library: str | None) -> None:
        """Put an mpi4py that finds this MPI library, or none."""
        package = self.modules / "mpi4py"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("class rc:\n    initialize = True\n")
        text = (
            f"def Get_library_version(): return {LIBRARIES[library]!r}\n" if library else "raise RuntimeError('none')"
        )
        (package / "MPI.py").write_text(text)

    def script(self, name: str = "a program.py", text: str = "") -> str:
        """Write a program into the working directory."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    def environment(self) -> dict[str, str]:
        """The variables of a command: none of this test run's own schedulers and libraries."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(FORGOTTEN)}
        ours = {"PATH": str(self.bin), "PYTHONPATH": f"{self.modules}:{ROOT}", "HOME": str(self.folder)}
        # names of nodes that nobody knows: do not ask twice
        return {**kept, **ours, "RES_OPTIONS": "timeout:1 attempts:1", **self.env}

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> Done:
        """Run a command here."""
        done = subprocess.run(
            argv,
            cwd=self.work,
            env={**self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def daskhpc(self, *arguments: str, **env: str) -> Done:
        """Run the ``daskhpc`` command with this environment's Python."""
        return self.run(str(self.python), "-m", "daskhpc", *arguments, env=env)

    @property
    def argv(self) -> list[str]:
        """The arguments that a fake launcher was called with."""
        return (self.folder / "record").read_text().split("\0")[:-1]

    @property
    def given(self) -> dict[str, str]:
        """The environment that a fake launcher was called with."""
        pairs = (self.folder / "record.env").read_bytes().split(b"\0")[:-1]
        return dict(os.fsdecode(pair).split("=", 1) for pair in pairs)

    def slurm(self, nodes: int = 2, **more: str) -> None:
        """The batch shell of a job of Slurm."""
        self.env |= {
            "SLURM_JOB_ID": "12",
            "SLURM_JOB_NODELIST": f"127.0.0.[1-{nodes}]",
            "SLURM_NNODES": str(nodes),
            "SLURM_CPUS_ON_NODE": "8",
            "SLURM_JOB_CPUS_PER_NODE": f"8(x{nodes})",
            "SLURM_PROCID": "0",
            "SLURMD_NODENAME": "127.0.0.1",
            **more,
        }

    def pbs(self, *lines: str) -> None:
        """The job script of a job of PBS Pro."""
        file = self.folder / "node file"
        file.write_text("".join(f"{line}\n" for line in lines))
        self.env |= {"PBS_JOBID": "77.server", "PBS_NODEFILE": str(file), "NCPUS": "8"}
