"""The control channel between rank 0 and the others: real sockets, real processes, real ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest
from waiting import until

from daskhpc.cluster import control_channel, control_socket
from daskhpc.cluster.control_channel import ControlConnection, ControlServer, Loss
from daskhpc.cluster.control_socket import Address
from daskhpc.cluster.crash_report import cause_of_end

DEADLINE = 60.0
END, LOST, TOLD = "end", "lost", "told"

# A rank that does what it is told, a word a line.
RANK = """
import json, os, signal, sys
from daskhpc.cluster import control_channel, control_socket
from daskhpc.cluster.control_channel import ControlConnection
from daskhpc.cluster.control_socket import Address

def tell(word):
    os.write(1, f"{word}\\n".encode())
def lost(told, words):
    tell("told" if told else "lost")
line = ControlConnection(Address.from_note(json.loads(sys.argv[1])), int(sys.argv[2]))
line.watch(lambda: tell("end"), lost)
tell("ready")
for word in sys.stdin:
    word = word.strip()
    if word == "fork":
        child = os.fork()
        if child == 0:
            os.close(0)
            signal.pause()
        tell(child)
    elif word == "fork twice":
        child = os.fork()
        if child == 0:
            files = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
            grandchild = os.fork()
            if grandchild == 0:
                for file in files:
                    os.fstat(file)
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) & 255)
        tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    elif word == "exit":
        sys.exit()
    elif word == "_exit":
        os._exit(0)
    elif word == "raise":
        raise SystemError
    elif word == "abort":
        os.abort()
    elif word == "last words":
        from daskhpc.cluster.crash_report import install_crash_handler
        install_crash_handler(line.fileno())
        tell("done")
    else:
        getattr(line, word)()
        tell("done")
"""

# Rank 0, which says where it listens.
ROOT = """
import dataclasses, json, os, signal, sys
from daskhpc.cluster.control_channel import ControlServer

server = ControlServer("127.0.0.1", encrypted="tls" in sys.argv)
server.watch(lambda: os.write(1, b"end\\n"), lambda loss: os.write(1, b"lost %d\\n" % loss.rank))
os.write(1, (json.dumps(dataclasses.asdict(server.address("127.0.0.1"))) + "\\n").encode())
for word in sys.stdin:
    if word == "fork\\n":
        child = os.fork()
        if child == 0:
            os.close(0)
            signal.pause()
        os.write(1, b"%d\\n" % child)
    else:
        getattr(server, word.strip())()
        os.write(1, b"done\\n")
"""


class Process:
    """A process that is spoken to in lines, each answer within the deadline."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """The next line; nothing else of the process is buffered here, as each line is read by itself."""
        assert self.process.stdout is not None
        line = b""
        end = time.monotonic() + DEADLINE
        descriptor = self.process.stdout.fileno()
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            assert readable, f"silence after {line!r}"
            byte = os.read(descriptor, 1)
            assert byte, f"ended after {line!r}"
            line += byte
        return line.decode().strip()

    def ask(self, word: str) -> str:
        self.tell(word)
        return self.hear()

    def stop(self) -> None:
        """Stop it; when this returns, none of its threads runs any more."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def close(self) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def starting() -> Iterator[Callable[..., Process]]:
    """Starts processes, and ends them all."""
    with contextlib.ExitStack() as stack:

        def start(code: str, *arguments: str) -> Process:
            process = Process(code, *arguments)
            stack.callback(process.close)
            return process

        yield start


