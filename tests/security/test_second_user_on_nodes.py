"""A second user on one node of a job tries the ports of that node and of the others, and what the job left on disks."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from bed import SlurmBed
from strangers import look

pytestmark = pytest.mark.slurm

PROGRAM = """
    import os, time
    import daskhpc

    with daskhpc.start(nthreads=1, {jobs}) as client:
        while True:  # tasks before, while and after the stranger tries
            total = sum(client.gather(client.map(lambda i: i * i, range(100), pure=False)))
            open("ready", "w").close()
            if os.path.exists("tried"):
                break
            time.sleep(0.05)
        print(total, len(client.ncores()), client.dashboard_link)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into, as many a home."""
    folder = Path(tempfile.mkdtemp(prefix="second-user-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_second_user_on_a_node_gets_nothing_from_any(slurm: SlurmBed, open_folder: Path) -> None:
    """The ranks meet without MPI, so a job that says nothing else is encrypted and has no port but its own."""
    (open_folder / "program.py").write_text(textwrap.dedent(PROGRAM.format(jobs="")))
    script = open_folder / "job.sh"
    run = shlex.join([sys.executable, "-m", "daskhpc", "run", "--bootstrap=slurm", "--logs=logs", "program.py"])
    script.write_text(f"#!/bin/bash\numask 022\nexport XDG_STATE_HOME=$PWD/state\n{run}\necho exit $?\n")
    options = ("--nodes=3", "--cpus-per-task=1", "--mem=1G", "--output=job.out", "--error=job.err")
    job = slurm.sbatch(script, *options, cwd=open_folder)
    out, err = open_folder / "job.out", open_folder / "job.err"
    try:
        slurm.until((open_folder / "ready").exists, 200, "the program to begin")
        own = [
            process for process in slurm.processes(job) if Path(process.argv[0]).name != "srun"
        ]  # its ports are Slurm's
        node = next(process for process in own if process.node == "node2")
        found = look(
            [process.pid for process in own],
            [open_folder, *map(slurm.scratch, slurm.nodes)],
            enter=["nsenter", f"--net=/proc/{node.pid}/ns/net", "--"],
            addresses={process.pid: slurm.addresses[process.node] for process in own},
        )
        (open_folder / "tried").touch()
        slurm.wait(job, 150)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{err.read_text()}") from None
    total, workers, link, *_, code = out.read_text().split()
    assert (total, workers, code) == ("328350", "3", "0"), err.read_text()
    assert {process.node for process in own} == set(slurm.nodes)
    reached = {name.partition(":")[0] for name, answer in found.answers.items() if not answer.startswith(b"! ")}
    assert reached >= set(slurm.addresses.values()), "the network between the nodes is there"
    assert found.holes() == {}
    assert [path for path in found.files if "to write to" in path] == []
    readable = {str(Path(path).relative_to(open_folder)) for path in found.files if str(open_folder) in path}
    assert readable == {"program.py", "job.sh", "job.out", "job.err", "ready"}, "no log, no note, no link"
    secret = link.split("/")[3].encode()
    assert secret not in found.everything()
    assert secret.decode() not in err.read_text()


def test_a_second_user_on_the_login_node_gets_nothing_from_a_cluster_of_jobs(
    slurm: SlurmBed, open_folder: Path
) -> None:
    """The scheduler and the program are on the login node, the workers are two jobs with a key in a file."""
    text = PROGRAM.format(jobs="nodes=2, time='15m', cpus_per_task=4, memory='1G'")
    (open_folder / "program.py").write_text(textwrap.dedent(text))
    state = {"XDG_STATE_HOME": str(open_folder / "state"), "HOME": str(open_folder)}
    program = slurm.spawn([sys.executable, "program.py"], open_folder, state)
    try:
        ready = open_folder / "ready"
        slurm.until(lambda: ready.exists() or program.poll() is not None, 200, "the program to begin")
        assert program.poll() is None, program.communicate(timeout=60)
        queued = slurm.run(["squeue", "--noheader", "--states=RUNNING", "--format=%A"], 30).stdout.split()
        addresses = {one.pid: slurm.addresses[one.node] for job in queued for one in slurm.processes(int(job))}
        own = [program.pid, *(child.pid for child in psutil.Process(program.pid).children(recursive=True))]
        found = look([*own, *addresses], [open_folder, *map(slurm.scratch, slurm.nodes)], addresses=addresses)
        (open_folder / "tried").touch()
        out, err = program.communicate(timeout=150)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.communicate(timeout=60)
    total, workers, link = out.split()
    assert (total, workers, program.returncode) == ("328350", "2", 0), err
    reached = {name.partition(":")[0] for name, answer in found.answers.items() if not answer.startswith(b"! ")}
    assert reached >= set(addresses.values()), "the workers of both jobs"
    assert len(set(addresses.values())) == 2
    assert found.holes() == {}
    everything = found.everything()
    assert b"PRIVATE KEY" not in everything
    assert link.split("/")[3].encode() not in everything
    readable = {str(Path(path).relative_to(open_folder)) for path in found.files if str(open_folder) in path}
    assert {path for path in readable if "to write to" in path or ".keys" in path} == set()
