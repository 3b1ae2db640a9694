"""The signals that the program answers: ignored on all ranks but the client's, which gets its handlers back."""

from __future__ import annotations

import ctypes
import signal
import threading
from typing import Any

from ..compat.python import take_interrupts

_PROGRAM_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_SIGACTION_BYTES = 256  # more than C's struct sigaction has on any system
_handlers: dict[int, Any] = {}
_before_mpi: dict[int, ctypes.Array[ctypes.c_char]] = {}


def leave_signals_to_program() -> None:
    """Ignore the signals that the client answers, if this is the main thread, until `answer_signals_again`.

    Launchers send them to every process of a job: an interrupt of the terminal, or what ``sbatch --signal=USR1@120``
    asks for. The program's own handler runs on the client; without one the signal ends the client, and so the cluster.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _PROGRAM_SIGNALS:
            _handlers.setdefault(number, signal.getsignal(number))
            signal.signal(number, signal.SIG_IGN)


def remember_handlers() -> None:
    """Before the MPI library is loaded: keep the program's handlers, also those of C (``faulthandler.register``)."""
    sigaction = ctypes.CDLL(None).sigaction
    for number in _PROGRAM_SIGNALS:
        action = ctypes.create_string_buffer(_SIGACTION_BYTES)
        if sigaction(int(number), None, action) == 0:
            _before_mpi[number] = action


def let_program_answer_signals() -> None:
    """On the client: put the handlers back. MPI libraries, and UCX below them, take SIGHUP and SIGUSR1 for themselves.

    If the program itself has loaded MPI before, Python's own handlers alone are known.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _PROGRAM_SIGNALS:
            handler = signal.getsignal(number)
            if handler is not None:  # None: set by C code before Python began
                signal.signal(number, handler)
    _put_back()


def answer_signals_again() -> None:
    """Undo `leave_signals_to_program`."""
    while _handlers:
        number, handler = _handlers.popitem()
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _put_back()


def _put_back() -> None:
    while _before_mpi:
        number, action = _before_mpi.popitem()
        ctypes.CDLL(None).sigaction(int(number), action, None)


def let_children_answer_interrupts() -> None:
    """In a worker process: take an interrupt by a handler that does nothing, in place of ignoring it.

    A program that a task starts inherits what is ignored, and no handler. ``Popen.send_signal(SIGINT)`` is to end it.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.siginterrupt(signal.SIGINT, False)
        take_interrupts()
