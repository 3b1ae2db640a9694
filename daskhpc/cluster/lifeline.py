"""One open socket between rank 0 and every other rank: its end says at once, by any cause, that a process ended.

Rank 0 holds the `Hub`; every other rank holds a `Line` to it. The kernel closes a socket when its process ends, by
whatever cause, so the other side learns of it without the launcher's help; of a node that falls silent it learns by
TCP's keepalive, which asks the other kernel and no thread that may be held up. A rank that leaves in order says so
first, and what is no word of these is the last that a process said (`crash_report`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .crash_report import exceeded_memory_limit, remove_crash_handler

_HELLO_SECONDS = 10.0
_ANSWER_SECONDS = 0.5
_OK, _END, _LOST, _BYE, _WHY, _MEMORY = b"ok\n", b"end\n", b"lost\n", b"bye\n", b"why\n", b"memory "
# A silent node is lost after 15 + 6 x 5 = 45 s.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 6}
_MOST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Loss:
    """A rank whose process ended before the cluster was closed.

    Attributes
    ----------
    rank, pid : int
    words : tuple[str, ...]
        The last lines that it left.
    silent : bool
        Whether nothing came from its node any more, rather than the end of its process.
    """

    rank: int
    pid: int
    words: tuple[str, ...]
    silent: bool


@dataclass(frozen=True, slots=True)
class Address:
    """Where the hub listens, and the secret that a rank shows to it."""

    host: str
    port: int
    token: str


class Hub:
    """Rank 0's side.

    Parameters
    ----------
    host : str
        Address to listen on.
    on_end : callable
        Called once, from a thread, when the client asks to close the cluster.
    on_lost : callable
        Called once, from a thread, with the first `Loss` that the cluster does not survive.
    survives : callable
        Called, from a thread, with a `Loss` and the ranks that are left: whether the cluster goes on.
    """

    def __init__(
        self,
        host: str,
        on_end: Callable[[], None],
        on_lost: Callable[[Loss], None],
        survives: Callable[[Loss, set[int]], bool] = lambda loss, left: False,
    ) -> None:
        self._listener = socket.create_server((host, 0), backlog=4096)
        self.address = Address(host, self._listener.getsockname()[1], secrets.token_hex(16))
        self._on_end = on_end
        self._on_lost = on_lost
        self._survives = survives
        self._changed = threading.Condition()
        self._closing = False
        self._lines: dict[int, socket.socket] = {}
        self._released: set[int] = set()
        self._memory: dict[int, int] = {}
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._accept, name="daskhpc-hub", daemon=True).start()

    def _close_in_child(self) -> None:
        remove_crash_handler()
        for line in (self._listener, *self._lines.values()):
            _close_here(line)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), name="daskhpc-hub-line", daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        hello = self._greet(line)
        if hello is None:
            line.close()
            return
        rank, pid = hello
        said: list[str] = []
        silent = False
        try:
            for word in _words(line):
                if word == _END:
                    self._end()
                elif word == _BYE:
                    self._released.add(rank)
                elif word.startswith(_MEMORY):
                    self._answered(rank, int(word[len(_MEMORY) :]))
                elif len(said) < _MOST_WORDS:
                    said.append(word.decode(errors="replace"))
        except OSError as error:
            silent = isinstance(error, TimeoutError) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
        with self._changed:
            self._lines.pop(rank, None)
            self._changed.notify_all()
        if rank not in self._released:
            self._lost(Loss(rank, pid, tuple(said), silent))

    def _greet(self, line: socket.socket) -> tuple[int, int] | None:
        """Let a rank in that shows the token; it is told the end, however soon that comes."""
        line.settimeout(_HELLO_SECONDS)
        try:
            hello = json.loads(line.recv(256))
            if not secrets.compare_digest(hello["token"], self.address.token):
                return None
            rank, pid = int(hello["rank"]), int(hello["pid"])
            _keep_alive(line)
            with self._changed:
                line.sendall(_OK + _END if self._closing else _OK)
                self._lines[rank] = line
        except (OSError, ValueError, KeyError, TypeError):
            return None
        line.settimeout(None)
        return rank, pid

    def line_of(self, rank: int) -> int:
        """The file descriptor of a rank's line; standard error where the rank has just been lost."""
        with self._changed:
            return self._lines[rank].fileno() if rank in self._lines else 2

    def exceeded_memory_limit(self, ranks: Iterable[int]) -> int:
        """The memory limit of a node where the kernel has ended a process for it, as ranks on that node say; else 0."""
        with self._changed:
            asked = [rank for rank in ranks if rank in self._lines]
            for rank in asked:
                self._memory.pop(rank, None)
                with contextlib.suppress(OSError):
                    self._lines[rank].sendall(_WHY)
            self._changed.wait_for(lambda: any(rank in self._memory for rank in asked) or not asked, _ANSWER_SECONDS)
            return max((self._memory.get(rank, 0) for rank in asked), default=0)

    def _answered(self, rank: int, limit: int) -> None:
        with self._changed:
            self._memory[rank] = limit
            self._changed.notify_all()

    def _end(self) -> None:
        if self.closing():
            self._on_end()

    def _lost(self, loss: Loss) -> None:
        with self._changed:
            left = set(self._lines)
            if self._closing or self._survives(loss, left):
                return
        if self._close(_LOST):
            self._on_lost(loss)

    def closing(self) -> bool:
        """From now on a rank that ends is no loss; True for the first caller."""
        return self._close(_END)

    def _close(self, word: bytes) -> bool:
        with self._changed:
            first, self._closing = not self._closing, True
            for line in self._lines.values() if first else ():
                with contextlib.suppress(OSError):
                    line.sendall(word)
        return first

    def workers_left(self) -> bool:
        """Whether every rank but the client has left in order, or ended."""
        with self._changed:
            return not set(self._lines) - self._released - {1}

    def wait_for_workers(self, seconds: float) -> None:
        """Wait until every rank but the client has ended; the client's exit code is to be the last word."""
        with self._changed:
            self._changed.wait_for(lambda: not set(self._lines) - {1}, timeout=seconds)


