"""The queue of each batch system: how it is asked, what its answer means, and how jobs in it are ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import qstat, squeue
from .job_folder import SubmittedJob
from .job_state import JobReport

_Jobs = Sequence[SubmittedJob]


class JobQueue(NamedTuple):
    """What one batch system's commands are asked, and what their answers mean.

    Attributes
    ----------
    queue_command : Callable
        From jobs and their user to the one question about all of them.
    parse_queue : Callable
        From what that command printed to the reports.
    cancel_commands : Callable
        From jobs to the commands that end them.
    accounting_command, parse_accounting : Callable, optional
        The same for jobs that the queue has forgotten; None if nobody knows these.
    """

    queue_command: Callable[[_Jobs, str], tuple[str, ...]]
    parse_queue: Callable[[str], tuple[JobReport, ...]]
    cancel_commands: Callable[[_Jobs], tuple[tuple[str, ...], ...]]
    accounting_command: Callable[[_Jobs], tuple[str, ...]] | None = None
    parse_accounting: Callable[[str], tuple[JobReport, ...]] | None = None


_SLURM = JobQueue(
    squeue.queue_command,
    squeue.parse_squeue,
    squeue.cancel_commands,
    squeue.accounting_command,
    squeue.parse_sacct,
)
_PBS = JobQueue(qstat.queue_command, qstat.parse_qstat, qstat.cancel_commands)

QUEUES = {"slurm": _SLURM, "pbspro": _PBS, "torque": _PBS}
"""By the batch system's name."""
