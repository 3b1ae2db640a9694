"""The command lines that start ranks: pure functions, and what a real shell makes of their text."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
from recorder import HOSTILE, Recorder

from daskhpc.launch import Allocation, Command, mpiexec_line, srun_line

PROGRAM = ("python", "a program.py", "-n", "--")


def allocation(nodes: int, tasks: int, cpus: int, **more: bool) -> Allocation:
    return Allocation(tuple(f"n{i}" for i in range(nodes)), tasks, cpus, **more)


def test_the_line_for_two_nodes() -> None:
    line = srun_line(allocation(2, 2, 8), PROGRAM, None, "pmi2")
    assert line.argv == (
        "srun",
        "--overcommit",
        "--distribution=cyclic",
        "--nodes=2",
        "--ntasks=4",
        "--cpus-per-task=8",
        "--kill-on-bad-exit=1",
        "--mpi=pmi2",
        *PROGRAM,
    )
    assert line.env == {"SRUN_CPUS_PER_TASK": "8"}
    assert line.unset == ("SLURM_NTASKS_PER_NODE",)
    assert str(line) == (
        "env -u SLURM_NTASKS_PER_NODE SRUN_CPUS_PER_TASK=8 srun --overcommit --distribution=cyclic --nodes=2 "
        "--ntasks=4 --cpus-per-task=8 --kill-on-bad-exit=1 --mpi=pmi2 python 'a program.py' -n --"
    )


@pytest.mark.parametrize(
    ("given", "workers", "ntasks", "cpus"),
    [
        pytest.param(allocation(1, 1, 4), None, 3, 4, id="one-node"),
        pytest.param(allocation(2, 2, 8), None, 4, 8, id="a-task-per-node"),
        pytest.param(allocation(2, 16, 1), None, 18, 1, id="a-task-per-CPU"),
        pytest.param(allocation(3, 7, 2), None, 9, 2, id="uneven"),
        pytest.param(allocation(2, 2, 8), 1, 3, 8, id="fewer-workers-than-tasks"),
        pytest.param(allocation(2, 2, 8), 2, 4, 8, id="as-many-workers-as-tasks"),
        pytest.param(allocation(3, 7, 2), 7, 9, 2, id="as-many-as-uneven-tasks"),
        pytest.param(allocation(2, 2, 8), 4, 6, 4, id="twice-the-tasks-share-the-CPUs"),
        pytest.param(allocation(2, 2, 8), 5, 7, 2, id="three-on-one-node-and-two-on-the-other"),
        pytest.param(allocation(2, 4, 2), 8, 10, 1, id="CPUs-of-all-tasks-of-a-node"),
        pytest.param(allocation(2, 2, 1), 64, 66, 1, id="never-less-than-one-CPU"),
    ],
)
def test_workers_and_their_cpus(given: Allocation, workers: int | None, ntasks: int, cpus: int) -> None:
    line = srun_line(given, PROGRAM, workers, "pmix")
    assert f"--ntasks={ntasks}" in line.argv
    assert f"--nodes={len(given.nodes)}" in line.argv
    assert f"--cpus-per-task={cpus}" in line.argv
    assert line.env["SRUN_CPUS_PER_TASK"] == str(cpus)


@pytest.mark.parametrize("workers", range(1, 40))
@pytest.mark.parametrize("given", [allocation(1, 1, 32), allocation(2, 2, 16), allocation(4, 8, 3)])
def test_workers_never_get_more_cpus_than_their_node_was_granted(given: Allocation, workers: int) -> None:
    line = srun_line(given, PROGRAM, workers, "pmi2")
    cpus = int(line.env["SRUN_CPUS_PER_TASK"])
    on_the_fullest_node = -(-workers // len(given.nodes))
    assert cpus == 1 or cpus * on_the_fullest_node <= given.cpus_per_task * given.tasks // len(given.nodes)


def test_overlap_is_asked_for_only_inside_a_step() -> None:
    inside, outside = (srun_line(allocation(1, 1, 1, inside_step=x), PROGRAM, None, "pmi2") for x in (True, False))
    assert "--overlap" not in outside.argv
    before = inside.argv[: -len(PROGRAM)]
    assert before[-1] == "--overlap"
    assert inside.argv == (*before, *PROGRAM)


ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SHARED = ("--map-by", ":OVERSUBSCRIBE", "--bind-to", "none")
SPREAD = ("--map-by", "node:OVERSUBSCRIBE", "--bind-to", "none", "--host", "n1:5,n2:5")


@pytest.mark.parametrize(
    ("library", "nodes", "root", "options", "env"),
    [
        ("MPICH", (), False, (), {}),
        ("MPICH", (), True, (), {}),
        ("MPICH", ("n1", "n2"), False, ("-hosts", "n1,n2", "-ppn", "1"), {}),
        ("MVAPICH", ("n1", "n2"), False, ("-hosts", "n1,n2", "-ppn", "1"), {}),
        ("Intel MPI", (), False, (), {"I_MPI_PIN": "0"}),
        ("Intel MPI", ("n1", "n2"), False, ("-hosts", "n1,n2", "-ppn", "1"), {"I_MPI_PIN": "0"}),
        ("Open MPI", (), False, SHARED, {}),
        ("Open MPI", (), True, SHARED, ROOT),
        ("Open MPI", ("n1", "n2"), False, SPREAD, {}),
        ("Open MPI", ("n1", "n2"), True, SPREAD, ROOT),
    ],
)
def test_mpiexec(
    library: str, nodes: tuple[str, ...], root: bool, options: tuple[str, ...], env: dict[str, str]
) -> None:
    line = mpiexec_line("/a b/mpiexec", library, PROGRAM, 3, nodes, root)
    assert line.argv == ("/a b/mpiexec", "-n", "5", *options, *PROGRAM)
    assert (line.env, line.unset) == (env, ())


def by_shell(line: Command, folder: Path, **env: str) -> None:
    done = subprocess.run(
        ["bash", "-c", str(line)],
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("env", "unset"),
    [
        ({}, ()),
        ({"ADDED": "1"}, ()),
        ({}, ("GONE",)),
        ({"ADDED": "1"}, ("GONE", "NEVER_THERE")),
        ({"ADDED": "a b; echo no"}, ("GONE",)),
        pytest.param({"ADDED": "a b; echo no"}, ()),
    ],
)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_shell_runs_the_text_as_it_stands(
    tmp_path: Path, env: dict[str, str], unset: tuple[str, ...], absolute: bool
) -> None:
    recorder = Recorder(tmp_path)
    name = str(recorder.path) if absolute else recorder.path.name
    by_shell(Command((name, *HOSTILE), env, unset), recorder.folder, GONE="1", STAYS="1")
    assert recorder.argv == list(HOSTILE)
    assert recorder.env["STAYS"] == "1"
    assert recorder.env.get("ADDED") == env.get("ADDED")
    assert ("GONE" in recorder.env) is (not unset)


@pytest.mark.parametrize("inside", [True, False])
def test_a_shell_runs_a_whole_line(tmp_path: Path, inside: bool) -> None:
    recorder = Recorder(tmp_path, "srun")
    line = srun_line(allocation(2, 2, 8, inside_step=inside), HOSTILE, 3, "pmi2")
    by_shell(line, recorder.folder, SLURM_NTASKS_PER_NODE="1", SLURM_NTASKS="2")
    assert recorder.argv == list(line.argv[1:])
    assert recorder.argv[-len(HOSTILE) :] == list(HOSTILE)
    assert "SLURM_NTASKS_PER_NODE" not in recorder.env
    assert (recorder.env["SRUN_CPUS_PER_TASK"], recorder.env["SLURM_NTASKS"]) == ("4", "2")


def test_frozen() -> None:
    for value, name in ((allocation(1, 1, 1), "tasks"), (Command(("a",)), "argv")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, ())


def test_the_environment_of_this_process_does_not_change_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = srun_line(allocation(2, 2, 8), PROGRAM, None, "pmi2")
    for name in [*os.environ, "SLURM_JOB_ID", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"]:
        monkeypatch.setenv(name, "7")
    assert srun_line(allocation(2, 2, 8), PROGRAM, None, "pmi2") == before


def test_a_step_that_outlives_a_node_is_not_ended_by_its_first_failing_rank() -> None:
    line = srun_line(allocation(2, 2, 8), PROGRAM, None, "none", survive=True)
    assert "--no-kill" in line.argv
    assert "--kill-on-bad-exit=1" not in line.argv


@pytest.mark.parametrize(
    ("granted", "env", "said", "unset"),
    [
        pytest.param(None, {}, {}, (), id="nobody-says"),
        pytest.param(None, {"SLURM_MEM_PER_CPU": "300"}, {}, (), id="one-that-nobody-contradicts"),
        pytest.param(
            None, {"SLURM_MEM_PER_CPU": "300", "SLURM_MEM_PER_NODE": "2000"}, {}, ("SLURM_MEM_PER_CPU",), id="two"
        ),
        pytest.param(("SLURM_MEM_PER_NODE", "2000"), {"SLURM_MEM_PER_NODE": "2000"}, {}, (), id="as-it-is"),
        pytest.param(
            ("SLURM_MEM_PER_NODE", "2000"),
            {"SLURM_MEM_PER_CPU": "300", "SLURM_MEM_PER_NODE": "2000"},
            {},
            ("SLURM_MEM_PER_CPU",),
            id="an-outer-job-per-CPU",
        ),
        pytest.param(
            ("SLURM_MEM_PER_CPU", "700"),
            {"SLURM_MEM_PER_CPU": "700", "SLURM_MEM_PER_GPU": "9", "SLURM_MEM_PER_NODE": "2000"},
            {},
            ("SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE"),
            id="an-outer-job-per-node",
        ),
        pytest.param(
            ("SLURM_MEM_PER_NODE", "0"),
            {"SLURM_MEM_PER_CPU": "300"},
            {"SLURM_MEM_PER_NODE": "0"},
            ("SLURM_MEM_PER_CPU",),
            id="all-of-the-nodes-in-an-outer-job",
        ),
        pytest.param(
            ("SLURM_MEM_PER_CPU", "2000"), {}, {"SLURM_MEM_PER_CPU": "2000"}, (), id="a-default-that-nobody-exports"
        ),
        pytest.param(
            None,
            {
                **dict.fromkeys(("SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"), "1"),
                **{"SLURM_EXPORT_ENV": "NONE", "SLURM_GPUS": "2", "SLURM_CPUS_PER_TASK": "2"},
            },
            {},
            ("SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK", "SLURM_EXPORT_ENV"),
            id="what-contradicts-the-step",
        ),
        pytest.param(
            None,
            {"SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "SLURM_CPU_BIND_TYPE": "mask_cpu:"},
            {},
            ("SLURM_CPU_BIND", "SLURM_CPU_BIND_TYPE"),
            id="CPUs-of-an-outer-step",
        ),
        pytest.param(None, {"SLURM_CPU_BIND": "none"}, {}, (), id="a-binding-that-was-asked-for"),
    ],
)
def test_what_an_outer_job_left_in_the_environment(
    granted: tuple[str, str] | None, env: dict[str, str], said: dict[str, str], unset: tuple[str, ...]
) -> None:
    given = dataclasses.replace(allocation(2, 2, 8), memory=granted)
    line = srun_line(given, PROGRAM, None, "pmi2", env=env)
    assert line.env == {"SRUN_CPUS_PER_TASK": "8", **said}
    assert line.unset == ("SLURM_NTASKS_PER_NODE", *unset)
