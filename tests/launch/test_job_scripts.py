"""The job scripts of slurm/ find their own folder, whatever their arguments are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daskhpc.launch.job import draft_job
from daskhpc.launch.site import Site

SCRIPTS = sorted((Path(__file__).parents[2] / "slurm").glob("*/job.sbatch"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
@pytest.mark.parametrize(
    "arguments", [[], ["data/in.csv"], ["a b/c", "--out=/x/y", ""]], ids=["none", "path", "hostile"]
)
def test_the_folder_of_a_job_script(script: Path, arguments: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "it's a $(folder); echo"
    folder.mkdir()
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\nprintf "JobId=1\\n   Command=%s\\n   WorkDir=/\\n" "$COMMAND_OF_JOB"\n')
    scontrol.chmod(0o755)
    lines = script.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("# The folder of this script"))
    end = next(number for number, line in enumerate(lines) if number > begin and not line)
    command = " ".join([str(folder / "job.sbatch"), *arguments])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([*lines[begin:end], "pwd"]), "job.sbatch", *arguments],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "1", "COMMAND_OF_JOB": command},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, f"{folder}\n"), done.stderr


@pytest.mark.parametrize("scheduler", ["slurm", "pbspro", "torque"])
def test_a_log_of_the_users_own_is_in_the_folder_of_the_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").touch()
    draft = draft_job(
        "a.py",
        cpus_per_task=1,
        site=Site(scheduler=scheduler),
        output="logs/out-%j.txt" if scheduler == "slurm" else "out",
    )
    assert str(tmp_path / "logs/out-%j.txt" if scheduler == "slurm" else tmp_path / "out") in draft.script
    assert draft.spec.output.startswith(str(tmp_path))
