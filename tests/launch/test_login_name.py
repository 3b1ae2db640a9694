"""The login node's name in a profile, from ``daskhpc.yaml`` to the line that is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daskhpc.cluster.dashboard_link import DashboardLink, tunnel
from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.job_script import Program, job_script
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.site import Site

PROGRAM = Program("/home/ada/search.py", (), "/home/ada", "/usr/bin/python3")


@pytest.mark.parametrize("scheduler", ["slurm", "pbspro", "torque"])
def test_the_job_script_tells_it(scheduler: str) -> None:
    def script(login: str) -> str:
        site = Site(scheduler=scheduler, login=login)
        return job_script(JobSpec.make(name="a", cpus_per_task=1), site, batch_system(scheduler), PROGRAM, "/j", {})

    assert "\nexport DASKHPC_LOGIN='login.site.org; echo'\n" in script("login.site.org; echo")
    assert "DASKHPC_LOGIN" not in script("")


@pytest.mark.parametrize(("system", "submitted"), [("SLURM_JOB_ID", "SLURM_SUBMIT_HOST"), ("PBS_JOBID", "PBS_O_HOST")])
def test_it_comes_before_the_name_that_the_scheduler_knows(tmp_path: Path, system: str, submitted: str) -> None:
    """Also with ``daskhpc run`` in a script of the user's own, which reads the profile."""
    (tmp_path / "daskhpc.yaml").write_text("daskhpc: {profiles: {a: {login: login.site.org}}}\n")
    program = "import daskhpc; login = daskhpc.discover().submit_host; print(login.value, login.source)"
    line = f"from daskhpc.cli.run import _name_login; _name_login(); {program}"
    env = {
        "PATH": "/usr/bin:/bin",
        system: "7",
        submitted: "login1",
        "DASK_CONFIG": str(tmp_path),
        "HOME": str(tmp_path),
    }

    def said(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
        return done.stdout.strip()

    assert said(program) == f"login1 {submitted}"
    assert said(line) == "login.site.org DASKHPC_LOGIN"


def test_the_line_that_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    for login, end in (
        ("login.site.org", "ada@login.site.org"),
        ("al@login.site.org", "al@login.site.org"),
        ("x; echo", "'ada@x; echo'"),
    ):
        assert tunnel(DashboardLink("http://10.0.0.7:8787/s/status", "n7", login)).endswith(f" {end}")
