"""The bytes of a control channel's socket, encrypted or not, as a file that can be read.

Why it is not `ssl.SSLSocket`: one thread waits for what comes while others send, and an SSLSocket may be used by one
thread at a time. Here a lock is held while bytes are encrypted or decrypted, never while they travel. And a process
that crashes writes its last words to the descriptor from C code, so they are not encrypted (`crash_report`): what does
not begin as a TLS record is taken as plain text, from there to the end.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from typing import Any

_RECORD_TYPES = range(20, 24)
_HEADER = 5
_READ = 1 << 16


class ControlStream(io.RawIOBase):
    """One side of a socket.

    Parameters
    ----------
    own : socket.socket
    seconds : float
        Until `established` is called, so much time is left for all that comes: a stranger may send a byte at a time.
    """

    def __init__(self, own: socket.socket, seconds: float) -> None:
        self._socket = own
        self._end: float | None = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._received = bytearray()  # not decrypted yet, or plain text

    def encrypt(self, context: ssl.SSLContext, server: bool) -> None:
        """Do TLS's handshake; OSError if the other side cannot show a certificate of this run."""
        self._tls = tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionResetError("the other side hung up") from None
            except ssl.SSLError:
                self._flush()  # the other side is to know why
                raise
            else:
                return self._flush()

    def established(self) -> None:
        """From now on wait without limit."""
        self._end = None
        self._socket.settimeout(None)

    def readable(self) -> bool:
        """True, for `io.BufferedReader`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for some bytes; 0 at the end."""
        view = memoryview(buffer)
        while True:
            if self._tls is None or self._is_plain():
                if self._received or self._fill():
                    count = min(len(view), len(self._received))
                    view[:count] = self._received[:count]
                    del self._received[:count]
                    return count
                return 0
            with self._lock:
                try:
                    data = self._tls.read(len(view))
                    view[: len(data)] = data
                    return len(data)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return 0
            if not self._receive():
                return 0

    def sendall(self, data: bytes) -> None:
        """Send bytes; one thread at a time."""
        if self._tls is None:
            self._wait_at_most()
            self._socket.sendall(data)
            return
        with self._lock:
            left = memoryview(data)
            while left:
                left = left[self._tls.write(left) :]
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            data = self._outgoing.read()
        self._wait_at_most()
        self._socket.sendall(data)

    def _is_plain(self) -> bool:
        return bool(self._received) and self._received[0] not in _RECORD_TYPES

    def _receive(self) -> bool:
        """Hand one whole record over to be decrypted, or see that plain text follows; False at the end."""
        while not self._is_plain():
            if len(self._received) >= _HEADER:
                size = _HEADER + int.from_bytes(self._received[3:5], "big")
                if len(self._received) >= size:
                    with self._lock:
                        self._incoming.write(bytes(self._received[:size]))
                    del self._received[:size]
                    return True
            if not self._fill():
                return False
        if self._tls is not None and self._end is not None:
            raise ConnectionAbortedError("the other side does not use TLS")
        return True

    def _fill(self) -> bool:
        self._wait_at_most()
        data = self._socket.recv(_READ)
        self._received += data
        return bool(data)

    def _wait_at_most(self) -> None:
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the other side took too long to introduce itself")
            self._socket.settimeout(left)
