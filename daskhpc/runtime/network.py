"""Network interfaces: which are usable, and which one Dask should use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from .model import Sourced
from .node import NodeView

Resolve = Callable[[str], str | None]

_IFF_UP = 0x1
_RTF_UP, _RTF_REJECT = 0x1, 0x200
_ARPHRD_INFINIBAND = "32"
_FAST = ("InfiniBand", "Slingshot", "Omni-Path")
# Bridges and tunnels of this node alone: no other rank is behind them, unless a route goes there.
_LOCAL = ("docker", "veth", "virbr", "br-", "cni", "flannel", "podman", "lxc", "lxd", "vmnet", "vboxnet")
# Names asked for at most: a name server that does not answer is slow.
_NAMES = 3


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the kernel's IPv4 routing table, addresses as numbers."""

    interface: str
    network: int
    mask: int
    metric: int


@dataclass(frozen=True, slots=True)
class Network:
    """The chosen interface and the usable ones, chosen first."""

    interface: Sourced[str | None]
    interfaces: tuple[str, ...]


def read_network(node: NodeView, resolve: Resolve, others: tuple[str, ...] | None, scheduled: bool) -> Network:
    """Choose the interface: the fastest usable one, else the one of the route to the other ranks.

    Parameters
    ----------
    node : NodeView
        The node.
    resolve : Callable[[str], str | None]
        Gives a host's IPv4 address, or None.
    others : tuple[str, ...] | None
        The job's other nodes as far as they are known by name; None if there are none.
    scheduled : bool
        Whether a scheduler runs this job.
    """
    routes = read_routes(node)
    usable = _usable(node, routes)
    chosen = (
        _fastest(node, usable)
        or (_to_others(routes, usable, resolve, others) if others is not None else None)
        or (_alone(routes, usable, scheduled) if others is None else _default(routes, usable))
        or _any(usable, lonely=others is None)
    )
    rest = sorted((name for name in usable if name != chosen.value and not name.startswith(_LOCAL)), key=_order)
    return Network(chosen, (chosen.value, *rest) if chosen.value else tuple(rest))


def read_routes(node: NodeView) -> tuple[Route, ...]:
    """The usable lines of /proc/net/route."""
    routes = []
    for line in node.lines("/proc/net/route")[1:]:
        words = line.split()
        try:
            flags, metric = int(words[3], 16), int(words[6])
            network, mask = _number(words[1]), _number(words[7])
        except (IndexError, ValueError):
            continue
        if flags & _RTF_UP and not flags & _RTF_REJECT:
            routes.append(Route(words[0], network, mask, metric))
    return tuple(routes)


def interface_kind(node: NodeView, name: str) -> str:
    """``"InfiniBand"``, ``"Slingshot"``, ``"Omni-Path"``, or empty for anything else."""
    hardware = node.text(f"/sys/class/net/{name}/type")
    if name.startswith("opa") or (hardware == _ARPHRD_INFINIBAND and _driver(node, name).startswith("hfi1")):
        return "Omni-Path"
    if hardware == _ARPHRD_INFINIBAND or re.match(r"ib(\d|p|s|$)", name):
        return "InfiniBand"
    return "Slingshot" if name.startswith("hsn") else ""


def _usable(node: NodeView, routes: Iterable[Route]) -> tuple[str, ...]:
    """The interfaces that are up and have an IPv4 network; ``lo``, which has no route, if it is up."""
    routed = {route.interface for route in routes}
    names = node.names("/sys/class/net")
    return tuple(name for name in names if _up(node, name) and (name in routed or name == "lo"))


def _up(node: NodeView, name: str) -> bool:
    state = node.text(f"/sys/class/net/{name}/operstate")
    if state == "up":
        return True
    try:
        flags = int(node.text(f"/sys/class/net/{name}/flags") or "0", 16)
    except ValueError:
        return False
    return state == "unknown" and bool(flags & _IFF_UP)


def _driver(node: NodeView, name: str) -> str:
    device = f"/sys/class/net/{name}/device"
    try:
        return os.path.basename(os.readlink(node.path(f"{device}/driver")))
    except OSError:
        uevent = "\n".join(node.lines(f"{device}/uevent"))
        match = re.search(r"^DRIVER=(\S+)", uevent, re.MULTILINE)
        return match[1] if match else ""


def _fastest(node: NodeView, usable: Iterable[str]) -> Sourced[str | None] | None:
    kinds = {name: interface_kind(node, name) for name in usable}
    for kind in _FAST:
        names = sorted((name for name in kinds if kinds[name] == kind), key=_order)
        if names:
            return Sourced(names[0], kind)
    return None


def _to_others(
    routes: Iterable[Route], usable: Iterable[str], resolve: Resolve, others: Iterable[str]
) -> Sourced[str | None] | None:
    """The interface of the longest route to another node of the job."""
    for host in list(others)[:_NAMES]:
        try:
            address = IPv4Address(resolve(host) or "0.0.0.0")
        except ValueError:
            continue
        if address.is_loopback or address.is_unspecified:
            continue
        reach = [r for r in routes if r.interface in usable and int(address) & r.mask == r.network]
        if reach:
            best = max(reach, key=lambda route: (route.mask, -route.metric))
            return Sourced(best.interface, "route to the nodes")
    return None


def _alone(routes: Iterable[Route], usable: Iterable[str], scheduled: bool) -> Sourced[str | None] | None:
    """Without a scheduler nothing needs to leave the machine; a job may be talked to from elsewhere."""
    if not scheduled and "lo" in usable:
        return Sourced("lo", "a single machine")
    return _default(routes, usable)


def _default(routes: Iterable[Route], usable: Iterable[str]) -> Sourced[str | None] | None:
    found = [r for r in routes if r.mask == 0 and r.interface in usable and not r.interface.startswith(_LOCAL)]
    if not found:
        return None
    return Sourced(min(found, key=lambda route: route.metric).interface, "default route")


def _any(usable: Iterable[str], lonely: bool) -> Sourced[str | None]:
    """What is left: for ranks on several nodes any that leaves the node, else ``lo``."""
    if lonely:
        return Sourced("lo" if "lo" in usable else None, "no other network")
    left = sorted((name for name in usable if name != "lo" and not name.startswith(_LOCAL)), key=_order)
    return Sourced(left[0], "the only network") if len(left) == 1 else Sourced(None, "no route to the nodes")


def _number(text: str) -> int:
    """An address as /proc/net/route writes it on a little-endian machine: hexadecimal, last byte first."""
    return int.from_bytes(bytes.fromhex(text.zfill(8)), "little")


def _order(name: str) -> tuple[object, ...]:
    """Names in the order of their numbers (hsn2 before hsn10), ``lo`` last."""
    parts = re.split(r"(\d+)", name)
    return (name == "lo", [(int(part), "") if part.isdecimal() else (-1, part) for part in parts])
