"""Which job folders ``daskhpc clean`` removes, and what it leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daskhpc.errors import LaunchError
from daskhpc.launch.clean import CleanRule, Kept, job_states, sorted_out
from daskhpc.launch.job_folder import JobFolder, SubmittedJob
from daskhpc.launch.job_query import ListedJob
from daskhpc.launch.job_state import ENDED, JobReport, JobState

NOW = 10_000.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = JobFolder.create(tmp_path / "it's a $(job)", {"spec": {}, "program": {}})
    made.add(SubmittedJob("7", "", "slurm", "/a.py", "a", "log-7_%a.txt", 9000.0, "t"))
    (made.path / "code").mkdir()
    for name in ("code/a.py", "marks", "states.json", "job.sbatch", "log-7_1.txt"):
        (made.path / name).write_text("text")
    os.utime(made.path / "code" / "a.py", (8000.0, 8000.0))  # a copy has the time of the file
    return made


def listed(folder: JobFolder, state: JobState, silence: str = "") -> ListedJob:
    end = 9500.0 if state.ended else None
    return ListedJob(folder.submitted()[-1], folder.path, JobReport("7", state, "squeue", end=end), silence)


@pytest.mark.parametrize(
    ("state", "silence", "rule", "why"),
    [
        (JobState.COMPLETED, "", CleanRule(), None),
        (JobState.FAILED, "", CleanRule(older_than=500), None),
        (JobState.FAILED, "", CleanRule(older_than=501), Kept.YOUNG),
        (JobState.FAILED, "", CleanRule(states=frozenset([JobState.COMPLETED])), Kept.OTHER_STATE),
        (JobState.RUNNING, "", CleanRule(), Kept.RUNNING),
        (JobState.PENDING, "", CleanRule(), Kept.RUNNING),
        (JobState.COMPLETING, "", CleanRule(states=frozenset(JobState)), Kept.RUNNING),
        (JobState.UNKNOWN, "", CleanRule(), Kept.UNKNOWN),
        (JobState.UNKNOWN, "", CleanRule(states=frozenset([JobState.UNKNOWN])), None),
        (JobState.UNKNOWN, "no answer", CleanRule(states=frozenset([JobState.UNKNOWN])), Kept.SILENT),
    ],
)
def test_which_folders_go(folder: JobFolder, state: JobState, silence: str, rule: CleanRule, why: Kept | None) -> None:
    chosen, kept = sorted_out([folder], [listed(folder, state, silence)], rule, NOW)
    assert [reason for _, reason in kept] == ([why] if why else [])
    assert chosen == ([] if why else [folder])


def test_a_chain_goes_when_all_of_it_has_ended(folder: JobFolder) -> None:
    jobs = [listed(folder, JobState.COMPLETED), listed(folder, JobState.RUNNING)]
    assert sorted_out([folder], jobs, CleanRule(), NOW)[0] == []
    assert sorted_out([folder], [], CleanRule(), NOW) == ([], []), "nobody confirmed its submission"


def test_files_of_others_keep_a_folder(folder: JobFolder, tmp_path: Path) -> None:
    outside = tmp_path / "results"
    outside.mkdir()
    (outside / "kept").write_text("1")
    for name in ("results.csv", "checkpoint", "code.zip"):
        path = folder.path / name
        path.symlink_to(outside) if name == "checkpoint" else path.write_text("1")
        assert folder.other_files() == [name]
        assert sorted_out([folder], [listed(folder, JobState.FAILED)], CleanRule(), NOW)[1][0][1] is Kept.OTHER_FILES
        path.unlink()
    assert folder.other_files() == []
    (folder.path / "code" / "link").symlink_to(outside)
    folder.remove()
    assert not folder.path.exists()
    assert (outside / "kept").read_text() == "1"
    assert list(JobFolder.all()) == []


def test_what_a_module_of_the_program_wrote_beside_itself_keeps_a_folder(folder: JobFolder) -> None:
    (folder.path / "code" / "__pycache__").mkdir()
    (folder.path / "code" / "__pycache__" / "a.cpython-312.pyc").write_text("compiled")
    assert folder.other_files() == []
    (folder.path / "code" / "results").mkdir()
    (folder.path / "code" / "results" / "a.csv").write_text("1")
    assert folder.other_files() == ["code/results/a.csv"]


def test_what_pbs_keeps_of_the_output_is_no_file_of_others(folder: JobFolder) -> None:
    folder.add(SubmittedJob("12.server", "", "pbspro", "/a.py", "a", "log-12.server.txt", 9000.0, "t"))
    for name in ("a.o12", "a.o12.3", "log-12.server.txt"):
        (folder.path / name).write_text("1")
    assert folder.other_files() == []
    (folder.path / "a.o123").write_text("1")
    assert folder.other_files() == ["a.o123"]


def test_folders_of_the_same_name(folder: JobFolder, tmp_path: Path) -> None:
    """Also one in the place of a folder that was removed by hand."""
    (tmp_path / "other").mkdir()
    other = JobFolder.create(tmp_path / "other" / folder.path.name, {"spec": {}})
    assert {found.path for found in JobFolder.all()} == {folder.path, other.path}
    other.remove()
    assert [found.path for found in JobFolder.all()] == [folder.path]
    for path in sorted(folder.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.path.rmdir()
    JobFolder.create(folder.path, {"spec": {}})
    assert [found.path for found in JobFolder.all()] == [folder.path]


def test_words_for_states() -> None:
    assert job_states([]) == ENDED
    assert job_states(["completed,out-of-memory", "node fail"]) == {
        JobState.COMPLETED,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
    }
    for word in ("running", "pending", "done"):
        with pytest.raises(LaunchError, match=f"does not end as '{word}'"):
            job_states([word])