class Line:
    """Every other rank's side.

    Parameters
    ----------
    address : Address
        Of the hub.
    rank : int
    on_end : callable
        Called, from a thread, when the cluster is being closed.
    on_lost : callable
        Called once, from a thread, when rank 0 ends before the cluster was closed; with whether it does so because
        another rank was lost, of which it has told, and with the last lines that it left.

    Raises
    ------
    OSError
        When the hub cannot be reached.
    """

    def __init__(
        self,
        address: Address,
        rank: int,
        on_end: Callable[[], None],
        on_lost: Callable[[bool, Sequence[str]], None],
    ) -> None:
        self._socket = socket.create_connection((address.host, address.port), timeout=_HELLO_SECONDS)
        hello = {"rank": rank, "pid": os.getpid(), "token": address.token}
        self._socket.sendall(json.dumps(hello).encode())
        if self._socket.recv(len(_OK)) != _OK:
            raise ConnectionRefusedError(f"{address.host}:{address.port} is not rank 0 of this job")
        self._socket.settimeout(None)
        _keep_alive(self._socket)
        self._on_end = on_end
        self._on_lost = on_lost
        self._leaving = threading.Event()
        self._closing = False  # as rank 0 has said, or because this rank has left
        self._ended = threading.Event()
        # A forked child that lives on would keep the socket open, and hide the end of this process.
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._watch, name="daskhpc-line", daemon=True).start()

    def _close_in_child(self) -> None:
        remove_crash_handler()
        _close_here(self._socket)

    def _watch(self) -> None:
        told = False
        said: list[str] = []
        with contextlib.suppress(OSError):
            for word in _words(self._socket):
                told = told or word == _LOST
                if word == _WHY:
                    self._socket.sendall(b"%b%d\n" % (_MEMORY, exceeded_memory_limit()))
                elif word == _END:
                    self._closing = True
                    self._leaving.set()
                    self._on_end()
                elif word != _LOST:
                    said.append(word.decode(errors="replace"))
        if not self._closing:
            self._on_lost(told, said)  # before anybody who waits for the end of rank 0 goes on, and ends this process
        self._ended.set()

    def fileno(self) -> int:
        """The file descriptor of the line."""
        return self._socket.fileno()

    @property
    def ending(self) -> bool:
        """Whether the cluster is being closed, or this rank has left."""
        return self._leaving.is_set()

    def end(self) -> None:
        """Ask rank 0 to close the cluster; where it ends before it has said that it does, it is lost."""
        self._say(_END)

    def leave(self) -> None:
        """This rank leaves in order."""
        self._closing = True
        self._say(_BYE)

    def _say(self, word: bytes) -> None:
        self._leaving.set()
        with contextlib.suppress(OSError):  # the watching thread sees why
            self._socket.sendall(word)

    def wait_for_hub(self, seconds: float) -> bool:
        """Wait until the process of rank 0 has ended."""
        return self._ended.wait(seconds)


def _close_here(line: socket.socket) -> None:
    """Close a socket in a forked child, though a file was made of it; another fork finds nothing to close."""
    descriptor = line.detach()
    if descriptor >= 0:
        os.close(descriptor)


def _keep_alive(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        line.setsockopt(socket.IPPROTO_TCP, option, value)


def _words(line: socket.socket) -> Iterator[bytes]:
    """The lines that come until the other process ends.

    Raises
    ------
    OSError
        Where its node fell silent, or its kernel said that the process is gone.
    """
    with line.makefile("rb") as words:
        while word := words.readline():
            yield word
