"""Runtimes and plans as values, without a machine to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskhpc.cluster.plan import RankPlan, plan_rank, ranks_on_host
from daskhpc.runtime import Grant, Runtime, Sourced
from daskhpc.settings import Settings

GB = 10**9


def grant(cpus: int = 4, memory: int = 2 * GB, per_rank: int | None = None, bound: int | None = None) -> Grant:
    """What a node gives."""
    return Grant(
        Sourced(per_rank, "SLURM_CPUS_PER_TASK" if per_rank else "shared"),
        Sourced(cpus, "SLURM_CPUS_ON_NODE"),
        Sourced(memory, "cgroup memory.max"),
        Sourced(bound, "affinity" if bound else "not bound"),
    )


def runtime(host: str = "n1", given: Grant | None = None, **changes: Any) -> Runtime:
    """A node of a Slurm job of two nodes; ``changes`` are values, whose source is then "test"."""
    given = given or grant()
    values: dict[str, Any] = {
        "host": Sourced(host, "SLURMD_NODENAME"),
        "scheduler": Sourced("slurm", "SLURM_JOB_ID"),
        "job": Sourced("12", "SLURM_JOB_ID"),
        "step": Sourced("0", "SLURM_STEP_ID"),
        "rank": Sourced(0, "SLURM_PROCID"),
        "local_rank": Sourced(0, "SLURM_LOCALID"),
        "world_size": Sourced(4, "SLURM_STEP_NUM_TASKS"),
        "ranks_on_node": Sourced(2, "SLURM_GTIDS"),
        "worker_ranks_on_node": Sourced(1, "SLURM_GTIDS"),
        "mpi_rank": Sourced(None, "MPI is not started"),
        "mpi_size": Sourced(None, "MPI is not started"),
        "nodes": Sourced(("n1", "n2"), "SLURM_JOB_NODELIST"),
        "tasks": Sourced(2, "SLURM_NTASKS"),
        "submit_host": Sourced(None, "SLURM_SUBMIT_HOST"),
        "grant": given,
        "cpus": Sourced(given.node_cpus.value, given.node_cpus.source),
        "memory": Sourced(given.node_memory.value, given.node_memory.source),
        "end_time": Sourced(None, "no limit"),
        "interface": Sourced("ib0", "InfiniBand"),
        "interfaces": ("ib0", "eth0", "lo"),
        "scratch": Sourced("/local/12", "SLURM_TMPDIR"),
        "warnings": (),
    }
    for name, value in changes.items():
        values[name] = Sourced(value, "test") if isinstance(values[name], Sourced) else value
    return Runtime(**values)


def settings(**arguments: Any) -> Settings:
    """Settings as a call's arguments make them, whatever stands in this machine's files."""
    return Settings.resolve(arguments, {})


def plans(hosts: Sequence[str], given: Grant | None = None, **arguments: Any) -> list[RankPlan]:
    """The plan of every rank, of which `hosts` names the node."""
    chosen = settings(**arguments)
    return [
        plan_rank(runtime(host, given), chosen, rank, ranks_on_host(hosts, rank)) for rank, host in enumerate(hosts)
    ]
