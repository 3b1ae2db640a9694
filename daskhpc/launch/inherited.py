"""What of this process's environment a scheduler's command, a launcher and a job may inherit."""

from __future__ import annotations

from collections.abc import Mapping

# What an MPI launcher sets for one rank. A new launcher that found these would take itself for a rank of the old one.
_RANK_PREFIXES = (
    "PMI_",
    "PMI2_",
    "PMIX_",
    "OMPI_",
    "PRTE_",
    "HYDI_",
    "HYDRA_CONTROL",
    "MPI_LOCAL",
    "MV2_COMM_WORLD_",
)
# What a scheduler sets within a job, and what its commands take for options of the command line.
_SCHEDULER_PREFIXES = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SCANCEL_", "SINFO_", "SACCT_", "PBS_")
# Where the scheduler is, and by what it knows the user where there is no munge. This holds in any job.
_SCHEDULER_PLACES = frozenset(
    ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "PBS_CONF_FILE", "PBS_DEFAULT", "PBS_SERVER", "PBS_EXEC", "PBS_HOME")
)
# What belongs to this session or this process, and does not exist or means something else on a node.
_OF_SESSION = frozenset(
    (
        "DASK_INTERNAL_INHERIT_CONFIG",
        "DBUS_SESSION_BUS_ADDRESS",
        "ENVIRONMENT",
        "TEMP",
        "TMP",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "XDG_SESSION_ID",
    )
)
_OWN = "DASKHPC_OWN_VARIABLES"
"""What daskhpc has set in this process for the CPUs that it has, such as OMP_NUM_THREADS; a line for each."""
_OF_SESSION_PREFIXES = ("DASKHPC_", "JPY_", "SSH_", "TMUX", "VSCODE_")


def without_rank(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables that an MPI launcher set for a rank; the user's own settings of MPI stay.

    Examples
    --------
    >>> without_rank({"PMI_RANK": "1", "OMPI_COMM_WORLD_RANK": "1", "OMPI_MCA_btl": "self,tcp", "HOME": "/home/ada"})
    {'OMPI_MCA_btl': 'self,tcp', 'HOME': '/home/ada'}
    """
    return {name: value for name, value in env.items() if not _is_of_rank(name)}


def _is_of_rank(name: str) -> bool:
    return name.startswith(_RANK_PREFIXES) and "_MCA_" not in name and "ALLOW_RUN_AS_ROOT" not in name


def for_scheduler(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which only its line decides what a scheduler's command does; a job may inherit it.

    In a job, and in an editor, a terminal or a notebook that runs within one, the outer job's variables are options of
    sbatch and srun: a job that is submitted there would get the outer job's CPU binding, memory and tasks.

    Examples
    --------
    >>> for_scheduler({"SLURM_CPU_BIND": "mask", "SLURM_CONF": "/etc/slurm.conf", "TMPDIR": "/tmp/x", "HOME": "/h"})
    {'SLURM_CONF': '/etc/slurm.conf', 'HOME': '/h'}
    >>> for_scheduler({"SLURM_JWT": "a key", "SLURM_MEM_PER_CPU": "5"})
    {'SLURM_JWT': 'a key'}
    """
    own = env.get(_OWN, "").split("\n")
    return {
        name: value
        for name, value in without_rank(env).items()
        if name in _SCHEDULER_PLACES
        or not (
            name.startswith((*_SCHEDULER_PREFIXES, *_OF_SESSION_PREFIXES))
            or name in _OF_SESSION
            or f"{name}={value}" in own
        )
    }
