"""Whole nodes: what `discover` says of each."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from daskhpc.runtime import Runtime, Sourced, discover

from .environments import hydra, openmpi, pbspro, slurm_step, torque
from .tree import GIB, Tree

GROUP_V1 = "slurm/uid_1000/job_12"
GROUP_V2 = "system.slice/slurmstepd.scope/job_12"
NAMES = {"n1": "10.1.0.1", "n2": "10.1.0.2", "n3": "10.1.0.3"}


def slurm_node(tree: Tree, version: int) -> Tree:
    tree.cpus("0-7").ram(32 * 1024).interface("ib0", "10.1.0.0/16", 32).folder("/local/12").mount("/local", "xfs")
    if version == 1:
        tree.group("cpuset", f"/{GROUP_V1}/step_0", {f"{GROUP_V1}/step_0/cpuset.cpus": "0-7"})
        limits = {
            "memory.limit_in_bytes": "9223372036854771712",
            f"{GROUP_V1}/memory.limit_in_bytes": str(16 * GIB),
            f"{GROUP_V1}/step_0/memory.limit_in_bytes": str(16 * GIB),
            f"{GROUP_V1}/step_0/task_0/memory.limit_in_bytes": "9223372036854771712",
        }
        return tree.group("memory", f"/{GROUP_V1}/step_0/task_0", limits)
    limits = {
        "cpuset.cpus.effective": "0-7",
        f"{GROUP_V2}/memory.max": str(16 * GIB),
        f"{GROUP_V2}/step_0/memory.max": "max",
        f"{GROUP_V2}/step_0/user/task_0/memory.max": "max",
    }
    return tree.group("", f"/{GROUP_V2}/step_0/user/task_0", limits)


@pytest.mark.parametrize(("version", "limit"), [(1, "cgroup memory.limit_in_bytes"), (2, "cgroup memory.max")])
@pytest.mark.parametrize("release", ["22.05", "23.11"])
def test_slurm(tree, version, limit, release):
    # From 22.05 to 23.02 a step has cpus-per-task only if srun itself is given it.
    env = slurm_step(3, 1, "0,3", 1, SLURM_TMPDIR="/local/12", SLURM_MEM_PER_NODE="0")
    if release == "23.11":
        env |= {"SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_END_TIME": "1800000000", "SLURM_JOB_START_TIME": "1799996400"}
    runtime = slurm_node(tree, version).discover(env, NAMES)
    new = release == "23.11"
    cpus = Sourced(8, "SLURM_CPUS_PER_TASK" if new else "SLURM_CPUS_ON_NODE")
    assert runtime == Runtime(
        host=Sourced("n1", "SLURMD_NODENAME"),
        scheduler=Sourced("slurm", "SLURM_JOB_ID"),
        job=Sourced("12", "SLURM_JOB_ID"),
        step=Sourced("0", "SLURM_STEP_ID"),
        rank=Sourced(3, "SLURM_PROCID"),
        local_rank=Sourced(1, "SLURM_LOCALID"),
        world_size=Sourced(5, "SLURM_STEP_NUM_TASKS"),
        ranks_on_node=Sourced(2, "SLURM_GTIDS"),
        worker_ranks_on_node=Sourced(1, "SLURM_GTIDS"),
        mpi_rank=Sourced(None, "MPI is not started"),
        mpi_size=Sourced(None, "MPI is not started"),
        nodes=Sourced(("n1", "n2", "n3"), "SLURM_JOB_NODELIST"),
        tasks=Sourced(None, "not known: SLURM_NTASKS is the step's"),
        submit_host=Sourced("login", "SLURM_SUBMIT_HOST"),
        grant=runtime.grant,
        cpus=cpus,
        memory=Sourced(int(16 * GIB * 0.9), f"{limit}, 10% headroom"),
        end_time=Sourced(1.8e9, "SLURM_JOB_END_TIME") if new else Sourced(None, "not known: no SLURM_JOB_END_TIME"),
        interface=Sourced("ib0", "InfiniBand"),
        interfaces=("ib0", "eth0", "lo"),
        scratch=Sourced("/local/12", "SLURM_TMPDIR"),
        warnings=(),
    )
    assert runtime.grant.node_cpus == Sourced(8, "SLURM_CPUS_ON_NODE")
    assert runtime.grant.node_memory == Sourced(16 * GIB, limit)
    assert runtime.grant.bound_cpus.value is None


def test_hydra_under_srun(tree):
    """Hydra's proxies are a step of three tasks; the ranks they start are nine."""
    proxies = slurm_step(1, 2, "1", 0, SLURM_STEP_NUM_TASKS="3", SLURM_CPUS_PER_TASK="1")
    runtime = tree.host("n2").discover({**proxies, **hydra(4, 9, 1, 3)})
    assert runtime.rank == Sourced(4, "PMI_RANK")
    assert runtime.world_size == Sourced(9, "PMI_SIZE")
    assert runtime.worker_ranks_on_node == Sourced(3, "MPI_LOCALNRANKS, at most")
    assert runtime.cpus == Sourced(1, "SLURM_CPUS_PER_TASK")
    assert runtime.host.value == "n2"


