"""The batch systems that daskhpc knows: one file and one class each."""

from __future__ import annotations

from ..node import NodeView
from .base import Scheduler
from .none import NoScheduler
from .pbs_pro import PBSPro
from .slurm import Slurm
from .torque import Torque

# The first that recognises a job has it. Torque stands before PBS Pro, whose PBS_JOBID it sets too.
SCHEDULERS: tuple[Scheduler, ...] = (Slurm(), Torque(), PBSPro())


def recognise(node: NodeView) -> tuple[Scheduler, str]:
    """The scheduler whose job this process is in, and the variable that shows it."""
    for scheduler in SCHEDULERS:
        variable = scheduler.recognised_by(node)
        if variable is not None:
            return scheduler, variable
    return NoScheduler(), "neither " + " nor ".join(dict.fromkeys(s.job_variable for s in SCHEDULERS))


def scheduler_named(name: str) -> Scheduler:
    """The scheduler that `Runtime.scheduler` names."""
    return next((scheduler for scheduler in SCHEDULERS if scheduler.name == name), NoScheduler())


__all__ = ["SCHEDULERS", "NoScheduler", "PBSPro", "Scheduler", "Slurm", "Torque", "recognise", "scheduler_named"]
