"""A job in which a process meets its end: ENDING="cause;role;phase;delay" says how, which one, when, and how late.

Works until then as any job: it starts, computes, and says what it found.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from typing import Any

CAUSE, ROLE, PHASE, DELAY = os.environ["ENDING"].split(";")
ROLES = {0: "scheduler", 1: "client", 2: "rank"}
RANK = int(next((os.environ[v] for v in ("PMI_RANK", "PMIX_RANK", "SLURM_PROCID") if v in os.environ), "1"))


def meet(cause: str, delay: str, parent: bool = False) -> Any:
    """The process that this runs in, or its parent, meets its end."""
    os.write(2, b"the cause comes at %r\n" % time.time())
    if cause.startswith("SIG"):
        # Another process sends it, so that it comes whoever holds the GIL.
        pid = os.getppid() if parent else os.getpid()
        subprocess.Popen(["sh", "-c", f"sleep {delay}; kill -{cause[3:]} {pid}"], start_new_session=True)
        return None
    time.sleep(float(delay))
    if cause == "raises":
        raise ValueError("raised by the test")
    if cause == "sys.exit(3)":
        sys.exit(3)
    if cause == "os._exit(4)":
        os._exit(4)
    if cause == "out of memory":
        return [bytearray(1 << 24) for _ in range(1 << 12)]
    raise AssertionError(cause)


def met_by(client: Any) -> None:
    """The end of the process of that role, while the cluster runs."""
    if ROLE == "client":
        meet(CAUSE, DELAY)
    elif ROLE == "scheduler":
        client.run_on_scheduler(meet, CAUSE, DELAY)
    else:
        client.submit(meet, CAUSE, DELAY, ROLE == "rank", pure=False).result()


def square(number: int) -> int:
    """Takes a tenth of a second."""
    time.sleep(0.1)
    return number**2


def main() -> None:
    """The job."""
    if PHASE == "starting" and ROLES.get(RANK) == ROLE:
        meet(CAUSE, DELAY)
    import daskhpc

    client = daskhpc.start()
    print("started", len(client.scheduler_info()["workers"]), flush=True)
    if PHASE == "ending":
        atexit.register(met_by, client)
        return
    if CAUSE != "returns":
        met_by(client)
    found = client.gather(client.map(square, range(40), pure=False))
    print("found", sum(found), flush=True)
    if CAUSE.startswith("SIG") and ROLE in ("client", "scheduler", "rank"):
        signal.pause()


main()
