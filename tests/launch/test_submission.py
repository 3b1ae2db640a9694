"""Never two jobs: submit commands that fail, hang, or submit and then fail."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from waiting import gone, until

import daskhpc
from daskhpc.errors import LaunchError, SettingsError
from daskhpc.launch import submission
from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.job_folder import JobFolder
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.submission import RefusedError, submit_once

SLURM = batch_system("slurm")
TOKEN = "0f1e2d"


class FakeSlurm:
    """An sbatch and an squeue that do what their scripts of sh say; each submission is a line in ``queue``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.waited: list[float] = []
        commands = folder / "bin"
        commands.mkdir()
        monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        monkeypatch.setenv("FAKE", str(folder))
        self.job = JobFolder.create(folder / "job", {"spec": {}})

    def put(self, name: str, lines: str) -> None:
        path = self.folder / "bin" / name
        # Each call is counted, so that a script may do something else the second time.
        path.write_text(f'#!/bin/sh\necho >>"$FAKE/{name}.calls"\nCALL=$(wc -l <"$FAKE/{name}.calls")\n{lines}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> int:
        path = self.folder / f"{name}.calls"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def submit(self) -> tuple[str, str]:
        return submit_once(SLURM, JobSpec.make(name="a"), self.job, TOKEN, self.waited.append)


SUBMIT = 'for word in "$@"; do case $word in --comment=*) echo "41 ${word#--comment=}" >>"$FAKE/queue";; esac; done'
LIST = 'cat "$FAKE/queue" 2>/dev/null'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path, monkeypatch)


def test_an_sbatch_that_submits_and_then_fails(fake: FakeSlurm) -> None:
    fake.put("sbatch", f"{SUBMIT}\necho 'sbatch: error: Socket timed out on send/recv operation' >&2\nexit 1")
    fake.put("squeue", LIST)
    assert fake.submit() == ("41", "")
    assert fake.calls("sbatch") == 1


def test_an_sbatch_that_submits_and_loses_its_answer(fake: FakeSlurm) -> None:
    fake.put("sbatch", f"{SUBMIT}\necho 'no line with an id'")
    fake.put("squeue", LIST)
    assert fake.submit() == ("41", "")
    assert fake.calls("sbatch") == 1


def test_a_job_that_appears_in_the_list_late(fake: FakeSlurm) -> None:
    fake.put("sbatch", f"{SUBMIT}\necho 'Socket timed out' >&2\nexit 1")
    fake.put("squeue", f"[ $CALL -ge 2 ] && {LIST}; exit 0")
    assert fake.submit() == ("41", "")
    assert (fake.calls("sbatch"), fake.calls("squeue")) == (1, 2)


def test_an_sbatch_that_failed_is_called_again(fake: FakeSlurm) -> None:
    fake.put("sbatch", "[ $CALL -ge 2 ] && echo 42 && exit 0\necho 'Socket timed out' >&2\nexit 1")
    fake.put("squeue", LIST + "; exit 0")
    assert fake.submit() == ("42", "")
    assert (fake.calls("sbatch"), fake.calls("squeue")) == (2, 2)


def test_a_controller_that_is_away_for_a_while(fake: FakeSlurm) -> None:
    fake.put("sbatch", "[ $CALL -ge 4 ] && echo 43 && exit 0\necho 'Unable to contact slurm controller' >&2\nexit 1")
    assert fake.submit() == ("43", "")
    assert all(0.5 * 2**n <= seconds <= 1.5 * 2**n for n, seconds in enumerate(fake.waited))
    assert len(fake.waited) == 3


def test_a_controller_that_stays_away(fake: FakeSlurm) -> None:
    fake.put("sbatch", "echo 'Unable to contact slurm controller (connect failure)' >&2\nexit 1")
    with pytest.raises(RefusedError, match="took no job in 5 tries") as caught:
        fake.submit()
    assert "connect failure" in caught.value.found


def test_nobody_knows_whether_there_is_a_job(fake: FakeSlurm) -> None:
    """It is not submitted again, and what to do is said."""
    fake.put("sbatch", f"{SUBMIT}\necho 'Socket timed out' >&2\nexit 1")
    fake.put("squeue", "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1")
    with pytest.raises(LaunchError, match="not known whether the job was submitted") as caught:
        fake.submit()
    assert not isinstance(caught.value, RefusedError)
    assert fake.calls("sbatch") == 1
    assert TOKEN in caught.value.todo


def test_what_is_said_on_standard_error_is_no_id(fake: FakeSlurm) -> None:
    fake.put("sbatch", "echo 44; echo 12345 >&2")
    assert fake.submit() == ("44", "")


