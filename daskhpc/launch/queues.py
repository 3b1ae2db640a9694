"""The queue of each batch system: how it is asked, what its answer means, and how jobs in it are ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import maintenance, pbs_limits, qstat, slurm_limits, squeue
from .job_folder import SubmittedJob
from .job_spec import JobSpec
from .job_state import JobReport
from .limits import AcceptedJob, QueueLimits
from .maintenance import Maintenance

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
        The same for jobs that the queue has forgotten; None if no command knows them.
    limits_command, parse_limits : Callable
        The limits of the queue that a job goes to, or of all.
    job_command, parse_job : Callable
        One job as the scheduler holds it, by its id and cluster.
    test_command : Callable, optional
        Whether a script would be taken; None if that cannot be asked.
    is_about_now : Callable
        Whether a refusal of that may be of the moment alone.
    reasons_are_names : bool
        Whether the reason for which a job waits is a name that users look up, and no sentence.
    maintenance_command, parse_maintenances : optional
        The maintenances that are planned; None if no command lists them.
    """

    queue_command: Callable[[_Jobs, str], tuple[str, ...]]
    parse_queue: Callable[[str], tuple[JobReport, ...]]
    cancel_commands: Callable[[_Jobs], tuple[tuple[str, ...], ...]]
    limits_command: Callable[[JobSpec], tuple[str, ...]]
    parse_limits: Callable[[str], tuple[QueueLimits, ...]]
    job_command: Callable[[str, str], tuple[str, ...]]
    parse_job: Callable[[str], AcceptedJob | None]
    accounting_command: Callable[[_Jobs], tuple[str, ...]] | None = None
    parse_accounting: Callable[[str], tuple[JobReport, ...]] | None = None
    test_command: Callable[[JobSpec, str], tuple[str, ...]] | None = None
    is_about_now: Callable[[str], bool] = bool
    reasons_are_names: bool = False
    maintenance_command: tuple[str, ...] | None = None
    parse_maintenances: Callable[[str], tuple[Maintenance, ...]] | None = None


_SLURM = JobQueue(
    queue_command=squeue.queue_command,
    parse_queue=squeue.parse_squeue,
    cancel_commands=squeue.cancel_commands,
    accounting_command=squeue.accounting_command,
    parse_accounting=squeue.parse_sacct,
    limits_command=slurm_limits.limits_command,
    parse_limits=slurm_limits.parse_partitions,
    job_command=slurm_limits.job_command,
    parse_job=slurm_limits.parse_job,
    test_command=slurm_limits.test_command,
    is_about_now=slurm_limits.is_about_now,
    reasons_are_names=True,
    maintenance_command=maintenance.COMMAND,
    parse_maintenances=maintenance.parse_reservations,
)
_PBS = JobQueue(
    queue_command=qstat.queue_command,
    parse_queue=qstat.parse_qstat,
    cancel_commands=qstat.cancel_commands,
    limits_command=pbs_limits.limits_command,
    parse_limits=pbs_limits.parse_queues,
    job_command=pbs_limits.job_command,
    parse_job=pbs_limits.parse_job,
)

QUEUES = {"slurm": _SLURM, "pbspro": _PBS, "torque": _PBS}
"""By the batch system's name."""
