"""The schedulers: a contract that each keeps, what each says, and one more that only this file knows."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

from daskhpc.cli.run import launch_command
from daskhpc.runtime import MPILibrary, Sourced, schedulers
from daskhpc.runtime.commands import with_end_time
from daskhpc.runtime.model import Runtime
from daskhpc.runtime.node import NodeView
from daskhpc.runtime.ranks import LaunchedRank, read_rank
from daskhpc.runtime.schedulers import SCHEDULERS, NoScheduler, PBSPro, Scheduler, Slurm, Torque, recognise
from daskhpc.runtime.schedulers.base import Scheduler as Contract
from daskhpc.settings import Settings

from .environments import hydra, pbspro, slurm_batch, slurm_step, torque


class GridScheduler(Scheduler):
    """A scheduler that daskhpc does not know; written as docs and base class say, in one place."""

    name = "grid"
    job_variable = "GRID_JOB"
    submit_variable = "GRID_LOGIN"
    scratch_variables = ("GRID_SCRATCH",)
    outside_advice = "start this with grid-exec"

    def nodes(self, node, host):
        return Sourced(tuple((node.variable("GRID_HOSTS") or host).split()), "GRID_HOSTS")

    def cpus(self, node, host, nodes):
        slots = node.integer("GRID_SLOTS", least=1)
        return Sourced(slots, "GRID_SLOTS") if slots else None

    def memory(self, node, node_cpus, ram):
        limit = node.megabytes("GRID_MEMORY")
        return (Sourced(limit, "GRID_MEMORY"),) if limit else ()

    def end_command(self, job):
        return ("echo", f"{job} ends 1700000000")

    def parse_end(self, output, now, job):
        return Sourced(float(output.split()[-1]), "grid-end")


def grid(**more):
    """A job of that scheduler."""
    return {"GRID_JOB": "5", "GRID_HOSTS": "n1 n2", "GRID_SLOTS": "4", "GRID_LOGIN": "login", **more}


class Case(NamedTuple):
    """A scheduler, and the environment of a process in one of its jobs."""

    scheduler: Scheduler
    env: dict[str, str]


CASES = [
    Case(Slurm(), slurm_step()),
    Case(Slurm(), slurm_batch()),
    Case(PBSPro(), pbspro()),
    Case(Torque(), torque()),
    Case(GridScheduler(), grid()),
    Case(NoScheduler(), {}),
]
MALFORMED = ("", " ", "?", "-1", "[", "9" * 5000, "\0", "é", "/nonexistent")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.scheduler.name}-{len(case.env)}")
class TestContract:
    """What `Scheduler` promises, of each scheduler, in its own job and with malformed variables."""

    def values(self, scheduler: Scheduler, node: NodeView) -> dict[str, object]:
        rank = read_rank(node, scheduler.ranks(node), bool(scheduler.launcher))
        return {
            "job": scheduler.job(node),
            "submit_host": scheduler.submit_host(node),
            "step": scheduler.step(node),
            "tasks": scheduler.tasks(node),
            "host": scheduler.host(node, by_mpiexec=False) or Sourced("n1", "kernel"),
            "nodes": scheduler.nodes(node, "n1"),
            "cpus": scheduler.cpus(node, "n1", ("n1", "n2")) or Sourced(1, "kernel"),
            "cpus_per_rank": scheduler.cpus_per_rank(node, rank, Sourced(8, "test")),
            "end": scheduler.end(node),
        }

    def check(self, scheduler: Scheduler, node: NodeView) -> None:
        types = {"host": str, "nodes": tuple, "cpus": int}
        optional = {"job": str, "submit_host": str, "step": str, "tasks": int, "cpus_per_rank": int, "end": float}
        for name, sourced in self.values(scheduler, node).items():
            assert isinstance(sourced, Sourced), name
            assert sourced.source, name
            if name in optional:
                assert sourced.value is None or isinstance(sourced.value, optional[name]), name
            else:
                assert isinstance(sourced.value, types[name]), name
        assert scheduler.nodes(node, "n1").value, "at least this node"
        for limit in scheduler.memory(node, Sourced(8, "test"), Sourced(2**30, "/proc/meminfo")):
            assert limit.value > 0
            assert limit.source
        assert scheduler.memory(node, Sourced(8, "test"), None) is not None
        rank = scheduler.ranks(node)
        assert rank is None or (isinstance(rank, LaunchedRank) and rank.launcher == scheduler.launcher)

    def test_its_values_have_their_types_and_sources(self, tree, case):
        node = NodeView(case.env, tree.root)
        self.check(case.scheduler, node)
        assert node.warnings == []

    @pytest.mark.parametrize("text", MALFORMED)
    def test_malformed_variables_are_reported_and_nothing_is_raised(self, tree, case, text):
        for name in case.env:
            self.check(case.scheduler, NodeView({**case.env, name: text}, tree.root))
        self.check(case.scheduler, NodeView(dict.fromkeys(case.env, text), tree.root))

    def test_it_recognises_its_own_jobs_alone(self, case):
        for other in CASES:
            variable = case.scheduler.recognised_by(NodeView(other.env, "/nonexistent"))
            # PBS Pro's rule fits Torque's jobs too, so Torque is asked first
            fits = case.scheduler.name == other.scheduler.name != "none" or (
                isinstance(case.scheduler, PBSPro) and isinstance(other.scheduler, Torque)
            )
            assert (variable is not None) is fits
            assert variable is None or other.env[variable]

    def test_its_names_are_its_own(self, case):
        others = {scheduler.name for scheduler in (*SCHEDULERS, NoScheduler(), GridScheduler())}
        assert case.scheduler.name in others
        assert case.scheduler.binding_advice
        assert isinstance(case.scheduler, Contract)

    def test_the_command_that_tells_the_end_is_read(self, case):
        command = case.scheduler.end_command("5")
        assert all(isinstance(word, str) for word in command)
        if case.scheduler.name != "grid":
            for output in ("", "?", "N/A\n", "2023-13-99"):
                assert case.scheduler.parse_end(output, 0.0, "5") is None


def test_the_names_of_the_schedulers_are_unique():
    names = [scheduler.name for scheduler in (*SCHEDULERS, NoScheduler())]
    assert len(set(names)) == len(names)


@pytest.fixture
def with_grid(monkeypatch):
    """The one line that registers a scheduler."""
    monkeypatch.setattr(schedulers, "SCHEDULERS", (*SCHEDULERS, GridScheduler()))


def test_a_new_scheduler_is_one_class_and_one_line(tree, with_grid):
    """It counts in all that is read, in the end of the job, and in what `daskhpc run` starts."""
    tree.folder("/grid/5")
    runtime = tree.discover(grid(GRID_SCRATCH="/grid/5", GRID_MEMORY="1G"), headroom=0.0)
    assert runtime.scheduler == Sourced("grid", "GRID_JOB")
    assert runtime.job == Sourced("5", "GRID_JOB")
    assert runtime.submit_host == Sourced("login", "GRID_LOGIN")
    assert runtime.nodes == Sourced(("n1", "n2"), "GRID_HOSTS")
    assert runtime.cpus == Sourced(4, "GRID_SLOTS")
    assert runtime.memory == Sourced(2**30, "GRID_MEMORY, 0% headroom")
    assert runtime.scratch == Sourced("/grid/5", "GRID_SCRATCH")
    assert with_end_time(runtime).end_time == Sourced(1.7e9, "grid-end")
    assert tree.host("login").discover(grid()).warnings == ("login is not a node of job 5: start this with grid-exec",)
    assert tree.discover().scheduler.source == "neither SLURM_JOB_ID nor PBS_JOBID nor GRID_JOB"
    assert hosts_of_mpiexec(runtime) == "n1,n2"


def hosts_of_mpiexec(runtime: Runtime) -> str:
    """Where ``daskhpc run`` would start ranks with MPICH's mpiexec."""
    library = MPILibrary("MPICH", "5.0")
    command = launch_command(runtime, Settings.resolve({"mpiexec": "mpiexec"}, {}), ["python"], library)
    assert command is not None
    return command.argv[command.argv.index("-hosts") + 1]


