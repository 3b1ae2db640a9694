"""Environments of ranks, as the schedulers and launchers set them."""

from __future__ import annotations


def slurm_batch(**more: str) -> dict[str, str]:
    """The batch shell of a job of three nodes: it has SLURM_PROCID=0 and is no rank."""
    return {
        "SLURM_JOB_ID": "12",
        "SLURM_JOBID": "12",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_NODELIST": "n[1-3]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_NNODES": "3",
        "SLURM_NTASKS": "5",
        "SLURM_NPROCS": "5",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_GTIDS": "0",
        "SLURM_CPUS_ON_NODE": "8",
        "SLURM_JOB_CPUS_PER_NODE": "8(x3)",
        "SLURM_TASKS_PER_NODE": "2(x2),1",
        "SLURMD_NODENAME": "n1",
        "SLURM_SUBMIT_HOST": "login",
        **more,
    }


def slurm_step(rank: int = 2, node: int = 1, gtids: str = "0,3", local: int = 0, **more: str) -> dict[str, str]:
    """A task of a step of five on three nodes, cyclic."""
    return {
        **slurm_batch(),
        "SLURM_STEP_ID": "0",
        "SLURM_STEPID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(local),
        "SLURM_NODEID": str(node - 1),
        "SLURM_GTIDS": gtids,
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_STEP_NUM_NODES": "3",
        "SLURM_STEP_NODELIST": "n[1-3]",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
        "SLURMD_NODENAME": f"n{node}",
        **more,
    }


def hydra(rank: int, size: int, local: int, here: int) -> dict[str, str]:
    """A rank of MPICH's mpiexec (seen: 5.0.2)."""
    return {
        "PMI_RANK": str(rank),
        "PMI_SIZE": str(size),
        "PMI_FD": "9",
        "PMI_HOSTNAME": "n1",
        "MPI_LOCALRANKID": str(local),
        "MPI_LOCALNRANKS": str(here),
    }


def openmpi(rank: int, size: int, local: int, here: int) -> dict[str, str]:
    """A rank of Open MPI's mpiexec."""
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(local),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(here),
        "PMIX_RANK": str(rank),
        "PMIX_NAMESPACE": "prterun-n1-1@1",
    }


def pbspro(**more: str) -> dict[str, str]:
    """A job of PBS Pro (OpenPBS's start_exec.c)."""
    return {
        "PBS_JOBID": "77.server",
        "PBS_JOBNAME": "search",
        "PBS_O_HOST": "login",
        "PBS_NODEFILE": "/var/spool/pbs/aux/77.server",
        "PBS_NODENUM": "0",
        "PBS_TASKNUM": "1",
        "PBS_MOMPORT": "15003",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBDIR": "/home/u",
        "NCPUS": "8",
        "OMP_NUM_THREADS": "8",
        "TMPDIR": "/var/tmp/pbs.77.server",
        **more,
    }


def torque(**more: str) -> dict[str, str]:
    """A job of Torque (start_exec.c)."""
    return {
        "PBS_JOBID": "78.server",
        "PBS_VERSION": "TORQUE-6.1.2",
        "PBS_O_HOST": "login",
        "PBS_NODEFILE": "/var/spool/torque/aux/78.server",
        "PBS_NUM_NODES": "2",
        "PBS_NUM_PPN": "4",
        "PBS_NP": "8",
        "PBS_NODENUM": "0",
        "PBS_VNODENUM": "0",
        "PBS_WALLTIME": "3600",
        **more,
    }
