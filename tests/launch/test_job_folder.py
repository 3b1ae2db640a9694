"""The folder of a job: what it keeps of submissions."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskhpc.launch.job_folder import SUBMITTED, JobFolder, SubmittedJob


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return JobFolder.create(tmp_path / "a job", {"spec": {}, "program": {}})


def submitted(number: str) -> SubmittedJob:
    return SubmittedJob(number, "", "slurm", "/é.py", "é", f"log-{number}.txt", 1000.0, "t")


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_submission_after_one_that_was_cut_off(
    folder: JobFolder, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a full disk or a kill. Without its newline alone a line is whole."""
    folder.add(submitted("1"))
    folder.add(submitted("2"))
    file = folder.path / SUBMITTED
    file.write_bytes(file.read_bytes()[:-cut])
    kept = [submitted(number) for number in ("1", "2") if cut == 1 or number == "1"]
    assert folder.submitted() == tuple(kept)
    folder.add(submitted("3"))
    assert folder.submitted() == JobFolder(folder.path).submitted() == (*kept, submitted("3"))
    told = capsys.readouterr().err
    assert told.count("daskhpc: A submission is not in the list of your jobs") == (cut > 1), told
    assert cut == 1 or f'line 2 of {file} is {{"id": "2", ' in told


@pytest.mark.parametrize("line", ["[]", "7", "{}", '{"id": "2", "of a later release": 1}', "\0\0\0", "\ufffd"])
def test_a_damaged_line_hides_no_other_submission(
    folder: JobFolder, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.add(submitted("1"))
    with (folder.path / SUBMITTED).open("a") as file:
        file.write(f"{line}\n")
    folder.add(submitted("3"))
    assert folder.submitted() == (submitted("1"), submitted("3"))
    assert capsys.readouterr().err.count("daskhpc: ") == 1
