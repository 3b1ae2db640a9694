"""A small process beside a rank: it ends the job if the start hangs, and later the processes that the rank leaves.

Why it is so: MPI_Init may wait for ever with Python's GIL held, so that no thread of the rank can keep a deadline,
and it may abort the process from C, so that no handler of Python runs. This process is outside both. And a launcher
waits for the end of every rank's output pipes, so a child that outlives its rank holds up the job. Only another
process can see to that however the rank ended. Its arguments say what to do. Its standard input is a pipe from the
rank: b"ok" means that the start is over, the end of the stream that the rank ended. Every rank starts one, so it
imports little.
"""

from __future__ import annotations

import os
import select
import sys
import time

POLL_SECONDS = 0.5
GONE_LOOKS, NEVER_SEEN_LOOKS = 2, 8
TURN_SECONDS, NEXT_TURN_SECONDS = 8.0, 2.0
LOOK_SECONDS = 0.05
LEAVE_LOOKS, KILL_AFTER_SIGTERM_LOOKS = 40, 20
SIGTERM, SIGKILL = 15, 9
# In the command line of daskhpc's own child server and of its children (children.py): no program can wait for them.
OWN_CHILD = "from daskhpc.cluster import child_server"
# In the command line of a resource tracker, multiprocessing's or joblib's: it ends by itself, soon after its process.
TRACKER = "resource_tracker import main"
ORDERS = ("deadline", "rank", "rank_variable", "local_size", "stderr", "late", "gone", "died", "step")


def main() -> None:
    orders = dict(zip(ORDERS, sys.argv[1:], strict=True))
    parent = os.getppid()
    left = LeftBehind(parent, orders["rank"], orders["rank_variable"])
    launcher = launcher_of(parent, orders["rank_variable"])
    end = time.monotonic() + float(orders["deadline"])
    neighbours = Neighbours(int(orders["local_size"]))
    while time.monotonic() < end:
        readable, _, _ = select.select([0], [], [], min(POLL_SECONDS, max(0.0, end - time.monotonic())))
        if readable:
            if os.read(0, 2) == b"ok":
                wait_for_rank()
                left.end()
            else:
                # The program has not begun; and if MPI does not know the ranks, others' processes look like this one's.
                died(orders)
            return
        here = ranks_below(launcher, orders["rank_variable"])
        if neighbours.one_is_gone(here):
            wait_for_turn(parent, sum(rank < int(orders["rank"]) for rank in here))
            finish(orders, parent, orders["gone"] if os.getppid() == parent else "")
    finish(orders, parent, orders["late"])


class Neighbours:
    """The ranks of this node until all have arrived: whether one has ended, from what each look finds.

    A rank that was never seen may have ended before the first look, or its launcher is slow to start it. So it is
    given more looks.
    """

    def __init__(self, count: int) -> None:
        self.count, self.seen, self.missed = count, set[int](), 0

    def one_is_gone(self, here: set[int]) -> bool:
        self.seen |= here
        self.missed = self.missed + 1 if len(here) < self.count else 0
        return self.missed >= (GONE_LOOKS if self.seen - here else NEVER_SEEN_LOOKS)


def wait_for_turn(parent: int, before: int) -> None:
    """One rank prints the message for all of its node, since the launcher ends all after one.

    The next one prints the message if that one does not: it may take long to come here.
    """
    turn = time.monotonic() + (TURN_SECONDS + NEXT_TURN_SECONDS * (before - 1) if before else 0.0)
    while os.getppid() == parent and time.monotonic() < turn:
        time.sleep(0.05)


def finish(orders: dict[str, str], parent: int, message: str) -> None:
    """Print why, end the Slurm step if there is one, and kill the rank: a launcher notices a death by a signal."""
    if message:
        write(message + "\n")
    if orders["step"]:
        import contextlib
        import subprocess

        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", orders["step"]], check=False, capture_output=True, timeout=10)
    if os.getppid() == parent:
        os.kill(parent, SIGKILL)
    sys.exit()


def died(orders: dict[str, str]) -> None:
    """The rank ended inside MPI_Init: what the library wrote is in the file that stood in for standard error."""
    said = os.pread(int(orders["stderr"]), 65536, 0).decode(errors="replace").strip()
    if said and orders["rank"] == "0":
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip(" -*")), "nothing")
        os.write(2, (orders["died"].replace("{said}", last[:200]) + "\n").encode())


