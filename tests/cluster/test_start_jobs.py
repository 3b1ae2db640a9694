"""`daskhpc.start(nodes=...)` where no job can be submitted, and what a job's script then has to say."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import daskhpc
from daskhpc.cluster.job_worker import plan_job
from daskhpc.cluster.session import session
from daskhpc.errors import LaunchError, SettingsError, StartError
from daskhpc.launch.job_folder import SubmittedJob
from daskhpc.launch.job_query import ListedJob
from daskhpc.launch.job_state import JobReport, JobState
from daskhpc.launch.worker_jobs import draft_worker_jobs
from daskhpc.runtime import Sourced, discover
from daskhpc.settings import Settings
from daskhpc.starting import job_client
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
        ({"nodes": 0}, LaunchError, "--nodes does not take 0"),
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


def test_a_second_start_submits_no_second_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client of the first one was closed, as at the end of a ``with``, and its jobs run on."""
    cluster = SimpleNamespace(status=SimpleNamespace(name="running"))
    for name, value in (("local", cluster), ("client", None)):
        monkeypatch.setattr(session, name, value)
    monkeypatch.setattr("distributed.Client", lambda cluster: f"a client of {cluster}")
    assert daskhpc.start(nodes=2, time="1h") == f"a client of {cluster}"
    assert capsys.readouterr().err == (
        "daskhpc: start(nodes=2, time='1h'): the cluster already runs and is used as it is; "
        "call client.cluster.close() before it, for jobs with nodes, time.\n"
    )


class Queue:
    """Two jobs of one worker: what the scheduler says of each in each minute, and whose worker is there."""

    def __init__(self, minutes: list[tuple[str, str, str]]) -> None:
        self.minutes, self.clock = minutes, 0.0
        self.jobs = SimpleNamespace(count=2, spec=SimpleNamespace(tasks_per_node=1))
        self.problem = None
        self.under_way: list[str] = []
        self.cluster = self
        self.workers = {f"SLURMCluster-{at}": SimpleNamespace(job_id=job) for at, job in enumerate(("7", "8"))}

    @property
    def now(self) -> tuple[str, str, str]:
        return self.minutes[min(int(self.clock // 60), len(self.minutes) - 1)]

    @property
    def scheduler(self) -> Any:
        there = {at: SimpleNamespace(name=f"SLURMCluster-{at}") for at in (0, 1) if str(at + 7) in self.now[2]}
        return SimpleNamespace(workers=there)

    def ncores(self) -> dict[int, int]:
        return dict.fromkeys(self.scheduler.workers, 1)

    def states(self) -> list[ListedJob]:
        listed = []
        for job, state in zip(("7", "8"), self.now[:2], strict=True):
            submitted = SubmittedJob(job, "", "slurm", "/a.py", "a", f"log-{job}.txt", 0.0, "token")
            report = JobReport(job, JobState[state.strip("?")], "squeue")
            listed.append(ListedJob(submitted, Path("/nowhere"), report, "timed out" if "?" in state else ""))
        return listed

    def monotonic(self) -> float:
        self.clock += 1.0
        return self.clock

    def time(self) -> float:
        return 1e9

    def sleep(self, seconds: float) -> None:
        self.clock += 1.0


@pytest.mark.parametrize(
    "minutes",
    [
        [("RUNNING", "PENDING", "")] + 5 * [("RUNNING", "PENDING", "7")] + [("RUNNING", "RUNNING", "7 8")],
        2 * [("UNKNOWN?", "UNKNOWN?", "")] + 2 * [("PENDING", "PENDING", "")] + [("RUNNING", "RUNNING", "7 8")],
        [
            ("UNKNOWN?", "PENDING", ""),
            ("PENDING", "PENDING", ""),
            ("RUNNING", "PENDING", ""),
            ("RUNNING",) * 2 + ("7 8",),
        ],
    ],
    ids=["one of two waits in the queue", "no answer of the scheduler", "no answer once"],
)
def test_a_job_may_wait_for_as_long_as_it_has_to(
    minutes: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(minutes)
    monkeypatch.setattr(job_client, "time", queue)
    job_client.wait_for_jobs(queue, queue, Settings.resolve({"worker_deadline": 59}, config={}))  # type: ignore[arg-type]
    assert queue.clock >= 60 * (len(minutes) - 1)


@pytest.mark.parametrize("state", ["RUNNING", "UNKNOWN"])
def test_workers_that_do_not_come(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the second job; the first one's came long ago."""
    queue = Queue([*2 * [("RUNNING", "PENDING", "7")], ("RUNNING", state, "7")])
    monkeypatch.setattr(job_client, "time", queue)
    with pytest.raises(StartError, match="did not come within 59 s") as late:
        job_client.wait_for_jobs(queue, queue, Settings.resolve({"worker_deadline": 59}, config={}))  # type: ignore[arg-type]
    assert late.value.found.startswith("job 8: ")
    assert 180 < queue.clock < 190


@pytest.mark.parametrize(
    ("state", "under_way", "told"),
    [
        ("TIMEOUT", [], True),
        ("UNKNOWN", [], True),
        ("UNKNOWN?", [], False),
        ("RUNNING", [], False),
        ("CANCELLED", ["script"], False),
    ],
)
def test_a_program_whose_jobs_are_over_is_ended(
    state: str, under_way: list[str], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the scheduler was away when they ended; not while another one is being submitted, as by ``adapt``."""
    queue, errors, looks = Queue([(state, state, "")]), list[Any](), iter(range(9))
    queue.under_way = under_way
    running, closed = SimpleNamespace(name="running"), SimpleNamespace(name="closed")
    cluster = SimpleNamespace(scheduler=SimpleNamespace(workers={}), worker_spec={"a": 1}, status=running)

    def look(seconds: float) -> None:
        cluster.status = running if next(looks) < 7 else closed

    monkeypatch.setattr(job_client, "time", SimpleNamespace(sleep=look))
    job_client.end_with_jobs(cluster, queue, errors.append)  # type: ignore[arg-type]
    for thread in [thread for thread in threading.enumerate() if thread.name == "daskhpc-jobs"]:
        thread.join(30)
    assert bool(errors) is told


def test_one_look_without_a_job_ends_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask has asked for one more, and it is not being submitted yet."""
    queue, errors, looks = Queue([("CANCELLED", "CANCELLED", "")]), list[Any](), iter(range(9))
    running, closed = SimpleNamespace(name="running"), SimpleNamespace(name="closed")
    cluster = SimpleNamespace(scheduler=SimpleNamespace(workers={}), worker_spec={"a": 1}, status=running)

    def look(seconds: float) -> None:
        number = next(looks)
        queue.under_way = [] if number % 3 == 0 else ["script"]
        cluster.status = running if number < 7 else closed

    monkeypatch.setattr(job_client, "time", SimpleNamespace(sleep=look))
    job_client.end_with_jobs(cluster, queue, errors.append)  # type: ignore[arg-type]
    for thread in [thread for thread in threading.enumerate() if thread.name == "daskhpc-jobs"]:
        thread.join(30)
    assert not errors
