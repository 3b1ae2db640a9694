"""What is asked about a job before it is submitted, and what a site changed of it afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from daskhpc.launch import acceptance, pbs_limits, slurm_limits
from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.job_draft import draft_job, send_draft
from daskhpc.launch.job_folder import JobFolder
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.limits import AcceptedJob, QueueLimits, excesses, rewritten
from daskhpc.launch.site import Site
from daskhpc.launch.submission import RefusedError

PARTITIONS = """\
PartitionName=short AllowGroups=ALL AllowAccounts=ALL Default=YES QoS=N/A DefaultTime=NONE MaxNodes=4 MaxTime=04:00:00 \
MinNodes=0 MaxCPUsPerNode=UNLIMITED Nodes=n[1-9] State=UP TotalNodes=9 DefMemPerCPU=3800 MaxMemPerNode=UNLIMITED
PartitionName=big Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED MaxCPUsPerNode=32 \
State=DRAIN TotalNodes=2 MaxMemPerNode=64000
"""
QUEUES = """\
Queue: workq
    queue_type = Execution
    total_jobs = 3
    resources_max.nodect = 8
    resources_max.walltime = 24:00:00
    resources_default.walltime = 01:00:00
    enabled = True
    started = True

Queue: closed
    queue_type = Execution
    enabled = False
"""


def test_limits_of_partitions_and_queues() -> None:
    short, big = slurm_limits.parse_partitions(PARTITIONS)
    assert short == QueueLimits("short", default=True, seconds=14400, nodes=4)
    assert big == QueueLimits("big", open=False, nodes=2, cpus=32, memory=64000)
    assert pbs_limits.parse_queues(QUEUES) == (
        QueueLimits("workq", seconds=86400, nodes=8),
        QueueLimits("closed", open=False),
    )
    for text in ("", "slurm_load_partitions error: Unable to contact slurm controller"):
        assert slurm_limits.parse_partitions(text) == pbs_limits.parse_queues(text) == ()


@pytest.mark.parametrize(
    ("options", "todo"),
    [
        ({"nodes": 4, "time": "4h"}, []),
        ({"nodes": 5, "time": "5h"}, ["--time 4:00:00", "--nodes 4"]),
        ({"nodes": 2, "partition": "big", "cpus_per_task": 40, "memory": "80G"},
         ["another --partition", "--cpus-per-task 32", "--mem 64000M"]),
        ({"nodes": 3, "partition": "short,big"}, []),
        ({"nodes": 9, "partition": "elsewhere"}, []),
    ],
)  # fmt: skip
def test_what_is_beyond_the_limits(options: dict[str, Any], todo: list[str]) -> None:
    found = excesses(JobSpec.make(**options), Site(), slurm_limits.parse_partitions(PARTITIONS))
    assert [excess.todo for excess in found] == todo


JOB = (
    "JobId=7 JobName=a Account=evil TimeLimit=9-00:00:00 UserId=ada(1000) GroupId=ada(1000) Account={account} "
    "QOS=normal Requeue={requeue} TimeLimit={limit} Partition={partition} NumNodes={nodes} MinCPUsNode={cpus} "
    "MinMemoryNode={memory} Command=/home/ada/job.sbatch Account=x Comment=Partition=y"
)
AS_ASKED = {
    "account": "physics", "requeue": 1, "limit": "02:30:00", "partition": "short", "nodes": "2-2", "cpus": 8,
    "memory": "32G",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({}, []),
        ({"account": "(null)"}, []),
        ({"account": "default"}, ["account: 'default', and not 'physics'"]),
        ({"partition": "long"}, ["partition: 'long', and not 'short'"]),
        ({"limit": "01:00:00"}, ["time: 1 h, and not 2 h 30 min"]),
        ({"cpus": 10}, ["CPUs: 10 on each node, and not 8"]),
        ({"memory": "30000M"}, ["memory: 30000 MiB per node, and not 32 GiB"]),
        ({"nodes": 3, "requeue": 0},
         ["nodes: 3, and not 2", "requeue: off, so a job that is not done goes on only with daskhpc resume"]),
    ],
)  # fmt: skip
def test_what_a_site_changed(changed: dict[str, Any], lines: list[str]) -> None:
    spec = JobSpec.make(nodes=2, time="2h30m", memory="32G", cpus_per_task=8, account="physics", partition="short")
    job = slurm_limits.parse_job(JOB.format(**{**AS_ASKED, **changed}))
    assert job is not None
    assert list(rewritten(spec, Site(), job)) == lines


def test_a_minute_that_slurm_rounds_up_is_no_change() -> None:
    assert rewritten(JobSpec.make(time="90s"), Site(), AcceptedJob(seconds=120)) == ()
    per_cpu = JobSpec.make(memory="32G", cpus_per_task=8)
    assert rewritten(per_cpu, Site(memory="per-cpu"), AcceptedJob(memory_per_cpu=4096)) == ()
    assert rewritten(per_cpu, Site(memory="per-cpu"), AcceptedJob(memory_per_cpu=2048)) == (
        "memory: 2 GiB per CPU, and not 4 GiB",
    )


QSTAT = """\
Job Id: 1234.server
    Job_Name = a
    queue = workq
    Account_Name = physics
    Rerunable = True
    Resource_List.nodect = 2
    Resource_List.select = 2:ncpus=8:mpiprocs=1:mem=32gb
    Resource_List.walltime = 02:30:00