def wait_for_rank() -> None:
    """Return when the rank has ended. Signals that a launcher sends to all are the rank's to answer."""
    import signal

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass


class LeftBehind:
    """The processes that a rank leaves behind and that hold its output: the launcher would wait for their end.

    A process counts if it began after the rank and can write to the same pipe or terminal. Left out are processes of
    other ranks, and those of a shell that started the rank (``mpiexec sh -c 'python a.py; python b.py'``).
    """

    def __init__(self, rank: int, number: str, rank_variable: str) -> None:
        self.rank, self.number, self.rank_variable = rank, int(number), rank_variable
        self.began = began(rank)
        outputs = {link_of(f"/proc/self/fd/{descriptor}") for descriptor in (1, 2)}
        self.outputs = {name for name in outputs if name.startswith(("pipe:", "socket:", "/dev/pts/"))}
        self.shells = set()
        pid = parent_of(rank)
        while pid > 1:
            if self.writes_there(pid):
                self.shells.add(pid)
            pid = parent_of(pid)

    def end(self) -> None:
        """Give them some time to end by themselves, then end them, and say so."""
        pids = self.after(LEAVE_LOOKS)
        others = [pid for pid in pids if is_the_programs(text_of(f"/proc/{pid}/cmdline"))]
        message = self.message(others) if others else ""
        for pid in pids:
            kill(pid, SIGTERM)
        write(message)
        for pid in self.after(KILL_AFTER_SIGTERM_LOOKS):
            kill(pid, SIGKILL)

    def after(self, looks: int) -> list[int]:
        """Those that are still there after so many looks.

        Time is not counted: while this process, or the whole machine, stands still, nothing can end by itself.
        """
        for _ in range(looks):
            if not self.processes():
                return []
            time.sleep(LOOK_SECONDS)
        return self.processes()

    def message(self, pids: list[int]) -> str:
        """One for all of them, with the first of them."""
        what, it = ("a process", "it") if len(pids) == 1 else (f"{len(pids)} processes", "them")
        more = f" and {len(pids) - 1} more" if len(pids) > 1 else ""
        words = text_of(f"/proc/{pids[0]}/cmdline").replace("\0", " ").strip()[:80]
        ended = "which is ended too" if len(pids) == 1 else "which are ended too"
        return (
            f"daskhpc: rank {self.number} has ended and left {what} behind, {ended}.\n"
            f"  found: process {pids[0]} on {os.uname().nodename}: {words}{more}; the launcher would wait for {it}\n"
            f"  try:   wait for {it} in the program, or start {it} with output sent to a file\n"
        )

    def processes(self) -> list[int]:
        everybody = (int(name) for name in os.listdir("/proc") if name.isdigit()) if self.outputs else ()
        return [pid for pid in sorted(everybody) if pid not in (os.getpid(), self.rank) and self.is_left(pid)]

    def is_left(self, pid: int) -> bool:
        if began(pid) < self.began or not self.writes_there(pid):
            return False
        above = pid
        while above > 1 and above != self.rank:
            if above in self.shells:
                return False
            above = parent_of(above)
        return rank_of(pid, self.rank_variable) in (self.number, None)

    def writes_there(self, pid: int) -> bool:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            return False
        for descriptor in descriptors:
            if link_of(f"/proc/{pid}/fd/{descriptor}") in self.outputs:
                flags = text_of(f"/proc/{pid}/fdinfo/{descriptor}").partition("flags:")[2].split()
                if flags and int(flags[0], 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
        return False


def is_the_programs(words: str) -> bool:
    """Whether a command line is one of a process that the program can wait for; one that has just ended has none."""
    return bool(words) and OWN_CHILD not in words and TRACKER not in words


def kill(pid: int, number: int) -> None:
    try:  # noqa: SIM105  contextlib takes longer to import than all else here
        os.kill(pid, number)
    except OSError:
        pass


def write(message: str) -> None:
    """Write to the rank's standard error, unless its launcher has ended and no process reads it."""
    try:  # noqa: SIM105
        os.write(2, message.encode())
    except OSError:
        pass


def text_of(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def link_of(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; none if the process is gone."""
    return text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()


def began(pid: int) -> int:
    """When a process began, in the kernel's ticks since its start; 0 if it is gone."""
    fields = stat_of(pid)
    return int(fields[19]) if len(fields) > 19 else 0


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
    fields = stat_of(pid)
    return int(fields[1]) if len(fields) > 1 else 0


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
