"""A real Slurm of several nodes on one machine.

Every node, and the head with the controller and the switch, is one process tree in namespaces of its own: host name,
network, mounts, processes. Each ends with its first process, which ends when its standard input closes, so the kernel
itself clears everything away, even where the test run was killed. Only a folder stays then; the next bed removes it.

The login side is the machine itself, with one more network interface; commands run there see the nodes' names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "sinfo", "ip", "unshare", "nsenter", "mount")
PACKAGES = "slurm-wlm munge iproute2 libpmix-dev"  # Slurm opens libpmix.so by that name, which only -dev has
CPUS, MEMORY = 4, 8000  # what a node claims to have: CPUs and MB
CRASH_IN_INIT = "Exited with exit code 14"
"""Said by srun: now and then Open MPI crashes in MPI_Init under the PMIx of Slurm 22.05, before a program begins."""
TRIES_OF_INIT = 5
"""It crashes more than once in a row at times."""
ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)

CONFIGURATION = """\
ClusterName=bed
SlurmctldHost=head({network}1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={root}/state
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdSpoolDir={root}/spool-%n
SlurmdPidFile={root}/slurmd-%n.pid
SlurmdLogFile={root}/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=10
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU={memory_per_cpu}
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PriorityType=priority/basic
KillWait=5
MinJobAge=3600
InactiveLimit=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# Both scripts wait for their network, start their daemons, and then live for as long as their standard input is open.
HEAD = """\
hostname head; mount --bind "$BED/hosts" /etc/hosts
read -r _
ip link set lo up; ip address add "$ADDRESS/24" dev switch; ip link set switch up
munged --key-file="$BED/munge.key" --socket="$BED/munge.socket" --pid-file="$BED/munged.pid" \
    --log-file="$BED/munged.log" --seed-file="$BED/munged.seed" </dev/null
slurmctld -D </dev/null &
read -r _
"""
NODE = """\
hostname "$NAME"; mount --bind "$BED/hosts" /etc/hosts; mount --bind /dev/null /etc/resolv.conf
mount --bind "$BED/disk-$NAME" "$BED/scratch"
mount -t tmpfs pmix "$BED/pmix"; mount -t tmpfs -o mode=1777 shm /dev/shm
read -r _
ip link set lo up; ip address add "$ADDRESS/24" dev eth0; ip link set eth0 up; ip route add default via "$GATEWAY"
slurmd -D -N "$NAME" </dev/null &
read -r _
"""


class BedUnavailable(RuntimeError):
    """This machine cannot carry a test cluster; the message says why."""


class JobProcess(NamedTuple):
    """A process of a job: its node, its process id as the login side sees it, its command line."""

    node: str
    pid: int
    argv: tuple[str, ...]


class SlurmBed:
    """A Slurm of `nodes` nodes with 4 CPUs and 8000 MB each, as a context manager.

    Parameters
    ----------
    nodes
        How many nodes; they are called node1, node2, ...
    number
        Which bed, 0 to 255; one of each number can be up at a time.
    patience
        Seconds to wait for another bed of the same number to end, and then for this one to come up.

    Attributes
    ----------
    root : Path
        The bed's folder. Each node sees its own ``root/scratch``; the login side finds them with `scratch`.
    nodes : tuple of str
    addresses : dict of str
        Each node's address.
    uplink : str
        The login side's network interface.
    env : dict of str
        What to add to the environment of any Slurm command.
    """

    def __init__(self, nodes: int = 3, number: int = 0, patience: float = 120) -> None:
        self.root = Path(f"/tmp/daskhpc-bed{number}")  # short, for the sockets in it
        self.uplink = f"daskhpc-bed{number}"
        self._network = f"198.18.{number}."  # of the range kept for benchmarks of networks (RFC 2544)
        self.patience = patience
        self.nodes = tuple(f"node{number}" for number in range(1, nodes + 1))
        self.addresses = {node: f"{self._network}{10 + number}" for number, node in enumerate(self.nodes, 1)}
        self.env = {
            "SLURM_CONF": str(self.root / "slurm.conf"),
            "SLURM_PMIX_TMPDIR": str(self.root / "pmix"),  # or PMIx servers of several nodes share one folder
            # The nodes share a kernel, so each library is told to use the network and nothing else.
            "MPIR_CVAR_CH4_NETMOD": "ofi",
            "FI_PROVIDER": "tcp",
            "OMPI_MCA_btl": "self,tcp",
            "PMIX_MCA_gds": "hash",
        }
        self._machines: dict[str, subprocess.Popen[str]] = {}
        self._lock: socket.socket | None = None
        self._unplugged: set[str] = set()

    # Up and down

    def __enter__(self) -> Self:
        """Build the cluster and wait until every node is idle."""
        missing = [command for command in COMMANDS if shutil.which(command) is None]
        if sys.platform != "linux" or os.geteuid() != 0 or missing:
            lack = f"; missing: {' '.join(missing)}" if missing else ""
            raise BedUnavailable(f"a test Slurm needs Linux, root and `apt-get install {PACKAGES}`{lack}")
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove)
            self._acquire()
            self._write()
            self._boot("head", f"{self._network}1", HEAD)
            for node in self.nodes:
                self._boot(node, self.addresses[node], NODE)
            self.until(self._all_idle, self.patience, "the nodes to come up")
            if self.run(["srun", "--mpi=pmix", "true"], self.patience).returncode:
                raise BedUnavailable(f"Slurm finds no PMIx: `apt-get install {PACKAGES}`")
            undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """End every process of the cluster and remove its folder."""
        self._remove()

    def start(self, node: str) -> None:
        """Boot a node that was stopped, and wait until it is idle."""
        self._boot(node, self.addresses[node], NODE)
        self.until(lambda: self.states().get(node) == "idle", self.patience, f"{node} to come back")

    def stop(self, node: str) -> None:
        """Take a node away at once with all its processes, as a power cut does."""
        machine = self._machines.pop(node)
        assert machine.stdin is not None
        machine.stdin.close()
        try:
            machine.wait(30)
        except subprocess.TimeoutExpired:
            machine.kill()  # and by --kill-child the first process of the node, with it the rest
            machine.wait(30)

    def unplug(self, node: str) -> None:
        """Take a node off the network, and leave its processes alone; `settle` puts it back."""
        self._link(node, "down")
        self._unplugged.add(node)

    def _link(self, node: str, state: str) -> None:
        self._ip("link", "set", node, state, on=self._network_of(self._machines["head"]))

    def states(self) -> dict[str, str]:
        """Return each node's state as sinfo shows it (idle, mix, alloc, down*, ...); nothing without a controller."""
        lines = self.run(["sinfo", "--noheader", "--Node", "--format=%N %t"], 60).stdout.splitlines()
        return dict(line.split() for line in lines)

    def settle(self, timeout: float = 120) -> None:
        """Cancel every job, boot or plug in the nodes that were taken away, and wait until every node is idle."""
        self._slurm("scancel", "--user=root")
        if self._unplugged:
            timeout += 90  # until slurmctld has asked the node again
        for node in self._unplugged:
            self._link(node, "up")
        self._unplugged.clear()
        for node in self.nodes:
            if node not in self._machines:
                self.start(node)
        self.until(self._all_idle, timeout, "the nodes to be idle")

    def _all_idle(self) -> bool:
        for name, machine in self._machines.items():
            self._check(name, machine)
        return set(self.states().values()) == {"idle"}

    def _acquire(self) -> None:
        """Wait for the lock: an abstract socket, held by all that carries a bed, gone with them."""
        lock = socket.socket(socket.AF_UNIX)

        def free() -> bool:
            try:
                lock.bind(f"\0{self.root}")
            except OSError:
                return False
            return True

        try:
            self.until(free, self.patience, "another bed of this number to end")
        except TimeoutError as error:
            lock.close()
            raise BedUnavailable(str(error)) from None
        self._lock = lock
        self._clear()

    def _clear(self) -> None:
        subprocess.run(["ip", "link", "delete", self.uplink], capture_output=True, check=False)  # there or not
        shutil.rmtree(self.root, ignore_errors=True)

    def _remove(self) -> None:
        for name in list(self._machines):
            self.stop(name)
        if self._lock is not None:
            self._clear()
            self._lock.close()
            self._lock = None

    def _write(self) -> None:
        for folder in ("state", "scratch", "pmix", *(f"disk-{node}" for node in self.nodes)):
            (self.root / folder).mkdir(parents=True)
        key = self.root / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        login = f"{self._network}254"
        names = {"localhost": "127.0.0.1", "head": f"{self._network}1", "login": login, os.uname().nodename: login}
        hosts = (f"{address} {name}\n" for name, address in (names | self.addresses).items())
        (self.root / "hosts").write_text("".join(hosts))
        nodes = "\n".join(
            f"NodeName={node} NodeAddr={address} CPUs={CPUS} RealMemory={MEMORY} State=UNKNOWN"
            for node, address in self.addresses.items()
        )
        text = CONFIGURATION.format(root=self.root, network=self._network, nodes=nodes, memory_per_cpu=MEMORY // CPUS)
        (self.root / "slurm.conf").write_text(text)
        (self.root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")

    def _boot(self, name: str, address: str, script: str) -> None:
        """Start a machine: its namespaces, its end of a cable, its daemons."""
        assert self._lock is not None
        variables = {"BED": str(self.root), "NAME": name, "ADDRESS": address, "GATEWAY": f"{self._network}1"}
        unshare = ["unshare", "--uts", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with open(self.root / f"{name}.log", "a") as log:
            machine = subprocess.Popen(
                [*unshare, "bash", "-euc", script],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | self.env | variables,
                cwd="/",
                text=True,
                start_new_session=True,
                pass_fds=[self._lock.fileno()],
            )
        self._machines[name] = machine
        self.until(lambda: self._separate(name, machine), self.patience, f"the namespaces of {name}")
        if name == "head":
            self._ip("link", "add", "switch", "type", "bridge", on=self._network_of(machine))
            self._cable(self.uplink, "uplink", [])
            self._ip("address", "add", f"{self._network}254/24", "dev", self.uplink)
            self._ip("link", "set", self.uplink, "up")
        else:
            self._cable("eth0", name, self._network_of(machine))
        assert machine.stdin is not None
        os.write(machine.stdin.fileno(), b"the network is there\n")

    def _cable(self, interface: str, port: str, machine: Sequence[str]) -> None:
        """Connect a machine's interface with a port of the head's switch."""
        head = self._machines["head"]
        peer = ["peer", "name", port, "netns", str(head.pid)]
        self._ip("link", "add", "name", interface, "type", "veth", *peer, on=machine)
        self._ip("link", "set", port, "master", "switch", "up", on=self._network_of(head))

    @staticmethod
    def _network_of(machine: subprocess.Popen[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{machine.pid}/ns/net"]

    def _ip(self, *arguments: str, on: Sequence[str] = ()) -> None:
        done = subprocess.run([*on, "ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BedUnavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def _separate(self, name: str, machine: subprocess.Popen[str]) -> bool:
        self._check(name, machine)
        return self._namespace(machine.pid) not in (None, self._namespace(os.getpid()))

    def _check(self, name: str, machine: subprocess.Popen[str]) -> None:
        if machine.poll() is not None:
            raise BedUnavailable(f"{name} ended: {(self.root / f'{name}.log').read_text().strip()}")

    @staticmethod
    def _namespace(pid: int) -> str | None:
        try:
            return os.readlink(f"/proc/{pid}/ns/net")
        except OSError:  # it has ended
            return None

    # Commands

    def spawn(
        self, argv: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command on the login side, in a process group of its own; the caller ends it."""
        # A mount namespace of its own, so that the nodes' names resolve and the machine's /etc/hosts stays as it is.
        names = ["unshare", "--mount", "sh", "-c", 'mount --bind "$BED/hosts" /etc/hosts && exec "$@"', "login"]
        return subprocess.Popen(
            [*names, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=os.environ | self.env | {"BED": str(self.root)} | dict(env or {}),
            start_new_session=True,
        )

    def run(
        self, argv: Sequence[str], timeout: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the login side; its process group ends with it, or at the timeout.

        Raises
        ------
        subprocess.TimeoutExpired
            With what it had written until then.
        """
        process = self.spawn(argv, cwd, env)
        try:
            out, err = process.communicate(timeout=timeout)
            return subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGTERM)  # srun then takes its step along
            raise subprocess.TimeoutExpired(list(argv), timeout, *process.communicate(timeout=30)) from None
        finally:
            _signal(process, signal.SIGKILL)
            process.wait(30)

    def exec(self, node: str, argv: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on a node, outside any job."""
        spaces = f"/proc/{self._machines[node].pid}/ns"
        kinds = {"uts": "uts", "net": "net", "mount": "mnt", "pid": "pid_for_children"}
        return self.run(
            ["nsenter", *(f"--{kind}={spaces}/{file}" for kind, file in kinds.items()), "--", *argv], timeout
        )

    def scratch(self, node: str) -> Path:
        """Return where the login side sees what the node sees as ``root/scratch``."""
        return self.root / f"disk-{node}"

    # Jobs

    def sbatch(
        self,
        script: Path,
        *options: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
    ) -> int:
        """Submit a job script and return the job's id."""
        return int(self._slurm("sbatch", "--parsable", *options, str(script), *args, cwd=cwd, env=env).split(";")[0])

    def show(self, job: int) -> dict[str, str]:
        """Return the fields of ``scontrol show job``."""
        text = self._slurm("scontrol", "--oneliner", "show", "job", str(job)).strip()
        return dict(field.split("=", 1) for field in re.split(r" (?=[\w:/]+=)", text) if field)

    def wait(self, job: int, timeout: float) -> dict[str, str]:
        """Wait until a job has ended and return the fields of ``scontrol show job``."""
        self.until(lambda: self.show(job)["JobState"] in ENDED, timeout, f"job {job} to end")
        return self.show(job)

    def wait_running(self, job: int, timeout: float = 90) -> dict[str, str]:
        """Wait until a job runs and return the fields of ``scontrol show job``."""
        self.until(lambda: self.show(job)["JobState"] == "RUNNING", timeout, f"job {job} to run")
        return self.show(job)

    def cancel(self, job: int) -> None:
        """Cancel a job, without waiting for its end."""
        self._slurm("scancel", str(job))

    def processes(self, job: int) -> list[JobProcess]:
        """Return the processes of a job that still live, on whichever node."""
        homes = {self._namespace(machine.pid): node for node, machine in self._machines.items() if node != "head"}
        return [
            JobProcess(homes[home], pid, tuple(argv))
            for pid, environment, argv in processes()
            if f"SLURM_JOB_ID={job}" in environment and (home := self._namespace(pid)) in homes
        ]

    def left_of(self, job: int, seconds: float = 15) -> list[JobProcess]:
        """Return the processes of a job that has ended which still live after so many seconds; none, when none does.

        What ends a rank's last children is no child of Slurm's: it may take a moment longer than the job.
        """
        deadline = time.monotonic() + seconds
        while (left := self.processes(job)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _slurm(self, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        done = self.run(argv, 60, cwd, env)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:g} s in vain for {what}{self._complaints()}")
            time.sleep(0.05)

    def _complaints(self) -> str:
        """Return the last lines of every log of the bed."""
        logs = sorted(self.root.glob("*.log"))
        return "".join(f"\n== {log.name}\n" + "".join(log.read_text().splitlines(True)[-8:]) for log in logs)


def _signal(process: subprocess.Popen[str], signum: int) -> None:
    """Send a signal to a process group, where one is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)


def processes() -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield every process of the machine: its id, its environment, its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                environment, argv = (
                    (entry / name).read_text(errors="surrogateescape").split("\0") for name in ("environ", "cmdline")
                )
                if argv[:-1]:  # or it has ended in between
                    yield int(entry.name), environment, argv[:-1]
