"""Child processes of a Dask worker: started within milliseconds, each ended alone, none outlives its worker.

The worker's process keeps its event loop and Dask's data, and runs no calls. A call that crashes, leaks memory or
is given up takes one child with it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from ..errors import DaskhpcError
from .session import session
from .watchdog_process import OWN_CHILD

_START_SECONDS = 60.0
_MESSAGE_BYTES = 1 << 16
_OWN = str(Path(__file__).parents[2])
# No file of the program's folder stands in for a module that daskhpc's own import.
_PROGRAM = f"""
import json, sys
path, own, folder, descriptor, modules = json.loads(sys.argv[1])
sys.path[:] = [*(entry for entry in path if entry != folder), own]
{OWN_CHILD}
sys.path[:] = path
child_server.main(descriptor, folder, modules)
"""

own_variables: dict[str, str] = {}
"""What daskhpc has set in this process's environment, for this process alone: children do not get it."""


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str | None]:
    """What was set or removed in an environment, the latter as None.

    Examples
    --------
    >>> changed({"A": "1", "B": "2"}, {"A": "1", "C": "3"})
    {'C': '3', 'B': None}
    """
    new: dict[str, str | None] = {name: value for name, value in now.items() if before.get(name) != value}
    new.update((name, None) for name in before if name not in now)
    return new


class Child:
    """A child process, and the connection to it.

    Attributes
    ----------
    pid : int
        Also its process group and its session.
    connection : multiprocessing.connection.Connection
        What is sent here, the child's target receives.
    """

    def __init__(self, pid: int, connection: Connection[Any, Any], server: ChildServer) -> None:
        self.pid = pid
        self.connection = connection
        self._server = server
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._status: int | None = None

    def send(self, message: bytes) -> None:
        """Send bytes, from any thread; OSError if the child has ended."""
        with self._sending:
            self.connection.send_bytes(message)

    def receive(self) -> bytes:
        """Wait for the bytes that the child sends next; EOFError if it ends before."""
        try:
            return self.connection.recv_bytes()
        except OSError as error:
            raise EOFError(str(error)) from None

    def kill(self) -> None:
        """End the child and what it has started; returns at once."""
        self._server._tell("kill", self.pid)

    @property
    def ended(self) -> bool:
        """Whether the child is known to have ended."""
        return self._ended.is_set()

    def status(self, seconds: float) -> int | None:
        """Wait for the child's end.

        Parameters
        ----------
        seconds : float
            How long.

        Returns
        -------
        int or None
            Its exit code, or the number of the signal that ended it as a negative number; None if it has not ended, or
            if its end is not known.
        """
        self._ended.wait(seconds)
        return self._status

    def close(self) -> None:
        """End the child and close the connection."""
        self.kill()
        self.connection.close()

    def _note_end(self, status: int | None) -> None:
        self._status = status
        self._ended.set()
        # Whoever waits for its words goes on, also if something that the child started still holds its end.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as own:
            own.shutdown(socket.SHUT_RDWR)


class ChildServer:
    """The process that forks children for this one, and all children.

    Parameters
    ----------
    modules : sequence of str
        What is imported before the first child is forked; what cannot be imported is left out. No module among them may
        start a thread or open MPI.

    Raises
    ------
    OSError
        If no process can be started.

    Examples
    --------
    A target takes the child's connection. This one is a function of Python itself, and leaves at once:

    >>> server = ChildServer()
    >>> child = server.start("gc:collect")
    >>> child.status(10)
    1
    >>> server.close()
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = [entry or os.getcwd() for entry in sys.path]
        self._environment = dict(os.environ)
        with other:
            orders = json.dumps([path, _OWN, session.program_folder, other.fileno(), list(modules)])
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, orders],
                stdin=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                start_new_session=True,
            )
        self._starting = threading.Lock()
        self._sending = threading.Lock()
        self._answered = threading.Condition()
        self._awaited: deque[Connection[Any, Any]] = deque()
        self._started: dict[int, Child] = {}
        self._children: dict[int, Child] = {}
        self._modules = set(modules)
        self.ended = False
        threading.Thread(target=self._listen, name="daskhpc-children", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def children(self) -> list[Child]:
        """The children that run."""
        return list(self._children.values())

    def load(self, modules: Sequence[str]) -> None:
        """Import those modules before the next child is forked that were not yet."""
        new = [name for name in modules if name not in self._modules]
        if new:
            self._modules.update(new)
            self._tell("import", new)

    def start(self, target: str) -> Child:
        """Start a child.

        Parameters
        ----------
        target : str
            ``"module:function"``; the function is called in the child with the child's end of the connection, in the
            main thread, and the child ends when it returns. The child has this process's environment as it is now.

        Raises
        ------
        DaskhpcError
            If the server has ended, or does not answer.
        """
        own, other = Pipe(duplex=True)
        with self._starting, other:
            with self._answered:
                self._awaited.append(own)
            try:
                with self._sending:
                    # Its key too, so that the proxies of a multiprocessing.Manager work in it.
                    key = bytes(multiprocessing.current_process().authkey)
                    request = pickle.dumps(("start", target, changed(self._environment, os.environ), key))
                    socket.send_fds(self._socket, [request], [other.fileno()])
            except OSError:
                pass  # `_listen` sees the server's end
            with self._answered:
                self._answered.wait_for(lambda: id(own) in self._started or self.ended, _START_SECONDS)
                child = self._started.pop(id(own), None)
        if child is None:
            own.close()
            raise DaskhpcError(
                "A worker could not start a child process for a call.",
                f"the process that forks them, {self._process.pid}, {'ended' if self.ended else 'does not answer'}",
                "look at the worker's log, and at the limits of processes and memory (ulimit -a)",
            )
        return child

    def close(self) -> None:
        """End the server and all its children; returns when the server has ended."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()

    def _tell(self, *message: Any) -> None:
        with contextlib.suppress(OSError), self._sending:
            self._socket.send(pickle.dumps(message))

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while message := self._socket.recv(_MESSAGE_BYTES):
                what, pid, *details = pickle.loads(message)
                if what == "started":
                    with self._answered:
                        connection = self._awaited.popleft()
                        self._children[pid] = self._started[id(connection)] = Child(pid, connection, self)
                        self._answered.notify_all()
                elif pid in self._children:
                    self._children.pop(pid)._note_end(details[0])
        self._process.wait()
        self.ended = True
        for child in self.children:  # they end with it
            child._note_end(None)
        with self._answered:
            self._answered.notify_all()
        self._socket.close()


_servers: weakref.WeakKeyDictionary[Any, ChildServer] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def children_of(worker: Any, modules: Sequence[str] = ()) -> ChildServer:
    """The child server of a Dask worker, started at the first call of this function, and again if it has ended.

    Parameters
    ----------
    worker : distributed.Worker
    modules : sequence of str
        As of `ChildServer`; modules that a running server lacks are imported before its next child.
    """
    with _lock:
        server = _servers.get(worker)
        if server is None or server.ended:
            server = _servers[worker] = ChildServer(modules)
            weakref.finalize(worker, server.close)
        else:
            server.load(modules)
        return server


def close_children_of(worker: Any) -> None:
    """End all child processes of a Dask worker, which closes."""
    with _lock:
        server = _servers.pop(worker, None)
    if server is not None:
        server.close()
