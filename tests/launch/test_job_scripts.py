"""The job scripts of slurm/ are what ``daskhpc submit --dry-run`` writes there.

``python tests/launch/test_job_scripts.py`` writes them anew.
"""

from __future__ import annotations

import re
import site
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from daskhpc.cli import main
from daskhpc.launch.job_draft import draft_job
from daskhpc.launch.site import Site

SLURM = Path(__file__).parents[2] / "slurm"
HOME = "/home/ada/daskhpc/slurm"  # whose user the scripts are written for
COMMAND = "submit --nodes 2 --cpus-per-task 4 --time 10m"
SCRIPTS = {"slurm": "job.sbatch", "torque": "job.pbs"}
PROGRAMS = {
    "climatology": "--processes 4 climatology.py",  # HDF5 reads with one thread of a process at a time
    "digits_heatmap": "heatmap.py",
    "digits_search": "search.py",
    "kmeans_clusters": "kmeans.py",
    "monte_carlo_pi": "pi.py",
    "random_search": "search.py",
    "satellite_ddp": "train.py",
    "timeseries": "timeseries.py",
}


def written(folder: str, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a user gets whose environment is /home/ada/venv and whose clone is /home/ada/daskhpc."""
    monkeypatch.setattr(sys, "prefix", "/home/ada/venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(sys, "executable", "/home/ada/venv/bin/python")
    monkeypatch.setattr(site, "getusersitepackages", lambda: "/home/ada/.local/lib")
    monkeypatch.setenv("DASK_CONFIG", "/nowhere")
    monkeypatch.chdir(SLURM / folder)
    words = [*COMMAND.split(), "--dry-run", "--live", "--folder", ".", "--name", folder, "--scheduler", scheduler]
    done = CliRunner().invoke(main, [*words, *PROGRAMS[folder].split()], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.replace(str(SLURM), HOME)


def test_every_folder_is_here() -> None:
    assert sorted(path.parent.name for path in SLURM.glob("*/job.sbatch")) == sorted(PROGRAMS)


@pytest.mark.parametrize(("scheduler", "name"), SCRIPTS.items())
@pytest.mark.parametrize("folder", PROGRAMS)
def test_the_script_is_the_one_that_submit_writes(
    folder: str, scheduler: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written(folder, scheduler, monkeypatch)
    assert text == (SLURM / folder / name).read_text()
    assert " -m daskhpc run " in text
    assert not re.search(r"^[^#]*\b(qsub|sbatch)\b", text, re.MULTILINE), "no job submits a job"
    assert scheduler == "slurm" or "\n#PBS -S /bin/bash\n" in text


@pytest.mark.parametrize("folder", PROGRAMS)
def test_the_pages_of_a_program_have_the_line(folder: str) -> None:
    line = f"daskhpc {COMMAND} {PROGRAMS[folder]}"
    program = PROGRAMS[folder].split()[-1]
    assert f"$ {line} " in (SLURM / folder / "README.md").read_text()
    assert f"\n    {line}\n" in (SLURM / folder / program).read_text()


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


if __name__ == "__main__":
    for each in PROGRAMS:
        for system, file in SCRIPTS.items():
            with pytest.MonkeyPatch.context() as patch:
                script = written(each, system, patch)
            (SLURM / each / file).write_text(script)
