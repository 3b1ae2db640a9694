"""How large a chunk suits a cluster, and Dask's setting of it while a cluster is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from ranks import Ranks

from daskhpc.chunk_size import SMALLEST, Resources, array_chunk_size, largest_piece, piece_size, resources

MIB, GIB = 2**20, 2**30
NAME = "array.chunk-size"


def cluster_of(threads: int, memory_per_thread: int) -> Resources:
    return Resources(threads, threads, memory_per_thread, 1, memory_per_thread, cluster=True)


@pytest.mark.parametrize(
    ("total", "threads", "memory", "expected"),
    [
        (100, 4, 4 * GIB, MIB),  # never below what a task costs
        (160 * MIB, 4, 4 * GIB, 10 * MIB),  # four pieces per thread
        (100 * GIB, 4, 4 * GIB, 128 * MIB),  # Dask's own limit
        (100 * GIB, 4, GIB, 64 * MIB),  # a sixteenth of the memory of a thread
        (100_000 * GIB, 4, 16 * GIB, GIB),  # about 100,000 pieces
        (100_000 * GIB, 4, GIB, 256 * MIB),  # a quarter of the memory, whatever their number
        (100, 4, 8 * MIB, MIB // 2),
        (0, 1, 1, 1),
    ],
)
def test_the_size_of_a_piece_follows_the_cluster(total: int, threads: int, memory: int, expected: int) -> None:
    assert piece_size(total, cluster_of(threads, memory)) == expected


def test_a_limit_that_the_user_chose_comes_before_the_memory() -> None:
    assert piece_size(100 * GIB, cluster_of(4, GIB), 100 * MIB) == 100 * MIB
    assert piece_size(100, cluster_of(4, GIB), 100) == 100


def test_the_resources_of_a_cluster_and_of_this_machine(client: object) -> None:
    found = resources()
    # What memory is free here changes at any time.
    assert replace(resources(client), client_memory=found.client_memory) == found
    assert (found.workers, found.threads, found.memory, found.hosts, found.cluster) == (2, 2, 2 * GIB, 1, True)
    assert (found.threads_per_worker, found.memory_per_thread) == (1, 2 * GIB)


def test_the_resources_without_a_cluster() -> None:
    found = resources()
    assert (found.workers, found.cluster) == (1, False)
    assert found.threads >= 1
    assert found.memory_per_thread >= SMALLEST


@pytest.fixture
def default() -> Iterator[None]:
    with dask.config.set({NAME: "128MiB"}):
        yield
        array_chunk_size.restore()


@pytest.mark.usefixtures("default")
def test_the_setting_suits_the_workers_until_it_is_restored() -> None:
    assert array_chunk_size.chosen() is None
    array_chunk_size.suit(GIB)
    assert dask.config.get(NAME) == largest_piece(GIB) == 64 * MIB
    assert array_chunk_size.chosen() is None
    array_chunk_size.suit(GIB // 2)
    assert dask.config.get(NAME) == 32 * MIB
    array_chunk_size.restore()
    assert dask.config.get(NAME) == "128MiB"


@pytest.mark.usefixtures("default")
def test_a_setting_of_the_users_own_is_left_alone() -> None:
    with dask.config.set({NAME: "200MiB"}):
        array_chunk_size.suit(GIB)
        assert (dask.config.get(NAME), array_chunk_size.chosen()) == ("200MiB", 200 * MIB)
    array_chunk_size.suit(GIB)
    with dask.config.set({NAME: "200MiB"}):
        assert array_chunk_size.chosen() == 200 * MIB
        array_chunk_size.restore()
        assert dask.config.get(NAME) == "200MiB"


@pytest.mark.usefixtures("default")
def test_what_the_user_wrote_down_may_be_dasks_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_ARRAY__CHUNK_SIZE", "128MiB")
    array_chunk_size.suit(GIB)
    assert (dask.config.get(NAME), array_chunk_size.chosen()) == ("128MiB", 128 * MIB)


PROGRAM = """
import dask, dask.array as da, daskhpc

def largest():
    return max(da.ones((20_000, 20_000), chunks="auto").chunks[0]) ** 2 * 8

before = largest()
client = daskhpc.start(workers=2, nthreads=1, memory_limit="640MiB", dashboard=False)
print(before, largest())
client.close()
print(daskhpc.start() is client, largest())
client.cluster.close()
print(largest() == before)
"""


@pytest.mark.parametrize("chosen", [None, "10MiB"])
def test_start_makes_dasks_own_chunks_fit_the_workers(chosen: str | None, tmp_path: Path) -> None:
    env = {**os.environ, **({"DASK_ARRAY__CHUNK_SIZE": chosen} if chosen else {})}
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    first, second, third = [line.split() for line in done.stdout.splitlines()[-3:]]
    limit = 10 * MIB if chosen else 40 * MIB  # a sixteenth of the memory of a thread
    assert limit / 2 < int(first[1]) <= limit
    assert (second, third) == (["False", first[1]], ["True"])
    assert (first[0] == first[1]) is (chosen is not None)


@pytest.mark.mpi
def test_the_setting_on_the_clients_rank(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        4,
        """
        import dask
        from daskhpc import initialize, send_close_signal

        if initialize(memory_limit="640MiB", nthreads=1, exit=False):
            print(dask.config.get("array.chunk-size"), flush=True)
            send_close_signal()
            print(dask.config.get("array.chunk-size"), flush=True)
        """,
    )
    assert (done.code, done.out.split()) == (0, [str(40 * MIB), "128MiB"]), done.err