"""


def test_what_a_site_with_pbs_changed() -> None:
    spec = JobSpec.make(nodes=2, time="3h", memory="64G", cpus_per_task=8, account="physics", partition="route")
    job = pbs_limits.parse_job(QSTAT)
    assert job is not None
    assert rewritten(spec, Site(scheduler="pbspro"), job) == (
        "partition: 'workq', and not 'route'",
        "time: 2 h 30 min, and not 3 h",
        "memory: 32 GiB per node, and not 64 GiB",
    )
    assert pbs_limits.parse_job("") is slurm_limits.parse_job("slurm_load_jobs error") is None


class FakeSlurm:
    """An sbatch, with or without ``--test-only``, and an scontrol of sh; what was asked is a line in ``calls``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        monkeypatch.setattr(acceptance, "SECONDS", 60.0)  # an answer that comes late is none
        monkeypatch.chdir(folder)
        (folder / "a.py").write_text("print(1)")

    def put(self, test: str, submit: str = "echo 41", partitions: str = PARTITIONS) -> None:
        lines = {
            "sbatch": f'case "$1" in --test-only) {test};; *) {submit};; esac',
            "scontrol": f"cat <<'END'\n{partitions}\nEND",
        }
        for name, text in lines.items():
            path = self.folder / "bin" / name
            path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.folder}/calls\n{text}\n')
            path.chmod(0o755)

    def send(self, **options: Any) -> Any:
        return send_draft(draft_job("a.py", site=Site(), **options))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path, monkeypatch)


NOT_AVAILABLE = "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1"


def test_a_job_that_would_be_refused_is_not_submitted(fake: FakeSlurm) -> None:
    fake.put("echo 'allocation failure: Invalid account or account/partition combination specified' >&2; exit 1")
    with pytest.raises(RefusedError) as caught:
        fake.send()
    assert caught.value.happened.startswith("allocation failure: Invalid account")
    assert caught.value.todo.startswith("--account NAME")
    fake.put(NOT_AVAILABLE)
    with pytest.raises(RefusedError) as caught:
        fake.send(nodes=5)
    assert "--nodes 5, and short has at most 4 nodes" in caught.value.found
    assert caught.value.todo == "--nodes 4"
    assert "--parsable" not in (fake.folder / "calls").read_text()
    assert list(JobFolder.all()) == []


def test_the_folder_of_a_log_is_there_before_the_job(fake: FakeSlurm) -> None:
    """Slurm ends a job whose log it cannot open, and there is then no log to say so."""
    fake.put("exit 0", f"[ -d {fake.folder}/logs ] && echo 41")
    assert fake.send(output="logs/%j.txt").jobs[0].id == "41"


def test_the_limits_explain_a_refusal(fake: FakeSlurm) -> None:
    fake.put("exit 0", "echo 'sbatch: error: Batch job submission failed: Requested time limit is invalid' >&2; exit 1")
    with pytest.raises(RefusedError) as caught:
        fake.send(time="5h")
    assert caught.value.happened.startswith("sbatch: error: Batch job submission failed")
    assert caught.value.todo == "--time 4:00:00"


def test_a_job_that_waits_for_nodes_is_submitted(fake: FakeSlurm) -> None:
    """The same words as for nodes that there are not: some are drained now."""
    fake.put(NOT_AVAILABLE)
    sent = fake.send(nodes=3, time="1h")
    assert ([job.id for job in sent.jobs], sent.beyond) == (["41"], ())
    fake.put("exit 0")
    sent = fake.send(nodes=3, time="5h")
    assert [excess.todo for excess in sent.beyond] == ["--time 4:00:00"]


def test_nobody_waits_long_for_answers_that_are_not_needed(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "SECONDS", 0.3)
    fake.put("exec sleep 60")
    (fake.folder / "bin" / "scontrol").write_text("#!/bin/sh\nexec sleep 60\n")
    began = time.monotonic()
    sent = fake.send(time="1h")
    assert acceptance.read_back(batch_system("slurm"), JobSpec.make(), Site(), sent.jobs[0]) == ()
    assert time.monotonic() - began < 20
    (fake.folder / "bin" / "scontrol").unlink()
    assert fake.send().jobs[0].id == "41"