class Root:
    """A server in this process, what it was told, and the ranks."""

    def __init__(self, start: Callable[..., Process], encrypted: bool) -> None:
        self.told: Queue[tuple[Any, ...]] = Queue()
        self.server = ControlServer("127.0.0.1", encrypted)
        self.server.watch(lambda: self.told.put((END,)), self.lost, lambda loss, left: self.survives(loss, left))
        self.survives: Callable[[Loss, set[int]], bool] = lambda loss, left: False
        self.address = self.server.address("127.0.0.1")
        self.losses: list[Loss] = []
        self.start = start

    def lost(self, loss: Loss) -> None:
        self.losses.append(loss)
        self.told.put((LOST, loss.rank))

    def rank(self, number: int) -> Process:
        process = self.start(RANK, json.dumps(dataclasses.asdict(self.address)), str(number))
        assert process.hear() == "ready"
        return process

    def next(self) -> tuple[Any, ...]:
        """What the server is told next."""
        return self.told.get(timeout=DEADLINE)

    def only(self, expected: tuple[Any, ...]) -> None:
        assert self.next() == expected
        assert self.told.empty()


BOTH = pytest.mark.parametrize("root", [False, True], ids=["plain", "encrypted"], indirect=True)


@pytest.fixture
def root(starting: Callable[..., Process], request: pytest.FixtureRequest) -> Iterator[Root]:
    """Encrypted, unless a test is about both."""
    made = Root(starting, getattr(request, "param", True))
    yield made
    made.server.leave()


@pytest.mark.parametrize("rank", [1, 2, 1000])
def test_a_rank_that_is_killed_is_lost(root: Root, rank: int) -> None:
    others = [root.rank(number) for number in (3, 4)]
    root.rank(rank).kill()
    root.only((LOST, rank))
    assert all(other.process.poll() is None for other in others)


def test_the_others_know_that_rank_0_has_told_of_a_lost_rank(root: Root) -> None:
    other = root.rank(3)
    root.rank(2).kill()
    root.only((LOST, 2))
    for peer in list(root.server._peers.values()):  # as the kernel does when the process of rank 0 ends
        peer.socket.shutdown(socket.SHUT_RDWR)
    assert other.hear() == TOLD


@BOTH
@pytest.mark.parametrize("end", ["exit", "_exit", "raise", "abort"])
def test_a_rank_that_ends_without_word_is_lost_however_it_ends(root: Root, end: str) -> None:
    root.rank(2).tell(end)
    root.only((LOST, 2))


@BOTH
@pytest.mark.parametrize(
    ("signum", "cause"),
    [
        (signal.SIGSEGV, "segmentation fault, at File "),
        (signal.SIGABRT, "aborted, at File "),
        (signal.SIGTERM, "SIGTERM, at File "),
        (signal.SIGKILL, "no output: killed by a signal"),
    ],
)
def test_the_last_words_of_a_rank_tell_how_it_ended(root: Root, signum: signal.Signals, cause: str) -> None:
    rank = root.rank(2)
    assert rank.ask("last words") == "done"
    rank.process.send_signal(signum)
    root.only((LOST, 2))
    (loss,) = root.losses
    assert (loss.pid, loss.silent, rank.process.wait(DEADLINE)) == (rank.process.pid, False, -signum)
    assert cause_of_end(loss.last_lines, 0).startswith(cause)


def test_a_loss_that_is_survived_ends_nothing(starting: Callable[..., Process]) -> None:
    root = Root(starting, encrypted=True)
    asked = Queue[tuple[int, set[int]]]()

    def survives(loss: Loss, left: set[int]) -> bool:
        asked.put((loss.rank, left))
        return loss.rank == 3

    root.survives = survives
    staying, _ = root.rank(2), root.rank(4)
    root.rank(3).kill()
    assert asked.get(timeout=DEADLINE) == (3, {2, 4})
    assert staying.process.poll() is None
    root.rank(5).kill()
    root.only((LOST, 5))
    root.server.leave()


