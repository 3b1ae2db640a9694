"""What trainings leave behind: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import programs
import psutil
import pytest
from clusters import start_cluster
from distributed import Client
from waiting import gone, until

from daskhpc.ddp import rank_task, train

ROUNDS = int(os.environ.get("DDP_ROUNDS", "1"))
TRAININGS = 3 if ROUNDS == 1 else 10 * ROUNDS
# Dask keeps connections open, as many as it needed at once until then; what a training leaves comes in every round.
ROUNDS_TO_REST = 5


def held(dask_worker: Any = None) -> dict[str, Any]:
    """What a process has: children, listening ports, descriptors, memory."""
    own = psutil.Process()
    ports = [c.laddr.port for c in own.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    return {
        "children": {child.pid for child in own.children(recursive=True)},
        "ports": set(ports),
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
    no_more = all(other[what] <= one[what] for one, other in pairs for what in ("children", "ports"))
    memory = all(other["rss"] - one["rss"] < 20 << 20 for one, other in pairs[1:])
    return no_more and memory and all(other["files"] < one["files"] + TRAININGS for one, other in pairs)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder for temporary files that no other test uses."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield folder


@pytest.fixture
def own_client(temporary: str, tmp_path: Path) -> Iterator[Client]:
    """Of workers that have their temporary files there, and have made nothing for other tests."""
    with start_cluster(2, local_directory=str(tmp_path)) as cluster, Client(cluster) as client:
        yield client


def test_trainings_leave_nothing(own_client: Client, temporary: str) -> None:
    client = own_client
    trained(client, 2)
    for _ in range(ROUNDS_TO_REST):
        before, names = all_held(client), set(os.listdir(temporary))
        trained(client, TRAININGS)
        with contextlib.suppress(AssertionError):
            until(lambda before=before: leaves_nothing(before, all_held(client)), 10)
            break
    else:
        raise AssertionError(f"before {before}\nafter {all_held(client)}")
    print(f"{TRAININGS} trainings: before {before}\nafter {all_held(client)}")
    assert set(os.listdir(temporary)) <= names
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
        until(lambda: len(list(ranks.iterdir())) == 2, 200)
        pids = [int(path.name.removeprefix("rank-")) for path in ranks.iterdir()]
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: any(gone(pid) for pid in pids), 8, "the end of the rank of the killed worker")
        run.kill()
    until(lambda: all(gone(pid) for pid in (*pids, *workers)), 90, "the end of all ranks")
