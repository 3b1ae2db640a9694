"""GPUs of this process."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced

from .environments import pbspro, slurm_step


@pytest.mark.parametrize(
    ("env", "gpus"),
    [
        ({}, Sourced((), "none found")),
        (slurm_step(), Sourced((), "none granted")),
        (slurm_step(SLURM_STEP_GPUS="0,1", SLURM_JOB_GPUS="0,1,2"), Sourced(("0", "1"), "SLURM_STEP_GPUS")),
        (slurm_step(SLURM_JOB_GPUS="2,3", CUDA_VISIBLE_DEVICES="0,1"), Sourced(("2", "3"), "SLURM_JOB_GPUS")),
        (slurm_step(SLURM_STEP_GPUS="2,3", CUDA_VISIBLE_DEVICES="1"), Sourced(("1",), "CUDA_VISIBLE_DEVICES")),
        (pbspro(CUDA_VISIBLE_DEVICES="GPU-aa,GPU-bb"), Sourced(("GPU-aa", "GPU-bb"), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": ""}, Sourced((), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, Sourced((), "CUDA_VISIBLE_DEVICES")),
        (slurm_step(CUDA_VISIBLE_DEVICES="NoDevFiles"), Sourced((), "CUDA_VISIBLE_DEVICES")),
        ({"ROCR_VISIBLE_DEVICES": "0, 1"}, Sourced(("0", "1"), "ROCR_VISIBLE_DEVICES")),
        ({"ZE_AFFINITY_MASK": "0.1"}, Sourced(("0.1",), "ZE_AFFINITY_MASK")),
    ],
)
def test_gpus(tree, env, gpus):
    assert tree.discover(env).gpus == gpus


def test_devices_of_the_machine(tree):
    tree.folder("/proc/driver/nvidia/gpus/0000:b1:00.0").folder("/proc/driver/nvidia/gpus/0000:17:00.0")
    assert tree.discover().gpus == Sourced(("0000:17:00.0", "0000:b1:00.0"), "/proc/driver/nvidia/gpus")
    assert tree.discover(slurm_step()).gpus == Sourced((), "none granted")
