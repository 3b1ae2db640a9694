"""MPI libraries: their names, their process managers, and the types of srun that fit; nothing is started."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# (name, pattern of the version); the first match wins, so derivatives stand before what they derive from.
_LIBRARIES = (
    ("Intel MPI", r"Intel\(R\) MPI Library\s*(?:Version\s*)?([\d.]+)?"),
    ("MVAPICH", r"MVAPICH\d?(?:-Plus|-GDR)?\s*(?:Version)?\s*:?\s*([\d.]+\w*)?"),
    ("Cray MPICH", r"CRAY MPICH\s*(?:version)?\s*:?\s*([\d.]+)?"),
    ("Open MPI", r"Open MPI\s*v?([\d.]+\w*)?"),
    ("MPICH", r"MPICH\s*(?:Version)?\s*:?\s*([\d.]+\w*)?"),
)


@dataclass(frozen=True, slots=True)
class MPILibrary:
    """An MPI library.

    Attributes
    ----------
    name : str
        ``"MPICH"``, ``"Open MPI"``, ``"Intel MPI"``, ``"MVAPICH"``, ``"Cray MPICH"`` or ``"unknown"``.
    version : str
        As the library writes it; empty if it gives none.
    """

    name: str
    version: str


def parse_library_version(text: str) -> MPILibrary:
    """Name the library whose ``MPI_Get_library_version`` returns `text`."""
    for name, pattern in _LIBRARIES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return MPILibrary(name, match[1] or "")
    return MPILibrary("unknown", "")


def process_manager(env: Mapping[str, str]) -> str | None:
    """Which process management interface the launcher offers to this process.

    Parameters
    ----------
    env : Mapping[str, str]
        The environment of a rank.

    Returns
    -------
    str | None
        ``"pmix"``, ``"pmi2"``, ``"pmi1"``; None if there is none, as under ``srun --mpi=none`` or without a
        launcher: every rank then believes that it is alone.

    Notes
    -----
    Slurm's pmi2 plugin and hydra both use ``PMI_FD``; the former inside a step and without hydra's
    ``MPI_LOCALNRANKS``. Hydra answers to both versions and counts as ``"pmi1"``, which all its clients use.
    """
    if any(name in env for name in ("PMIX_RANK", "PMIX_NAMESPACE")) or any(n.startswith("PMIX_SERVER_") for n in env):
        return "pmix"
    if not any(name in env for name in ("PMI_FD", "PMI_PORT", "PMI_RANK")) and not any(n[:5] == "PMI2_" for n in env):
        return None
    slurm = ("SLURM_STEP_ID" in env or "SLURM_STEPID" in env) and "MPI_LOCALNRANKS" not in env
    if any(name.startswith("PMI2_") for name in env) or (slurm and "PMI_FD" in env):
        return "pmi2"
    return "pmi1"


def said_by_mpi() -> tuple[int, int] | None:
    """The rank and the size of MPI's world, None if this process has not started MPI. Starts nothing."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized():
        return None
    return mpi.COMM_WORLD.Get_rank(), mpi.COMM_WORLD.Get_size()


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
    """The ``--mpi`` type of srun that fits a library, None if srun offers none.

    Open MPI talks PMIx. MPICH, MVAPICH and Intel MPI talk PMI-2; Cray MPICH has a type of its own on its machines.
    """
    if library.name == "Open MPI":
        wanted = ["pmix", *sorted((o for o in offered if o.startswith("pmix_v")), reverse=True)]
    elif library.name.startswith("Cray"):
        wanted = ["cray_shasta", "pmi2"]
    else:
        wanted = ["pmi2", "cray_shasta"]
    return next((kind for kind in wanted if kind in offered), None)
