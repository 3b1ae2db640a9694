"""The control channel of the ranks: one socket between rank 0 and every other rank, from the start to the end of a job.

Without MPI the ranks agree over it (`rendezvous`). Then it carries "close the cluster", and its end shows that a
process ended. Rank 0 holds the `ControlServer`, every other rank a `ControlConnection` to it.

Why it is so: launchers differ in when they notice that a process died, and in what they do then; some wait for ever.
The kernel closes a socket when its process ends, whatever the cause, so the other side learns of it within
milliseconds. If a whole node falls silent, no kernel is there to close anything: TCP's keepalive finds that, and is
answered by the other kernel, not by a thread of Python that may be held up. A rank that leaves in order first sends
``bye``. Lines on the socket that are no word of the protocol are the last lines of a process that crashed
(`crash_report`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .certificates import Authority
from .control_socket import Address, Peer, close_in_child, connect, greet
from .crash_report import exceeded_memory_limit, remove_crash_handler

_ANSWER_SECONDS = 2.0
_END, _LOST, _BYE, _MEET, _ASK_MEMORY, _MEMORY = b"end\n", b"lost\n", b"bye\n", b"meet\n", b"memory?\n", b"memory "
_LAST_LINES = 200


@dataclass(frozen=True, slots=True)
class Loss:
    """A rank whose process ended before the cluster was closed.

    Attributes
    ----------
    rank, pid : int
    last_lines : tuple[str, ...]
        The last lines that it wrote.
    silent : bool
        Whether nothing came from its node any more, rather than the end of its process.
    """

    rank: int
    pid: int
    last_lines: tuple[str, ...]
    silent: bool


class ControlServer:
    """Rank 0's side.

    Parameters
    ----------
    host : str
        Address to listen on; all of this node's by default.
    encrypted : bool
        Whether both sides have to show certificates of this run.

    Raises
    ------
    StartError
        If `encrypted`, and the package that makes certificates is not installed.
    """

    def __init__(self, host: str = "", encrypted: bool = False) -> None:
        # An authority of its own: the key in the note must not open a connection to Dask's processes.
        authority = Authority() if encrypted else None
        self._identity = authority.identity("rank", listens=False) if authority else None
        self._context = authority.identity("rank 0").context(server=True) if authority else None
        self._listener = socket.create_server((host, 0), backlog=4096)
        self._secret = secrets.token_hex(32)
        self._changed = threading.Condition()
        self._watched = threading.Event()
        self._closing = False
        self._peers: dict[int, Peer] = {}
        self._all_peers: dict[int, Peer] = {}  # with those that have ended
        self._released: set[int] = set()
        self._memory: dict[int, int] = {}
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._accept, name="daskhpc-control", daemon=True).start()

    def address(self, *hosts: str) -> Address:
        """Where others reach this rank, by these names of its node."""
        return Address(hosts, self._listener.getsockname()[1], self._secret, self._identity)

    def watch(
        self,
        on_end: Callable[[], None],
        on_lost: Callable[[Loss], None],
        survives: Callable[[Loss, set[int]], bool] = lambda loss, left: False,
    ) -> None:
        """From now on a rank that ends is lost; before, only a collective call notices it.

        Parameters
        ----------
        on_end : callable
            Called once, from a thread, when the client asks to close the cluster.
        on_lost : callable
            Called once, from a thread, with the first `Loss` that the cluster does not survive.
        survives : callable
            Called, from a thread, with a `Loss` and the ranks that are left: whether the cluster goes on.
        """
        self._on_end, self._on_lost, self._survives = on_end, on_lost, survives
        self._watched.set()

    def _close_in_child(self) -> None:
        remove_crash_handler()
        for each in (self._listener, *(peer.socket for peer in self._peers.values())):
            close_in_child(each)

    def stop_listening(self) -> None:
        """Close the listening socket, since all ranks have connected."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait of the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            # A thread for each, so that a connection that sends nothing keeps no rank waiting.
            threading.Thread(target=self._serve, args=(visitor,), name="daskhpc-control-rank", daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        try:
            peer = Peer(visitor, self._context, server=True)
            rank, pid, answer = greet(peer, self._secret)
            self._admit(peer, rank, answer)
        except (OSError, ValueError, KeyError, TypeError):
            visitor.close()
            return
        last_lines: list[str] = []
        silent = False
        try:
            for line in peer.lines():
                if line == _END:
                    self._end()
                elif line == _BYE:
                    self._released.add(rank)
                elif line.startswith(_MEMORY):
                    with self._changed:
                        self._memory[rank] = int(line[len(_MEMORY) :])
                        self._changed.notify_all()
                elif len(last_lines) < _LAST_LINES:
                    last_lines.append(line.decode(errors="replace"))
        except OSError as error:
            silent = isinstance(error, TimeoutError) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
        with self._changed:
            self._peers.pop(rank, None)
            self._changed.notify_all()
        peer.close()
        if rank not in self._released:
            self._lost(Loss(rank, pid, tuple(last_lines), silent))

    def _admit(self, peer: Peer, rank: int, answer: bytes) -> None:
        """Add a rank; it gets the order to end even if the end comes right after the greeting."""
        with self._changed:
            peer.send(answer + _END if self._closing else answer)
            self._peers[rank] = self._all_peers[rank] = peer
            self._changed.notify_all()

    def wait_for_ranks(self, size: int, seconds: float) -> list[int]:
        """Wait so many seconds until every other rank has come; the ranks that have not."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._all_peers) >= size - 1, seconds)
            return [rank for rank in range(1, size) if rank not in self._all_peers]

    def send_value(self, rank: int, value: Any) -> None:
        """Send an object to a rank."""
        self._all_peers[rank].send_value(value)

    def receive_value(self, rank: int) -> Any:
        """The next object that a rank sends; EOFError if its process ended."""
        return self._all_peers[rank].receive_value()

    def descriptor_of(self, rank: int) -> int:
        """The file descriptor of a rank's socket; standard error if the rank has just been lost."""
        with self._changed:
            return self._peers[rank].socket.fileno() if rank in self._peers else 2

    def exceeded_memory_limit(self, ranks: Iterable[int]) -> int:
        """The memory limit for which the kernel ended a process on a node, as ranks on that node report it; else 0."""
        with self._changed:
            asked = [rank for rank in ranks if rank in self._peers]
            for rank in asked:
                self._memory.pop(rank, None)
                with contextlib.suppress(OSError):
                    self._peers[rank].send(_ASK_MEMORY)
            self._changed.wait_for(lambda: any(rank in self._memory for rank in asked) or not asked, _ANSWER_SECONDS)
            return max((self._memory.get(rank, 0) for rank in asked), default=0)

    def _end(self) -> None:
        self._watched.wait()
        if self.leave():
            self._on_end()

    def _lost(self, loss: Loss) -> None:
        self._watched.wait()
        with self._changed:
            left = set(self._peers)
            if self._closing or self._survives(loss, left):
                return
        if self._close(_LOST):
            self._on_lost(loss)

    def leave(self) -> bool:
        """From now on a rank that ends is no loss; every rank gets a message. True for the first caller."""
        return self._close(_END)

    def _close(self, word: bytes) -> bool:
        with self._changed:
            first, self._closing = not self._closing, True
            for peer in self._peers.values() if first else ():
                with contextlib.suppress(OSError):
                    peer.send(word)
        return first

    def meet(self) -> None:
        """Tell every rank that all of them finalize MPI now."""
        with self._changed:
            for peer in self._peers.values():
                with contextlib.suppress(OSError):
                    peer.send(_MEET)

    @property
    def closing(self) -> bool:
        """Whether the cluster is being closed, or a rank was lost that ends it."""
        return self._closing

    def workers_left(self) -> bool:
        """Whether every rank but the client has left in order, or ended."""
        with self._changed:
            return not set(self._peers) - self._released - {1}

    def wait_for_workers(self, seconds: float) -> None:
        """Wait until every rank but the client has ended; the client's exit code is to be the last."""
        with self._changed:
            self._changed.wait_for(lambda: not set(self._peers) - {1}, timeout=seconds)


class ControlConnection:
    """Every other rank's side.

    Parameters
    ----------
    address : Address
        Of rank 0.
    rank : int

    Raises
    ------
    OSError
        If rank 0 cannot be reached, or the process at its address does not know the secret.
    """

    def __init__(self, address: Address, rank: int) -> None:
        self._peer = connect(address, rank)
        self._watched = threading.Event()
        self._leaving = threading.Event()
        self._met = threading.Event()
        self._closing = False  # rank 0 has sent it, or this rank has left
        self._ended = threading.Event()
        # A forked child that lives on would keep the socket open, and hide the end of this process.
        os.register_at_fork(after_in_child=self._close_in_child)
        threading.Thread(target=self._read, name="daskhpc-control", daemon=True).start()

    def watch(self, on_end: Callable[[], None], on_lost: Callable[[bool, Sequence[str]], None]) -> None:
        """From now on the end of rank 0 is a loss; before, only a collective call notices it.

        Parameters
        ----------
        on_end : callable
            Called, from a thread, when the cluster is being closed.
        on_lost : callable
            Called once, from a thread, when rank 0 ends before the cluster was closed; with whether rank 0 reported
            that another rank was lost, and with the last lines that it wrote.
        """
        self._on_end, self._on_lost = on_end, on_lost
        self._watched.set()

    def _close_in_child(self) -> None:
        remove_crash_handler()
        close_in_child(self._peer.socket)

    def _read(self) -> None:
        told = False
        last_lines: list[str] = []
        with contextlib.suppress(OSError):
            for line in self._peer.lines():
                told = told or line == _LOST
                if line == _ASK_MEMORY:
                    self._peer.send(b"%b%d\n" % (_MEMORY, exceeded_memory_limit()))
                elif line == _END:
                    self._closing = True
                    self._leaving.set()
                    self._watched.wait()
                    self._on_end()
                elif line == _MEET:
                    self._met.set()
                elif line != _LOST:
                    last_lines.append(line.decode(errors="replace"))
        if not self._closing:
            self._watched.wait()
            # Before a thread that waits for the end of rank 0 goes on, and ends this process.
            self._on_lost(told, last_lines)
        self._met.set()
        self._ended.set()

    def send_value(self, value: Any) -> None:
        """Send an object to rank 0."""
        self._peer.send_value(value)

    def receive_value(self, rank: int = 0) -> Any:
        """The next object that rank 0 sends; EOFError if its process ended."""
        return self._peer.receive_value()

    def fileno(self) -> int:
        """The file descriptor of the socket."""
        return self._peer.socket.fileno()

    @property
    def ending(self) -> bool:
        """Whether the cluster is being closed, or this rank has left."""
        return self._leaving.is_set()

    def end(self) -> None:
        """Ask rank 0 to close the cluster; if rank 0 ends before it has answered, it is lost."""
        self._leave(_END)

    def leave(self) -> None:
        """This rank leaves in order."""
        self._closing = True
        self._leave(_BYE)

    def _leave(self, word: bytes) -> None:
        self._leaving.set()
        with contextlib.suppress(OSError):  # the reading thread sees why
            self._peer.send(word)

    def meet(self, seconds: float) -> None:
        """Wait until rank 0 sends that all ranks finalize MPI now, or has ended."""
        self._met.wait(seconds)

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until the process of rank 0 has ended."""
        return self._ended.wait(seconds)
