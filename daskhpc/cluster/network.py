"""Interfaces of this machine, as the kernel has them now. Dask finds the address of an interface by IPv4 alone."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

import psutil

from ..errors import StartError
from ..runtime import Runtime, Sourced

LOOPBACK = "127.0.0.1"


def addresses() -> dict[str, str]:
    """The IPv4 address of every interface that has one."""
    return {
        name: entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET
    }


def check_interface(interface: str | None) -> StartError | None:
    """Why a given interface cannot be used, None if it can or if none is given."""
    here = addresses()
    if interface is None or interface in here:
        return None
    happened = f"The network interface {interface!r} does not exist."
    if interface in psutil.net_if_addrs():
        of_six = ", only an IPv6 one, which Dask does not take" if interface in _with_ipv6() else ""
        happened = f"The network interface {interface!r} has no IPv4 address{of_six}."
    return StartError(
        happened, "interfaces with an address: " + ", ".join(sorted(here)), "one of these, or none at all"
    )


def check_addresses(runtime: Runtime) -> StartError | None:
    """Why the ranks of several nodes cannot talk to each other, None if they can: Dask needs IPv4."""
    several = runtime.world_size.value > runtime.ranks_on_node.value or len(runtime.nodes.value) > 1
    reachable = [name for name, address in addresses().items() if not ip_address(address).is_loopback]
    if not several or reachable:
        return None
    return StartError(
        "Dask needs an IPv4 address to talk to the other nodes, and this node has none.",
        f"{runtime.host.value}: interfaces with IPv6 alone: {', '.join(_with_ipv6()) or 'none'}",
        "ask for nodes with IPv4 between them, or run on one node: daskhpc.start() without a launcher",
    )


def check_loopback() -> StartError | None:
    """Why processes of this machine cannot talk to each other at 127.0.0.1, None if they can."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            # A connection to the own machine is there at once or never; an interface that is down fails at once too.
            socket.create_connection(server.getsockname(), timeout=5.0).close()
    except OSError as error:
        return StartError(
            "The processes of this machine cannot talk to each other.",
            f"{LOOPBACK}: {error.strerror or error}",
            "ip addr add 127.0.0.1/8 dev lo; ip link set lo up   # as root; or interface= with another network",
        )
    return None


def _with_ipv6() -> list[str]:
    entries = psutil.net_if_addrs().items()
    names = [name for name, each in entries if any(entry.family == socket.AF_INET6 for entry in each)]
    return sorted(name for name in names if name != "lo")


def with_usable_interface(runtime: Runtime) -> Runtime:
    """`runtime` without an interface that has no IPv4 address after all: Dask then takes its own default."""
    chosen = runtime.interface
    if chosen.value is None or chosen.value in addresses():
        return runtime
    return replace(runtime, interface=Sourced(None, f"{chosen.value} has no address"))


def address_of(interface: str | None) -> str:
    """The IPv4 address of an interface; without one, the address that Dask would choose."""
    if interface is not None:
        return addresses()[interface]
    from distributed.utils import get_ip

    return str(get_ip())


def address_towards(host: str) -> str:
    """This machine's address on the network in which another machine is; empty if that is this machine, or unknown."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))  # a datagram socket that is connected has sent nothing
        except OSError:
            return ""
        own = str(probe.getsockname()[0])
    return "" if ip_address(own).is_loopback or own == host else own
