"""A chain of jobs on a real Slurm, resumed, and its folder removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from bed import SlurmBed
from test_submit import LoginNode

from daskhpc.launch.find_jobs import current_job
from daskhpc.launch.job_folder import JobFolder

pytestmark = pytest.mark.slurm

# Its first run keeps something and is not done, the second one keeps nothing, the third one is done.
PROGRAM = """
    import os, sys, time
    from joblib import Parallel, delayed

    deadline = time.monotonic() + 150
    while not os.path.exists("go") and time.monotonic() < deadline:
        time.sleep(0.05)
    runs = len(os.listdir("runs"))
    open(f"runs/{runs}", "w").close()
    if runs == 1:
        sys.exit(75)
    print("RUN", runs, Parallel(n_jobs=-1, backend="daskhpc")(delayed(abs)(i) for i in range(4 + runs)))
    sys.exit(75 if runs == 0 else 0)
"""


@pytest.fixture
def login(slurm: SlurmBed, tmp_path: Path) -> LoginNode:
    made = LoginNode(slurm, tmp_path)
    made.folder = made.folder / "a 'b' $(touch pwned); é"
    made.folder.mkdir()
    return made


def test_a_chain_stops_without_progress_and_is_resumed_and_removed(login: LoginNode) -> None:
    bed = login.bed
    (login.folder / "runs").mkdir()
    login.program(PROGRAM)
    options = ("--chain=3", "--time=5m", "-c1", "--mem=1G", "--checkpoint=kept")
    done = login.run("submit", *options, "search.py")
    assert done.returncode == 0, done.stderr
    assert "3 jobs one after the other" in done.stderr
    first, second, third = jobs = [int(line) for line in done.stdout.splitlines()]
    (path,) = (login.folder / "daskhpc-jobs").iterdir()
    folder = JobFolder(path)
    refused = login.run("resume")
    assert refused.returncode == 70
    assert "The job has not ended" in refused.stderr
    assert f"{path.name} stays: its job has not ended" in login.run("clean", "--yes", str(path)).stderr
    (login.folder / "go").touch()
    codes = [bed.wait(job, 150)["ExitCode"] for job in jobs]
    logs = [(path / job.log).read_text() for job in folder.submitted()]
    assert codes == ["75:0", "75:0", "70:0"], logs
    assert "RUN 0 [0, 1, 2, 3]" in logs[0]
    assert f"job {third} has nothing to do: job {second} saved nothing in its checkpoint" in logs[2]
    assert current_job(folder).id == str(second)
    asked = login.run("jobs", str(first))
    listed = asked.stdout
    assert "kept: 4 of 4 done" in listed, asked.stderr[-900:]
    assert listed.count("next: ") == 1, "only what ended the chain asks for something"

    done = login.run("resume", str(third))
    assert done.returncode == 0, done.stderr
    assert "kept: 4 of 4 done" in done.stderr
    assert "submission 4" in done.stderr
    again = [int(line) for line in done.stdout.splitlines()]
    assert [bed.wait(job, 150)["ExitCode"] for job in again] == ["0:0"] * 3
    text = login.run("logs").stdout
    assert "RUN 2 [0, 1, 2, 3, 4, 5]" in text
    assert "which has 4;" in text
    assert sorted(run.name for run in (login.folder / "runs").iterdir()) == ["0", "1", "2"]
    assert "The job is done" in login.run("resume").stderr

    assert "nothing was removed" in login.run("clean", "--dry-run").stdout
    assert "Nothing to remove" in login.run("clean", "--older-than=1h", "--yes").stdout
    assert "1 job folder" in login.run("clean", "--yes").stdout
    assert not path.exists()
    assert (login.folder / "kept").is_dir()
    assert [found for found in login.folder.rglob("*") if found.name == "pwned"] == []


def test_limits_are_asked_before_and_changes_are_said_after(login: LoginNode) -> None:
    bed = login.bed
    login.program("print(1)")

    def partition(*limits: str) -> None:
        assert bed.run(["scontrol", "update", "PartitionName=main", *limits], 30).returncode == 0

    try:
        partition("MaxTime=10", "MaxNodes=2")
        done = login.run("submit", "--nodes=3", "--time=5m", "search.py")
        assert (done.returncode, done.stdout) == (70, "")
        assert done.stderr.splitlines()[0].startswith("daskhpc: allocation failure: Requested node configuration")
        assert "--nodes 3, and main has at most 2 nodes\n  try:   --nodes 2\n" in done.stderr
        # Slurm takes it, and it never runs.
        done = login.run("submit", "--hold", "--time=1h", "search.py")
        assert done.returncode == 0
        assert "--time 1:00:00, and main has at most 10 min: the job may wait for ever" in done.stderr
        assert f"daskhpc cancel {int(done.stdout)}, then submit with --time 0:10:00" in done.stderr
        partition("MaxTime=INFINITE", "MaxNodes=UNLIMITED", "MaxMemPerCPU=1000")
        done = login.run("submit", "--hold", "--time=5m", "-c1", "--mem=4G", "search.py")
        assert done.returncode == 0
        assert "the site changed CPUs: 5 on each node, and not 1\n" in done.stderr
    finally:
        partition("MaxTime=INFINITE", "MaxNodes=UNLIMITED", "MaxMemPerCPU=100000")
