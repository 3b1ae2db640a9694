"""``daskhpc jobs``, ``logs`` and ``cancel`` on a real Slurm: jobs that fail, wait, are requeued, cancelled or lost."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bed import SlurmBed

from daskhpc.launch.job_folder import JobFolder, SubmittedJob
from daskhpc.launch.job_query import forget_answers
from daskhpc.own_files import state_folder

pytestmark = pytest.mark.slurm

# The lines with which a job script of `daskhpc submit` tells when it began and how it ended.
MARKS = """\
#!/bin/bash
mark() {{ echo "$SLURM_JOB_ID ${{SLURM_RESTART_COUNT:-0}} $1 $(date +%s) $2" >>{folder}/marks; }}
mark began "$(uname -n)"
trap 'mark ended $?' EXIT
echo "daskhpc: run $((${{SLURM_RESTART_COUNT:-0}} + 1)) of job $SLURM_JOB_ID begins on $(uname -n)"
"""


class LoginSide:
    """A user at the login side of a bed, whose jobs are plain shell scripts with daskhpc's marks."""

    def __init__(self, bed: SlurmBed, folder: Path) -> None:
        self.bed = bed
        self.folder = folder / "it's a $(folder)"
        self.folder.mkdir()

    def job(self, name: str, lines: str, *options: str) -> int:
        """Submit a script of these lines as a job of daskhpc."""
        path = self.folder / name
        request = {"spec": {"array": ""}, "program": {"working_directory": str(path)}}
        folder = JobFolder.create(path, request)
        script = path / "job.sbatch"
        script.write_text(MARKS.format(folder=shlex.quote(str(path))) + lines + "\n")
        shape = ("--cpus-per-task=1", "--mem=100M", "--open-mode=append", "--output=log-%j.txt")
        number = self.bed.sbatch(script, *shape, *options, cwd=path)
        folder.add(SubmittedJob(str(number), "", "slurm", str(script), name, f"log-{number}.txt", time.time(), "t"))
        return number

    def run(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the ``daskhpc`` command."""
        done = self.bed.run([sys.executable, "-P", "-m", "daskhpc", *words], timeout, self.folder)
        assert done.returncode == 0, done.stderr
        return done

    def states(self) -> dict[str, str]:
        """What ``daskhpc jobs`` says, by title; the scheduler is asked anew."""
        forget_answers(state_folder())
        return {job["name"]: job["state"] for job in json.loads(self.run("jobs", "--json").stdout)}

    def until(self, wanted: dict[str, str]) -> None:
        """Wait until the jobs have these states."""
        seen: dict[str, str] = {}

        def there() -> bool:
            seen.clear()
            seen.update(self.states())
            return seen == wanted

        try:
            self.bed.until(there, 180, "the states of jobs")
        except TimeoutError:
            assert seen == wanted


@pytest.fixture
def login(slurm: SlurmBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoginSide:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "config"))
    return LoginSide(slurm, tmp_path)


def test_states_are_told_apart(login: LoginSide) -> None:
    bed = login.bed
    login.job("done", "true", "--nodelist=node1")
    login.job("failed", "exit 3", "--nodelist=node1")
    late = login.job("late", "sleep 600", "--time=1", "--nodelist=node1")
    again = login.job("again", "sleep 600", "--requeue", "--nodelist=node1")
    cancelled = login.job("cancelled", "sleep 600", "--nodelist=node2")
    lost = login.job("lost", "sleep 600", "--no-requeue", "--nodelist=node3")
    login.job("held", "true", "--hold")
    for job in (late, again, cancelled, lost):
        bed.wait_running(job)
    bed.stop("node3")
    bed.run(["scontrol", "requeuehold", str(again)], 30)
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 20))  # Slurm refuses one that is over
    assert bed.run(["scontrol", "update", f"JobId={late}", f"EndTime={end}"], 30).returncode == 0
    assert login.run("cancel", str(cancelled)).stdout == f"{cancelled} cancelled: cancelled\n"
    states = {
        "done": "COMPLETED",
        "failed": "FAILED",
        "late": "TIMEOUT",
        "again": "REQUEUED",
        "cancelled": "CANCELLED",
        "lost": "NODE_FAIL",
        "held": "PENDING",
    }
    login.until(states)
    listed = login.run("jobs").stdout
    assert "failed with exit code 3" in listed
    assert "JobHeldUser: You hold it." in listed
    assert "The job reached its time limit." in login.run("logs", "late").stderr
    assert "Somebody cancelled the job" in login.run("logs", str(cancelled)).stderr
    assert "run 1 of job" not in login.run("logs", "again").stdout


LINE_12 = """\
import sys


def f(x):
    return x


for i in range(3):
    print("row", i)
sys.stderr.write("a warning\\n")
f(1)
f({}["no such key"])
"""


def test_a_site_is_detected_and_an_exception_in_line_12_is_shown_first(login: LoginSide) -> None:
    profile = login.run("profile", "--detect").stdout
    assert "bed:" in profile
    assert "memory: per-node  # sbatch --test-only takes --mem" in profile
    assert "cpus_per_node: 4" in profile
    (login.folder / "search.py").write_text(LINE_12)
    job = int(login.run("submit", "--nodes", "2", "--time", "5:00", "search.py").stdout)
    login.bed.wait(job, 150)
    done = login.run("logs")
    lines = done.stdout.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert 'search.py", line 12, in <module>' in lines[1]
    assert "KeyError: 'no such key'" in lines[:6]
    assert f"{job} search, failed with exit code 1" in done.stderr
    assert "row 2" in lines
