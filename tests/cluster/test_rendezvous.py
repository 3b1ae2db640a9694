"""Ranks that meet without MPI, each a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from daskhpc.cluster.control_channel import ControlServer
from daskhpc.cluster.rendezvous import FOLDER, SocketCommunicator, meeting_of

DEADLINE = 100.0
PROGRAM = """
import json, os, sys
from daskhpc.cluster.rendezvous import meet, meeting_of
from daskhpc.errors import StartError
rank, size, deadline = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
try:
    ranks = meet(meeting_of(rank, size, os.environ), deadline, ["127.0.0.1"])
    if len(sys.argv) > 4 and rank == int(sys.argv[4]):
        ranks.Abort(9)
    told = ranks.allgather({"rank": rank})
    ranks.Barrier()
    print(json.dumps([[t["rank"] for t in told], ranks.bcast(f"from {rank}"), ranks.Get_rank(), ranks.Get_size()]))
except StartError as error:
    print(json.dumps(list(error.args)))
"""
STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_SRUN_COMM_HOST": "login", "SLURM_SRUN_COMM_PORT": "1234"}


class Step:
    """Starts ranks in a folder, and ends those that live."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.env = {**os.environ, **STEP, "SLURM_SUBMIT_DIR": str(folder), "HOME": str(folder / "no home")}

    def rank(self, number: int, size: int, *more: Any, deadline: float = DEADLINE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, (number, size, deadline, *more))],
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd="/",
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def all(self, size: int, *more: Any) -> list[Any]:
        return [told(process) for process in [self.rank(number, size, *more) for number in reversed(range(size))]]

    @property
    def note(self) -> Path:
        return self.folder / FOLDER / meeting_of(0, 1, self.env).name


def told(process: subprocess.Popen[str]) -> Any:
    text = process.communicate(timeout=DEADLINE + 10)[0]
    return json.loads(text) if text else process.returncode


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    folder = tmp_path / "it's a folder; $(echo)"
    folder.mkdir()
    with ExitStack() as stack:
        yield Step(folder, stack)


@pytest.mark.parametrize("size", [3, 8])
def test_all_learn_what_each_says_and_leave_nothing(step: Step, size: int) -> None:
    everyone = list(range(size))
    assert step.all(size) == [[everyone, "from 0", rank, size] for rank in reversed(everyone)]
    assert list(step.folder.iterdir()) == []


def test_notes_of_other_runs_mislead_nobody(step: Step) -> None:
    """One whose port is dead, one whose port is another program's that says nothing, one without sense."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(DEADLINE)
        waiting = step.rank(1, 2)
        step.note.parent.mkdir()
        (step.note.parent / "another-step.json").write_text("{}")
        step.note.touch(mode=0o600)
        step.note.write_text("nonsense")
        note = {"hosts": ["127.0.0.1"], "port": other.getsockname()[1], "secret": "00" * 32}
        step.note.write_text(json.dumps(note))
        visitor, _ = other.accept()
        visitor.sendall(b"\0\0\0\x05hello")
        visitor.close()
    # now nobody listens there
    assert told(step.rank(0, 2)) == [[0, 1], "from 0", 0, 2]
    assert told(waiting) == [[0, 1], "from 0", 1, 2]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a file to another user")
def test_the_note_of_another_user_is_not_read(step: Step) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        step.note.parent.mkdir()
        note = {"hosts": ["127.0.0.1"], "port": other.getsockname()[1], "secret": "00" * 32}
        step.note.write_text(json.dumps(note))
        os.chown(step.note, 12345, -1)
        happened, found, _ = told(step.rank(1, 2, deadline=1.0))
        other.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert happened == "Rank 0 was not to be found."
    assert "no note of it" in found


def test_who_does_not_know_the_secret_is_no_rank(step: Step) -> None:
    first = step.rank(0, 2)
    deadline = time.monotonic() + DEADLINE
    while not step.note.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with socket.create_connection(("127.0.0.1", json.loads(step.note.read_text())["port"])) as stranger:
        stranger.sendall(b"\0\0\0\x05guess")
    assert told(step.rank(1, 2)) == [[0, 1], "from 0", 1, 2]
    assert told(first) == [[0, 1], "from 0", 0, 2]


def test_ranks_that_do_not_come_are_named(step: Step) -> None:
    present = step.rank(2, 4)
    happened, found, todo = told(step.rank(0, 4, deadline=10.0))
    assert happened == "Not all ranks arrived in time."
    assert "ranks 1, 3 of 4" in found
    assert "START_DEADLINE" in todo
    assert told(present)[0] == "A rank ended while the cluster started."
    assert list(step.folder.iterdir()) == []


def test_a_rank_that_ends_meanwhile(step: Step) -> None:
    happened = "A rank ended while the cluster started."
    answers = step.all(3, 2)
    assert answers[0] == 9
    assert [answer[0] for answer in answers[1:]] == [happened, happened]


def test_no_folder_to_leave_a_note_in(step: Step) -> None:
    step.env["SLURM_SUBMIT_DIR"] = "/proc"
    step.env["HOME"] = "/proc"
    program = PROGRAM.replace("import json, os, sys", "import json, os, sys; os.chdir('/proc')")
    done = subprocess.run(
        [sys.executable, "-c", program, "0", "2", "5"], env=step.env, capture_output=True, text=True, timeout=100
    )
    happened, found, _ = json.loads(done.stdout)
    assert happened == "The ranks cannot meet: no folder can be written to."
    assert "/proc" in found


def test_runs_of_one_step_differ() -> None:
    names = [
        meeting_of(0, 2, {**STEP, **changed}).name
        for changed in ({}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_STEP_ID": "1"}, {"SLURM_SRUN_COMM_PORT": "5"})
    ]
    assert len(set(names)) == 4


def test_only_rank_0_broadcasts() -> None:
    with pytest.raises(ValueError, match="can only be 0"):
        SocketCommunicator(0, 1, ControlServer()).bcast(1, root=1)
