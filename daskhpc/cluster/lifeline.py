"""One open socket between rank 0 and every other rank: its end says at once, by any cause, that a process ended.

Rank 0 holds the `Hub`; every other rank holds a `Line` to it. The kernel closes a socket when its process ends, by
whatever cause, so the other side learns of it without the launcher's help. A rank that leaves in order says so first.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_HELLO_SECONDS = 10.0
_OK, _END, _LOST, _BYE = b"ok\n", b"end\n", b"lost\n", b"bye\n"


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
        Called once, from a thread, with the first rank whose process ended before the cluster was closed.
    """

    def __init__(self, host: str, on_end: Callable[[], None], on_lost: Callable[[int], None]) -> None:
        self._listener = socket.create_server((host, 0), backlog=4096)
        self.address = Address(host, self._listener.getsockname()[1], secrets.token_hex(16))
        self._on_end = on_end
        self._on_lost = on_lost
        self._changed = threading.Condition()
        self._closing = False
        self._lines: dict[int, socket.socket] = {}
        self._released: set[int] = set()
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._accept, name="daskhpc-hub", daemon=True).start()

    def _close_in_child(self) -> None:
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
        rank = self._greet(line)
        if rank is None:
            line.close()
            return
        for word in _words(line):
            if word == _END:
                self._end()
            if word == _BYE:
                self._released.add(rank)
        with self._changed:
            self._lines.pop(rank, None)
            self._changed.notify_all()
        if rank not in self._released:
            self._lost(rank)

    def _greet(self, line: socket.socket) -> int | None:
        """Let a rank in that shows the token; it is told the end, however soon that comes."""
        line.settimeout(_HELLO_SECONDS)
        try:
            hello = json.loads(line.recv(256))
            if not secrets.compare_digest(hello["token"], self.address.token):
                return None
            rank = int(hello["rank"])
            with self._changed:
                line.sendall(_OK + _END if self._closing else _OK)
                self._lines[rank] = line
        except (OSError, ValueError, KeyError, TypeError):
            return None
        line.settimeout(None)
        return rank

    def _end(self) -> None:
        if self.closing():
            self._on_end()

    def _lost(self, rank: int) -> None:
        if self._close(_LOST):
            self._on_lost(rank)

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
        another rank was lost, of which it has told.

    Raises
    ------
    OSError
        When the hub cannot be reached.
    """

    def __init__(
        self, address: Address, rank: int, on_end: Callable[[], None], on_lost: Callable[[bool], None]
    ) -> None:
        self._socket = socket.create_connection((address.host, address.port), timeout=_HELLO_SECONDS)
        self._socket.sendall(json.dumps({"rank": rank, "token": address.token}).encode())
        if self._socket.recv(len(_OK)) != _OK:
            raise ConnectionRefusedError(f"{address.host}:{address.port} is not rank 0 of this job")
        self._socket.settimeout(None)
        self._on_end = on_end
        self._on_lost = on_lost
        self._leaving = threading.Event()
        self._ended = threading.Event()
        # A forked child that lives on would keep the socket open, and hide the end of this process.
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._watch, name="daskhpc-line", daemon=True).start()

    def _close_in_child(self) -> None:
        _close_here(self._socket)

    def _watch(self) -> None:
        told = False
        for word in _words(self._socket):
            told = told or word == _LOST
            if word == _END:
                self._leaving.set()
                self._on_end()
        self._ended.set()
        if not self._leaving.is_set():
            self._on_lost(told)

    @property
    def ending(self) -> bool:
        """Whether the cluster is being closed, or this rank has left."""
        return self._leaving.is_set()

    def end(self) -> None:
        """Ask rank 0 to close the cluster."""
        self._say(_END)

    def leave(self) -> None:
        """This rank leaves in order."""
        self._say(_BYE)

    def _say(self, word: bytes) -> None:
        self._leaving.set()
        try:
            self._socket.sendall(word)
        except OSError:
            self._ended.set()

    def wait_for_hub(self, seconds: float) -> bool:
        """Wait until the process of rank 0 has ended."""
        return self._ended.wait(seconds)


def _close_here(line: socket.socket) -> None:
    """Close a socket in a forked child, though a file was made of it; another fork finds nothing to close."""
    descriptor = line.detach()
    if descriptor >= 0:
        os.close(descriptor)


def _words(line: socket.socket) -> Iterator[bytes]:
    with line.makefile("rb") as words:
        while True:
            try:
                word = words.readline()
            except OSError:
                return
            if not word:
                return
            yield word