def test_a_silent_node_is_asked_by_its_kernel_within_a_minute(root: Root) -> None:
    root.rank(2)
    with root.server._changed:  # the rank has its welcome before the server has the rank
        line = root.server._peers[2].socket
    idle, interval, count = (
        line.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert idle + interval * count < 60


def test_ranks_on_a_node_are_asked_whether_its_memory_was_used_up(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_channel, "_ANSWER_SECONDS", DEADLINE)
    root.rank(2)
    assert root.server.exceeded_memory_limit([2, 7]) == 0  # it answers, and nothing was ended
    assert root.server._memory == {2: 0}
    assert root.server.exceeded_memory_limit([]) == 0


def test_a_rank_that_stops_is_not_lost_until_it_ends(root: Root) -> None:
    stopped, ended = root.rank(2), root.rank(3)
    stopped.stop()
    ended.kill()
    root.only((LOST, 3))


def test_only_the_first_loss_is_told(root: Root) -> None:
    ranks = [root.rank(number) for number in (1, 2, 3)]
    ranks[1].kill()
    assert root.next() == (LOST, 2)
    for rank in ranks:
        rank.kill()
    root.server.wait_for_workers(DEADLINE)
    assert root.told.empty()


def test_the_client_ends_the_cluster_once_and_then_nothing_is_lost(root: Root) -> None:
    client, *workers = [root.rank(number) for number in (1, 2, 3)]
    assert client.ask("end") in ("done", "end")
    assert root.next() == (END,)
    assert [worker.hear() for worker in workers] == ["end", "end"]
    client.tell("end")
    workers[0].tell("end")
    for rank in (*workers, client):
        rank.kill()
    root.server.wait_for_workers(DEADLINE)
    assert root.told.empty()


def test_closing_is_told_to_every_rank_and_then_nothing_is_lost(root: Root) -> None:
    ranks = [root.rank(number) for number in (1, 2, 3)]
    assert root.server.leave() is True
    assert root.server.leave() is False
    assert [rank.hear() for rank in ranks] == ["end"] * 3
    for rank in ranks:
        rank.kill()
    root.server.wait_for_workers(DEADLINE)
    assert root.told.empty()


def test_a_rank_that_leaves_first_is_no_loss(root: Root) -> None:
    leaving, staying = root.rank(2), root.rank(3)
    assert leaving.ask("leave") == "done"
    leaving.tell("exit")
    assert leaving.process.wait(DEADLINE) == 0
    root.server.wait_for_workers(0.1)
    # had the first one counted as lost, this one would not
    staying.kill()
    root.only((LOST, 3))


def test_a_rank_that_left_and_is_killed_then_is_no_loss(root: Root) -> None:
    leaving, staying = root.rank(2), root.rank(3)
    assert leaving.ask("leave") == "done"
    leaving.kill()
    staying.kill()
    root.only((LOST, 3))


def test_a_forked_child_that_lives_on_does_not_hide_the_end(root: Root) -> None:
    """Such as a multiprocessing pool of the user's program, whose processes outlive it."""
    rank = root.rank(1)
    child = int(rank.ask("fork"))
    try:
        rank.kill()
        os.kill(child, 0)
        assert root.next() == (LOST, 1)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_of_a_forked_child_keeps_its_files(root: Root) -> None:
    """A descriptor that was closed once may be another file's by then."""
    assert root.rank(1).ask("fork twice") == "0"


def test_a_forked_child_that_ends_does_not_end_its_parents_line(root: Root) -> None:
    rank, other = root.rank(1), root.rank(2)
    child = int(rank.ask("fork"))
    os.kill(child, signal.SIGKILL)
    other.kill()
    root.only((LOST, 2))
    assert rank.process.poll() is None


def test_waiting_for_workers_leaves_the_client_out(root: Root) -> None:
    client, worker = root.rank(1), root.rank(2)
    root.server.leave()
    waiting = threading.Thread(target=root.server.wait_for_workers, args=(4 * DEADLINE,), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive(), "a worker was there"
    worker.kill()
    waiting.join(DEADLINE)
    assert not waiting.is_alive()
    assert client.process.poll() is None


def test_workers_have_left_when_each_has_said_so_or_ended(root: Root) -> None:
    client, leaving, ending = (root.rank(number) for number in (1, 2, 3))
    assert not root.server.workers_left()
    root.server.leave()
    assert leaving.hear() == "end"
    assert leaving.ask("leave") == "done"
    assert not root.server.workers_left()
    ending.kill()
    until(root.server.workers_left)
    assert (client.process.poll(), leaving.process.poll()) == (None, None)


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: n1\r\n\r\n",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"rank": 2}',
        b'{"rank": 2, "pid": 1, "challenge": "", "proof": null}',
        b'{"rank": 2, "pid": 1, "challenge": "", "proof": "\xc3\xa9"}',
        b'{"rank": 2, "pid": 1, "challenge": "", "proof": "0123456789abcdef0123456789abcdef"}',
    ],
)
def test_a_stranger_is_turned_away_and_disturbs_nobody(root: Root, said: bytes) -> None:
    address = (root.address.hosts[0], root.address.port)
    with socket.create_connection(address, timeout=DEADLINE) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError), stranger.makefile("rb") as answers:
            assert len(answers.readlines()) <= 1, "more than the challenge"
    root.rank(3).kill()
    root.only((LOST, 3))


