"""What a scheduler's commands print on a node: times in a form of the user's own, names in Latin-1."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daskhpc.runtime import Runtime, Sourced, discover
from daskhpc.runtime.commands import asked_end_time, granted_memory


@pytest.fixture
def runtime() -> Runtime:
    return discover({"SLURM_JOB_ID": "12"}, root="/nonexistent")


def put(folder: Path, name: str, lines: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a command of sh in the place of a scheduler's."""
    path = folder / name
    path.write_bytes(b"#!/bin/sh\n" + lines + b"\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_end_of_a_job_of_a_user_with_his_own_form_of_times(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue takes the form from ``SLURM_TIME_FORMAT``. Without an end nothing is saved in time."""
    end = datetime.now().replace(microsecond=0) + timedelta(hours=1)
    lines = f'[ "$SLURM_TIME_FORMAT" = standard ] && echo 12 {end.isoformat()} || echo "12 {end:%d %b %H:%M}"'
    put(tmp_path, "squeue", lines.encode(), monkeypatch)
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    assert asked_end_time(runtime) == Sourced(end.timestamp(), "squeue")


def test_the_memory_of_a_job_whose_name_is_no_utf_8(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "scontrol", b"echo 'JobId=12 JobName=caf\xe9 MinMemoryNode=4G'", monkeypatch)
    assert granted_memory(runtime) == ("SLURM_MEM_PER_NODE", "4096")
