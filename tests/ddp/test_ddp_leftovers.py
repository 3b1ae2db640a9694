"""What trainings leave behind: nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import programs
import psutil
from waiting import gone, until

from daskhpc.ddp import rank_task, train

ROUNDS = int(os.environ.get("DDP_ROUNDS", "1"))
TRAININGS = 3 if ROUNDS == 1 else 10 * ROUNDS


def held(dask_worker: Any = None) -> dict[str, Any]:
    """What a process has: children, listening ports, descriptors, threads of trainings, memory."""
    own = psutil.Process()
    ports = [c.laddr.port for c in own.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    return {
        "children": sorted(child.pid for child in own.children(recursive=True)),
        "ports": sorted(ports),
        "files": own.num_fds(),
        "rss": own.memory_info().rss,
    }


def trained(client: Any, count: int) -> None:
    for _ in range(count):
        train(programs.place, client=client, progress=False)


def all_held(client: Any) -> list[dict[str, Any]]:
    return [held(), *client.run(held).values()]


def leaves_nothing(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Connections of the last requests are closed a moment after their answers, so this is asked until it is true."""
    pairs = [*zip(before, after, strict=True)]
    same = all(one["children"] == other["children"] and one["ports"] == other["ports"] for one, other in pairs)
    memory = all(other["rss"] - one["rss"] < 20 << 20 for one, other in pairs[1:])
    return same and memory and all(other["files"] <= one["files"] + 4 for one, other in pairs)


def test_trainings_leave_nothing(client: Any) -> None:
    trained(client, 2)
    before, temporary = all_held(client), set(os.listdir(tempfile.gettempdir()))
    trained(client, TRAININGS)
    try:
        until(lambda: leaves_nothing(before, all_held(client)), 10)
    except AssertionError:
        raise AssertionError(f"before {before}\nafter {all_held(client)}") from None
    print(f"{TRAININGS} trainings: before {before}\nafter {all_held(client)}")
    new = set(os.listdir(tempfile.gettempdir())) - temporary
    # A Slurm bed of tests that run beside this one is theirs.
    left = {name for name in new if re.search("torch|pymp|daskhpc-(?!bed)", name)}
    until(lambda: left.isdisjoint(os.listdir(tempfile.gettempdir())), 60, "the end of programs of other tests")
    assert not any(client.run(lambda: len(__import__("daskhpc.ddp.rank_task").ddp.rank_task._held)).values())


def a_worker() -> Any:
    return SimpleNamespace(loop=SimpleNamespace(add_callback=lambda function: function()))


def test_a_training_that_is_given_up_while_it_waits_reserves_nothing() -> None:
    async def given_up() -> None:
        worker = a_worker()
        assert await rank_task.reserve("first", "a client", worker) == ""
        waiting = asyncio.create_task(rank_task.reserve("second", "a client", worker))
        await asyncio.sleep(0)
        rank_task.release("second")
        rank_task.release("first")
        await waiting
        assert await rank_task.reserve("third", "a client", worker) == ""
        rank_task.release("third")

    asyncio.run(given_up())


IN_C = """
import os, sys
from distributed import Client, LocalCluster
import daskhpc

def stuck(path):
    import ctypes, os
    with open(f"{path}-{os.getpid()}", "w"):
        pass
    ctypes.PyDLL(None).sleep(600)  # which holds the interpreter lock

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        print(*client.run(os.getpid).values(), flush=True)
        daskhpc.ddp.train(stuck, sys.argv[1])
"""


def test_ranks_that_stand_in_c_end_with_their_client(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(IN_C)
    ranks = tmp_path / "ranks"
    ranks.mkdir()
    with subprocess.Popen([sys.executable, program, ranks / "rank"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        workers = [int(pid) for pid in run.stdout.readline().split()]
        until(lambda: len(list(ranks.iterdir())) == 2, 60)
        pids = [int(path.name.removeprefix("rank-")) for path in ranks.iterdir()]
        os.kill(workers[0], signal.SIGKILL)
        began = time.monotonic()
        until(lambda: any(gone(pid) for pid in pids), 10, "the end of the rank of the killed worker")
        seconds = time.monotonic() - began
        print(f"the rank of the killed worker ended after {seconds:.2f} s")
        assert seconds < 2
        run.kill()
    until(lambda: all(gone(pid) for pid in (*pids, *workers)), 40, "the end of all ranks")
