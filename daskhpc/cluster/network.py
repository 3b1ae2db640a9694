"""Interfaces of this machine, as the kernel has them now."""

from __future__ import annotations

import socket
from dataclasses import replace

import psutil

from ..errors import StartError
from ..runtime import Runtime, Sourced


def addresses() -> dict[str, str]:
    """The IPv4 address of every interface that has one."""
    return {
        name: entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family == socket.AF_INET
    }


def check_interface(interface: str | None) -> StartError | None:
    """Why a given interface cannot be used, None where it can or where none is given."""
    here = addresses()
    if interface is None or interface in here:
        return None
    happened = f"The network interface {interface!r} does not exist."
    if interface in psutil.net_if_addrs():
        happened = f"The network interface {interface!r} has no IPv4 address."
    return StartError(
        happened, "interfaces with an address: " + ", ".join(sorted(here)), "one of these, or none at all"
    )


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
