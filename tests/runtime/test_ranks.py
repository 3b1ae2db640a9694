"""Ranks as the launchers say."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced

from .environments import hydra, openmpi, slurm_batch, slurm_step

ALONE = ((0, "no launcher"), (0, "no launcher"), (1, "no launcher"), (1, "no launcher"), (1, "no launcher"))
PMI2 = {"PMI_FD": "9", "PMI_RANK": "3", "PMI_SIZE": "5"}


def srun(rank, local, here, workers):
    return (
        (rank, "SLURM_PROCID"),
        (local, "SLURM_LOCALID"),
        (5, "SLURM_STEP_NUM_TASKS"),
        (here, "SLURM_GTIDS"),
        (workers, "SLURM_GTIDS"),
    )


def mpich(rank, size, local, here, workers, words):
    return (
        (rank, "PMI_RANK"),
        (local, "MPI_LOCALRANKID"),
        (size, "PMI_SIZE"),
        (here, "MPI_LOCALNRANKS"),
        (workers, f"MPI_LOCALNRANKS{words}"),
    )


def ompi(rank, size, local, here, workers, words):
    start = "OMPI_COMM_WORLD_"
    return (
        (rank, f"{start}RANK"),
        (local, f"{start}LOCAL_RANK"),
        (size, f"{start}SIZE"),
        (here, f"{start}LOCAL_SIZE"),
        (workers, f"{start}LOCAL_SIZE{words}"),
    )


LESS, MOST = " less scheduler and client", ", at most"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        pytest.param({}, ALONE, id="laptop"),
        pytest.param(slurm_batch(), ALONE, id="batch shell, whose SLURM_PROCID is no rank"),
        pytest.param({"SLURM_PROCID": "2", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}, ALONE, id="outside a job"),
        pytest.param(slurm_step(3, 1, "0,3", 1), srun(3, 1, 2, 1), id="srun, beside the scheduler"),
        pytest.param(slurm_step(4, 2, "1,4", 1), srun(4, 1, 2, 1), id="srun, beside the client"),
        pytest.param(slurm_step(2, 3, "2", 0), srun(2, 0, 1, 1), id="srun, alone on its node"),
        pytest.param(slurm_step(0, 1, "0-4", 0), srun(0, 0, 5, 3), id="srun, one node"),
        pytest.param(slurm_step(0, 1, "0", 0), srun(0, 0, 1, 1), id="srun, the scheduler alone on its node"),
        pytest.param({**slurm_step(3, 1, "0,3", 1), **PMI2}, srun(3, 1, 2, 1), id="srun --mpi=pmi2"),
        pytest.param({**slurm_step(3, 1, "0,3", 1), "PMIX_RANK": "3"}, srun(3, 1, 2, 1), id="srun --mpi=pmix"),
        pytest.param(slurm_step(0, 1, "0", SLURM_STEP_NUM_TASKS="1"), ALONE, id="a step of one task"),
        pytest.param(hydra(0, 1, 0, 1), mpich(0, 1, 0, 1, 1, ""), id="mpiexec -n 1"),
        pytest.param(hydra(1, 2, 1, 2), mpich(1, 2, 1, 2, 1, ""), id="mpiexec -n 2"),
        pytest.param(hydra(2, 6, 2, 6), mpich(2, 6, 2, 6, 4, LESS), id="mpiexec of MPICH, one node"),
        pytest.param(hydra(4, 6, 1, 3), mpich(4, 6, 1, 3, 3, MOST), id="mpiexec of MPICH, two nodes"),
        pytest.param(openmpi(2, 6, 2, 6), ompi(2, 6, 2, 6, 4, LESS), id="mpiexec of Open MPI"),
        pytest.param({**slurm_batch(), **hydra(2, 6, 2, 3)}, mpich(2, 6, 2, 3, 3, MOST), id="mpiexec in a batch job"),
        pytest.param({**slurm_batch(), **openmpi(2, 6, 2, 6)}, ompi(2, 6, 2, 6, 4, LESS), id="Open MPI in a batch job"),
        pytest.param(
            {**slurm_step(1, 2, "1", 0, SLURM_STEP_NUM_TASKS="3"), **hydra(3, 6, 1, 2)},
            mpich(3, 6, 1, 2, 2, MOST),
            id="hydra whose proxies srun started",
        ),
        pytest.param(
            {**slurm_step(1, 2, "1", 0, SLURM_STEP_NUM_TASKS="3"), **openmpi(3, 6, 1, 2)},
            ompi(3, 6, 1, 2, 2, MOST),
            id="Open MPI whose daemons srun started",
        ),
        pytest.param(
            {"PMI_RANK": "3", "PMI_SIZE": "8", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "2"},
            (
                (3, "PMI_RANK"),
                (1, "PMI_LOCAL_RANK"),
                (8, "PMI_SIZE"),
                (2, "PMI_LOCAL_SIZE"),
                (2, f"PMI_LOCAL_SIZE{MOST}"),
            ),
            id="PALS",
        ),
        pytest.param(
            {"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_LOCAL_SIZE": "4"},
            (
                (1, "MV2_COMM_WORLD_RANK"),
                (0, "not known"),
                (4, "MV2_COMM_WORLD_SIZE"),
                (4, "MV2_COMM_WORLD_LOCAL_SIZE"),
                (2, f"MV2_COMM_WORLD_LOCAL_SIZE{LESS}"),
            ),
            id="MVAPICH",
        ),
        pytest.param(
            {"PMIX_RANK": "3"},
            ((3, "PMIX_RANK"), (0, "not known"), (4, "PMIX_RANK, at least"), (1, "not known"), (1, "not known")),
            id="PMIx alone",
        ),
    ],
)
def test_ranks(tree, env, expected):
    runtime = tree.discover(env)
    found = (
        runtime.rank,
        runtime.local_rank,
        runtime.world_size,
        runtime.ranks_on_node,
        runtime.worker_ranks_on_node,
    )
    assert found == tuple(Sourced(*pair) for pair in expected)
    assert runtime.warnings == ()


def test_step_size_of_old_slurm(tree):
    env = slurm_step()
    del env["SLURM_STEP_NUM_TASKS"]
    assert tree.discover(env).world_size == Sourced(5, "SLURM_NTASKS")


def test_step_without_gtids(tree):
    runtime = tree.discover(slurm_step(SLURM_GTIDS=""))
    assert runtime.ranks_on_node == Sourced(3, "SLURM_STEP_NUM_TASKS, at most")
    assert runtime.worker_ranks_on_node == Sourced(3, "SLURM_STEP_NUM_TASKS, at most")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("SLURM_PROCID", "-1", "not a whole number"),
        ("SLURM_PROCID", "7", "the step has 5 tasks"),
        ("SLURM_STEP_NUM_TASKS", "many", "not a whole number"),
        ("SLURM_STEP_NUM_TASKS", "0", "less than 1"),
        ("SLURM_GTIDS", "0,x", "not a number or a range: 'x'"),
        ("SLURM_STEP_ID", "batch", "not a whole number"),
    ],
)
def test_malformed_slurm(tree, name, value, why):
    runtime = tree.discover(slurm_step(**{name: value}))
    assert f"{name}={value!r} ignored: {why}" in runtime.warnings


def test_malformed_mpiexec(tree):
    runtime = tree.discover({**hydra(2, 6, 2, 6), "PMI_RANK": "9"})
    assert runtime.warnings == ("PMI_RANK='9' ignored: PMI_SIZE is 6",)
    assert runtime.world_size.value == 1
