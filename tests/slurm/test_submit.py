"""``daskhpc submit`` on a real Slurm of three nodes: from an empty folder to a result."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from bed import SlurmBed

from daskhpc.launch.job_folder import JobFolder

pytestmark = pytest.mark.slurm

SEARCH = """
    import os, sys
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    X, y = load_digits(return_X_y=True)
    search = GridSearchCV(SVC(), {"C": [1, 10]}, n_jobs=-1, cv=3).fit(X[:300], y[:300])
    print(search.best_params_, sys.argv, os.getcwd())
"""


class LoginNode:
    """A user's folder on the login side of a bed."""

    def __init__(self, bed: SlurmBed, folder: Path) -> None:
        self.bed = bed
        self.folder = folder / "work"
        self.folder.mkdir()
        self.env = {"XDG_STATE_HOME": str(folder / "state")}

    def program(self, text: str, name: str = "search.py") -> str:
        (self.folder / name).write_text(textwrap.dedent(text))
        return name

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-P", "-m", "daskhpc", *words]
        return self.bed.run(line, 60, self.folder, {**self.env, **(env or {})})

    def submit(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, JobFolder]:
        """Submit; the job's id and its folder."""
        done = self.run("submit", *words, env=env)
        assert done.returncode == 0, done.stderr
        (folder,) = (self.folder / "daskhpc-jobs").iterdir()
        return int(done.stdout), JobFolder(folder)

    def finished(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[dict[str, str], str, JobFolder]:
        """Submit and wait for the job's end; its fields, its log and its folder."""
        job, folder = self.submit(*words, env=env)
        fields = self.bed.wait(job, 90)
        (submitted,) = folder.submitted()
        return fields, (folder.path / submitted.log).read_text(), folder


@pytest.fixture
def login(slurm: SlurmBed, tmp_path: Path) -> LoginNode:
    return LoginNode(slurm, tmp_path)


def test_from_an_empty_folder_to_a_result(login: LoginNode) -> None:
    program = login.program(SEARCH)
    fields, log, folder = login.finished("--nodes", "2", "--time", "5:00", program, "a b", "-n")
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), log
    assert (fields["TimeLimit"], fields["NumNodes"], fields["NumCPUs"]) == ("00:05:00", "2", "8")
    script = str(login.folder / program)
    assert f"{{'C': 1}} {[script, 'a b', '-n']} {login.folder}" in log
    assert [mark.event for mark in folder.marks()] == ["began", "ended"]
    assert folder.marks()[1].value == "0"
    assert folder.path.stat().st_mode & 0o777 == 0o700


HOSTILE = (
    "a b",
    "",
    "it's",
    '"q"',
    "; touch pwned",
    "$(touch pwned) `touch pwned`",
    "two\nlines",
    "-n",
    "--",
    "é",
    "\\",
)
SHOWS = """
    import json, os, sys
    import beside
    print("SEEN " + json.dumps([sys.argv, os.environ["X"], os.getcwd(), beside.TEXT, os.path.dirname(__file__)]))
"""


def test_hostile_values_arrive_unchanged_and_never_run(login: LoginNode) -> None:
    """And what was submitted is what runs: program and module are changed while the job waits."""
    name = "-it's; touch pwned $(touch pwned) é.py"
    login.folder = login.folder / "a 'b' $(touch pwned); é"
    login.folder.mkdir()
    login.program(SHOWS, name)
    login.program("TEXT = 'as submitted'", "beside.py")
    title = "; touch pwned #3 'packjob' \\ \"é\""
    hostile = ["--name", title, "--env", f"X={HOSTILE[6]}; touch pwned", "--hold", "--mem=1G", "-c1"]
    job, folder = login.submit(*hostile, "--", name, *HOSTILE)
    login.program("TEXT = 'changed'", "beside.py")
    login.program("print('changed')", name)
    assert login.bed.run(["scontrol", "release", str(job)], 30).returncode == 0
    fields = login.bed.wait(job, 90)
    log = (folder.path / folder.submitted()[0].log).read_text()
    assert fields["ExitCode"] == "0:0", log
    (line,) = [text for text in log.splitlines() if text.startswith("SEEN ")]
    here = str(login.folder)
    program = [f"{here}/{name}", *HOSTILE]
    assert json.loads(line[5:]) == [program, "two\nlines; touch pwned", here, "as submitted", here]
    assert fields["JobName"] == title
    assert [path for path in login.folder.rglob("*") if path.name == "pwned"] == []


def test_from_inside_another_job(login: LoginNode) -> None:
    """The inner job has its own memory, time and CPUs, and not what the outer job's variables say."""
    login.program("import os\nprint('INNER', os.environ.get('SLURM_MEM_PER_CPU'), os.environ['SLURM_CPUS_PER_TASK'])")
    line = [sys.executable, "-P", "-m", "daskhpc", "submit", "-c2", "--mem=1G", "--time=5m", "search.py"]
    script = login.folder / "outer.sh"
    script.write_text(f"#!/bin/bash\nexport SBATCH_TIMELIMIT=1\nsrun {shlex.join(line)}\n")
    outer = login.bed.sbatch(
        script, "--mem-per-cpu=300", "--ntasks-per-node=1", "--nodes=1", "--output=outer.out", cwd=login.folder,
        env=login.env,
    )  # fmt: skip
    login.bed.wait(outer, 60)
    text = (login.folder / "outer.out").read_text()
    assert (login.folder / "daskhpc-jobs").is_dir(), text
    (path,) = (login.folder / "daskhpc-jobs").iterdir()
    (submitted,) = JobFolder(path).submitted()
    fields = login.bed.wait(int(submitted.id), 90)
    log = (path / submitted.log).read_text()
    assert (fields["ExitCode"], fields["TimeLimit"], fields["MinMemoryNode"]) == ("0:0", "00:05:00", "1G"), log
    assert "INNER None 2" in log
    assert text.splitlines()[0] == submitted.id


def test_a_refusal_leaves_nothing(login: LoginNode) -> None:
    program = login.program("print(1)")
    done = login.run("submit", "--partition", "nowhere", program)
    assert done.returncode == 70
    assert done.stderr.splitlines()[0].startswith("daskhpc: sbatch: error: invalid partition specified: nowhere")
    assert list((login.folder / "daskhpc-jobs").iterdir()) == []
    dry = login.run("submit", "--dry-run", program)
    assert dry.returncode == 0
    assert dry.stdout.startswith("#!/bin/bash\n# search.py: 1 whole node")
    assert list((login.folder / "daskhpc-jobs").iterdir()) == []


FROM_PYTHON = """
    import daskhpc
    job = daskhpc.submit("search.py", ["x"], run={"checkpoint": "kept"}, time="5m", cpus_per_task=2, memory="2G")
    print(job.wait(90).name, job.state.name, job.folder.name.startswith("search-"))
    print("search.py', 'x']" in job.tail(), sorted(job.results()["param_C"]))
    held = daskhpc.submit("search.py", hold=True, time="5m")
    print(held.state.name)
    held.cancel()
    print(held.wait(30).name, repr(held.tail()), held)
"""


def test_from_python(login: LoginNode) -> None:
    login.program(SEARCH)
    script = login.program(FROM_PYTHON, "submits.py")
    done = login.bed.run([sys.executable, script], 150, login.folder, login.env)
    assert done.returncode == 0, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert (first, second, third) == ("COMPLETED COMPLETED True", "True [1, 10]", "PENDING")
    assert last.startswith("CANCELLED '' <Job ")