def test_the_first_that_recognises_a_job_has_it(tree):
    assert isinstance(recognise(NodeView({**torque(), **slurm_batch()}, tree.root))[0], Slurm)
    assert isinstance(recognise(NodeView(torque(), tree.root))[0], Torque)


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

    assert discover({}, tmp_path, lambda name: None).host == Sourced("localhost", "not known")


@pytest.mark.parametrize(
    ("env", "end"),
    [
        ({}, Sourced(None, "no scheduler")),
        (slurm_step(SLURM_JOB_END_TIME="1700000000"), Sourced(1.7e9, "SLURM_JOB_END_TIME")),
        (slurm_step(SLURM_JOB_END_TIME="4294967294"), Sourced(None, "no limit")),
        (slurm_step(), Sourced(None, "not known: no SLURM_JOB_END_TIME")),
        (pbspro(), Sourced(None, "not known: PBS Pro sets no end")),
        (torque(), Sourced(None, "not known: PBS_WALLTIME without a PBS_NODEFILE here")),
        (torque(PBS_WALLTIME=""), Sourced(None, "not known: no PBS_WALLTIME")),
    ],
)
def test_end(tree, env, end):
    assert tree.discover(env).end_time == end


def test_end_of_torque(tree):
    tree.file("/var/spool/torque/aux/78.server", "n1")
    os.utime(tree.root / "var/spool/torque/aux/78.server", (1e9, 1e9))
    end = tree.discover(torque()).end_time
    assert end == Sourced(1e9 + 3600, "PBS_WALLTIME after PBS_NODEFILE was written")


