"""`daskhpc.start(nodes=...)` where no job can be submitted, and what a job's script then has to say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import daskhpc
from daskhpc.cluster.job_worker import plan_job
from daskhpc.errors import LaunchError, SettingsError, StartError
from daskhpc.launch.worker_jobs import draft_worker_jobs
from daskhpc.runtime import Sourced, discover
from daskhpc.settings import Settings
from daskhpc.starting.job_cluster import _arguments


@pytest.fixture(autouse=True)
def login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and an sbatch that is not meant to be reached."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\nexit 99\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_without_a_batch_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StartError, match="There is no batch system here") as refused:
        daskhpc.start(nodes=2)
    assert refused.value.found == "neither sbatch nor qsub is on the path"
    assert "daskhpc.start() without nodes" in refused.value.todo


def test_without_dask_jobqueue(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(StartError, match="needs dask-jobqueue") as refused:
        daskhpc.start(nodes=2, time="1h")
    assert refused.value.todo == f"{sys.executable} -m pip install 'daskhpc[jobqueue]'"


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "PBS_JOBID"])
def test_within_a_job(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "123")
    with pytest.raises(StartError, match="this program runs within one") as refused:
        daskhpc.start(nodes=2)
    assert refused.value.found.startswith("job 123 on ")
    assert refused.value.todo.startswith("daskhpc.start() without nodes and time")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"nodes": 2, "workers": 4}, SettingsError, "not counted by workers"),
        ({"nodes": 2, "array": "0-3"}, LaunchError, "have no array"),
        ({"time": "60:30"}, LaunchError, "does not take '60:30'"),
        ({"nodes": 2, "acount": "a"}, SettingsError, "no setting 'acount'"),
        ({"profile": "nowhere"}, SettingsError, "no profile 'nowhere'"),
    ],
)
def test_options_that_are_refused(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        daskhpc.start(**given)


def script(jobs: Any, settings: Settings) -> str:
    from daskhpc.compat.dask_jobqueue import jobqueue_class, worker_job_class

    kind = "PBSJob" if jobs.system.directive_mark == "#PBS" else "SLURMJob"
    job_class = worker_job_class(jobqueue_class(kind), lambda text: "", lambda job: None, ("auto", "auto"))
    given = _arguments(jobs, settings, Sourced("tcp", "a test"), None)
    kept = {n: v for n, v in given.items() if n not in ("scheduler_options", "silence_logs", "shared_temp_directory")}
    return str(job_class("tcp://login:1", name="w-0", **kept).job_script())


@pytest.mark.parametrize(("scheduler", "options"), [("slurm", {"gpus": 2}), ("pbspro", {}), ("torque", {})])
def test_the_script_has_the_lines_of_submit_and_no_others(scheduler: str, options: dict[str, Any]) -> None:
    config = Path("config/daskhpc.yaml")
    config.parent.mkdir()
    config.write_text(
        f"daskhpc: {{profiles: {{here: {{scheduler: {scheduler}, cpus_per_node: 8, modules: [gcc], "
        "job: {account: physics, array: 0-3, no_requeue: true}}}}"
    )
    jobs = draft_worker_jobs("a title", {"nodes": 3, "time": "90m", "memory": "4G", **options}, env={})
    text = script(jobs, Settings.resolve({"interface": "lo", "headroom": 0.2}, config={}))
    lines = text.splitlines()
    marked = [line for line in lines if line.startswith(jobs.system.directive_mark)]
    assert marked == jobs.system.directive_lines(jobs.spec, jobs.site)
    assert jobs.count == 3
    assert any("physics" in line for line in marked)
    assert "module load gcc || exit 70" in lines
    assert lines[0] == "#!/bin/bash"
    command = lines[-1]
    assert command.startswith(f"{sys.executable} -P -m daskhpc.cluster.job_worker tcp://login:1 --name w-0 ")
    assert "--nthreads auto --memory-limit auto " in command
    assert "--headroom=0.2" in command
    assert "--interface lo" in command


def test_a_job_has_all_of_its_node_that_was_granted() -> None:
    runtime = discover()
    plan = plan_job(runtime, Settings.resolve({"processes": 2}, config={}))
    assert plan.processes.value == 2
    assert plan.interface.value is None, "the address that reaches the scheduler"
    assert plan.nthreads.value == max(1, runtime.grant.node_cpus.value // 2)
