"""A small process beside a rank that is starting: it ends the job with a message when the rank itself cannot.

Why it is so: MPI_Init may wait for ever with Python's GIL held, so that no thread of the rank can keep a deadline,
and it may abort the process from C, so that no handler of Python runs. This process is outside both. Its arguments
say what to do. Its standard input is a pipe from the rank: b"ok" means that the start went well, the end of the
stream without it that the rank died. Every rank starts one, so it imports little.
"""

from __future__ import annotations

import os
import select
import sys
import time

POLL_SECONDS = 0.5
MESSAGE_FIRST_SECONDS = 3.0
SIGKILL = 9
ORDERS = ("deadline", "rank", "rank_variable", "local_size", "stderr", "late", "gone", "died", "step")


def main() -> None:
    orders = dict(zip(ORDERS, sys.argv[1:], strict=True))
    parent = os.getppid()
    launcher = launcher_of(parent, orders["rank_variable"])
    end = time.monotonic() + float(orders["deadline"])
    speaker = -1
    while time.monotonic() < end:
        readable, _, _ = select.select([0], [], [], min(POLL_SECONDS, max(0.0, end - time.monotonic())))
        if readable:
            if os.read(0, 2) != b"ok":
                died(orders)
            return
        here = ranks_below(launcher, orders["rank_variable"])
        missing = len(here) < int(orders["local_size"])
        # Twice in a row: a launcher may still be starting its processes.
        if missing and speaker >= 0:
            if int(orders["rank"]) != speaker:
                time.sleep(MESSAGE_FIRST_SECONDS)  # the launcher ends all with the first, who is to speak before
            finish(orders, parent, orders["gone"] if int(orders["rank"]) == speaker else "")
        speaker = min(here, default=int(orders["rank"])) if missing else -1
    finish(orders, parent, orders["late"])


def finish(orders: dict[str, str], parent: int, message: str) -> None:
    """Say why, end the Slurm step where there is one, and end the rank: a launcher notices its death by a signal."""
    if message:
        os.write(2, (message + "\n").encode())
    if orders["step"]:
        import contextlib
        import subprocess

        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", orders["step"]], check=False, capture_output=True, timeout=10)
    if os.getppid() == parent:
        os.kill(parent, SIGKILL)
    sys.exit()


def died(orders: dict[str, str]) -> None:
    """The rank ended inside MPI_Init: what the library said is in the file that stood in for standard error."""
    said = os.pread(int(orders["stderr"]), 65536, 0).decode(errors="replace").strip()
    if said and orders["rank"] == "0":
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip(" -*")), "nothing")
        os.write(2, (orders["died"].replace("{said}", last[:200]) + "\n").encode())


def launcher_of(pid: int, rank_variable: str) -> int:
    """The nearest ancestor of a rank that is not part of a rank itself: the launcher's process on this node."""
    while pid > 1 and rank_of(pid, rank_variable) is not None:
        pid = parent_of(pid)
    return pid


def ranks_below(launcher: int, rank_variable: str) -> set[int]:
    """The ranks whose first process, a child of the launcher, lives."""
    children = (int(name) for name in os.listdir("/proc") if name.isdigit())
    ranks = {rank_of(pid, rank_variable) for pid in children if parent_of(pid) == launcher}
    return {rank for rank in ranks if rank is not None}


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


if __name__ == "__main__":
    main()