@BOTH
def test_a_stranger_that_says_nothing_holds_nobody_up(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "GREETING_SECONDS", 100 * DEADLINE)  # so long each of them would
    address = (root.address.hosts[0], root.address.port)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(address, timeout=DEADLINE))
        root.rank(3).kill()
        root.only((LOST, 3))


def never(*_: Any) -> None:
    pytest.fail("called")


@BOTH
def test_a_wrong_secret_is_refused(root: Root) -> None:
    wrong = dataclasses.replace(root.address, secret="x" * 32)
    with pytest.raises(ConnectionRefusedError, match="is not rank 0 of this job"):
        ControlConnection(wrong, 2)
    root.rank(3).kill()
    root.only((LOST, 3))


def test_every_server_has_a_secret_of_its_own(root: Root, starting: Callable[..., Process]) -> None:
    secrets = {json.loads(starting(ROOT).hear())["secret"] for _ in range(2)} | {root.address.secret}
    assert len(secrets) == 3
    assert min(map(len, secrets)) >= 32


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        ControlConnection(Address(("127.0.0.1",), port, "x"), 2)


class Connected:
    """A connection in this process to a server in another."""

    def __init__(self, start: Callable[..., Process], rank: int = 2) -> None:
        self.root = start(ROOT, "tls")
        self.ended, self.lost = threading.Event(), threading.Event()
        self.line = ControlConnection(Address.from_note(json.loads(self.root.hear())), rank)
        self.line.watch(self.ended.set, lambda told, words: self.lost.set())


def test_the_end_of_rank_0_is_seen_at_once(starting: Callable[..., Process]) -> None:
    other = Connected(starting)
    assert not other.line.ending
    assert not other.line.wait_for_end(0)
    other.root.kill()
    assert other.lost.wait(DEADLINE)
    assert other.line.wait_for_end(DEADLINE)
    assert not other.ended.is_set()


def test_rank_0_that_closes_first_is_not_lost(starting: Callable[..., Process]) -> None:
    other = Connected(starting)
    assert other.root.ask("leave") == "done"
    assert other.ended.wait(DEADLINE)
    assert other.line.ending
    other.root.kill()
    assert other.line.wait_for_end(DEADLINE)
    assert not other.lost.is_set()


def test_rank_0_that_was_gone_when_it_was_asked_to_close_is_lost(starting: Callable[..., Process]) -> None:
    """What a program meets whose call of Dask fails, because the scheduler has just been killed."""
    other = Connected(starting)
    other.root.stop()
    other.line.end()
    other.root.kill()
    assert other.lost.wait(DEADLINE)


