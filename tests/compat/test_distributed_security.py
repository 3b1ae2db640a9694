"""What daskhpc changes of distributed's TLS is still there, and does what it is for."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import pickle
import socket
import ssl
import tempfile
from typing import Any

import dask
import msgpack
import pytest
import yaml
from distributed import Security
from distributed.comm import listen
from distributed.comm.tcp import TLSListener
from tornado.iostream import SSLIOStream
from waiting import until

from daskhpc.cluster.certificates import Identity
from daskhpc.cluster.encryption import local_security, new_identities
from daskhpc.cluster.plan import CLIENT, SCHEDULER
from daskhpc.compat import distributed_security as compat
from daskhpc.compat.distributed_security import HiddenText, SecurityInMemory, harden_connections, revealed
from daskhpc.compat.python import in_memory_file


def test_what_is_overridden_is_there() -> None:
    harden_connections()
    assert Security._get_tls_context is compat._context
    assert TLSListener._prepare_stream is compat._prepare_stream
    assert SSLIOStream.close is compat._close


def connected(identities: dict[str, Identity]) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """A client's and a server's end of a TLS connection, which do not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    client, server = (
        identity.context(server=served).wrap_socket(end, server_side=served, do_handshake_on_connect=False)
        for identity, end, served in zip((identities[CLIENT], identities[SCHEDULER]), ends, (False, True), strict=True)
    )
    waiting = {client, server}
    for end in (client, server):
        end.setblocking(False)
    while waiting:
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    return client, server


def test_a_connection_that_is_lost_takes_no_other_with_it() -> None:
    """Python 3.13 and later leave its error to the next one that is read."""
    identities = new_identities("tls", None)
    (lost, left), (one, other) = connected(identities), connected(identities)
    with contextlib.suppress(ssl.SSLWantReadError):
        lost.recv(1)
    lost.close()

    def fails() -> bool:
        try:
            left.send(b"x")
        except OSError:
            return True
        return False

    until(fails)
    compat.forget_tls_errors()
    for end in (other, one):
        with pytest.raises(ssl.SSLWantReadError):
            end.recv(1)
    for end in (one, other, left):
        end.close()


def test_a_file_in_memory_is_gone_afterwards() -> None:
    with in_memory_file("text") as path:
        with open(path) as file:
            assert file.read() == "text"
        assert "memfd:" in os.readlink(path)
    assert not os.path.exists(path)


def test_keys_touch_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    security = local_security(new_identities("tls", None))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda: pytest.fail("a folder for a key"))
    for role in ("scheduler", "worker", "client"):
        assert isinstance(security.get_connection_args(role)["ssl_context"], ssl.SSLContext)
    own = SecurityInMemory.of_worker(security)
    assert isinstance(own.get_listen_args("worker")["ssl_context"], ssl.SSLContext)
    assert security.tls_scheduler_key not in [getattr(own, name) for name in Security.__slots__]


def test_who_does_not_finish_the_handshake_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "HANDSHAKE_SECONDS", 0.2)
    security = local_security(new_identities("tls", None))

    async def visit() -> bytes:
        async def never(comm: Any) -> None:
            pytest.fail("a visitor without a key was let in")

        async with listen("tls://127.0.0.1:0", never, **security.get_listen_args("scheduler")) as listener:
            with socket.create_connection(listener.get_host_port()) as visitor:
                visitor.settimeout(60)
                return await asyncio.to_thread(visitor.recv, 1)

    assert asyncio.run(visit()) == b""


def test_a_hidden_text_is_shown_nowhere_and_travels_whole() -> None:
    harden_connections()
    key = HiddenText("the secret")
    shown = [str(key), repr({"key": key}), f"{key}", "%s" % key, key + "", json.dumps([key]), yaml.dump([key])]  # noqa: UP031
    shown += [str(msgpack.packb([key])), dask.config.deserialize(dask.config.serialize({"key": key}))["key"]]
    assert [text for text in shown if "secret of this run" not in text or "the secret" in text] == []
    for same in (pickle.loads(pickle.dumps(key)), copy.deepcopy({"key": key})["key"]):
        assert (same, revealed(same)) == (key, "the secret")
    assert key != HiddenText("another")
    assert revealed("a text") == "a text"


def test_a_hidden_key_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that has only unpickled it, too."""
    identity = new_identities("tls", None)["client"]
    files = {"tls_ca_file": identity.authority, "tls_client_cert": identity.certificate}
    stream = pickle.dumps(Security(require_encryption=True, **files, tls_client_key=HiddenText(identity.key)))
    monkeypatch.setattr(Security, "_get_tls_context", compat._original)
    security = pickle.loads(stream)
    assert isinstance(security.get_connection_args("client")["ssl_context"], ssl.SSLContext)
    assert "PRIVATE KEY" not in f"{security!r} {security._repr_html_()}"
