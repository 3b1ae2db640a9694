"""What a worker process keeps for a run, and how much memory a node has to spare."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from open_files import open_files
from runtime.tree import GIB, MIB, Tree

from daskhpc.parallel import worker_parcels
from daskhpc.parallel.call_process import ChildRun
from daskhpc.parallel.memory_segment import MemorySegment, layout_of, pieces
from daskhpc.parallel.parcel import Parcel
from daskhpc.parallel.prefix_cache import PrefixCache
from daskhpc.parallel.worker_parcels import RunState, Ticket, register, run_state
from daskhpc.runtime import spare_memory
from daskhpc.runtime.node import NodeView


@pytest.fixture
def run() -> Iterator[str]:
    name = "Client-1-run"
    yield name
    worker_parcels.forget(name)
    worker_parcels._freed.clear()


def parcel(number: int, value: Any) -> tuple[Parcel, MemorySegment]:
    """A large parcel in a segment of this process."""
    made = Parcel(number, value)
    made.pack(1)
    assert made.layout is not None
    segment = MemorySegment.create(made.layout)
    for (offset, _), frame in zip(made.layout.spans, made.frames, strict=True):
        segment.write(offset, frame)
    segment.finish()
    return made, segment


def ticket(segment: MemorySegment, *before: tuple[int, int]) -> Ticket:
    return Ticket(segment.layout, (*before, (os.getpid(), segment.descriptor)))


def segments() -> list[str]:
    """The segments that this process has open."""
    return open_files("memfd:daskhpc")


def load(state: RunState, number: int, mode: str | None = "r") -> Any:
    """A parcel's object, as a child has it that was told of the parcel just now."""
    child = ChildRun(PrefixCache(0))
    places = {n: segment.place_for_others() for n, segment in state.segments.items() if n == number}
    child.take(SimpleNamespace(blobs=dict(state.blobs), places=places))  # type: ignore[arg-type]
    try:
        return child.load(number, mode)
    finally:
        child.drop([number])


def test_a_run_is_kept_until_it_is_freed(run: str) -> None:
    first = run_state(run)
    assert run_state(run) is first
    assert run_state(run + "2") is not first
    assert {run, run + "2"} <= {*worker_parcels.runs()}
    worker_parcels.forget(run + "2")
    assert not first.freed
    worker_parcels.forget(run)
    assert first.freed
    assert not {run, run + "2"} & {*worker_parcels.runs()}
    worker_parcels.forget("never heard of")


def test_what_comes_late_for_a_run_that_ended_keeps_nothing(run: str) -> None:
    run_state(run)
    worker_parcels.forget(run)
    late = run_state(run)
    assert late.freed
    late.drop([1])
    assert run not in worker_parcels.runs()


def test_small_parcels(run: str) -> None:
    state = run_state(run)
    assert register(state, {1: b"one", 2: b"two"}, {}) == {}
    assert state.blobs == {1: b"one", 2: b"two"}
    state.drop([1, 3])
    assert state.blobs == {2: b"two"}


def test_large_parcels(run: str) -> None:
    before = segments()
    made, segment = parcel(7, {"x": np.arange(1000.0), "y": [1]})
    state = run_state(run)
    opened = register(state, {}, {7: ticket(segment, (os.getpid(), 999_999), (2**22 + 1, 3))})
    assert opened == {7: state.segments[7].descriptor}
    assert register(state, {}, {7: ticket(segment)}) == {}
    segment.close()
    value = load(state, 7)
    np.testing.assert_array_equal(value["x"], made.value["x"])
    state.drop([7])
    np.testing.assert_array_equal(value["x"], made.value["x"])
    assert 7 not in state.segments
    del value
    assert segments() == before


def test_parcels_that_nobody_holds(run: str) -> None:
    _, segment = parcel(1, np.arange(1000.0))
    gone = ticket(segment)
    segment.close()
    assert register(run_state(run), {}, {1: gone, 2: Ticket(layout_of([3]), ())}) == {1: -1, 2: -1}
    assert run_state(run).segments == {}
    assert not worker_parcels.attach(run, 1, gone)