@pytest.mark.parametrize("word", ["leave", "end"])
def test_rank_0_may_end_after_this_rank_left(starting: Callable[..., Process], word: str) -> None:
    other = Connected(starting)
    getattr(other.line, word)()
    assert other.line.ending
    if word == "end":
        assert other.ended.wait(DEADLINE)
    other.root.kill()
    assert other.line.wait_for_end(DEADLINE)
    assert not other.lost.is_set()


def test_words_to_a_server_that_has_ended_are_not_an_error(starting: Callable[..., Process]) -> None:
    other = Connected(starting)
    other.root.kill()
    assert other.lost.wait(DEADLINE)
    for word in ("end", "leave", "end"):
        getattr(other.line, word)()
    assert other.line.wait_for_end(DEADLINE)


def test_rank_0_hears_the_end_from_this_rank(starting: Callable[..., Process]) -> None:
    other = Connected(starting, rank=1)
    other.line.end()
    assert other.root.hear() == "end"
    assert other.ended.wait(DEADLINE)
    assert not other.lost.is_set()


@pytest.fixture
def crowded() -> Iterator[None]:
    """Other threads want to run, so that every order of what threads do comes up."""
    interval, over = sys.getswitchinterval(), threading.Event()
    threads = [threading.Thread(target=lambda: [sum(range(50)) for _ in iter(over.is_set, True)]) for _ in range(2)]
    sys.setswitchinterval(1e-4)
    for thread in threads:
        thread.start()
    yield
    over.set()
    sys.setswitchinterval(interval)
    for thread in threads:
        thread.join(DEADLINE)


@pytest.mark.usefixtures("crowded")
def test_whoever_was_let_in_is_told_the_end() -> None:
    """However soon the end comes after the welcome."""
    for _ in range(60):
        server, ended = ControlServer("127.0.0.1"), threading.Event()
        server.watch(never, lambda loss: None)
        line = ControlConnection(server.address("127.0.0.1"), 2)
        server.leave()
        line.watch(ended.set, never)
        assert ended.wait(DEADLINE)
        line.leave()


def test_a_hundred_ranks_of_one_process(root: Root) -> None:
    """As on a node with many; each connection is served beside the others."""
    count = 100
    ended = threading.Semaphore(0)
    lines = [ControlConnection(root.address, rank) for rank in range(1, count + 1)]
    for line in lines:
        line.watch(ended.release, never)
    lines[0].end()
    assert root.next() == (END,)
    for _ in range(count):
        assert ended.acquire(timeout=DEADLINE)
    for line in lines:
        line.leave()
    assert root.told.empty()


def test_a_loss_before_the_watch_is_told_by_it() -> None:
    """And a rank that waits for a value of one that has ended is told so."""
    server, lost = ControlServer("127.0.0.1"), Queue[Loss]()
    line = ControlConnection(server.address("127.0.0.1"), 2)
    assert server.wait_for_ranks(3, 0.1) == [1]
    line.send_value({"a": 1})
    assert server.receive_value(2) == {"a": 1}
    server.send_value(2, [b"\n", None])
    assert line.receive_value() == [b"\n", None]
    line._peer.socket.shutdown(socket.SHUT_RDWR)  # as the kernel does when the process ends
    for _ in range(2):
        with pytest.raises(EOFError):
            server.receive_value(2)
    assert lost.empty()
    server.watch(never, lost.put)
    assert lost.get(timeout=DEADLINE).rank == 2


@BOTH
def test_nothing_is_unpickled_before_the_secret_was_shown(root: Root) -> None:
    """A value in place of the greeting is no greeting."""
    with socket.create_connection((root.address.hosts[0], root.address.port), timeout=DEADLINE) as stranger:
        stranger.sendall(b"value gASVKAAAAAAAAACMBXBvc2l4lIwFX2V4aXSUk5RLAYWUUpQu\n")
        with contextlib.suppress(ConnectionResetError), stranger.makefile("rb") as answers:
            assert len(answers.readlines()) <= 1
    root.rank(3).kill()
    root.only((LOST, 3))
