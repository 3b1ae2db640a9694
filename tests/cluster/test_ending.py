"""Who speaks when the scheduler has ended: the client, and before the others leave."""

from __future__ import annotations

import subprocess
import sys

from daskhpc.errors import EXIT_FAILED

RANK = """
import sys
from daskhpc.cluster.ending import on_scheduler_lost
from daskhpc.cluster.world import World

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
        _, said = client.communicate(timeout=30)
        assert worker.poll() is None
        assert "The scheduler ended, so the job ends." in said
        assert worker.communicate(timeout=30) == ("", "")
        assert client.returncode == worker.returncode == EXIT_FAILED
    finally:
        for process in (client, worker):
            process.kill()
            process.communicate()
