"""Dask's TLS with what it lacks: keys that are texts stay off the disk and out of print, and a handshake has an end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

from distributed import Security
from distributed.comm.tcp import TLSListener
from tornado.iostream import SSLIOStream

from .python import in_memory_file

_original = Security._get_tls_context
_original_prepare = TLSListener._prepare_stream
_original_close = SSLIOStream.close
_any_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
HANDSHAKE_SECONDS = 30.0
"""As long as Dask's own side tries to connect."""


_SHOWN = "a secret of this run, which is not shown\n"  # of two lines, as Dask takes a text of one for a path


class HiddenText(str):
    """A secret in Dask's configuration: printed or written, it is another text; `revealed` gives the secret.

    Why it is so: Dask prints its configuration, writes it to ``client.dump_cluster_state`` from every worker, and puts
    it into command lines of SSHCluster. All of these take the characters of a text, which here are not the secret's.

    Parameters
    ----------
    secret : str

    Examples
    --------
    >>> key = HiddenText("xyz")
    >>> {"key": key}, revealed(key)
    ({'key': 'a secret of this run, which is not shown\\n'}, 'xyz')
    """

    __slots__ = ("secret",)
    secret: str

    def __new__(cls, secret: str) -> HiddenText:
        text = super().__new__(cls, _SHOWN)
        text.secret = secret
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HiddenText) and self.secret == other.secret

    def __ne__(self, other: object) -> bool:  # str has one, which compares the characters
        return not self == other

    def __hash__(self) -> int:
        return hash(self.secret)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # A pickle, which goes to a process of the run, has the secret. YAML's dumper asks by protocol 2, and prints.
        return (_hidden_again, (self.secret,)) if protocol > 2 else (str, (str(self),))


def _hidden_again(secret: str) -> HiddenText:
    harden_connections()  # a process of a cluster that a task makes, for instance, has to know what is hidden
    return HiddenText(secret)


def revealed(text: str) -> str:
    """The text itself, or the secret that it hides."""
    return text.secret if isinstance(text, HiddenText) else text


def _context(self: Any, tls: dict[str, Any], purpose: ssl.Purpose) -> Any:
    with contextlib.ExitStack() as files:
        texts = {name: tls[name] for name in ("cert", "key") if "\n" in (tls.get(name) or "")}
        paths = {name: files.enter_context(in_memory_file(revealed(text))) for name, text in texts.items()}
        return _original(self, {**tls, **paths}, purpose)


class SecurityInMemory(Security):  # type: ignore[misc]
    """A Security that keeps keys off the disk in any process, such as a worker's, which gets it from its Nanny."""

    __slots__ = ()
    _get_tls_context = _context

    @classmethod
    def of_worker(cls, security: Security) -> SecurityInMemory:
        """The same without the scheduler's key, which a LocalCluster gives to all; a cluster in a task has another."""
        own = cls.__new__(cls)
        for name in Security.__slots__:
            setattr(own, name, getattr(security, name))
        own.tls_scheduler_cert, own.tls_scheduler_key = own.tls_worker_cert, own.tls_worker_key
        return own


async def _prepare_stream(self: Any, stream: Any, address: str) -> Any:
    try:
        return await asyncio.wait_for(_original_prepare(self, stream, address), HANDSHAKE_SECONDS)
    except TimeoutError:
        stream.close()
        return None


def forget_tls_errors() -> None:
    """Clear what OpenSSL keeps of an error of a connection in this thread.

    Why it is so: if a connection is lost, Python 3.13 to 3.15 raise a BrokenPipeError and leave OpenSSL's error where
    it is. The next read of any other connection in this thread takes it for its own, and Dask gives up a worker or a
    client that is well. Python has no call for this alone, but a refused list of ciphers clears the errors.
    """
    with contextlib.suppress(ssl.SSLError):
        _any_context.set_ciphers("none of this name")


def _close(self: Any, exc_info: Any = False) -> None:
    forget_tls_errors()
    _original_close(self, exc_info)


def harden_connections() -> None:
    """In this process: keys do not touch the disk, and what happens to one connection has an end and stays there.

    Dask writes keys for a moment to a folder of its own in TMPDIR to hand them to Python's ssl. It waits for ever for a
    visitor that connects and sends nothing, so that enough of them would take all file descriptors. Here a connection
    is closed that does not finish TLS's handshake. One that is lost takes no other with it.
    """
    Security._get_tls_context = _context
    TLSListener._prepare_stream = _prepare_stream
    SSLIOStream.close = _close  # type: ignore[method-assign]
