"""CPUs granted to a rank, and bindings."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced, shared_cpus

from .environments import hydra, openmpi, pbspro, slurm_batch, slurm_step, torque


def test_slurm_cpus_per_task(tree):
    runtime = tree.discover(slurm_step(SLURM_CPUS_PER_TASK="4"))
    assert runtime.cpus == Sourced(4, "SLURM_CPUS_PER_TASK")
    assert runtime.grant.node_cpus == Sourced(8, "SLURM_CPUS_ON_NODE")


def test_slurm_cpus_on_node(tree):
    assert tree.discover(slurm_step()).cpus == Sourced(8, "SLURM_CPUS_ON_NODE")
    runtime = tree.discover(slurm_step(gtids="0-4"))
    assert runtime.cpus == Sourced(2, "SLURM_CPUS_ON_NODE / 3 worker ranks")


def test_slurm_cpus_of_the_job(tree):
    env = slurm_step(node=2, SLURM_CPUS_ON_NODE="", SLURM_JOB_CPUS_PER_NODE="8(x1),6,4")
    assert tree.discover(env).cpus == Sourced(6, "SLURM_JOB_CPUS_PER_NODE")


def test_slurm_batch_shell(tree):
    assert tree.discover(slurm_batch()).cpus == Sourced(8, "SLURM_CPUS_ON_NODE")


def test_slurm_grants_more_than_there_are(tree):
    runtime = tree.cpus("0-1").discover(slurm_step(SLURM_CPUS_PER_TASK="4"))
    assert (runtime.cpus.value, runtime.warnings) == (4, ())


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"SLURM_CPUS_PER_TASK": "8"}, "8 CPUs (SLURM_CPUS_PER_TASK)"),
        ({}, "8 CPUs (SLURM_CPUS_ON_NODE)"),
    ],
)
def test_bound_under_slurm(tree, env, words):
    runtime = tree.cpus("0-7", "2-3").discover(slurm_step(**env))
    assert runtime.cpus == Sourced(2, "affinity")
    assert runtime.grant.bound_cpus == Sourced(2, "affinity")
    assert runtime.warnings == (f"this rank was granted {words} but is bound to 2: add --cpu-bind=none to srun",)


def test_confined_but_not_bound_under_slurm(tree):
    """A job's cpuset is smaller than the node, and is all that was granted."""
    runtime = tree.cpus("0-63", "8-15").discover(slurm_step(gtids="0,2,3"))
    assert (runtime.cpus, runtime.warnings) == (Sourced(4, "SLURM_CPUS_ON_NODE / 2 worker ranks"), ())


def test_mpiexec_in_slurm_with_more_ranks_than_tasks_fit(tree):
    runtime = tree.discover({**slurm_batch(SLURM_CPUS_PER_TASK="8"), **hydra(2, 6, 2, 6)})
    assert runtime.cpus == Sourced(2, "SLURM_CPUS_ON_NODE / 4 worker ranks")
    assert shared_cpus(runtime.grant, 1) == Sourced(8, "SLURM_CPUS_ON_NODE")


def test_mpiexec_in_slurm_with_ranks_that_fit(tree):
    runtime = tree.discover({**slurm_batch(SLURM_CPUS_PER_TASK="2"), **hydra(2, 6, 2, 6)})
    assert runtime.cpus == Sourced(2, "SLURM_CPUS_PER_TASK")


def test_mpiexec_in_slurm_on_another_node(tree):
    env = {**slurm_batch(SLURM_JOB_CPUS_PER_NODE="8,2(x2)"), **hydra(2, 6, 0, 2)}
    assert tree.host("n2").discover(env).grant.node_cpus == Sourced(2, "SLURM_JOB_CPUS_PER_NODE")


def test_slurm_that_says_nothing(tree):
    runtime = tree.discover({"SLURM_JOB_ID": "1"})
    assert runtime.cpus == Sourced(8, "affinity")


@pytest.mark.parametrize("value", ["abc", "-2", "0", "1.5", "1_0"])
def test_malformed_cpus_per_task(tree, value):
    runtime = tree.discover(slurm_step(SLURM_CPUS_PER_TASK=value))
    assert runtime.cpus == Sourced(8, "SLURM_CPUS_ON_NODE")
    [warning] = runtime.warnings
    assert warning.startswith(f"SLURM_CPUS_PER_TASK={value!r} ignored: ")


def test_malformed_counts(tree):
    runtime = tree.discover(slurm_step(SLURM_CPUS_ON_NODE="x", SLURM_JOB_CPUS_PER_NODE="8(x"))
    assert runtime.cpus == Sourced(8, "affinity")
    assert len(runtime.warnings) == 2


@pytest.mark.parametrize(
    ("lines", "env", "cpus"),
    [
        (4 * ["n1"] + 4 * ["n2"], {}, Sourced(4, "PBS_NUM_PPN")),
        (["n1.site", "n1.site", "n1.site", "n2.site"], {"PBS_NP": "4", "PBS_NUM_PPN": "1"}, Sourced(3, "PBS_NODEFILE")),
        (["n1", "n2"], {}, Sourced(4, "PBS_NUM_PPN")),
        (["n1", "n1"], {"PBS_NUM_PPN": ""}, Sourced(2, "PBS_NODEFILE")),
        ([], {}, Sourced(4, "PBS_NUM_PPN")),
        ([], {"PBS_NUM_PPN": ""}, Sourced(8, "affinity")),
    ],
)
def test_torque(tree, lines, env, cpus):
    if lines:
        tree.file("/var/spool/torque/aux/78.server", "\n".join(lines))
    assert tree.discover(torque(**env)).cpus == cpus