def test_a_refusal_begins_with_the_words_of_the_scheduler(fake: FakeSlurm) -> None:
    fake.put(
        "sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid account or account/partition' >&2\nexit 1"
    )
    with pytest.raises(RefusedError) as caught:
        fake.submit()
    assert caught.value.happened.startswith("sbatch: error: Batch job submission failed: Invalid account")
    assert fake.calls("sbatch") == 1


def test_the_command_does_not_see_an_outer_job(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SLURM_CPU_BIND",
        "SBATCH_TIMELIMIT",
        "SQUEUE_FORMAT",
        "SLURM_MEM_PER_CPU",
        "PMI_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "TMPDIR",
    ):
        monkeypatch.setenv(name, "of the outer job")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("OMPI_MCA_btl", "self,tcp")
    fake.put("sbatch", 'env >"$FAKE/env"; echo 44')
    fake.submit()
    seen = (fake.folder / "env").read_text()
    assert "of the outer job" not in seen
    assert "SLURM_CONF=/etc/slurm/slurm.conf\n" in seen
    assert "OMPI_MCA_btl=self,tcp\n" in seen


def test_there_is_no_sbatch(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a laptop with the profile of a cluster; nothing of the job's folder stays then."""
    monkeypatch.setenv("PATH", str(fake.folder / "bin"))
    with pytest.raises(RefusedError, match="Cannot run sbatch"):
        fake.submit()


def test_a_cluster_comes_before_the_one_of_the_environment(fake: FakeSlurm) -> None:
    fake.put("sbatch", 'echo "$*" >"$FAKE/line"; echo "44;beta"')
    submit_once(SLURM, JobSpec.make(name="a", clusters="beta"), fake.job, TOKEN)
    assert "--clusters=beta" in (fake.folder / "line").read_text().split()


def test_a_job_whose_comment_the_site_replaced(fake: FakeSlurm) -> None:
    """It is known by its folder, whose name ends in the token."""
    fake.put("sbatch", "echo 'Socket timed out' >&2\nexit 1")
    fake.put(
        "squeue",
        f"echo '40 a: note of mine /home/ada/jobs/b-9{TOKEN}'; echo '41 by the site /home/ada/it is/a-{TOKEN}'",
    )
    assert fake.submit() == ("41", "")
    assert fake.calls("sbatch") == 1


def test_an_sbatch_that_is_a_script_submits_nothing_after_it_was_given_up(
    fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "SUBMIT_SECONDS", 8.0)  # the second call has to end in time
    child = "sh -c 'echo $$ >\"$FAKE/child\"; exec sleep 60'"
    fake.put("sbatch", f"[ $CALL -ge 2 ] && echo 42 && exit 0\n{child}; echo 41")
    fake.put("squeue", "exit 0")
    assert fake.submit() == ("42", "")
    until(lambda: gone(int((fake.folder / "child").read_text())), 60, "the end of the script's child")


def test_an_interrupted_submission_says_how_to_look_for_the_job(fake: FakeSlurm) -> None:
    """By Ctrl-C while sbatch is slow; it may have submitted the job already."""
    fake.put("sbatch", f"{SUBMIT}\nkill -INT $PPID\nsleep 30")
    fake.put("squeue", LIST)
    with pytest.raises(LaunchError, match="It is not known whether the job was submitted") as raised:
        fake.submit()
    assert not isinstance(raised.value, RefusedError)
    assert raised.value.found == "sbatch was interrupted"
    look = raised.value.todo.partition(";")[0]
    listed = subprocess.run(look, shell=True, capture_output=True, text=True, timeout=60)
    assert listed.stdout.startswith("41 "), look


@pytest.mark.parametrize(
    ("run", "happened", "todo"),
    [
        ({"wrokers": 2}, "no setting 'wrokers'", "workers"),
        ({"memory_limit": "4XB"}, "memory_limit does not take '4XB'", "bytes"),
        ({"log_level": "info"}, "no option for the setting 'log_level'", "env={'DASK_DASKHPC__LOG_LEVEL': 'info'}"),
    ],
)
def test_a_setting_of_the_run_that_would_end_the_job_at_its_start(
    fake: FakeSlurm, run: dict[str, Any], happened: str, todo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fake.folder)
    (fake.folder / "a.py").write_text("")
    fake.put("sbatch", "echo 7")
    with pytest.raises(SettingsError, match=happened) as refused:
        daskhpc.submit("a.py", run=run)
    assert todo in refused.value.todo
    assert not fake.calls("sbatch")


def test_the_settings_of_the_run_are_in_the_script(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fake.folder)
    (fake.folder / "a.py").write_text("")
    fake.put("sbatch", "echo 7")
    job = daskhpc.submit(
        "a.py", run={"memory_limit": 0, "checkpoint": Path("kept"), "workers": None, "retry_failed": False}
    )
    assert " --memory-limit=0 --checkpoint=kept --snapshot " in (job.folder / "job.sbatch").read_text()