@pytest.mark.parametrize(
    ("env", "tasks"),
    [
        (slurm_batch(), Sourced(5, "SLURM_NTASKS")),
        (slurm_batch(SLURM_NTASKS=""), Sourced(None, "SLURM_NTASKS")),
        (slurm_step(), Sourced(None, "not known: SLURM_NTASKS is the step's")),
        (pbspro(), Sourced(None, "not known")),
    ],
)
def test_tasks(tree, env, tasks):
    assert tree.discover(env).tasks == tasks


@pytest.mark.parametrize(
    ("env", "host"),
    [
        ({}, Sourced(None, "no scheduler")),
        (slurm_step(), Sourced("login", "SLURM_SUBMIT_HOST")),
        (pbspro(), Sourced("login", "PBS_O_HOST")),
        (torque(PBS_O_HOST=""), Sourced(None, "PBS_O_HOST")),
    ],
)
def test_submit_host(tree, env, host):
    assert tree.discover(env).submit_host == host


@pytest.mark.parametrize(
    ("output", "end"),
    [
        ("7 2023-11-14T22:13:20\n", "squeue"),
        ("9 2024-11-14T22:13:20\n7 2023-11-14T22:13:20\n8 N/A\n", "squeue"),  # an element with the id of its array
        ("7 2033-11-14T22:13:20", "no time limit"),
        ("7 N/A", None),
        ("8 2023-11-14T22:13:20\n", None),
        ("", None),
    ],
)
def test_the_end_that_squeue_prints(output, end):
    from datetime import datetime

    now = datetime(2023, 11, 14).timestamp()
    found = Slurm().parse_end(output, now, "7")
    assert (found.source if found else None) == end
    if end == "squeue":
        assert found.value == datetime(2023, 11, 14, 22, 13, 20).timestamp()


@pytest.mark.parametrize(
    ("line", "memory"),
    [
        ("MinCPUsNode=2 MinMemoryCPU=700M MinTmpDiskNode=0", ("SLURM_MEM_PER_CPU", "700")),
        ("MinCPUsNode=2 MinMemoryNode=4G MinTmpDiskNode=0", ("SLURM_MEM_PER_NODE", "4096")),
        ("MinCPUsNode=2 MinMemoryNode=0 MinTmpDiskNode=0", ("SLURM_MEM_PER_NODE", "0")),
        ("TresPerNode=gres:gpu:2 MemPerTres=gres:gpu:40960", ("SLURM_MEM_PER_GPU", "40960")),
        ("slurm_load_jobs error: Invalid job id specified", None),
    ],
)
def test_the_memory_that_slurms_controller_tells(line, memory):
    """As scontrol of Slurm 22.05 prints it; GPUs as its source says."""
    assert Slurm().parse_memory(f"JobId=4 JobName=x\n   {line}\n   Command=(null)") == memory


def test_a_task_that_was_granted_by_tres(tree):
    env = {name: value for name, value in slurm_step().items() if name != "SLURM_CPUS_PER_TASK"}
    runtime = tree.discover({**env, "SLURM_TRES_PER_TASK": "cpu=4,gres/gpu=1"})
    assert runtime.cpus == Sourced(4, "SLURM_TRES_PER_TASK")
