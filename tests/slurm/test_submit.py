"""``daskhpc submit`` on a real Slurm of three nodes: from an empty folder to a result."""

from __future__ import annotations

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
