"""One socket between rank 0 and another rank: how both sides greet, send lines, and exchange objects.

Both sides show that they know the secret of this job, neither sends it, and nothing is unpickled before that. (The
same exchange in ``multiprocessing.connection`` has no limit of time, so that a connection that sends nothing would
keep all waiting.) If a run is encrypted, all of this is inside TLS, and both sides show a certificate of this run.

The protection depends on how a rank gets the secret and its first key, before it has a channel. With MPI it gets them
over MPI, whose traffic the site has to protect. Without MPI it reads them from a note, if the note's owner and mode are
right (`rendezvous`).
"""

from __future__ import annotations

import base64
import hmac
import io
import json
import os
import pickle
import queue
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .certificates import Identity
from .control_stream import ControlStream

GREETING_SECONDS = 10.0
_GREETING_BYTES = 512
_VALUE = b"value "
# A silent node is lost after 15 + 6 x 5 = 45 s.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 6}


@dataclass(frozen=True, slots=True)
class Address:
    """Where rank 0 listens, and the secret that both sides have to know.

    Attributes
    ----------
    hosts : tuple[str, ...]
        Names or addresses of rank 0's node, the best first.
    port : int
    secret : str
    identity : Identity or None
        With which a rank introduces itself; None if the channel is not encrypted.
    """

    hosts: tuple[str, ...]
    port: int
    secret: str = field(repr=False)
    identity: Identity | None = None

    @classmethod
    def from_note(cls, note: Mapping[str, Any]) -> Address:
        """The address of which `dataclasses.asdict` made a note.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the note is none.
        """
        identity = Identity(**note["identity"]) if note.get("identity") else None
        return cls(tuple(note["hosts"]), int(note["port"]), str(note["secret"]), identity)


class Peer:
    """One side of a socket: lines to and from the other process, and the values that collective calls exchange.

    Parameters
    ----------
    own : socket.socket
    context : ssl.SSLContext or None
        None if nothing is encrypted.
    server : bool
        Whether the other side connected to this one.

    Raises
    ------
    OSError
        If the other side cannot show a certificate of this run in time.
    """

    def __init__(self, own: socket.socket, context: ssl.SSLContext | None = None, server: bool = False) -> None:
        self.socket = own
        self._stream = ControlStream(own, GREETING_SECONDS)
        if context is not None:
            self._stream.encrypt(context, server)
        self.reader = io.BufferedReader(self._stream)
        self._sending = threading.Lock()
        self._values: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, line: bytes) -> None:
        """Send a line; OSError if the other process has ended."""
        with self._sending:
            self._stream.sendall(line)

    def send_value(self, value: Any) -> None:
        """Send an object, by pickle: both sides have shown that they know the secret."""
        self.send(_VALUE + base64.b64encode(pickle.dumps(value)) + b"\n")

    def receive_value(self) -> Any:
        """The next object that the other side sends; EOFError if its process ended."""
        value = self._values.get()
        if value is None:
            self._values.put(None)
            raise EOFError("its process ended")
        return pickle.loads(base64.b64decode(value))

    def lines(self) -> Iterator[bytes]:
        """The lines that come, values apart, until the other process ends.

        Raises
        ------
        OSError
            If its node fell silent, or its kernel answers that the process has ended.
        """
        try:
            while line := self.reader.readline():
                if line.startswith(_VALUE):
                    self._values.put(line[len(_VALUE) :])
                else:
                    yield line
        finally:
            self._values.put(None)

    def close(self) -> None:
        """Close the socket in this process."""
        self.reader.close()
        self.socket.close()

    def established(self) -> None:
        """The greeting is over: wait without limit for what comes, and find a silent node."""
        self._stream.established()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_NODELAY, 1), *_KEEPALIVE.items()):
            self.socket.setsockopt(socket.IPPROTO_TCP, option, value)


def greet(peer: Peer, secret: str) -> tuple[int, int, bytes]:
    """On rank 0: see that a visitor is a rank of this job.

    Returns
    -------
    int, int, bytes
        Its rank, its process id, and the line that proves to it that this is rank 0; the line has not been sent yet.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        If the visitor is no rank of this job, or sends nothing.
    """
    challenge = secrets.token_hex(16)
    peer.send(challenge.encode() + b"\n")
    hello = json.loads(peer.reader.readline(_GREETING_BYTES))
    if not hmac.compare_digest(hello["proof"], _proof(secret, "rank", challenge)):
        raise ValueError("does not know the secret")
    peer.established()
    return int(hello["rank"]), int(hello["pid"]), _proof(secret, "rank 0", hello["challenge"]).encode() + b"\n"


def connect(address: Address, rank: int) -> Peer:
    """On every other rank: connect to rank 0.

    Raises
    ------
    OSError
        If it cannot be reached, or the process at its address does not know the secret.
    """
    problem = OSError("rank 0 has no address")
    context = address.identity.context(server=False) if address.identity is not None else None
    for host in address.hosts:
        try:
            own = socket.create_connection((host, address.port), timeout=GREETING_SECONDS)
        except OSError as error:
            problem = error
            continue
        try:
            peer = Peer(own, context)
            _introduce(peer, address.secret, rank)
        except (OSError, ValueError) as error:
            own.close()
            why = f": {error.verify_message}" if isinstance(error, ssl.SSLCertVerificationError) else ""
            problem = ConnectionRefusedError(f"{host}:{address.port} is not rank 0 of this job{why}")
        else:
            return peer
    raise problem


def _introduce(peer: Peer, secret: str, rank: int) -> None:
    challenge, own_challenge = peer.reader.readline(_GREETING_BYTES).decode().strip(), secrets.token_hex(16)
    hello = {"rank": rank, "pid": os.getpid(), "proof": _proof(secret, "rank", challenge), "challenge": own_challenge}
    peer.send(json.dumps(hello).encode() + b"\n")
    answer = peer.reader.readline(_GREETING_BYTES).strip()
    if not hmac.compare_digest(answer, _proof(secret, "rank 0", own_challenge).encode()):
        raise ValueError("does not know the secret")
    peer.established()


def check_reachable(address: Address) -> None:
    """Connect and hang up at once; OSError if that is impossible."""
    socket.create_connection((address.hosts[0], address.port), timeout=GREETING_SECONDS).close()


def _proof(secret: str, side: str, challenge: str) -> str:
    """What shows that a side knows the secret, without showing the secret."""
    return hmac.new(secret.encode(), f"{side} {challenge}".encode(), "sha256").hexdigest()


def close_in_child(own: socket.socket) -> None:
    """Close a socket in a forked child, though a file was made of it; another fork finds nothing to close."""
    descriptor = own.detach()
    if descriptor >= 0:
        os.close(descriptor)
