"""Who speaks when the scheduler has ended: the client, and before the others leave. When ranks finalize MPI."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from daskhpc.cluster import ending
from daskhpc.cluster.control_channel import ControlConnection, ControlServer
from daskhpc.cluster.ending import finalize
from daskhpc.cluster.session import ClusterMember
from daskhpc.errors import EXIT_FAILED

RANK = """
import sys
from daskhpc.cluster import ending
from daskhpc.cluster.ending import on_scheduler_lost
from daskhpc.cluster.world import World

ending._CLIENT_FIRST_SECONDS = 8.0  # so much longer may the client take on a busy machine
print("ready", flush=True)
sys.stdin.readline()
on_scheduler_lost(World(None, int(sys.argv[1]), 3), "elsewhere", False, [])
"""


def test_the_client_has_spoken_before_a_workers_rank_leaves() -> None:
    """A launcher may end the client with the first rank that leaves."""
    client, worker = (
        subprocess.Popen(
            [sys.executable, "-c", RANK, rank],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "12"
    )
    try:
        for process in (worker, client):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (worker, client):
            assert process.stdin is not None
            process.stdin.write("now\n")
            process.stdin.flush()
        _, said = client.communicate(timeout=100)
        assert worker.poll() is None
        assert "The scheduler ended, so the job ends." in said
        assert worker.communicate(timeout=100) == ("", "")
        assert client.returncode == worker.returncode == EXIT_FAILED
    finally:
        for process in (client, worker):
            process.kill()
            process.communicate()


@dataclass
class CountedWorld:
    """A world of MPI that says who has finalized it."""

    finalized: list[str]
    name: str
    mpi: bool = True

    def finalize(self) -> None:
        self.finalized.append(self.name)


def member_of(world: CountedWorld, **channel: Any) -> ClusterMember:
    return ClusterMember(None, None, (), world, **channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [False, True])
def test_ranks_finalize_mpi_together_or_when_rank_0_has_ended(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPI_Finalize takes a processor until all have come, so nobody enters it while others still close."""
    monkeypatch.setattr(ending, "CLOSE_SECONDS", 1000)
    finalized: list[str] = []
    server = ControlServer("127.0.0.1")
    server.watch(lambda: None, lambda loss: None)
    address = server.address("127.0.0.1")
    connection = ControlConnection(address, 2)
    connection.watch(lambda: None, lambda told, words: None)
    server.leave()
    worker = member_of(CountedWorld(finalized, "worker"), connection=connection)
    waiting = threading.Thread(target=finalize, args=(worker, True), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert finalized == []
    if ends:
        socket.socket(fileno=os.dup(server.descriptor_of(2))).shutdown(socket.SHUT_RDWR)
    else:
        finalize(member_of(CountedWorld(finalized, "scheduler"), server=server), True)
    waiting.join(100)  # less than it waits at most
    assert sorted(finalized) == (["worker"] if ends else ["scheduler", "worker"])
