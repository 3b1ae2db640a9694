"""``daskhpc.start(nodes=2, time=...)`` on the login node of a real Slurm: the workers are jobs."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from bed import SlurmBed

pytestmark = pytest.mark.slurm

# The variables are those of a session within a job of another: no job of ours may take them over.
LEAKED = {"SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "SLURM_MEM_PER_CPU": "5", "SBATCH_TIMELIMIT": "1"}
PROGRAM = """
    import os, socket, sys
    import daskhpc, beside
    from distributed import Client

    shape = {"nodes": int(sys.argv[1]), "time": "3m", "cpus_per_task": 4, "memory": "2G"}
    client = daskhpc.start(**shape, setup=["export GIVEN=yes"], processes=2, nthreads=1)
    places = client.run(lambda: (socket.gethostname(), os.environ["GIVEN"], os.environ["OMP_NUM_THREADS"]))
    print(sorted(places.values()), sorted(client.nthreads().values()))
    print(client.scheduler.address[:6], Client(set_as_default=False).submit(beside.double, 21).result())
    print(daskhpc.start(nodes=5) is client, oct(os.stat("daskhpc-jobs").st_mode & 0o777))
    print(sorted(name for name in os.listdir("daskhpc-jobs") if name.startswith(".keys"))[0][:6], flush=True)
    complete = daskhpc.starting.job_client._complete_jobs
    print(len(complete(client.cluster, 2)), complete(client.cluster, 3), flush=True)
    if sys.argv[2:]:
        client.submit(sum, [1]).result()
        print("computing", flush=True)
        import time
        time.sleep(600)
"""


def jobs(bed: SlurmBed, since: int) -> dict[int, str]:
    """The states of the jobs after a number."""
    done = bed.run(["squeue", "--noheader", "--states=all", "--format=%A %T"], 30)
    rows = (line.split() for line in done.stdout.splitlines())
    return {int(number): state for number, state in rows if int(number) > since}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    work = tmp_path / "a 'b' c"
    work.mkdir()
    (work / "program.py").write_text(textwrap.dedent(PROGRAM))
    (work / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    return work


def test_a_cluster_from_the_login_node(slurm: SlurmBed, folder: Path) -> None:
    before = max(jobs(slurm, 0), default=0)
    env = {"XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder), **LEAKED}
    done = slurm.run([sys.executable, "program.py", "2"], 200, folder, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{[('node1', 'yes', '2')] * 2 + [('node2', 'yes', '2')] * 2} [1, 1, 1, 1]",
        "tls:// 42",
        "True 0o755",
        ".keys-",
        "2 set()",
    ]
    text = done.stderr
    assert "daskhpc: 4 workers, 4 threads, 2 nodes; ends " in text, text
    assert "SLURM_MEM_PER_NODE" in text, text
    assert "Traceback" not in text, text
    first, second = sorted(jobs(slurm, before))
    assert f"jobs {first}, {second}; " in text
    assert "connections encrypted (tls), for this run alone: 3 nodes" in text
    slurm.until(lambda: set(jobs(slurm, before).values()) == {"CANCELLED"}, 90, "the end of the jobs")
    shown = slurm.show(first)
    assert (shown["TimeLimit"], shown["MinMemoryNode"], shown["NumCPUs"], shown["Requeue"]) == (
        "00:03:00", "2G", "4", "0",
    )  # fmt: skip
    assert not list((folder / "daskhpc-jobs").glob(".keys*"))
    assert not (folder / ".config").exists(), "dask-jobqueue's own file of comments"


def test_no_job_is_left_by_a_program_that_is_killed(slurm: SlurmBed, folder: Path) -> None:
    """With SIGTERM the jobs are cancelled; after SIGKILL their workers miss the scheduler, and end by themselves."""
    before = max(jobs(slurm, 0), default=0)
    env = {"XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}
    line = [sys.executable, "program.py", "1", "and wait"]
    programs = {number: slurm.spawn(line, folder, env) for number in (signal.SIGTERM, signal.SIGKILL)}
    try:
        for program in programs.values():
            assert program.stdout is not None
            assert "computing\n" in iter(program.stdout.readline, "")
        for number, program in programs.items():
            os.killpg(program.pid, number)
            program.wait(60)
        slurm.until(lambda: not set(jobs(slurm, before).values()) & {"RUNNING", "PENDING", "COMPLETING"}, 90, "no job")
        codes = {number: program.returncode for number, program in programs.items()}
        assert codes == {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -signal.SIGKILL}
        assert len(jobs(slurm, before)) == 2
    finally:
        for program in programs.values():
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.communicate(timeout=60)