def test_another_parcel_under_the_same_descriptor(run: str) -> None:
    (_, first), (_, later) = parcel(1, np.arange(1000.0)), parcel(2, np.arange(1000.0))
    gone = ticket(first)
    # As if it had been closed, and its number used again.
    os.dup2(later.descriptor, first.descriptor, inheritable=False)
    assert register(run_state(run), {}, {1: gone}) == {1: -1}
    for each in (first, later):
        each.close()


def test_adopting_and_holding(run: str) -> None:
    made, segment = parcel(1, np.arange(1000.0))
    assert worker_parcels.attach(run, 1, ticket(segment))
    assert worker_parcels.attach(run, 1, ticket(segment))
    pid, descriptor = os.getpid(), run_state(run).segments[1].descriptor
    assert pid == os.getpid()
    other = MemorySegment.attach(pid, descriptor, segment.layout)
    assert other is not None
    other.close()
    segment.close()
    np.testing.assert_array_equal(load(run_state(run), 1), made.value)


def test_pieces_from_the_client(run: str, tmp_path: Path) -> None:
    worker = SimpleNamespace(local_directory=str(tmp_path))
    made = Parcel(1, [np.arange(1000.0), np.zeros(0)])
    made.pack(0)
    assert made.layout is not None
    worker_parcels.receive(run, 1, made.layout, worker)
    for offset, piece in pieces(made.frames, made.layout, 100):
        worker_parcels.write_piece(run, 1, offset, bytes(piece))
        assert run_state(run).segments == {}
    pid, descriptor = worker_parcels.received(run, 1)
    assert (pid, descriptor) == (os.getpid(), run_state(run).segments[1].descriptor)
    assert run_state(run).received == sum(memoryview(frame).nbytes for frame in made.frames)
    found = load(run_state(run), 1)
    np.testing.assert_array_equal(found[0], made.value[0])
    size = made.layout.size
    whole = b"".join(worker_parcels.read(run, 1, offset, 512) for offset in range(0, size, 512))
    assert len(whole) == size - len(made.layout.seal)
    assert whole.startswith(made.frames[0])


def test_a_parcel_is_found_when_it_is_whole(run: str, tmp_path: Path) -> None:
    """By a task that has an older ticket, under whose descriptor the new parcel arrives."""
    worker = SimpleNamespace(local_directory=str(tmp_path))
    made = Parcel(1, np.arange(1000.0))
    made.pack(0)
    assert made.layout is not None
    worker_parcels.receive(run, 1, made.layout, worker)
    arriving = ticket(run_state(run).arriving[1])
    assert register(run_state(run), {}, {1: arriving}) == {1: -1}
    for offset, piece in pieces(made.frames, made.layout, 100):
        worker_parcels.write_piece(run, 1, offset, bytes(piece))
        assert register(run_state(run), {}, {1: arriving}) == {1: -1}
    worker_parcels.received(run, 1)
    assert register(RunState(), {}, {1: arriving})[1] >= 0
    np.testing.assert_array_equal(load(run_state(run), 1), made.value)


def test_what_calls_have_open_stays_when_it_comes_again(run: str, tmp_path: Path) -> None:
    before = segments()
    worker = SimpleNamespace(local_directory=str(tmp_path))
    places = set()
    for _ in range(2):
        worker_parcels.receive(run, 1, layout_of([1000]), worker)
        worker_parcels.write_piece(run, 1, 0, b"x" * 1000)
        places.add(worker_parcels.received(run, 1))
    assert len(places) == 1
    assert len(segments()) == len(before) + 1


def test_a_second_attempt_leaves_nothing_of_the_first(run: str, tmp_path: Path) -> None:
    worker = SimpleNamespace(local_directory=str(tmp_path))
    before = segments()
    for _ in range(3):
        worker_parcels.receive(run, 1, layout_of([1000]), worker)
    assert len(segments()) == len(before) + 1
    worker_parcels.forget(run)
    assert segments() == before


