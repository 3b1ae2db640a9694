"""A chain of jobs: what is submitted, and when the next job has work to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daskhpc.errors import LaunchError
from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.chain import ChainStep, JournalsSaved, before_in_chain, next_step, submit_jobs
from daskhpc.launch.find_jobs import current_job, find_job, last_chain, log_file
from daskhpc.launch.job_folder import JobFolder, Mark, SubmittedJob
from daskhpc.launch.job_script import Program, job_script
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.site import Site

PROGRAM = Program("/home/ada/search.py", (), "/home/ada", "/usr/bin/python3")


def submitted(number: str, after: str = "") -> SubmittedJob:
    return SubmittedJob(number, "", "slurm", "/a.py", "a", f"log-{number}.txt", 1000.0, "t", after)


BEGAN = Mark("7", 0, "began", 1000, "n1")


def ended(code: int, restart: int = 0) -> Mark:
    return Mark("7", restart, "ended", 1100, str(code))


EARLIER, LATER, NONE = JournalsSaved(1, 900.0), JournalsSaved(1, 1050.0), JournalsSaved()


@pytest.mark.parametrize(
    ("marks", "saved", "step", "why"),
    [
        ([BEGAN, ended(0)], NONE, ChainStep.DONE, "exit code 0: the work is done"),
        ([BEGAN, ended(75)], LATER, ChainStep.GO, ""),
        ([BEGAN, ended(75)], EARLIER, ChainStep.STOP, "saved nothing"),
        ([BEGAN, ended(75)], JournalsSaved(1, None), ChainStep.STOP, "saved nothing"),
        ([BEGAN, ended(75)], NONE, ChainStep.GO, ""),
        ([BEGAN, ended(3)], LATER, ChainStep.STOP, "exit code 3, as it would again"),
        ([BEGAN, ended(70)], LATER, ChainStep.GO, ""),
        ([BEGAN, ended(70)], EARLIER, ChainStep.STOP, "saved nothing"),
        ([BEGAN, ended(143)], LATER, ChainStep.GO, ""),
        ([BEGAN], LATER, ChainStep.GO, ""),
        ([BEGAN], NONE, ChainStep.STOP, "left no checkpoint"),
        ([], LATER, ChainStep.STOP, "did not begin"),
        ([BEGAN, Mark("7", 0, "passed", 1001, "70"), ended(70)], LATER, ChainStep.STOP, "stopped the chain"),
        ([BEGAN, Mark("7", 0, "passed", 1001, "0"), ended(0)], NONE, ChainStep.DONE, "the work is done"),
        # It was requeued after a lost node, and the end of its first run is not that of its last.
        ([BEGAN, ended(143), Mark("7", 1, "began", 1200, "n2")], LATER, ChainStep.GO, ""),
    ],
)
def test_the_next_job_of_a_chain(marks: list[Mark], saved: JournalsSaved, step: ChainStep, why: str) -> None:
    found, words = next_step(submitted("7"), [Mark("6", 0, "ended", 900, "0"), *marks], saved)
    assert found is step
    assert why in words
    assert bool(why) == bool(words)


def test_the_first_job_of_a_chain_has_work_to_do() -> None:
    assert next_step(None, [BEGAN, ended(3)], NONE) == (ChainStep.GO, "")
    jobs = [submitted("7"), submitted("8", after="7"), submitted("9")]
    assert [before_in_chain(number, jobs) for number in ("7", "8", "9")] == [None, jobs[0], None]
    with pytest.raises(LookupError):
        before_in_chain("10", jobs)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return JobFolder.create(tmp_path / "a job", {"spec": {"array": ""}, "program": {}})


def test_which_job_of_a_chain_is_meant(folder: JobFolder) -> None:
    jobs = [submitted("6"), submitted("7"), submitted("8", after="7"), submitted("9", after="8")]
    for job in jobs:
        folder.add(job)
    assert last_chain(folder.submitted()) == tuple(jobs[1:])
    assert last_chain(jobs[:1]) == (jobs[0],)
    assert last_chain(()) == ()
    marks = folder.path / "marks"
    for line, current in (("", "7"), ("7 0 began 1 n\n", "7"), ("7 0 ended 2 75\n8 0 began 3 n\n", "8")):
        with marks.open("a") as file:
            file.write(line)
        assert current_job(folder).id == current
    with marks.open("a") as file:
        file.write("8 0 ended 4 0\n9 0 began 5 n\n9 0 passed 5 0\n9 0 ended 5 0\n")
    assert current_job(folder).id == find_job(None, [folder])[1].id == find_job("a", [folder])[1].id == "8"
    assert find_job("9", [folder])[1].id == "9"


FAKES: dict[str, Any] = {
    "slurm": ("sbatch", "job.sbatch"),
    "pbspro": ("qsub", "job.pbs"),
    "torque": ("qsub", "job.pbs"),
}


@pytest.mark.parametrize("name", FAKES)
def test_each_job_of_a_chain_depends_on_the_one_before(
    name: str, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, script = FAKES[name]
    fake = tmp_path / "bin" / command
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\ncount=$(wc -l <{tmp_path}/calls)\n'
        '[ "$count" -gt "${MOST:-9}" ] && echo "no more jobs" >&2 && exit 1\necho "$((40 + count))"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    spec = JobSpec.make(name="a", chain=3, dependency="afterok:1")
    jobs = submit_jobs(batch_system(name), spec, PROGRAM, folder, "0f")
    assert [(job.id, job.after, job.token) for job in jobs] == [
        ("41", "", "0f-1"),
        ("42", "41", "0f-2"),
        ("43", "42", "0f-3"),
    ]
    first, second, third = (tmp_path / "calls").read_text().splitlines()
    assert "after" not in first
    assert "afterany:41" in second
    assert third.endswith(script)
    assert folder.submitted() == jobs
    monkeypatch.setenv("MOST", "4")
    with pytest.raises(LaunchError, match="took 1 of 3 jobs of the chain") as caught:
        submit_jobs(batch_system(name), spec, PROGRAM, folder, "1f")
    assert "44; then: no more jobs" in caught.value.found


@pytest.mark.parametrize(
    ("name", "printed", "element"),
    [
        ("slurm", "41", "log-41_2.txt"),
        ("pbspro", "41[].server", "log-41[2].server.txt"),
        ("torque", "41[].server", "log-41[2].server.txt"),
    ],
)
def test_the_log_of_an_element_of_an_array(
    name: str, printed: str, element: str, folder: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / FAKES[name][0]
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho '{printed}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    (job,) = submit_jobs(batch_system(name), JobSpec.make(name="a", array="0-3"), PROGRAM, folder, "0f")
    assert log_file(folder.path, job, "2") == folder.path / element
    (folder.path / element).write_text("")
    assert folder.other_files() == []


def script(site: Site, **options: Any) -> str:
    return job_script(
        JobSpec.make(name="a", cpus_per_task=1, **options), site, batch_system(site.scheduler), PROGRAM, "/j", {}
    )


def test_how_a_job_goes_on_is_a_fact_of_the_site() -> None:
    assert 'scontrol requeue "${SLURM_JOB_ID}"\n' in script(Site())
    # One element has the id of its array; by that id all elements would be requeued, those that have ended too.
    assert 'scontrol requeue "${JOB}"\n' in script(Site(), array="0-3")
    for site, options in (
        (Site(resume="chain"), {}),
        (Site(resume="by-hand"), {}),
        (Site(), {"no_requeue": True}),
        (Site(), {"chain": 2}),
        (Site(scheduler="pbspro"), {}),
        (Site(scheduler="torque", resume="chain"), {"chain": 2}),
    ):
        text = script(site, **options)
        assert 'requeue "' not in text
        assert "qsub -" not in text
        assert ("daskhpc chain" in text) == ("chain" in options)
    with pytest.raises(LaunchError, match="job of Torque cannot run itself again"):
        script(Site(scheduler="torque", resume="requeue"))
    with pytest.raises(LaunchError, match="An array has no chain"):
        script(Site(), chain=2, array="0-3")
