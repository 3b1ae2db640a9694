"""Builds a directory that looks like the root of a node, as far as daskhpc.runtime looks."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path

from daskhpc.runtime import Runtime, discover

MIB = 1024**2
GIB = 1024**3


class Tree:
    """A fake root; every method adds something and returns the tree.

    A new tree is a node ``n1`` with 8 CPUs, 64 GiB, no control groups, an Ethernet interface and a local /tmp.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._groups: dict[str, str] = {}
        self._mountinfo: list[str] = []
        self._routes: list[str] = []
        self._mounts: list[str] = []
        (root / "tmp").mkdir(parents=True)
        self.host("n1").cpus("0-7").ram(64 * 1024).mount("/", "ext4").interface("lo", kind=772, state="unknown")
        self.interface("eth0", "192.168.1.0/24", default=True)

    def file(self, path: str, text: str) -> Tree:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")
        return self

    def folder(self, path: str) -> Tree:
        (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self

    def host(self, name: str) -> Tree:
        return self.file("/proc/sys/kernel/hostname", name)

    def cpus(self, online: str, affinity: str = "", parent: int = 1) -> Tree:
        self.file("/sys/devices/system/cpu/online", online)
        return self.process("self", "python", affinity or online, parent)

    def process(self, pid: int | str, name: str, affinity: str, parent: int) -> Tree:
        return self.file(f"/proc/{pid}/status", f"Name:\t{name}\nPPid:\t{parent}\nCpus_allowed_list:\t{affinity}")

    def ram(self, mib: int) -> Tree:
        return self.file("/proc/meminfo", f"MemTotal:       {mib * 1024} kB\nMemFree:        1 kB")

    def mount(self, point: str, kind: str) -> Tree:
        self._mounts.append(f"source {point} {kind} rw,relatime 0 0")
        return self.file("/proc/self/mounts", "\n".join(self._mounts))

    def group(
        self,
        controllers: str,
        own: str,
        limits: Mapping[str, str],
        at: str = "",
        top: str = "/",
        mountinfo: bool = True,
    ) -> Tree:
        """One hierarchy: `controllers` is ``"memory"``, ``"cpu,cpuacct"``..., or empty for version 2.

        `own` is this process's group, `limits` files relative to the mount point, `top` the group it shows.
        """
        at = at or ("/sys/fs/cgroup" + (f"/{controllers}" if controllers else ""))
        self.folder(at)
        for name, text in limits.items():
            self.file(f"{at}/{name}", text)
        if not controllers:
            self.file(f"{at}/cgroup.controllers", "cpuset cpu memory")
        number = len(self._groups) + 1 if controllers else 0
        self._groups[f"{number}:{controllers}"] = own
        self.file("/proc/self/cgroup", "\n".join(f"{key}:{path}" for key, path in self._groups.items()))
        if mountinfo:
            kind, options = ("cgroup", f"rw,{controllers}") if controllers else ("cgroup2", "rw")
            self._mountinfo.append(f"30 24 0:26 {top} {at} rw,relatime shared:9 - {kind} cgroup {options}")
            self.file("/proc/self/mountinfo", "\n".join(self._mountinfo))
        return self

    def interface(
        self,
        name: str,
        network: str = "",
        kind: int = 1,
        state: str = "up",
        driver: str = "",
        default: bool = False,
        metric: int = 0,
    ) -> Tree:
        base = f"/sys/class/net/{name}"
        self.file(f"{base}/operstate", state).file(f"{base}/type", str(kind))
        self.file(f"{base}/flags", "0x1002" if state == "down" else "0x1003")
        if driver:
            self.folder(f"{base}/device")
            (self.root / base.lstrip("/") / "device/driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
        if network:
            self.route(name, network, metric)
        return self.route(name, "0.0.0.0/0", metric) if default else self

    def route(self, name: str, network: str, metric: int = 0, flags: str = "0001") -> Tree:
        net = IPv4Network(network)
        address, mask = (int.from_bytes(part.packed, "little") for part in (net.network_address, net.netmask))
        self._routes.append(f"{name}\t{address:08X}\t00000000\t{flags}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0")
        head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"
        return self.file("/proc/net/route", "\n".join([head, *self._routes]))

    def discover(
        self, env: Mapping[str, str] | None = None, names: Mapping[str, str] | None = None, headroom: float = 0.1
    ) -> Runtime:
        """What daskhpc finds here, where the names of other hosts resolve as `names` says."""
        return discover(env=env or {}, root=self.root, resolve=(names or {}).get, headroom=headroom)
