"""A small process beside a rank that is starting: it speaks and acts when the rank itself cannot.

MPI_Init may block with Python's GIL held, and may abort the process from C. This process is outside both. It reads
one JSON document of orders as its argument and its rank's life from standard input: b"ok" means that the start went
well, the end of the stream without it that the rank died. It runs with the standard library alone.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

POLL_SECONDS = 0.5


def main() -> None:
    orders = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    launcher = launcher_of(parent, orders["rank_variable"])
    end = time.monotonic() + orders["deadline"]
    missing_before = False
    while time.monotonic() < end:
        readable, _, _ = select.select([0], [], [], min(POLL_SECONDS, max(0.0, end - time.monotonic())))
        if readable:
            if os.read(0, 2) != b"ok":
                died(orders)
            return
        here = ranks_below(launcher, orders["rank_variable"])
        missing = len(here) < orders["local_size"]
        # Twice in a row: a launcher may still be starting its processes.
        if missing and missing_before:
            finish(orders, parent, orders["gone"] if orders["rank"] == min(here, default=orders["rank"]) else "")
        missing_before = missing
    finish(orders, parent, orders["late"])


def finish(orders: dict[str, Any], parent: int, message: str) -> None:
    """Say why, end the Slurm step where there is one, and end the rank: a launcher notices its death by a signal."""
    if message:
        say(message)
    if orders["cancel"]:
        subprocess.run(orders["cancel"], check=False, capture_output=True, timeout=10)
    if os.getppid() == parent:
        os.kill(parent, signal.SIGKILL)
    sys.exit()


def died(orders: dict[str, Any]) -> None:
    """The rank ended inside MPI_Init: what the library said is in the file that stood in for standard error."""
    said = os.pread(orders["stderr"], 65536, 0).decode(errors="replace").strip()
    if said and orders["rank"] == 0:
        subprocess.run([*orders["explain"], said], check=False, timeout=30)


def launcher_of(pid: int, rank_variable: str) -> int:
    """The nearest ancestor of a rank that is not part of a rank itself: the launcher's process on this node."""
    while pid > 1 and rank_of(pid, rank_variable) is not None:
        pid = parent_of(pid)
    return pid


def ranks_below(launcher: int, rank_variable: str) -> set[int]:
    """The ranks whose first process, a child of the launcher, lives."""
    ranks = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and parent_of(int(name)) == launcher:
            rank = rank_of(int(name), rank_variable)
            if rank is not None:
                ranks.add(rank)
    return ranks


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def rank_of(pid: int, rank_variable: str) -> int | None:
    """The rank that a process's environment names; a process that has ended has no environment left."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for pair in file.read().split(b"\0"):
                name, _, value = pair.partition(b"=")
                if name == rank_variable.encode():
                    return int(value)
    except (OSError, ValueError):
        pass
    return None


def say(message: str) -> None:
    os.write(2, (message + "\n").encode())


if __name__ == "__main__":
    main()
