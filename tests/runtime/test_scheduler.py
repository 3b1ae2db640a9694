"""Which scheduler, job, step, nodes, host and end."""

from __future__ import annotations

import os

import pytest

from daskhpc.runtime import Sourced

from .environments import hydra, pbspro, slurm_batch, slurm_step, torque


@pytest.mark.parametrize(
    ("env", "scheduler", "job"),
    [
        ({}, Sourced("none", "neither SLURM_JOB_ID nor PBS_JOBID"), Sourced(None, "no scheduler")),
        (slurm_batch(), Sourced("slurm", "SLURM_JOB_ID"), Sourced("12", "SLURM_JOB_ID")),
        (slurm_batch(PBS_JOBID="9"), Sourced("slurm", "SLURM_JOB_ID"), Sourced("12", "SLURM_JOB_ID")),
        (pbspro(), Sourced("pbspro", "PBS_JOBID"), Sourced("77.server", "PBS_JOBID")),
        (torque(), Sourced("torque", "PBS_VERSION"), Sourced("78.server", "PBS_JOBID")),
        ({"PBS_JOBID": "3", "PBS_NP": "4"}, Sourced("torque", "PBS_NP"), Sourced("3", "PBS_JOBID")),
        ({"PBS_JOBID": "3", "PBS_VNODENUM": "0"}, Sourced("torque", "PBS_VNODENUM"), Sourced("3", "PBS_JOBID")),
    ],
)
def test_scheduler(tree, env, scheduler, job):
    runtime = tree.discover(env)
    assert (runtime.scheduler, runtime.job) == (scheduler, job)


@pytest.mark.parametrize(
    ("env", "step"),
    [
        (slurm_batch(), Sourced(None, "no Slurm step")),
        (slurm_step(), Sourced("0", "SLURM_STEP_ID")),
        (slurm_batch(SLURM_STEPID="3"), Sourced("3", "SLURM_STEPID")),
        (slurm_batch(SLURM_STEP_ID="4294967291"), Sourced(None, "no Slurm step")),
        (slurm_batch(SLURM_STEP_ID="4294967290"), Sourced(None, "no Slurm step")),
        ({"SLURM_STEP_ID": "4"}, Sourced(None, "no Slurm step")),
    ],
)
def test_step(tree, env, step):
    assert tree.discover(env).step == step


def test_nodes_of_slurm(tree):
    runtime = tree.discover(slurm_step(SLURM_JOB_NODELIST="n[1-2],n07", SLURM_STEP_NODELIST="n1"))
    assert runtime.nodes == Sourced(("n1", "n2", "n07"), "SLURM_JOB_NODELIST")


def test_nodes_of_the_step_where_the_job_does_not_say(tree):
    env = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "n[1-2]"}
    assert tree.discover(env).nodes == Sourced(("n1", "n2"), "SLURM_STEP_NODELIST")


@pytest.mark.parametrize("text", ["", "n[1-", "n[x]"])
def test_malformed_nodes(tree, text):
    runtime = tree.discover(slurm_step(node=1, SLURM_JOB_NODELIST=text, SLURM_NODELIST=text, SLURM_STEP_NODELIST=text))
    assert runtime.nodes == Sourced(("n1",), "this node: no node list")
    assert any(w.startswith(f"SLURM_JOB_NODELIST={text!r} ignored: ") for w in runtime.warnings)


def test_nodes_of_pbs(tree):
    tree.file("/var/spool/pbs/aux/77.server", "n2.site\nn2.site\nn1.site\nn3.site\n")
    assert tree.discover(pbspro(TMPDIR="")).nodes == Sourced(("n2.site", "n1.site", "n3.site"), "PBS_NODEFILE")


def test_nodes_of_pbs_on_a_node_without_the_file(tree):
    assert tree.discover(pbspro()).nodes == Sourced(("n1",), "this node: no PBS_NODEFILE here")


def test_nodes_without_scheduler(tree):
    assert tree.discover().nodes == Sourced(("n1",), "this node")


def test_host_of_slurm(tree):
    assert tree.host("vm").discover(slurm_step(node=3)).host == Sourced("n3", "SLURMD_NODENAME")


def test_host_of_the_kernel(tree):
    assert tree.host("n9.site.org").discover().host == Sourced("n9", "/proc/sys/kernel/hostname")


def test_host_where_mpiexec_passed_on_the_first_nodes_name(tree):
    runtime = tree.host("n2.site.org").discover({**slurm_batch(), **hydra(2, 5, 0, 2)})
    assert runtime.host == Sourced("n2", "/proc/sys/kernel/hostname")


def test_host_where_the_kernels_name_is_no_node(tree):
    runtime = tree.host("vm").discover({**slurm_batch(), **hydra(2, 5, 0, 2)})
    assert runtime.host == Sourced("n1", "SLURMD_NODENAME")


def test_host_where_nobody_says(tmp_path):
    from daskhpc.runtime import discover

    assert discover({}, tmp_path, lambda name: None).host == Sourced("localhost", "nobody says")


@pytest.mark.parametrize(
    ("env", "end"),
    [
        ({}, Sourced(None, "no scheduler")),
        (slurm_step(SLURM_JOB_END_TIME="1700000000"), Sourced(1.7e9, "SLURM_JOB_END_TIME")),
        (slurm_step(SLURM_JOB_END_TIME="4294967294"), Sourced(None, "no limit")),
        (slurm_step(), Sourced(None, "nobody says: no SLURM_JOB_END_TIME")),
        (pbspro(), Sourced(None, "nobody says: PBS Pro sets no end")),
        (torque(), Sourced(None, "nobody says: PBS_WALLTIME without a PBS_NODEFILE here")),
        (torque(PBS_WALLTIME=""), Sourced(None, "nobody says: no PBS_WALLTIME")),
    ],
)
def test_end(tree, env, end):
    assert tree.discover(env).end_time == end


def test_end_of_torque(tree):
    tree.file("/var/spool/torque/aux/78.server", "n1")
    os.utime(tree.root / "var/spool/torque/aux/78.server", (1e9, 1e9))
    end = tree.discover(torque()).end_time
    assert end == Sourced(1e9 + 3600, "PBS_WALLTIME after PBS_NODEFILE was written")
