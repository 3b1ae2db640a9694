"""Environments recorded on a real Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskhpc.runtime import Sourced, process_manager

from .tree import GIB

RECORDED = Path(__file__).parent / "recorded"
NODES = Sourced(("node1", "node2"), "SLURM_JOB_NODELIST")


def recorded(name: str) -> dict[str, str]:
    lines = (RECORDED / f"{name}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize(
    ("name", "step", "manager"),
    [
        ("slurm-22.05-step-pmi2", "0", "pmi2"),
        ("slurm-22.05-step-pmix", "1", "pmix"),
        ("slurm-22.05-step-none", "2", None),
    ],
)
def test_step(tree, name, step, manager):
    env = recorded(name)
    tree.host("vm").cpus("0-1").interface("veth2", "10.0.0.0/24")
    runtime = tree.discover(env | {"TMPDIR": ""}, {"node1": "10.0.0.11"})
    assert runtime.host == Sourced("node2", "SLURMD_NODENAME")
    assert (runtime.step, runtime.nodes) == (Sourced(step, "SLURM_STEP_ID"), NODES)
    assert (runtime.rank, runtime.world_size) == (Sourced(3, "SLURM_PROCID"), Sourced(4, "SLURM_STEP_NUM_TASKS"))
    assert runtime.local_rank == Sourced(1, "SLURM_LOCALID")
    assert (runtime.ranks_on_node, runtime.worker_ranks_on_node) == (
        Sourced(2, "SLURM_GTIDS"),
        Sourced(1, "SLURM_GTIDS"),
    )
    assert runtime.cpus == Sourced(4, "SLURM_CPUS_PER_TASK")
    assert runtime.grant.node_cpus == Sourced(4, "SLURM_CPUS_ON_NODE")
    assert runtime.memory == Sourced(int(2 * GIB * 0.9), "SLURM_MEM_PER_NODE, 10% headroom")
    assert runtime.interface == Sourced("veth2", "route to the nodes")
    assert runtime.warnings == ()
    assert process_manager(env) == manager


def test_batch(tree):
    runtime = tree.discover(recorded("slurm-22.05-batch"))
    assert (runtime.step.value, runtime.world_size) == (None, Sourced(1, "no launcher"))
    assert (runtime.nodes, runtime.cpus) == (NODES, Sourced(4, "SLURM_CPUS_PER_TASK"))


def test_srun_pty(tree):
    runtime = tree.discover(recorded("slurm-22.05-pty"))
    assert (runtime.step, runtime.world_size) == (Sourced("0", "SLURM_STEP_ID"), Sourced(1, "no launcher"))
    assert (runtime.nodes.value, runtime.cpus) == (("node1",), Sourced(2, "SLURM_CPUS_PER_TASK"))


def test_shell_of_salloc(tree):
    """It is on the login node: the job's variables are there, its nodes are elsewhere."""
    runtime = tree.host("login").discover(recorded("slurm-22.05-salloc"))
    assert (runtime.step.value, runtime.world_size.value) == (None, 1)
    assert runtime.warnings == ("login is not a node of job 3: start this with srun",)
