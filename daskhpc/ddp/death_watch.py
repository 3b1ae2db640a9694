"""The moment at which another process of this node ends, to a fraction of a millisecond, whatever ends it.

Why it is so: the first of two ranks that fail at almost the same time has to be found. The kernel closes a process's
connections only after it has freed its memory, which for one that has imported torch takes 25 to 60 ms; SIGCHLD comes
later still. But before that it releases the locks that the process holds: a thread that waits for a robust mutex in
shared memory wakes at once. Python has no such lock, the C library has.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
import time

_BYTES = 4096
_OWNER_DIED = 130  # EOWNERDEAD
_SHARED = _ROBUST = 1


class DeathWatch:
    """A lock that a process takes once and holds until it ends.

    Attributes
    ----------
    path : str
        By which the other process finds it.
    time_ns : int
        When that process ended, in Unix time; 0 before, and if it never took the lock.
    """

    def __init__(self) -> None:
        self.time_ns = 0
        self._descriptor = os.memfd_create("daskhpc-life")
        os.ftruncate(self._descriptor, _BYTES)
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        self._c, self._memory, self._mutex = _mapped(self._descriptor)
        attributes = ctypes.create_string_buffer(64)
        self._c.pthread_mutexattr_init(attributes)
        self._c.pthread_mutexattr_setpshared(attributes, _SHARED)
        self._c.pthread_mutexattr_setrobust(attributes, _ROBUST)
        self._c.pthread_mutex_init(self._mutex, attributes)
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """From now on, wait for the end of the process, which has taken the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._wait, daemon=True, name="daskhpc-life")
            self._thread.start()

    def end(self, seconds: float) -> int:
        """The time of the end of the process, which has ended; gives everything back."""
        if self._thread is not None:
            self._thread.join(seconds)
        if self._thread is None or not self._thread.is_alive():
            os.close(self._descriptor)
        return self.time_ns

    def _wait(self) -> None:
        if self._c.pthread_mutex_lock(self._mutex) == _OWNER_DIED:
            self.time_ns = time.time_ns()
            self._c.pthread_mutex_consistent(self._mutex)
        self._c.pthread_mutex_unlock(self._mutex)


_held: list[object] = []


def hold(path: str) -> None:
    """Take the lock of a `DeathWatch` of another process, in the main thread, until this process ends."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        c, memory, mutex = _mapped(descriptor)
        os.close(descriptor)
        c.pthread_mutex_lock(mutex)
        _held.append(memory)


def _mapped(descriptor: int) -> tuple[ctypes.CDLL, mmap.mmap, ctypes.c_void_p]:
    memory = mmap.mmap(descriptor, _BYTES)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return ctypes.CDLL(None), memory, ctypes.c_void_p(address)
