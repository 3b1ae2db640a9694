"""Who speaks when the scheduler has ended: the client, and before the others leave. When ranks finalize MPI.

The end of the program, with a signal or a handler of the program between any two of its lines.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from daskhpc.cluster import ending
from daskhpc.cluster.control_channel import ControlConnection, ControlServer
from daskhpc.cluster.ending import finalize
from daskhpc.cluster.session import ClusterMember
from daskhpc.errors import EXIT_FAILED

RANK = """
import sys
from daskhpc.cluster import ending
from daskhpc.cluster.ending import on_scheduler_lost
from daskhpc.cluster.world import World

ending._CLIENT_FIRST_SECONDS = 8.0  # so much longer may the client take on a busy machine
print("ready", flush=True)
sys.stdin.readline()
on_scheduler_lost(World(None, int(sys.argv[1]), 3), "elsewhere", False, [])
"""


def test_the_client_has_spoken_before_a_workers_rank_leaves() -> None:
    """A launcher may end the client with the first rank that leaves."""
    client, worker = (
        subprocess.Popen(
            [sys.executable, "-c", RANK, rank],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "12"
    )
    try:
        for process in (worker, client):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (worker, client):
            assert process.stdin is not None
            process.stdin.write("now\n")
            process.stdin.flush()
        _, said = client.communicate(timeout=100)
        assert worker.poll() is None
        assert "The scheduler ended, so the job ends." in said
        assert worker.communicate(timeout=100) == ("", "")
        assert client.returncode == worker.returncode == EXIT_FAILED
    finally:
        for process in (client, worker):
            process.kill()
            process.communicate()


@dataclass
class CountedWorld:
    """A world of MPI that says who has finalized it."""

    finalized: list[str]
    name: str
    mpi: bool = True

    def finalize(self) -> None:
        self.finalized.append(self.name)


def member_of(world: CountedWorld, **channel: Any) -> ClusterMember:
    return ClusterMember(None, None, (), world, **channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [False, True])
def test_ranks_finalize_mpi_together_or_when_rank_0_has_ended(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPI_Finalize takes a processor until all have come, so nobody enters it while others still close."""
    monkeypatch.setattr(ending, "CLOSE_SECONDS", 1000)
    finalized: list[str] = []
    server = ControlServer("127.0.0.1")
    server.watch(lambda: None, lambda loss: None)
    address = server.address("127.0.0.1")
    connection = ControlConnection(address, 2)
    connection.watch(lambda: None, lambda told, words: None)
    server.leave()
    worker = member_of(CountedWorld(finalized, "worker"), connection=connection)
    waiting = threading.Thread(target=finalize, args=(worker, True), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert finalized == []
    if ends:
        socket.socket(fileno=os.dup(server.descriptor_of(2))).shutdown(socket.SHUT_RDWR)
    else:
        finalize(member_of(CountedWorld(finalized, "scheduler"), server=server), True)
    waiting.join(100)  # less than it waits at most
    assert sorted(finalized) == (["worker"] if ends else ["scheduler", "worker"])


CLOSED_OUTPUT = """
import os, sys, threading
from daskhpc.cluster.ending import on_scheduler_lost
from daskhpc.cluster.rendezvous import SocketCommunicator
from daskhpc.cluster.world import World

def abort():
    SocketCommunicator.Abort(None, 70)

def lost(told):
    on_scheduler_lost(World(None, 1, 3), "elsewhere", told, [])

sys.stdout = open(os.devnull, "w")
sys.stdout.close()
ends = {"told": lambda: lost(True), "not told": lambda: lost(False), "abort": abort}
thread = threading.Thread(target=ends[sys.argv[1]])
thread.start()
thread.join()
"""


@pytest.mark.parametrize("how", ["told", "not told", "abort"])
def test_a_program_ends_though_it_has_closed_its_output(how: str) -> None:
    """The thread that ends it must not fail: the program would wait for the cluster for ever."""
    done = subprocess.run([sys.executable, "-c", CLOSED_OUTPUT, how], capture_output=True, text=True, timeout=100)
    assert done.returncode == EXIT_FAILED, done.stderr
    assert ("The scheduler ended, so the job ends." in done.stderr) == (how == "not told")


END = """
import atexit, os, select, signal, sys, threading, time
from types import SimpleNamespace
import distributed
from daskhpc.cluster import ending, unanswered_signals

leave = os._exit

def begin():
    closes = SimpleNamespace(end=lambda: os.write(1, b"closed "), wait_for_end=lambda seconds: None)
    ending.end_with_program(SimpleNamespace(connection=closes, world=None, server=None), True)
"""
# For each line of the end in the main thread a process of its own, forked from this one, which has imported all.
AT_EACH_LINE = (
    END
    + """
def end(number):
    begin()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "daskhpc-signals"]
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if not frame.f_code.co_filename.endswith(("cluster/ending.py", "unanswered_signals.py", "threading.py")):
            return None
        count += event == "line"
        if count == number:
            sys.settrace(None)
            os.kill(os.getpid(), getattr(signal, sys.argv[1]))
            thread.join()  # until it makes this one stand still, or leaves the end to it
        return trace

    sys.settrace(trace)
    atexit._run_exitfuncs()
    leave(0 if count >= number else 9)

number, code = 0, None
while code != 9:
    number += 1
    pid = os.fork()
    if not pid:
        end(number)
    process = os.pidfd_open(pid)
    if not select.select([process], [], [], 60)[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(process)
    print(code, flush=True)
    if code == -signal.SIGKILL:
        sys.exit(f"line {number} of the end")
"""
)


def at_each_line(name: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", AT_EACH_LINE, name], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, without = done.stdout.splitlines()
    assert without == "closed 9"
    return lines


def test_a_signal_without_a_handler_between_any_two_lines_of_the_end() -> None:
    """It ends the program until that closes the cluster itself, and the cluster is closed once."""
    lines = at_each_line("SIGALRM")
    counted = lines.count(f"closed {128 + signal.SIGALRM}")
    assert 5 < counted < len(lines) - 5
    assert lines == [f"closed {128 + signal.SIGALRM}"] * counted + ["closed 0"] * (len(lines) - counted)


def test_a_handler_that_calls_os_exit_between_any_two_lines_of_the_end() -> None:
    """It waits for nothing that the line holds which it interrupts."""
    lines = at_each_line("SIGTERM")
    assert len(lines) > 10
    assert {line.split()[-1] for line in lines} == {"5"}


# The thread that ends the program has read of the signal, and stands still until the main thread is at its end, too.
BOTH = (
    END
    + """
place, read = unanswered_signals._place, threading.Event()

def slowly(*args):
    found = place(*args)
    read.set()
    frames = sys._current_frames
    while frames()[threading.main_thread().ident].f_code.co_name not in ("closing", "_stand_still"):
        time.sleep(0.01)
    return found

def closing():
    if threading.current_thread() is threading.main_thread():
        while True:
            time.sleep(1)

unanswered_signals._place, ending.close_clients = slowly, closing
begin()
os.kill(os.getpid(), signal.SIGALRM)
read.wait()
"""
)


def test_the_main_thread_does_not_begin_to_close_what_another_thread_is_about_to_close() -> None:
    """It would be made to stand still in the midst of that, and the cluster would not be closed."""
    done = subprocess.run([sys.executable, "-c", BOTH], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (128 + signal.SIGALRM, "closed "), done.stderr


TWO = (
    END
    + """
first, second = (threading.Thread(target=lambda code=code: os._exit(code)) for code in (3, 4))

def closing():
    second.start()
    second.join(2)  # it must not leave meanwhile

ending.close_clients = closing
begin()
first.start()
time.sleep(1000)
"""
)


def test_a_second_thread_that_calls_os_exit_waits_until_the_cluster_is_closed() -> None:
    """A launcher would report a process that was killed."""
    done = subprocess.run([sys.executable, "-c", TWO], capture_output=True, text=True, timeout=100)
    assert done.stdout == "closed ", done.stderr
    assert done.returncode in (3, 4)


UNHEARD = (
    END
    + """
begin()
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 2)
os.kill(os.getpid(), signal.SIGHUP)
time.sleep(1000)
"""
)


def test_a_signal_ends_the_program_though_nobody_reads_what_it_says() -> None:
    """As when a terminal was closed, and the launcher with it."""
    done = subprocess.run([sys.executable, "-c", UNHEARD], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (128 + signal.SIGHUP, "closed ")
