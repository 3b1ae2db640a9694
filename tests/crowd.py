"""A crowd of strangers before the doors of a run: garbage, half a handshake, silence, a byte a second.

It runs by itself, with Python's own library alone::

    python crowd.py COUNT HOST:PORT ...

So many come to each port. When all have come, it prints how many were let connect, and stays until its standard input
ends.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
SAID = (b"", b"GET / HTTP/1.1\r\n\r\n", HELLO, b"\0" * 100, os.urandom(2000))
"""What one of them says first; who begins as TLS does goes on slowly."""


@contextlib.contextmanager
def crowd(count: int, places: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """So many strangers at each place while the block runs; its standard output says when all have come."""
    line = [sys.executable, __file__, str(count), *places]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def come(count: int, places: Sequence[str]) -> list[tuple[int, socket.socket]]:
    """Connect and say something, one place after the other; one that is refused stays away."""
    came = []
    for number in range(count):
        for place in places:
            host, _, port = place.rpartition(":")
            with contextlib.suppress(OSError):
                visitor = socket.create_connection((host, int(port)), timeout=20)
                came.append((number % len(SAID), visitor))
                visitor.sendall(SAID[number % len(SAID)])
                if number % 2:
                    visitor.shutdown(socket.SHUT_WR)  # half of the connection is closed
    return came


def main() -> None:
    """Come, say how many, stay."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    came = come(int(sys.argv[1]), sys.argv[2:])
    print(len(came), flush=True)
    slow = [visitor for kind, visitor in came if SAID[kind] == HELLO]
    while not select.select([sys.stdin], [], [], 1)[0]:
        for visitor in slow:
            with contextlib.suppress(OSError):
                visitor.send(b"\0")


if __name__ == "__main__":
    main()