def test_freeing_closes_all(run: str) -> None:
    before = segments()
    state = run_state(run)
    for number in range(5):
        _, segment = parcel(number, np.arange(1000.0))
        register(state, {number + 10: b"x"}, {number: ticket(segment)})
        segment.close()
    assert len(segments()) > len(before)
    worker_parcels.forget(run)
    assert segments() == before
    assert [state.blobs, state.segments] == [{}] * 2


def test_many_threads_register_and_open(run: str) -> None:
    before = segments()
    _, segment = parcel(1, np.arange(1000.0))
    state, errors, start = run_state(run), [], threading.Barrier(8)

    def work() -> None:
        try:
            start.wait(30)
            for _ in range(50):
                register(state, {2: b"two"}, {1: ticket(segment)})
                assert load(state, 1)[5] == 5
                assert state.blobs[2] == b"two"
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    segment.close()
    worker_parcels.forget(run)
    assert segments() == before


def test_a_node_has_one_name() -> None:
    name = worker_parcels.node_name()
    assert name == worker_parcels.node_name()
    assert name.split()[0] == os.uname().nodename
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=3))
    assert worker_parcels.describe(worker) == (name, os.getpid(), 3)


# What a node has to spare.


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "root")


def spare(tree: Tree) -> int:
    return spare_memory(NodeView({}, tree.root))


def available(tree: Tree, size: int) -> Tree:
    lines = [f"MemTotal: {64 * GIB // 1024} kB", "MemFree: 1 kB", f"MemAvailable:   {size // 1024} kB"]
    return tree.file("/proc/meminfo", "\n".join(lines))


def test_what_is_available(tree: Tree) -> None:
    assert spare(available(tree, 3 * GIB)) == 3 * GIB


@pytest.mark.parametrize("text", ["", "MemAvailable:", "MemAvailable: lots kB", "MemTotal: 1 kB"])
def test_nothing_where_nobody_says(tree: Tree, text: str) -> None:
    assert spare(tree.file("/proc/meminfo", text)) == 0


def group2(tree: Tree, **files: int | str) -> Tree:
    return tree.group("", "/job", {f"job/memory.{name}": str(value) for name, value in files.items()})


def test_version_2(tree: Tree) -> None:
    stat = f"anon 1\ninactive_file {100 * MIB}\nactive_file 7"
    group2(available(tree, 8 * GIB), max=2 * GIB, current=GIB, stat=stat)
    assert spare(tree) == GIB + 100 * MIB


def test_version_2_without_a_limit(tree: Tree) -> None:
    assert spare(group2(available(tree, 8 * GIB), max="max", current=GIB)) == 8 * GIB


def test_the_least_of_all_groups_above(tree: Tree) -> None:
    limits = {
        "job/memory.max": str(GIB),
        "job/memory.current": str(GIB - 5 * MIB),
        "job/step/memory.max": str(4 * GIB),
        "job/step/memory.current": "0",
    }
    available(tree, 8 * GIB).group("", "/job/step", limits)
    assert spare(tree) == 5 * MIB


def test_a_full_group(tree: Tree) -> None:
    assert spare(group2(available(tree, 8 * GIB), max=GIB, current=GIB + MIB)) == 0


def test_version_1(tree: Tree) -> None:
    files = {
        "job/memory.limit_in_bytes": str(2 * GIB),
        "job/memory.usage_in_bytes": str(GIB),
        "job/memory.stat": f"cache 1\ninactive_file 5\ntotal_inactive_file {MIB}",
    }
    available(tree, 8 * GIB).group("memory", "/job", files)
    assert spare(tree) == GIB + MIB


def test_version_1_without_a_limit(tree: Tree) -> None:
    files = {"job/memory.limit_in_bytes": str(2**63 - 4096), "job/memory.usage_in_bytes": str(GIB)}
    available(tree, 8 * GIB).group("memory", "/job", files)
    assert spare(tree) == 8 * GIB


def test_malformed_groups(tree: Tree) -> None:
    assert spare(group2(available(tree, 8 * GIB), max="many", current="few", stat="?")) == 8 * GIB


def test_this_node() -> None:
    assert spare_memory() > 0
