"""The end of the client by a signal that its program does not answer: in order, with 128 and the signal as exit code.

Why it is so: by its default such a signal ends this process alone, and no message names it. MPICH's mpiexec then
kills all ranks and reports what their codes have together: 11, a segmentation fault, for SIGUSR1. A handler of Python
would not run during a long call of C code, and the program would see it: from `signal.getsignal` libraries learn
whether to set their own (Lightning does for SIGUSR1). So the handler is faulthandler's. It writes where each
thread is to a pipe, one for each signal, which a thread reads. The kernel may give the signal to any thread, and does
so if the machine is busy; the place that is told is the main thread's.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from ..compat.python import register_below
from ..errors import DaskhpcError

_SIGNALS = (
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGXCPU,
)
_STAND_STILL = signal.SIGRTMIN + 9
_READ_SECONDS = 0.5
_STILL_SECONDS = 2.0


class UnansweredSignals:
    """Ends the program by ``os._exit`` after a signal that it does not answer; made in the main thread.

    Parameters
    ----------
    turn : threading.RLock
        Of the thread that ends the program: if it has been taken, the program is at its end, and nothing is done.

    Notes
    -----
    Until the end the main thread stands still, unless it is in C code: it would complain of a cluster that closes.
    """

    def __init__(self, turn: threading.RLock) -> None:
        self.turn = turn
        self.came = False
        self.still: queue.SimpleQueue[None] = queue.SimpleQueue()  # a handler may put while the same thread puts
        self.main = threading.main_thread()
        self.undo: list[Callable[[], None]] = []
        self.signals: dict[int, signal.Signals] = {}
        answered = _answered()
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL and not answered >> (number - 1) & 1:
                reading, writing = os.pipe()
                os.set_blocking(writing, False)  # in a handler nothing must wait: with the GIL, nobody would read
                self.undo.append(register_below(number, writing))
                self.signals[reading] = number
        signal.signal(_STAND_STILL, self._stand_still)
        os.register_at_fork(after_in_child=self._forget)
        self.thread = threading.Thread(target=self._wait, name="daskhpc-signals", daemon=True)
        self.thread.start()

    def wait_if_one_came(self) -> None:
        """When the program ends: if such a signal came before, the thread is about to end it with the signal's code.

        The thread itself comes here too, by its ``os._exit``, and may have left a part of what faulthandler wrote.
        """
        if threading.current_thread() is self.thread:
            return
        if self.came or select.select(list(self.signals), [], [], 0)[0]:
            self._stand_still()

    def _forget(self) -> None:
        """A forked child has the defaults: what it wrote would end this process."""
        for undo in self.undo:
            undo()

    def _stand_still(self, *_: object) -> NoReturn:
        self.still.put(None)
        while True:
            time.sleep(_STILL_SECONDS)

    def _wait(self) -> None:
        ready, _, _ = select.select(list(self.signals), [], [])
        self.came = True
        if not self.turn.acquire(blocking=False):
            return
        thread = self.main.ident or 0
        place = _place(ready[0], thread) or _line_of(sys._current_frames().get(thread))
        signal.pthread_kill(thread, _STAND_STILL)
        with contextlib.suppress(queue.Empty):
            self.still.get(timeout=_STILL_SECONDS)
        number = self.signals[ready[0]]
        # Not by print: the main thread may hold what it needs.
        with contextlib.suppress(OSError):  # nobody reads it, such as after the SIGHUP of a terminal that was closed
            os.write(2, f"daskhpc: {message(number, place)}\n".encode())
        os._exit(128 + number)


def message(number: signal.Signals, place: str) -> DaskhpcError:
    """The message about the signal; `place` is the line of the program, or empty."""
    if number == signal.SIGXCPU:
        todo = "ulimit -t shows the limit of seconds; a batch job may have none"
    else:
        todo = f"signal.signal(signal.{number.name}, ...) in the program, if it is to answer it"
    at = f", at {place}" if place else ""
    what = "used up its limit of CPU time (SIGXCPU)" if number == signal.SIGXCPU else f"got {number.name}"
    return DaskhpcError(
        f"The program {what} and has no handler, so the job ends with exit code {128 + number}.",
        f"process {os.getpid()} on {socket.gethostname()}{at}",
        todo,
    )


def _place(descriptor: int, thread: int) -> str:
    """The innermost line of a thread, from what faulthandler writes within a moment; empty if it is not there."""
    text, until = b"", time.monotonic() + _READ_SECONDS
    while select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
        text += os.read(descriptor, 65536)
        stack, _, _ = text.partition(b"0x%016x" % thread)[2].partition(b"hread 0x")
        for line in stack.splitlines(keepends=True):
            if line.lstrip().startswith(b"File ") and line.endswith(b"\n"):
                return line.decode(errors="replace").strip()
    return ""


def _line_of(frame: FrameType | None) -> str:
    """The line of `frame` as faulthandler writes it; the main thread has none if it has ended."""
    if frame is None:
        return ""
    return f'File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'


def _answered() -> int:
    """A bit for each signal that this process ignores or catches, also in C code (``faulthandler.register``)."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["SigIgn"], 16) | int(fields["SigCgt"], 16)
