"""What differs from site to site beyond its scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The facts of a site that a job script depends on.

    Attributes
    ----------
    scheduler : str
        "slurm", "pbspro" or "torque".
    memory : str
        How memory is asked for: "per-node", "per-cpu", or "none" if the site refuses to be asked.
    gpus : str
        How Slurm is asked for GPUs: "gres" (``--gres=gpu:a100:2``) or "gpus-per-node".
    cpus_per_node : int or None
        CPUs of a whole node. PBS needs them in its options.
    pbs_account : str
        The option of qsub for the account that pays: "-A" or "-P".
    launcher : str
        What starts the ranks, if srun or mpiexec do not, such as ``ibrun`` or ``mvp2run -c {ranks} -m cyclic -a``;
        ``{ranks}`` and ``{nodes}`` are put in. The command of a rank follows.
    modules : tuple[str, ...]
        Environment modules that every job loads, before those that it names itself.
    setup : tuple[str, ...]
        Lines of shell that every job runs before the program.
    templates : str
        Folder with templates of job scripts that stand in for daskhpc's own.
    resume : str or None
        How a job that is not done at its time limit goes on: "requeue" (it is run again under its id), "chain" (only
        jobs that were submitted together with ``--chain``), "by-hand" (``daskhpc resume`` on a login node). None is
        "requeue" on Slurm, and "by-hand" on PBS, whose jobs cannot be run again from within.
    login : str
        The login node as a user's own machine knows it, for the ``ssh`` line that is printed; empty for the name that
        the scheduler gives it.
    """

    scheduler: str = "slurm"
    memory: Literal["per-node", "per-cpu", "none"] = "per-node"
    gpus: Literal["gres", "gpus-per-node"] = "gres"
    cpus_per_node: int | None = None
    pbs_account: Literal["-A", "-P"] = "-A"
    launcher: str = ""
    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    templates: str = ""
    resume: Literal["requeue", "chain", "by-hand"] | None = None
    login: str = ""
