"""Who is let in: keys of this run alone, whatever the clocks say, and nothing readable on the way."""

from __future__ import annotations

import builtins
import contextlib
import copy
import dataclasses
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dask
import pytest
from clusters import start_cluster
from distributed import Client, Security
from example_plans import runtime, settings
from waiting import until

from daskhpc.cluster import certificates, control_socket
from daskhpc.cluster.certificates import Authority, Identity
from daskhpc.cluster.control_channel import ControlConnection, ControlServer
from daskhpc.cluster.encryption import choose_protocol, local_security, new_identities, use_in_dask
from daskhpc.cluster.refused_connections import FewOfMany
from daskhpc.compat.distributed import worker_infos
from daskhpc.compat.distributed_security import revealed
from daskhpc.errors import StartError

HOUR = 3600.0
DAY = 24 * HOUR
NO_KEY = ssl.SSLError("no key")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(time.time() + HOUR)


def handshake(server: Identity, client: Identity) -> str:
    """What both sides of a connection say: "" if they let each other in."""
    ours, theirs = socket.socketpair()
    said: list[str] = []

    def serve() -> None:
        try:
            with server.context(server=True).wrap_socket(ours, server_side=True) as own:
                own.settimeout(60)
                own.recv(1)
        except (ssl.SSLError, ConnectionError) as error:
            said.append(str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.context(server=False).wrap_socket(theirs) as own:
            own.settimeout(60)
            own.send(b"x")
    except (ssl.SSLError, ConnectionError) as error:
        said.insert(0, str(error))
    finally:
        theirs.close()
        thread.join(60)
    return said[0] if said else ""


def test_keys_of_one_run_fit(authority: Authority) -> None:
    assert handshake(authority.identity("scheduler"), authority.identity("client", listens=False)) == ""


def test_a_key_of_another_run_does_not_fit(authority: Authority) -> None:
    other = Authority().identity("client")
    assert "certificate verify failed" in handshake(authority.identity("scheduler"), other)
    believing = dataclasses.replace(other, authority=authority.identity("x").authority)
    assert handshake(authority.identity("scheduler"), believing) != ""


def test_a_clients_key_does_not_serve_for_a_scheduler(authority: Authority) -> None:
    client = authority.identity("client", listens=False)
    assert "unsuitable certificate purpose" in handshake(client, client)


@pytest.mark.parametrize("ahead", [-HOUR, HOUR, 0.9 * DAY])
def test_clocks_may_differ(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    """Rank 0's clock is an hour ahead or behind; the certificates are looked at by this one's."""
    now = time.time()
    monkeypatch.setattr(certificates.time, "time", lambda: now + ahead)
    made = Authority(now + ahead + 60)
    monkeypatch.undo()
    assert handshake(made.identity("scheduler"), made.identity("worker")) == ""


def test_keys_end_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(certificates.time, "time", lambda: now - 3 * DAY)
    made = Authority(now - 2 * DAY)
    monkeypatch.undo()
    assert "certificate has expired" in handshake(made.identity("scheduler"), made.identity("worker"))


def test_a_key_is_not_printed(authority: Authority) -> None:
    identity = authority.identity("worker")
    assert identity.key.splitlines()[1] not in f"{identity!r} {identity}"


def test_a_rank_of_another_run_is_refused_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "GREETING_SECONDS", 0.5)
    server, other = ControlServer("127.0.0.1", encrypted=True), ControlServer("127.0.0.1", encrypted=True)
    try:
        address = server.address("127.0.0.1")
        for identity in (other.address("127.0.0.1").identity, None):
            with pytest.raises(ConnectionRefusedError, match="is not rank 0 of this job"):
                ControlConnection(dataclasses.replace(address, identity=identity), 2)
    finally:
        for each in (server, other):
            each.stop_listening()


def test_nobody_comes_when_all_are_here() -> None:
    server = ControlServer("127.0.0.1", encrypted=True)
    address = server.address("127.0.0.1")
    connection = ControlConnection(address, 1)
    server.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        ControlConnection(address, 2)
    connection.send_value("still here")
    assert server.receive_value(1) == "still here"


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_ranks_say_is_readable_only_without_encryption(encrypted: bool) -> None:
    server = ControlServer("127.0.0.1", encrypted=encrypted)
    address = server.address("127.0.0.1")
    with listened_to(address.port) as (port, heard):
        connection = ControlConnection(dataclasses.replace(address, port=port), 1)
        until(lambda: not server.wait_for_ranks(2, 0))
        connection.send_value({"large": "x" * 300_000})
        connection.send_value("end of it")
        assert [server.receive_value(1) for _ in range(2)] == [{"large": "x" * 300_000}, "end of it"]
        assert (b"value " in bytes(heard)) is not encrypted
    server.stop_listening()


@contextlib.contextmanager
def listened_to(port: int) -> Iterator[tuple[int, bytearray]]:
    """A port that passes everything on to another, and what it heard; one connection."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pass_on(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    heard.extend(data)
                    target.sendall(data)

        def accept() -> None:
            visitor, _ = listener.accept()
            own = socket.create_connection(("127.0.0.1", port))
            sockets.extend((visitor, own))
            for pair in ((visitor, own), (own, visitor)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

        sockets: list[socket.socket] = []
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], heard
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.mark.parametrize(
    ("given", "job", "hosts", "value", "source"),
    [
        ({}, None, ["n1"], "tcp", "this machine alone"),
        ({}, None, ["n1", "n1", "n2"], "tls", "2 nodes"),
        ({}, "7", ["n1"], "tls", "other users may have jobs on this node"),
        ({"protocol": "tcp"}, "7", ["n1", "n2"], "tcp", "argument"),
        ({"protocol": "tls://"}, None, ["n1"], "tls", "argument"),
    ],
)
def test_what_is_encrypted(given: dict[str, Any], job: str | None, hosts: list[str], value: str, source: str) -> None:
    here = runtime()
    here = dataclasses.replace(here, job=dataclasses.replace(here.job, value=job))
    chosen = choose_protocol(settings(**given), here, hosts)
    assert (chosen.value, chosen.source) == (value, source)


def test_a_protocol_of_dasks_configuration_is_kept() -> None:
    with dask.config.set({"distributed.comm.default-scheme": "ucx"}):
        assert choose_protocol(settings(), runtime(), ["n1", "n2"]).value == "ucx"


def test_certificates_of_dasks_configuration_are_kept() -> None:
    with dask.config.set({"distributed.comm.tls.ca-file": "ca.pem"}):
        assert new_identities("tls", None) == {}


def test_each_role_has_a_key_of_its_own_and_no_other() -> None:
    identities = new_identities("tls", None)
    for role, identity in identities.items():
        before = copy.deepcopy(dask.config.config)
        use_in_dask(identity, role)
        told = [text for role in dask.config.get("distributed.comm.tls").values() for text in texts_of(role)]
        dask.config.config.clear()
        dask.config.config.update(before)
        assert [name for name, other in identities.items() if other.key in told] == [role]


def texts_of(setting: Any) -> list[str]:
    """The texts of one role, the hidden ones revealed."""
    return [revealed(text) for text in setting.values() if text] if isinstance(setting, dict) else []


def test_without_the_package_one_message_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError("No module named 'cryptography'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StartError) as caught:
        ControlServer("127.0.0.1", encrypted=True)
    happened, found, todo = caught.value.args
    assert happened == "The connections of this run cannot be encrypted."
    assert found == "No module named 'cryptography'"
    assert "-m pip install cryptography" in todo
    assert "PROTOCOL=tcp" in todo


def test_many_refusals_are_few_lines() -> None:
    few = FewOfMany()

    def refused(
        text: str = "Listener on %r: TLS handshake failed with remote %r: %s", error: Any = NO_KEY
    ) -> logging.LogRecord:
        return logging.LogRecord("distributed.comm.tcp", logging.WARNING, "", 0, text, ("a", "b", error), None)

    seen = [record.getMessage() for record in (refused() for _ in range(1200)) if few.filter(record)]
    assert len(seen) == 3 + 3
    assert seen[-1].startswith("1000 connections so far that could not show a key of this run; the last: Listener")
    assert few.filter(refused("another record %s %s %s"))
    for hung_up in (ssl.SSLEOFError("EOF"), ConnectionResetError()):
        assert not FewOfMany().filter(refused(error=hung_up))


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Any]:
    """A cluster in TLS, and its Security."""
    security = local_security(new_identities("tls", None))
    with start_cluster(2, protocol="tls", security=security) as cluster:
        yield cluster, security


def test_strangers_neither_come_in_nor_disturb(encrypted: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each port gets garbage, half a handshake and silence, all at once, while tasks run."""
    cluster, _ = encrypted
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(cluster, set_as_default=False))
        ports = [each.split(":")[-1] for each in addresses_of(client)]
        before = worker_infos(client).keys()
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100) * 5:
            for port in ports:
                visitor = stack.enter_context(socket.create_connection(("127.0.0.1", int(port)), timeout=60))
                visitor.sendall(said)
        assert client.gather(client.map(lambda x: x + 1, range(50), pure=False)) == list(range(1, 51))
        assert worker_infos(client).keys() == before
    assert len([each for each in caplog.records if "TLS" in each.getMessage()]) <= 5


def addresses_of(client: Client) -> list[str]:
    """The scheduler's, the workers' and the Nannies'."""
    info = worker_infos(client)
    return [client.scheduler.address, *info, *(worker["nanny"] for worker in info.values())]


@pytest.mark.parametrize("key", ["none", "another run's", "none, by tcp"])
def test_a_client_without_a_key_of_this_run_is_refused(encrypted: Any, key: str) -> None:
    cluster, _ = encrypted
    address = cluster.scheduler_address
    security = local_security(new_identities("tls", None)) if key == "another run's" else Security()
    refused: Callable[[], Any] = lambda: Client(  # noqa: E731
        address.replace("tls", "tcp") if "tcp" in key else address,
        security=security,
        timeout=60 if key == "another run's" else 2,  # that one is refused at once, and with words
        set_as_default=False,
    )
    with pytest.raises((OSError, TypeError)) as caught:
        refused()
    if key == "another run's":
        assert "TLS certificate does not match" in str(caught.value) + str(caught.value.__cause__)
