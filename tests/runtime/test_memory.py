"""Memory granted to a rank."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced

from .environments import hydra, pbspro, slurm_step, torque
from .tree import GIB, MIB

RAM = 64 * GIB


@pytest.mark.parametrize(
    ("env", "memory"),
    [
        ({"SLURM_MEM_PER_NODE": "8192"}, Sourced(8 * GIB, "SLURM_MEM_PER_NODE")),
        ({"SLURM_MEM_PER_NODE": "8G"}, Sourced(8 * GIB, "SLURM_MEM_PER_NODE")),
        ({"SLURM_MEM_PER_NODE": "0"}, Sourced(RAM, "/proc/meminfo (SLURM_MEM_PER_NODE=0)")),
        ({"SLURM_MEM_PER_NODE": "999999"}, Sourced(RAM, "/proc/meminfo")),
        ({"SLURM_MEM_PER_CPU": "1000"}, Sourced(8000 * MIB, "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE")),
        (
            {"SLURM_MEM_PER_CPU": "1000", "SLURM_MEM_PER_NODE": "9000"},
            Sourced(8000 * MIB, "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE"),
        ),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_MEM_PER_NODE": "9000"}, Sourced(9000 * MIB, "SLURM_MEM_PER_NODE")),
        ({"SLURM_MEM_PER_CPU": "0"}, Sourced(RAM, "/proc/meminfo")),
        (
            {"SLURM_MEM_PER_GPU": "10240", "SLURM_GPUS_ON_NODE": "2"},
            Sourced(20 * GIB, "SLURM_MEM_PER_GPU x SLURM_GPUS_ON_NODE"),
        ),
        (
            {"SLURM_MEM_PER_GPU": "10G", "SLURM_GPUS_PER_NODE": "a100:3"},
            Sourced(30 * GIB, "SLURM_MEM_PER_GPU x SLURM_GPUS_PER_NODE"),
        ),
        (
            {"SLURM_MEM_PER_GPU": "10240", "SLURM_JOB_GPUS": "0,3"},
            Sourced(20 * GIB, "SLURM_MEM_PER_GPU x SLURM_JOB_GPUS"),
        ),
        (
            {"SLURM_MEM_PER_GPU": "10240", "CUDA_VISIBLE_DEVICES": "0,1,2"},
            Sourced(30 * GIB, "SLURM_MEM_PER_GPU x CUDA_VISIBLE_DEVICES"),
        ),
        ({"SLURM_MEM_PER_GPU": "10240"}, Sourced(10 * GIB, "SLURM_MEM_PER_GPU x 1 GPU: number not known")),
        ({"SLURM_MEM_PER_GPU": "40960", "SLURM_GPUS_ON_NODE": "8"}, Sourced(RAM, "/proc/meminfo")),
        ({}, Sourced(RAM, "/proc/meminfo")),
    ],
)
def test_node_memory_of_slurm(tree, env, memory):
    runtime = tree.discover(slurm_step(**env), headroom=0.0)
    assert runtime.grant.node_memory == memory
    assert runtime.memory == Sourced(memory.value, f"{memory.source}, 0% headroom")


def test_two_gpus_of_a_large_node(tree):
    """SLURM_MEM_PER_GPU=40960 with two GPUs, no control group, on a node of 1 TiB."""
    tree.ram(1024 * 1024)
    env = slurm_step(SLURM_MEM_PER_GPU="40960", SLURM_JOB_GPUS="0,1")
    assert tree.discover(env).grant.node_memory.value == 80 * GIB


@pytest.mark.parametrize(
    ("line", "memory"),
    [
        (
            "Max resident set          4194304000           4194304000           bytes",
            Sourced(4000 * MIB, "RLIMIT_RSS"),
        ),
        (
            "Max resident set          unlimited            4194304000           bytes",
            Sourced(4000 * MIB, "RLIMIT_RSS"),
        ),
        ("Max resident set          unlimited            unlimited            bytes", Sourced(RAM, "/proc/meminfo")),
    ],
)
def test_the_limit_that_slurm_sets_and_dask_heeds(tree, line, memory):
    limits = f"Limit                     Soft Limit           Hard Limit           Units\n{line}"
    grant = tree.file("/proc/self/limits", limits).discover(slurm_step()).grant
    assert (grant.node_memory, grant.system_memory) == (memory, memory)


@pytest.mark.parametrize(("name", "short"), [("Max address space", "RLIMIT_AS"), ("Max data size", "RLIMIT_DATA")])
def test_a_limit_of_each_process_is_none_of_the_node(tree, name, short):
    limits = f"Limit                     Soft Limit           Hard Limit           Units\n{name:26}1000 unlimited bytes"
    grant = tree.file("/proc/self/limits", limits).discover(slurm_step()).grant
    assert (grant.node_memory, grant.system_memory) == (Sourced(RAM, "/proc/meminfo"), Sourced(1000, short))


def test_share(tree):
    env = slurm_step(gtids="0,2,3", SLURM_MEM_PER_NODE="10240")
    expected = Sourced(int(10 * GIB * 0.9) // 2, "SLURM_MEM_PER_NODE / 2 worker ranks, 10% headroom")
    assert tree.discover(env).memory == expected


def test_group_below_slurm(tree):
    tree.group("", "/job_12", {"job_12/memory.max": str(2 * GIB)})
    runtime = tree.discover(slurm_step(SLURM_MEM_PER_NODE="8192"))
    assert runtime.grant.node_memory == Sourced(2 * GIB, "cgroup memory.max")


def test_group_above_the_ram(tree):
    tree.group("", "/", {"memory.max": str(100 * GIB)})
    assert tree.discover().grant.node_memory == Sourced(RAM, "/proc/meminfo")


@pytest.mark.parametrize("env", [pbspro(), torque()])
def test_pbs(tree, env):
    job = env["PBS_JOBID"]
    tree.group("memory", f"/torque/{job}", {f"torque/{job}/memory.limit_in_bytes": str(4 * GIB)})
    assert tree.discover(env).grant.node_memory == Sourced(4 * GIB, "cgroup memory.limit_in_bytes")


@pytest.mark.parametrize("value", ["lots", "-5", "8 G x", "1e3"])
def test_malformed(tree, value):
    runtime = tree.discover(slurm_step(SLURM_MEM_PER_NODE=value))
    assert runtime.grant.node_memory == Sourced(RAM, "/proc/meminfo")
    assert runtime.warnings == (f"SLURM_MEM_PER_NODE={value!r} ignored: not a size in MB",)


def test_slurm_variables_outside_a_job(tree):
    assert tree.discover({"SLURM_MEM_PER_NODE": "10"}).grant.node_memory == Sourced(RAM, "/proc/meminfo")


def test_mpiexec(tree):
    assert tree.discover(hydra(2, 4, 2, 4), headroom=0.5).memory == Sourced(
        RAM // 4, "/proc/meminfo / 2 worker ranks, 50% headroom"
    )


@pytest.mark.parametrize("headroom", [-0.1, 1.0, 2])
def test_headroom_out_of_range(tree, headroom):
    with pytest.raises(ValueError, match="headroom is a part of the memory"):
        tree.discover(headroom=headroom)
