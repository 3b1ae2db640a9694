"""A node without IPv4 is refused where other nodes are to be reached, and only there."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace

import psutil
import pytest
from example_plans import runtime, settings

import daskhpc
from daskhpc.cluster.bootstrap import cannot_take_part
from daskhpc.cluster.network import check_interface, check_loopback
from daskhpc.errors import StartError

FOUR, SIX = socket.AF_INET, socket.AF_INET6
LO = [(FOUR, "127.0.0.1"), (SIX, "::1")]


def has(monkeypatch: pytest.MonkeyPatch, **interfaces: list[tuple[socket.AddressFamily, str]]) -> None:
    """The interfaces of this node."""
    table = {
        name: [SimpleNamespace(family=family, address=address) for family, address in entries]
        for name, entries in interfaces.items()
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: table)


def test_several_nodes_with_ipv6_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, lo=LO, eth0=[(SIX, "2001:db8::1"), (SIX, "fe80::1%eth0")], ib0=[(SIX, "fe80::2%ib0")])
    problem = cannot_take_part(4, runtime(interface=None), settings())
    assert problem is not None
    assert problem.happened == "Dask needs an IPv4 address to talk to the other nodes, and this node has none."
    assert problem.found == "n1: interfaces with IPv6 alone: eth0, ib0"


def test_one_node_needs_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, lo=LO, eth0=[(SIX, "2001:db8::1")])
    alone = runtime(interface="lo", world_size=4, ranks_on_node=4, nodes=("n1",))
    assert cannot_take_part(4, alone, settings()) is None


def test_both_kinds_of_address(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, lo=LO, eth0=[(SIX, "2001:db8::1"), (FOUR, "192.0.2.1")])
    assert cannot_take_part(4, runtime(interface="eth0"), settings()) is None


def test_an_interface_with_ipv6_alone_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, lo=LO, eth0=[(FOUR, "192.0.2.1")], ib0=[(SIX, "2001:db8::1")])
    problem = check_interface("ib0")
    assert problem is not None
    assert "only an IPv6 one" in problem.happened
    assert problem.found == "interfaces with an address: eth0, lo"


def test_a_machine_that_does_not_reach_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_loopback() is None

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    problem = check_loopback()
    assert problem is not None
    assert problem.found == "127.0.0.1: Network is unreachable"
    assert "ip link set lo up" in problem.todo
    with pytest.raises(StartError, match="cannot talk to each other"):
        daskhpc.start()
