"""A job in which a process meets its end: ENDING="cause;role;phase" says how, which one and when.

Works until then as any job: it starts, computes, and says what it found.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CAUSE, ROLE, PHASE = os.environ["ENDING"].split(";")
DELAY = float(os.environ["DELAY"])
RANKS = {"scheduler": 0, "client": 1, "worker's rank": 2, "early rank": 2}
RANK = int(next((os.environ[name] for name in ("PMI_RANK", "PMIX_RANK", "SLURM_PROCID") if name in os.environ), "1"))
ONCE = Path("once").absolute()  # a worker process meets its end once, and its task is computed again
OUTSIDE = ("node lost", "time limit")
SURVIVED = ("SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP")


def say_when(delay: float = 0.0) -> None:
    """For the test, which counts the seconds from then on."""
    print(f"the cause comes at {time.time() + delay!r}", file=sys.stderr, flush=True)


def meet(cause: str, role: str, delay: float = 0.0) -> Any:
    """The process that this runs in, or the one that keeps it, meets its end; by a signal perhaps after a while."""
    if role == "worker process":
        try:
            ONCE.touch(exist_ok=False)
        except FileExistsError:
            return None
    if cause == "leaves a child":
        return subprocess.Popen(["sleep", "100"], start_new_session=True).pid
    say_when(delay)
    if cause.startswith("SIG"):
        # Another process sends it, so that it comes whatever this one is doing.
        pid = os.getppid() if role == "worker's rank" and "distributed" in sys.modules else os.getpid()
        sender = subprocess.Popen(["sh", "-c", f"sleep {delay}; kill -{cause[3:]} {pid}"], start_new_session=True)
        if not delay:
            sender.wait(60)  # it may start late on a busy machine
            time.sleep(5)
        return None
    if cause == "raises":
        raise ValueError("raised by the test")
    if cause in ("returns", "sys.exit(3)"):
        sys.exit(3 if cause == "sys.exit(3)" else 0)
    if cause == "os._exit(4)":
        os._exit(4)
    if cause == "out of memory":
        return [(bytearray(os.urandom(1 << 16) * 4096), say_when()) for _ in range(1 << 6)]
    raise AssertionError(cause)


def meet_there(client: Any, delay: float = 0.0) -> None:
    """The process of that role meets its end, while the cluster runs."""
    if ROLE == "client":
        meet(CAUSE, ROLE, delay)
    elif ROLE == "scheduler":
        client.run_on_scheduler(meet, CAUSE, ROLE, delay)
    else:
        client.submit(meet, CAUSE, ROLE, delay, pure=False).result()


def square(number: int) -> int:
    """Takes a tenth of a second."""
    time.sleep(0.1)
    return number**2


def main() -> None:
    """The job."""
    if PHASE == "starting" and ROLE in RANKS and RANKS[ROLE] == RANK:
        meet(CAUSE, ROLE, 0.0 if ROLE == "early rank" else DELAY)
    import daskhpc

    if PHASE == "starting":  # a rank that is not there cannot be missed before the others have come so far
        say_when()
    client = daskhpc.start()
    print("started", flush=True)
    if PHASE == "ending" and CAUSE.startswith("SIG"):
        meet_there(client, DELAY)
        return
    if PHASE == "ending":
        atexit.register(meet, CAUSE, ROLE)
        return
    if PHASE == "running" and CAUSE not in ("returns", *OUTSIDE):
        meet_there(client)
    if CAUSE == "time limit":
        daskhpc.sweep(square, {"number": list(range(5000))}, checkpoint="kept")
    numbers = range(1200 if CAUSE == "node lost" else 40)
    found = client.gather(client.map(square, numbers, pure=False))
    print("found", sum(found) == sum(number**2 for number in numbers), flush=True)
    if CAUSE.startswith("SIG") and ROLE not in ("worker process",) and CAUSE not in SURVIVED:
        signal.pause()
    say_when()  # the work is done, whatever happened meanwhile: from here on it is to end


main()