def test_pbspro(tree):
    tree.file("/var/spool/pbs/aux/77.server", "n1.site\nn2.site").folder("/var/tmp/pbs.77.server")
    runtime = tree.discover({**pbspro(), **hydra(2, 4, 1, 2)}, {"n2.site": "192.168.1.2"})
    assert runtime.scheduler.value == "pbspro"
    assert runtime.step == Sourced(None, "no Slurm step")
    assert runtime.nodes.value == ("n1.site", "n2.site")
    assert runtime.cpus == Sourced(4, "NCPUS / 2 worker ranks")
    assert runtime.memory == Sourced(int(64 * GIB * 0.9) // 2, "/proc/meminfo / 2 worker ranks, 10% headroom")
    assert runtime.interface == Sourced("eth0", "route to the nodes")
    assert runtime.scratch == Sourced("/var/tmp/pbs.77.server", "TMPDIR")
    assert runtime.warnings == ()


def test_torque(tree):
    tree.file("/var/spool/torque/aux/78.server", "\n".join(4 * ["n1"] + 4 * ["n2"]))
    runtime = tree.discover({**torque(), **openmpi(2, 4, 0, 2)}, {"n2": "192.168.1.2"})
    assert runtime.scheduler == Sourced("torque", "PBS_VERSION")
    assert runtime.cpus == Sourced(2, "PBS_NUM_PPN / 2 worker ranks")
    assert runtime.end_time.source == "PBS_WALLTIME after PBS_NODEFILE was written"
    assert runtime.warnings == ()


@pytest.mark.parametrize("launcher", [hydra, openmpi])
def test_mpiexec_alone(tree, launcher):
    runtime = tree.discover(launcher(3, 4, 3, 4))
    assert (runtime.scheduler.value, runtime.job.value, runtime.rank.value) == ("none", None, 3)
    assert runtime.cpus == Sourced(4, "affinity / 2 worker ranks")
    assert runtime.memory.source == "/proc/meminfo / 2 worker ranks, 10% headroom"
    assert runtime.interface == Sourced("lo", "a single machine")
    assert runtime.warnings == ()


def test_laptop(tree):
    runtime = tree.discover()
    assert (runtime.rank.value, runtime.world_size.value) == (0, 1)
    assert runtime.nodes == Sourced(("n1",), "this node")
    assert runtime.cpus == Sourced(8, "affinity")
    assert runtime.memory == Sourced(int(64 * GIB * 0.9), "/proc/meminfo, 10% headroom")
    assert runtime.end_time == Sourced(None, "no scheduler")


def test_container(tree):
    """A private cgroup namespace: the process sees itself at the top."""
    tree.group("", "/", {"memory.max": str(2 * GIB), "cpu.max": "250000 100000", "cpuset.cpus.effective": "0-7"})
    runtime = tree.mount("/", "overlay").discover(headroom=0.0)
    assert runtime.cpus == Sourced(2, "cgroup cpu.max")
    assert runtime.memory == Sourced(2 * GIB, "cgroup memory.max, 0% headroom")


def test_everything_malformed(tree):
    """Whatever the variables hold, there is an answer, and each is named."""
    names = [name for name in (slurm_step() | hydra(1, 2, 1, 2)) if name not in ("SLURM_JOB_ID",)]
    names += ["SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_JOB_END_TIME", "TMPDIR"]
    for value in ("?", "", "-1", "[", "9" * 5000, "\0", "é"):
        runtime = tree.discover({"SLURM_JOB_ID": "1", **dict.fromkeys(names, value)})
        assert runtime.cpus.value >= 1
        if value:
            assert any(w.startswith("SLURM_CPUS_PER_TASK=") for w in runtime.warnings)
        assert len(set(runtime.warnings)) == len(runtime.warnings)


def test_files_of_garbage(tree):
    for path in sorted(p for p in tree.root.rglob("*") if p.is_file()):
        path.write_bytes(b"\xff\xfe: : - \n\n:::\n a b c d e f g h\n")
    tree.group("memory", "/a", {"a/memory.limit_in_bytes": "?"})
    assert tree.discover().cpus.value >= 1


def test_this_machine():
    runtime = discover()
    assert runtime.cpus.value >= 1
    assert runtime.memory.value > 64 * 1024**2
    assert runtime.host.value
    assert Path(runtime.scratch.value).is_dir()
    assert runtime.interfaces
    for field in dataclasses.fields(runtime):
        value = getattr(runtime, field.name)
        if isinstance(value, Sourced):
            assert value.source, field.name


def test_import_is_light():
    """Reading a node must not cost the import of sockets, MPI or Dask."""
    code = (
        "import sys, daskhpc.runtime; "
        "print([m for m in ('socket', 'mpi4py', 'dask', 'distributed', 'numpy', 'asyncio') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_what_mpi_says_stands_beside_what_the_launcher_says(tree):
    runtime = discover(slurm_step(3, 1, "0,3", 1), tree.root, mpi=lambda: (0, 1))
    assert runtime.world_size == Sourced(5, "SLURM_STEP_NUM_TASKS")
    assert (runtime.mpi_rank, runtime.mpi_size) == (Sourced(0, "MPI"), Sourced(1, "MPI"))


def test_it_prints_a_line_a_value_with_its_source(tree):
    lines = str(discover(slurm_step(3, 1, "0,3", 1, SLURM_CPUS_PER_TASK="8"), tree.root)).splitlines()
    assert "world_size: 5 (SLURM_STEP_NUM_TASKS)" in lines
    assert "cpus: 8 (SLURM_CPUS_PER_TASK)" in lines
    assert max(map(len, lines)) < 200
