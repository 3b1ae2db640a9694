"""The batch systems that jobs can be submitted to: one file and one class each."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...errors import LaunchError
from .base import BatchSystem
from .pbs_pro import PBSProBatch
from .slurm import SlurmBatch
from .torque import TorqueBatch

BATCH_SYSTEMS: tuple[BatchSystem, ...] = (SlurmBatch(), PBSProBatch(), TorqueBatch())


class NoBatchSystemError(LaunchError):
    """This machine has no command that submits jobs."""


def batch_system(name: str) -> BatchSystem:
    """The batch system of a name.

    Raises
    ------
    LaunchError
        If there is none; the message lists the names.
    """
    for system in BATCH_SYSTEMS:
        if system.name == name:
            return system
    names = ", ".join(system.name for system in BATCH_SYSTEMS)
    raise LaunchError(f"daskhpc knows no batch system {name!r}.", f"it knows {names}", "--scheduler slurm")


def installed_batch_system(env: Mapping[str, str] | None = None) -> str:
    """The name of the batch system whose commands are on the path.

    Raises
    ------
    NoBatchSystemError
        If there is none.
    """
    variables = os.environ if env is None else env
    for system in BATCH_SYSTEMS:
        if system.is_installed(variables):
            return system.name
    raise NoBatchSystemError(
        "There is no batch system here.",
        "neither sbatch nor qsub is on the path",
        "this on a login node of the cluster; daskhpc run works anywhere",
    )