@pytest.mark.parametrize(
    ("lines", "env", "cpus"),
    [
        (["n1"], {}, Sourced(8, "NCPUS")),
        (8 * ["n1"], {}, Sourced(8, "NCPUS")),
        (4 * ["n1"], {"NCPUS": "2"}, Sourced(4, "PBS_NODEFILE")),
        (["n1"], {"NCPUS": "x"}, Sourced(1, "PBS_NODEFILE")),
        ([], {"NCPUS": ""}, Sourced(8, "affinity")),
    ],
)
def test_pbspro(tree, lines, env, cpus):
    if lines:
        tree.file("/var/spool/pbs/aux/77.server", "\n".join(lines))
    assert tree.discover(pbspro(**env)).cpus == cpus


def test_pbspro_with_a_cpuset(tree):
    """NCPUS is ompthreads where the job asks for these: the cpuset knows better."""
    tree.cpus("0-15", "4-11").group(
        "cpuset", "/pbs_jobs.service/jobid/77", {"pbs_jobs.service/jobid/77/cpuset.cpus": "4-11"}
    )
    runtime = tree.discover({**pbspro(NCPUS="2"), **openmpi(2, 4, 2, 4)})
    assert runtime.cpus == Sourced(4, "cgroup cpuset / 2 worker ranks")
    assert not any("bound" in warning for warning in runtime.warnings)


def test_laptop(tree):
    assert tree.discover().cpus == Sourced(8, "affinity")


def test_laptop_with_taskset(tree):
    runtime = tree.cpus("0-7", "0-2").discover()
    assert (runtime.cpus, runtime.warnings) == (Sourced(3, "affinity"), ())


@pytest.mark.parametrize(
    ("text", "cpus"), [("300000 100000", Sourced(3, "cgroup cpu.max")), ("max 1", Sourced(8, "affinity"))]
)
def test_quota(tree, text, cpus):
    assert tree.group("", "/", {"cpu.max": text}).discover().cpus == cpus


def test_quota_is_shared(tree):
    runtime = tree.group("", "/", {"cpu.max": "400000 100000"}).discover(hydra(2, 4, 2, 4))
    assert runtime.cpus == Sourced(2, "cgroup cpu.max / 2 worker ranks")


def test_mpiexec_without_binding(tree):
    assert tree.discover(hydra(2, 4, 2, 4)).cpus == Sourced(4, "affinity / 2 worker ranks")


@pytest.mark.parametrize(
    ("env", "advice"),
    [
        (openmpi(2, 4, 2, 4), "add --bind-to none to mpiexec"),
        (hydra(2, 4, 2, 4), "add -bind-to none to mpiexec (Intel MPI: export I_MPI_PIN=off)"),
        (
            {"MV2_COMM_WORLD_RANK": "2", "MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_LOCAL_SIZE": "4"},
            "export MV2_ENABLE_AFFINITY=0",
        ),
    ],
)
def test_bound_by_mpiexec(tree, env, advice):
    runtime = tree.cpus("0-7", "3").discover(env)
    assert runtime.cpus == Sourced(1, "affinity")
    assert runtime.grant.node_cpus == Sourced(8, "/sys/devices/system/cpu/online")
    words = "this rank was granted 4 CPUs (/sys/devices/system/cpu/online / 2 worker ranks) but is bound to 1"
    assert runtime.warnings == (f"{words}: {advice}",)


def test_bound_to_a_package_is_still_shared(tree):
    """Open MPI binds to packages: half of the node's ranks share each half of its CPUs."""
    runtime = tree.cpus("0-7", "0-3").discover(openmpi(2, 6, 2, 6))
    assert runtime.cpus == Sourced(2, "/sys/devices/system/cpu/online / 4 worker ranks")
    assert runtime.warnings == ()


@pytest.mark.parametrize("name", ["hydra_pmi_proxy", "mpirun", "prterun", "orted"])
def test_taskset_around_mpiexec_is_no_binding(tree, name):
    tree.cpus("0-7", "0-3", parent=40).process(40, "sh", "0-3", 30).process(30, name, "0-3", 20)
    runtime = tree.discover(hydra(2, 4, 2, 4))
    assert (runtime.cpus, runtime.warnings) == (Sourced(2, "affinity / 2 worker ranks"), ())


def test_binding_below_taskset(tree):
    tree.cpus("0-7", "0", parent=30).process(30, "mpirun", "0-3", 20)
    runtime = tree.discover(openmpi(2, 4, 2, 4))
    assert runtime.cpus == Sourced(1, "affinity")
    assert "granted 2 CPUs (affinity of the launcher / 2 worker ranks) but is bound to 1" in runtime.warnings[0]


def test_cpuset_under_mpiexec(tree):
    tree.cpus("0-15", "4").group("", "/", {"cpuset.cpus.effective": "4-7"})
    runtime = tree.discover(openmpi(2, 4, 2, 4))
    assert runtime.grant.node_cpus == Sourced(4, "cgroup cpuset")
    assert runtime.cpus == Sourced(1, "affinity")


def test_nobody_says(tmp_path):
    from daskhpc.runtime import discover

    runtime = discover({}, tmp_path, lambda name: None)
    assert runtime.cpus == Sourced(1, "not known")
    assert runtime.memory == Sourced(0, "not known, 10% headroom")
