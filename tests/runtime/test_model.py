"""Values with their sources, and the share of a worker rank in what its node was granted."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Grant, Sourced, shared_cpus, shared_memory

from .tree import GIB


def grant(per_rank=None, node=8, memory=10 * GIB, bound=None):
    return Grant(
        cpus_per_rank=Sourced(per_rank, "SLURM_CPUS_PER_TASK"),
        node_cpus=Sourced(node, "affinity"),
        node_memory=Sourced(memory, "SLURM_MEM_PER_NODE"),
        bound_cpus=Sourced(bound, "affinity, bound"),
    )


@pytest.mark.parametrize(
    ("granted", "ranks", "cpus"),
    [
        (grant(), 1, Sourced(8, "affinity")),
        (grant(), 0, Sourced(8, "affinity")),
        (grant(), 3, Sourced(2, "affinity / 3 worker ranks")),
        (grant(node=2), 5, Sourced(1, "affinity / 5 worker ranks")),
        (grant(per_rank=3), 2, Sourced(3, "SLURM_CPUS_PER_TASK")),
        (grant(bound=1), 2, Sourced(1, "affinity, bound")),
        (grant(bound=4), 2, Sourced(4, "affinity / 2 worker ranks")),
        (grant(bound=4), 1, Sourced(4, "affinity, bound")),
        (grant(per_rank=3, bound=2), 1, Sourced(2, "affinity, bound")),
    ],
)
def test_cpus(granted, ranks, cpus):
    assert shared_cpus(granted, ranks) == cpus


@pytest.mark.parametrize(
    ("ranks", "headroom", "memory"),
    [
        (1, 0.0, Sourced(10 * GIB, "SLURM_MEM_PER_NODE, 0% headroom")),
        (1, 0.1, Sourced(9 * GIB, "SLURM_MEM_PER_NODE, 10% headroom")),
        (2, 0.25, Sourced(int(3.75 * GIB), "SLURM_MEM_PER_NODE / 2 worker ranks, 25% headroom")),
        (0, 0.1, Sourced(9 * GIB, "SLURM_MEM_PER_NODE, 10% headroom")),
    ],
)
def test_memory(ranks, headroom, memory):
    assert shared_memory(grant(), ranks, headroom) == memory


def test_grant_needs_no_binding():
    assert Grant(Sourced(None, ""), Sourced(4, "x"), Sourced(1, "y")).bound_cpus.value is None
