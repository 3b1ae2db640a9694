"""What the start's watch is told: it may only count ranks where their number on the node is known."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from daskhpc.cluster import watchdog_process
from daskhpc.cluster.start_watchdog import StartWatchdog
from daskhpc.runtime import discover

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}
HYDRA = {"PMI_RANK": "2", "PMI_SIZE": "4"}


@pytest.mark.parametrize(
    ("env", "local_size"),
    [
        ({**STEP, "SLURM_GTIDS": "0,2"}, 2),
        ({**STEP, "SLURM_STEP_NUM_NODES": "1"}, 4),
        ({**STEP, "SLURM_STEP_NUM_NODES": "2"}, 0),
        ({**HYDRA, "MPI_LOCALNRANKS": "3"}, 3),
        (HYDRA, 0),
        ({"PMIX_RANK": "2"}, 0),
    ],
)
def test_a_number_of_ranks_that_nobody_knows_is_not_watched(
    tmp_path: Path, env: dict[str, str], local_size: int
) -> None:
    watch = StartWatchdog(60, discover(env, tmp_path), "MPICH")
    assert watch.local_size == local_size
    assert watch.deadline == 64
    assert watch.step == ("7.0" if "SLURM_JOB_ID" in env else "")


def test_a_rank_that_the_launcher_has_not_started_yet_is_given_longer_than_one_that_ended() -> None:
    def looks(*found: set[int]) -> int:
        """How many looks it takes; what the last one found is found ever after."""
        neighbours = watchdog_process.Neighbours(3)
        return next(n for n in range(1, 100) if neighbours.one_is_gone(found[min(n, len(found)) - 1]))

    assert looks({0, 1}) == 8
    assert looks({0, 1, 2}, {0, 1}) == 3
    assert looks({0, 1}, {0, 1}, {0, 1}, {0, 1, 2}, {1, 2}) == 6
    assert looks({0, 1, 2}, {0, 1}, {0, 1, 2}, {0, 1}) == 5, "a look may find a process between two programs"


LEAVES = """
import subprocess, sys, time
from daskhpc.cluster.watchdog_process import LeftBehind
rank = subprocess.Popen(["sh", "-c", "read line; for i in 1 2 3; do sleep 100 & done"], stdin=subprocess.PIPE)
left = LeftBehind(rank.pid, "1", "NO_VARIABLE")
rank.communicate(b"go on\\n")
left.end()
end = time.monotonic() + 50
while left.processes() and time.monotonic() < end:  # they were sent a signal
    time.sleep(0.05)
print(left.processes())
"""


def test_several_processes_that_a_rank_leaves_are_one_message() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=200)
    assert done.stdout == "[]\n"
    assert "left 3 processes behind, which are ended too" in done.stderr
    assert "sleep 100 and 2 more" in done.stderr
    assert len(done.stderr.splitlines()) == 3


OWN = LEAVES.replace(
    "sleep 100 &", f"{sys.executable} -c 'import time; time.sleep(100)  # from daskhpc.cluster import child_server' &"
)


def test_a_process_of_daskhpc_that_a_rank_leaves_is_ended_without_a_message() -> None:
    """A child server that is still starting when Ctrl-C ends its rank: the user can do nothing about it."""
    done = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, timeout=200)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


TRACKER = """
import os, subprocess
from multiprocessing import resource_tracker
input()
command = ["tail", "-f", "/dev/null", f"--pid={os.getppid()}"]  # holds the pipe whose end the tracker waits for
subprocess.Popen(command, pass_fds=[resource_tracker.getfd()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os._exit(0)
"""


def test_a_resource_tracker_that_a_rank_leaves_is_ended_without_a_message() -> None:
    """It always outlives its process for a moment, and would end by itself."""
    begin = LEAVES.index("["), LEAVES.index(", stdin")
    program = LEAVES.replace(LEAVES[slice(*begin)], f"[sys.executable, '-c', {TRACKER!r}]")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_time_in_which_the_machine_stands_still_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, done = [[os.getpid()]], list[object]()
    clock = SimpleNamespace(monotonic=itertools.count(0, 100).__next__, sleep=lambda seconds: None)
    monkeypatch.setattr(watchdog_process, "time", clock)
    monkeypatch.setattr(watchdog_process, "kill", lambda pid, number: done.append(number))
    monkeypatch.setattr(watchdog_process, "write", lambda message: done.append(message) if message else None)
    monkeypatch.setattr(watchdog_process.LeftBehind, "processes", lambda self: looks.pop() if looks else [])
    watchdog_process.LeftBehind(os.getpid(), "1", "NO_VARIABLE").end()
    assert done == []


UNHEARD = """
import os, subprocess, sys

finish = "import os; from daskhpc.cluster import watchdog_process as w; w.finish({'step': ''}, os.getppid(), 'late')"
reading, writing = os.pipe()
os.close(reading)
subprocess.run([sys.executable, "-c", finish], stderr=writing)
"""


def test_a_rank_is_ended_though_nobody_reads_why() -> None:
    """As when its launcher has ended."""
    done = subprocess.run([sys.executable, "-c", UNHEARD], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
