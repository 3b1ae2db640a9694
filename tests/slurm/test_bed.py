"""The test cluster itself: it is a cluster, MPI runs on it, and nothing of it stays behind."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bed import CRASH_IN_INIT, TRIES_OF_INIT, BedUnavailable, SlurmBed, processes
from flavors import Flavor

pytestmark = pytest.mark.slurm

HELLO = Path(__file__).parent / "programs" / "hello.py"
STEP = [
    "srun",
    "--overcommit",
    "--distribution=cyclic",
    "--kill-on-bad-exit=1",
    "--nodelist=node1,node2",
    "--nodes=2",
    "--ntasks=4",
]


def script(folder: Path, *lines: str) -> Path:
    """Write a job script."""
    path = folder / "job.sh"
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    return path


def test_nodes_are_hosts_of_their_own(slurm: SlurmBed) -> None:
    answers = slurm.run(["srun", "--nodes=3", "sh", "-c", "echo $(hostname) $(hostname -I)"], 60)
    found = dict(line.split() for line in answers.stdout.splitlines())
    assert found == slurm.addresses, answers.stderr


def test_names_resolve_everywhere(slurm: SlurmBed) -> None:
    for node in slurm.nodes:
        assert slurm.exec(node, ["getent", "hosts", "node2"]).stdout.split() == [slurm.addresses["node2"], "node2"]
    assert slurm.run(["getent", "hosts", "node2"], 60).stdout.split() == [slurm.addresses["node2"], "node2"]


@pytest.mark.parametrize("folder", ["scratch", "/dev/shm"])
def test_each_node_has_folders_of_its_own(slurm: SlurmBed, folder: str) -> None:
    path = slurm.root / folder
    slurm.exec("node1", ["touch", f"{path}/mark"])
    seen = {node: "mark" in slurm.exec(node, ["ls", str(path)]).stdout.split() for node in slurm.nodes}
    assert seen == {"node1": True, "node2": False, "node3": False}
    slurm.exec("node1", ["rm", f"{path}/mark"])


def test_login_side_reaches_a_server_on_a_node(slurm: SlurmBed, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    listen = f"import socket; server = socket.create_server(('', 7077)); open({str(ready)!r}, 'w')"
    server = f"{listen}; server.accept()[0].send(b'here')"
    job = slurm.sbatch(script(tmp_path, shlex.join([sys.executable, "-c", server])), "-w", "node2", cwd=tmp_path)
    slurm.until(ready.exists, 60, "the server")
    with socket.create_connection((slurm.addresses["node2"], 7077), timeout=60) as connection:
        assert connection.recv(9) == b"here"
    assert slurm.wait(job, 60)["JobState"] == "COMPLETED"


def test_batch_job(slurm: SlurmBed, tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    job = slurm.sbatch(
        script(folder, 'echo "$1 $WORD $SLURM_MEM_PER_NODE $SLURM_CPUS_PER_TASK"', "echo warning >&2", "exit 3"),
        *("--output=%j.out", "--error=%j.err", "--mem=2G", "--cpus-per-task=4"),
        cwd=folder,
        env={"WORD": "variable"},
        args=["argument"],
    )
    fields = slurm.wait(job, 60)
    assert (fields["JobState"], fields["ExitCode"], fields["WorkDir"]) == ("FAILED", "3:0", str(folder))
    assert (folder / f"{job}.out").read_text() == "argument variable 2048 4\n"
    assert (folder / f"{job}.err").read_text() == "warning\n"


def test_processes_of_a_job(slurm: SlurmBed, tmp_path: Path) -> None:
    job = slurm.sbatch(script(tmp_path, "srun sleep 60"), "--nodes=2", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while {process.node for process in slurm.processes(job) if process.argv[0].endswith("sleep")} != {"node1", "node2"}:
        assert time.monotonic() < deadline, slurm.processes(job)
        time.sleep(0.05)
    slurm.cancel(job)
    assert slurm.wait(job, 60)["JobState"] == "CANCELLED"
    assert slurm.left_of(job) == []


def test_run_ends_at_the_timeout_and_takes_the_step_along(slurm: SlurmBed) -> None:
    for timeout in (2, 60):  # the longer one if the step had not begun yet
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            slurm.run(["srun", "--unbuffered", "sh", "-c", "echo $SLURM_JOB_ID; sleep 300"], timeout)
        if caught.value.output:
            break
    job = int(caught.value.output)
    assert slurm.wait(job, 60)["JobState"] in ("FAILED", "CANCELLED")
    assert slurm.left_of(job) == []


@pytest.mark.mpi
def test_mpi_across_nodes(slurm: SlurmBed, flavor: Flavor) -> None:
    for _ in range(TRIES_OF_INIT):
        done = slurm.run([*STEP, f"--mpi={flavor.pmi}", sys.executable, str(HELLO)], 100, env=flavor.env)
        if done.stdout or CRASH_IN_INIT not in done.stderr:
            break
    ranks = sorted(tuple(line.split()) for line in done.stdout.splitlines())
    hosts = ["node1", "node2", "node1", "node2"]
    assert ranks == [(str(rank), "4", host, flavor.name) for rank, host in enumerate(hosts)], done.stderr


@pytest.mark.mpi
def test_mpi_on_this_machine(flavor: Flavor) -> None:
    done = subprocess.run(
        [flavor.mpiexec, "-n", "4", sys.executable, str(HELLO)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | flavor.env,
        check=False,
    )
    ranks = sorted(tuple(line.split()) for line in done.stdout.splitlines())
    expected = [(str(rank), "4", socket.gethostname(), flavor.name) for rank in range(4)]
    assert ranks == expected, done.stderr


def traces(bed: SlurmBed) -> list[str]:
    """Return what can be seen of a bed from outside."""
    marks: dict[str, Callable[[], bool]] = {
        "process": lambda: any(f"SLURM_CONF={bed.root}/slurm.conf" in environment for _, environment, _ in processes()),
        "folder": bed.root.exists,
        "mount": lambda: str(bed.root) in Path("/proc/self/mountinfo").read_text(),
        "interface": (Path("/sys/class/net") / bed.uplink).exists,
        "lock": lambda: f"@{bed.root}\n" in Path("/proc/net/unix").read_text(),
    }
    return [name for name, seen in marks.items() if seen()]


def test_nothing_stays_behind(tmp_path: Path) -> None:
    hosts = Path("/etc/hosts").read_text()
    with SlurmBed(nodes=1, number=1) as bed:
        bed.wait_running(bed.sbatch(script(tmp_path, "srun sleep 60"), cwd=tmp_path))
        assert traces(bed) == ["process", "folder", "interface", "lock"]
        with pytest.raises(BedUnavailable, match="another bed"):
            SlurmBed(number=1, patience=0.2).__enter__()
        assert bed.states() == {"node1": "mix"}
    assert traces(bed) == []
    assert Path("/etc/hosts").read_text() == hosts


def test_a_killed_run_leaves_nothing_running(tmp_path: Path) -> None:
    program = """if True:
        import pathlib, sys
        from bed import SlurmBed
        with SlurmBed(nodes=1, number=1) as bed:
            bed.wait_running(bed.sbatch(pathlib.Path(sys.argv[1]), cwd="/tmp"))
            print("up", flush=True)
            sys.stdin.read()
        """
    job = script(tmp_path, "#SBATCH --output=/dev/null", "srun sleep 60")
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(job)],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        run.kill()
    deadline = time.monotonic() + 60
    while set(traces(SlurmBed(number=1))) - {"folder"}:
        assert time.monotonic() < deadline, traces(SlurmBed(number=1))
        time.sleep(0.05)
    with SlurmBed(nodes=1, number=1) as bed:
        assert bed.states() == {"node1": "idle"}
    assert traces(bed) == []
