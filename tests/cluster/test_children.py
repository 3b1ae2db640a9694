"""Child processes of a worker: started, spoken to, ended alone, and gone with their parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest
from waiting import gone, until

from daskhpc.cluster.children import ChildServer
from daskhpc.errors import DaskhpcError

DEADLINE = 60.0


@pytest.fixture
def server() -> Iterator[ChildServer]:
    server = ChildServer()
    yield server
    server.close()


@pytest.fixture
def target(tmp_path, monkeypatch) -> str:
    """A module that children can import, whose function runs each text that it receives and sends its value back."""
    (tmp_path / "child_target.py").write_text(
        "import os, sys, signal, subprocess, threading\n"
        "def main(connection):\n"
        "    while True:\n"
        "        try:\n"
        "            code = connection.recv_bytes().decode()\n"
        "        except EOFError:\n"
        "            return\n"
        "        connection.send_bytes(str(eval(code)).encode())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "child_target:main"


def ask(child, code: str) -> str:
    child.send(code.encode())
    return child.receive().decode()


def test_a_call_runs_in_the_main_thread_of_a_process_of_its_own(target) -> None:
    server = ChildServer()
    try:
        one, other = server.start(target), server.start(target)
        assert int(ask(one, "os.getpid()")) == one.pid != other.pid
        assert ask(one, "threading.current_thread() is threading.main_thread()") == "True"
        assert ask(one, "os.getppid()") == str(server.pid)
        assert ask(other, "os.getpgid(0) == os.getpid()") == "True"
    finally:
        server.close()
    until(lambda: gone(one.pid) and gone(other.pid) and gone(server.pid), DEADLINE)


def test_a_child_has_the_environment_as_it_is_when_it_starts(target, monkeypatch) -> None:
    monkeypatch.setenv("BEFORE", "1")
    server = ChildServer()
    monkeypatch.setenv("AFTER", "2")
    monkeypatch.delenv("BEFORE")
    child = server.start(target)
    assert ask(child, "(os.environ.get('BEFORE'), os.environ.get('AFTER'))") == "(None, '2')"
    server.close()


@pytest.mark.parametrize(
    ("code", "status"),
    [("os._exit(3)", 3), ("sys.exit(4)", 4), ("os.kill(os.getpid(), 9)", -9), ("1 / 0", 1), ("os.abort()", -6)],
)
def test_how_a_child_ended_is_known_and_the_others_go_on(target, code: str, status: int) -> None:
    server = ChildServer()
    child, other = server.start(target), server.start(target)
    child.send(code.encode())
    with pytest.raises(EOFError):
        child.receive()
    assert child.status(DEADLINE) == status
    assert child.ended
    assert ask(other, "1 + 1") == "2"
    assert server.children == [other]
    server.close()


def test_what_a_child_started_ends_with_it(target) -> None:
    server = ChildServer()
    child = server.start(target)
    grandchild = int(ask(child, "subprocess.Popen(['sleep', '100'], close_fds=False).pid"))
    child.kill()
    with pytest.raises(EOFError):  # although the grandchild held the child's end of the connection
        child.receive()
    until(lambda: gone(grandchild), DEADLINE)
    server.close()


def test_each_child_draws_random_numbers_of_its_own(target) -> None:
    server = ChildServer(["numpy.random"])
    drawn = [ask(server.start(target), "__import__('numpy').random.random()") for _ in range(3)]
    assert len(set(drawn)) == 3
    server.close()


def test_messages_that_two_threads_send_at_once_stay_whole(target, tmp_path) -> None:
    os.mkfifo(gate := tmp_path / "gate")
    server = ChildServer()
    child = server.start(target)
    child.send(f"open({str(gate)!r}).read()".encode())  # it reads nothing meanwhile
    large = threading.Thread(target=child.send, args=(b"len('%s')" % (b"x" * (4 << 20)),))
    large.start()
    until(lambda: not select.select([], [child.connection], [], 0)[1], DEADLINE, "the connection is full")
    small = threading.Thread(target=child.send, args=(b"1 + 1",))
    small.start()
    gate.write_text("open")
    assert [child.receive() for _ in range(3)] == [b"open", b"%d" % (4 << 20), b"2"]
    for thread in (large, small):
        thread.join(DEADLINE)
    server.close()


@pytest.mark.parametrize("who", ["server", "parent"])
def test_no_child_outlives_its_parent_or_server(target, tmp_path, who: str) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from daskhpc.cluster.children import ChildServer\n"
        "server = ChildServer(); children = [server.start('child_target:main') for _ in range(3)]\n"
        "children[0].send(b'[i for i in iter(int, 1)]')\n"
        "print(server.pid, *(child.pid for child in children), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        os.kill(parent.pid if who == "parent" else pids[0], signal.SIGKILL)
        until(lambda: all(map(gone, pids)), DEADLINE)
        parent.kill()


def test_a_server_that_has_ended_says_so(server: ChildServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: server.ended, DEADLINE)
    with pytest.raises(DaskhpcError, match="could not start a child process"):
        server.start("gc:collect")


def test_nothing_is_left_of_many(target) -> None:
    server = ChildServer()
    me = psutil.Process()
    before = me.num_fds(), me.num_threads()
    many = 50
    for _ in range(many):
        child = server.start(target)
        assert ask(child, "1") == "1"
        child.close()
        assert child.status(DEADLINE) in (-9, 0)  # it may see the end of its connection first
    # A cluster of another test may open and close a few in other threads.
    assert me.num_fds() < before[0] + many // 2
    assert me.num_threads() < before[1] + many // 2
    server.close()
    until(lambda: gone(server.pid), DEADLINE)
