"""The program that forks the child processes of one Dask worker; `children` starts it.

Why it is so: a worker has many threads, and a fork copies only one of them, with the locks of all others as they stand.
So the worker starts this program once. It has one thread and never opens MPI, and it has imported what calls need
before they come: a child is there within milliseconds, and shares that memory with the others. (OpenBLAS ends its own
threads before a fork; the OpenMP libraries start theirs at their first use.)
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import multiprocessing
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

_MESSAGE_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1


def main(descriptor: int, folder: str, modules: Iterable[str]) -> None:
    """Serve the worker at the other end of a socket until it ends; no child outlives this process.

    Parameters
    ----------
    descriptor : int
        The socket.
    folder : str
        The folder with the program's modules; empty if there is none.
    modules : iterable of str
        What is imported before the first child is forked.

    Notes
    -----
    Requests are pickled tuples, one in each packet: ``("import", modules)``, ``("kill", pid)``, and with the file
    descriptor of the child's end of its connection ``("start", target, changes, key)``: what has changed in the
    worker's environment, and its key for connections of ``multiprocessing``. Answers are ``("started", pid)`` and
    ``("ended", pid, status)``, the status as `os.waitstatus_to_exitcode` gives it.
    """
    # A terminal's Ctrl-C is the client's; the worker's own end is seen by the end of its socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    with socket.socket(fileno=descriptor) as worker:
        _Server(worker, woken, wake, folder).serve(modules)


class _Server:
    def __init__(self, worker: socket.socket, woken: int, wake: int, folder: str) -> None:
        self.worker, self.woken, self.wake, self.folder = worker, woken, wake, folder
        self.children: set[int] = set()

    def serve(self, modules: Iterable[str]) -> None:
        self.load(modules)
        try:
            while True:
                sources: list[Any] = [self.worker, self.woken]
                readable, _, _ = select.select(sources, [], [])
                if self.woken in readable:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.woken, _MESSAGE_BYTES)
                    self.reap()
                if self.worker in readable and not self.answer():
                    return
        except (BrokenPipeError, ConnectionResetError):
            return  # the worker has ended
        finally:
            for pid in self.children:
                _kill(pid)

    def answer(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self.worker, _MESSAGE_BYTES, 1)
        if not message:
            return False
        what, *details = pickle.loads(message)
        if what == "import":
            self.load(details[0])
        elif what == "kill":
            if details[0] in self.children:
                _kill(details[0])
        elif what == "start":
            target, changes, key = details
            pid = self.fork(target, changes, key, descriptors[0])
            os.close(descriptors[0])
            self.children.add(pid)
            self.tell("started", pid)
        return True

    def reap(self) -> None:
        """Tell how children ended. What a child started itself ends with it: its process group is killed."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self.children:
                self.children.remove(pid)
                _kill(pid)
                self.tell("ended", pid, os.waitstatus_to_exitcode(status))

    def load(self, modules: Iterable[str]) -> None:
        """Import what can be imported; a child that needs another meets the error itself."""
        for name in modules:
            with contextlib.suppress(Exception):
                self.module(name)
        gc.collect()
        gc.freeze()  # so that a collection in a child does not write to, and thereby copy, the pages that all share

    def function(self, target: str) -> Callable[[Connection[Any, Any]], None]:
        module, _, name = target.partition(":")
        function: Callable[[Connection[Any, Any]], None] = getattr(self.module(module), name)
        return function

    def module(self, name: str) -> ModuleType:
        """Import a module. A file of the program's folder does not stand in for what daskhpc's own modules import."""
        before = list(sys.path)
        if self.folder and name.startswith("daskhpc."):
            sys.path[:] = [*(entry for entry in before if entry != self.folder), self.folder]
        try:
            return importlib.import_module(name)
        finally:
            sys.path[:] = before

    def tell(self, *message: Any) -> None:
        self.worker.send(pickle.dumps(message))

    def fork(self, target: str, changes: dict[str, str | None], key: bytes, descriptor: int) -> int:
        server = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            _die_with_parent(server)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for own in (self.woken, self.wake):
                os.close(own)
            self.worker.close()
            multiprocessing.current_process().authkey = key
            _draw_anew()
            for name, value in changes.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)
            gc.unfreeze()
            connection: Connection[Any, Any] = Connection(descriptor)
            self.function(target)(connection)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)


def _draw_anew() -> None:
    """Let NumPy's global generator begin anew, as Python's own does: all children would draw the same numbers."""
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()


def _die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent's process ends, which has one thread only."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill(pid: int) -> None:
    """End a child, and what it has started and not put into a group of its own."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
