"""What a worker process keeps for a run, and how much memory a node has to spare."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from runtime.tree import GIB, MIB, Tree

from daskhpc.parallel import store
from daskhpc.parallel.parcel import FUNCTION, Parcel
from daskhpc.parallel.segment import MemorySegment, layout_of, pieces
from daskhpc.parallel.store import Ticket, load, register, run_state
from daskhpc.parallel.task import TaskSpec, run_task
from daskhpc.runtime import spare_memory
from daskhpc.runtime.node import NodeView


@pytest.fixture
def run() -> Iterator[str]:
    name = "Client-1-run"
    yield name
    store.free(name)


def parcel(number: int, value: Any) -> tuple[Parcel, MemorySegment]:
    """A large parcel in a segment of this process."""
    made = Parcel(number, value)
    made.pack(1)
    assert made.layout is not None
    segment = MemorySegment.create(made.layout)
    for (offset, _), frame in zip(made.layout.spans, made.frames, strict=True):
        segment.write(offset, frame)
    return made, segment


def ticket(segment: MemorySegment, *before: tuple[int, int]) -> Ticket:
    return Ticket(segment.layout, (*before, (os.getpid(), segment.descriptor)))


def segments() -> list[str]:
    """The segments that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "memfd:daskhpc" in target:
            found.append(name)
    return found


def test_a_run_is_kept_until_it_is_freed(run: str) -> None:
    first = run_state(run)
    assert run_state(run) is first
    assert run_state(run + "2") is not first
    store.free(run + "2")
    store.free(run)
    assert first.cancelled
    assert run_state(run) is not first
    assert not run_state(run).cancelled
    store.free("never heard of")


IDLE = SimpleNamespace(nanny=None, data={}, state=SimpleNamespace(executing_count=0))


def test_cancelling(run: str) -> None:
    asyncio.run(store.cancel(run, IDLE))
    assert run_state(run).cancelled


def test_an_import_is_not_cut_short(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had not made yet would be missing in this process for ever."""
    module = "import pathlib, time\nhere = pathlib.Path(__file__)\nhere.with_name('began').touch()\n"
    module += "end = time.monotonic() + 20\n"
    module += "while not here.with_name('go').exists() and time.monotonic() < end: time.sleep(0.01)\nWHOLE = True\n"
    (tmp_path / "slowly_imported.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    ended: list[str] = []

    def call() -> None:
        with store.calling(run_state(run)):
            try:
                import slowly_imported  # type: ignore[import-not-found]

                ended.append(str(slowly_imported.WHOLE))
                for _ in range(10**9):
                    pass
            except store.CancelledCallError:
                ended.append("cancelled")

    thread = threading.Thread(target=call)
    thread.start()

    async def let_go() -> None:
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        cancelling = asyncio.create_task(store.cancel(run, IDLE))
        await asyncio.sleep(0)
        (tmp_path / "go").touch()
        await cancelling

    asyncio.run(asyncio.wait_for(let_go(), 20))
    thread.join(20)
    assert not thread.is_alive()
    assert sys.modules.pop("slowly_imported").WHOLE
    assert ended[-1] == "cancelled"


def test_cancelling_interrupts_the_calls_of_the_run_only(run: str) -> None:
    began, ended = threading.Barrier(3), dict.fromkeys((run, run + "2"), "")
    stop = threading.Event()

    def work(name: str) -> None:
        try:
            with store.calling(run_state(name)):
                began.wait(30)
                while not stop.wait(0.001):
                    pass
            ended[name] = "in peace"
        except store.CancelledCallError:
            ended[name] = "cancelled"

    threads = [threading.Thread(target=work, args=(name,)) for name in ended]
    for thread in threads:
        thread.start()
    began.wait(30)
    asyncio.run(store.cancel(run, IDLE))
    threads[0].join(30)
    assert ended == {run: "cancelled", run + "2": ""}
    stop.set()
    threads[1].join(30)
    assert ended[run + "2"] == "in peace"
    assert not run_state(run).threads
    store.free(run + "2")


def test_a_call_that_just_ended_is_not_interrupted_later(run: str) -> None:
    """Cancelling meets the end of a call: its thread goes on with something else, and is left alone."""
    state, late = run_state(run), 0
    stop = threading.Event()

    def work() -> None:
        nonlocal late
        while not stop.is_set():
            try:
                with contextlib.suppress(store.CancelledCallError), store.calling(state):
                    sum(range(20))
                for _ in range(20):
                    sum(range(20))
            except store.CancelledCallError:
                late += 1

    thread = threading.Thread(target=work)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        for _ in range(300):
            asyncio.run(store.cancel(run, IDLE))
    finally:
        stop.set()
        thread.join(30)
        sys.setswitchinterval(before)
    assert late == 0
    assert not state.threads


def test_what_comes_late_for_a_run_that_ended_keeps_nothing(run: str) -> None:
    run_state(run)
    store.free(run)
    store.drop(run, [1])
    assert run not in store._states


def test_small_parcels(run: str) -> None:
    state = run_state(run)
    assert register(state, {1: pickle.dumps([1, 2])}, {}) == {}
    first, second = load(state, 1, "r"), load(state, 1, "r")
    assert first == second == [1, 2]
    assert first is not second
    store.drop(run, [1, 2])
    with pytest.raises(KeyError):
        load(state, 1, "r")


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c", None])
def test_large_parcels(run: str, mode: str | None) -> None:
    before = segments()
    made, segment = parcel(7, {"x": np.arange(1000.0), "y": [1]})
    state = run_state(run)
    opened = register(state, {}, {7: ticket(segment, (os.getpid(), 999_999), (2**22 + 1, 3))})
    assert opened == {7: state.segments[7].descriptor}
    assert register(state, {}, {7: ticket(segment)}) == {}
    segment.close()
    values = [load(state, 7, mode) for _ in range(3)]
    for value in values:
        np.testing.assert_array_equal(value["x"], made.value["x"])
        assert value["x"].flags.writeable == (mode != "r")
    shared = values[0]["x"].ctypes.data == values[1]["x"].ctypes.data
    assert shared == (mode in ("r", "r+", "w+"))
    store.drop(run, [7])
    assert 7 not in state.frames
    np.testing.assert_array_equal(values[0]["x"], made.value["x"])
    with pytest.raises(KeyError):
        load(state, 7, mode)
    del values, value
    assert segments() == before


def test_parcels_that_nobody_holds(run: str) -> None:
    _, segment = parcel(1, np.arange(1000.0))
    gone = ticket(segment)
    segment.close()
    assert register(run_state(run), {}, {1: gone, 2: Ticket(layout_of([3]), ())}) == {1: -1, 2: -1}
    assert run_state(run).segments == {}
    assert not store.attach(run, 1, gone)


def test_another_parcel_under_the_same_descriptor(run: str) -> None:
    _, first = parcel(1, np.arange(1000.0))
    gone = ticket(first)
    first.close()
    _, second = parcel(2, np.arange(1000.0))
    assert second.descriptor == gone.holders[0][1]
    assert register(run_state(run), {}, {1: gone}) == {1: -1}
    second.close()


def test_adopting_and_holding(run: str) -> None:
    made, segment = parcel(1, np.arange(1000.0))
    assert store.attach(run, 1, ticket(segment))
    assert store.attach(run, 1, ticket(segment))
    pid, descriptor = store.segment_location(run, 1)
    assert pid == os.getpid()
    other = MemorySegment.attach(pid, descriptor, segment.layout)
    assert other is not None
    other.close()
    segment.close()
    np.testing.assert_array_equal(load(run_state(run), 1, "r"), made.value)


def test_pieces_from_the_client(run: str, tmp_path: Path) -> None:
    worker = SimpleNamespace(local_directory=str(tmp_path))
    made = Parcel(1, [np.arange(1000.0), np.zeros(0)])
    made.pack(0)
    assert made.layout is not None
    store.receive(run, 1, made.layout, worker)
    for offset, piece in pieces(made.frames, made.layout, 100):
        store.write_piece(run, 1, offset, bytes(piece))
    assert run_state(run).received == sum(memoryview(frame).nbytes for frame in made.frames)
    found = load(run_state(run), 1, "r")
    np.testing.assert_array_equal(found[0], made.value[0])
    size = made.layout.size
    whole = b"".join(store.read(run, 1, offset, 512) for offset in range(0, size, 512))
    assert len(whole) == size - len(made.layout.seal)
    assert whole.startswith(made.frames[0])


def test_a_second_attempt_leaves_nothing_of_the_first(run: str, tmp_path: Path) -> None:
    worker = SimpleNamespace(local_directory=str(tmp_path))
    before = segments()
    for _ in range(3):
        store.receive(run, 1, layout_of([1000]), worker)
    assert len(segments()) == len(before) + 1
    store.free(run)
    assert segments() == before


def test_freeing_closes_all(run: str) -> None:
    before = segments()
    state = run_state(run)
    for number in range(5):
        _, segment = parcel(number, np.arange(1000.0))
        register(state, {number + 10: b"x"}, {number: ticket(segment)})
        segment.close()
    load(state, 3, "r")
    assert store.prefixes(state, None) is store.prefixes(state, None)
    assert len(segments()) > len(before)
    store.free(run)
    assert segments() == before
    assert [state.blobs, state.segments, state.frames, state.objects] == [{}] * 4


def test_many_threads_admit_and_load(run: str) -> None:
    before = segments()
    _, segment = parcel(1, np.arange(1000.0))
    state, errors, start = run_state(run), [], threading.Barrier(8)

    def work() -> None:
        try:
            start.wait(30)
            for _ in range(50):
                register(state, {2: pickle.dumps(2)}, {1: ticket(segment)})
                assert load(state, 1, "r")[5] == 5
                assert load(state, 2, "r") == 2
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    segment.close()
    store.free(run)
    assert segments() == before


def test_a_node_has_one_name() -> None:
    name = store.node_name()
    assert name == store.node_name()
    assert name.split()[0] == os.uname().nodename
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=3))
    assert store.describe(worker) == (name, os.getpid(), 3)


@pytest.mark.parametrize(
    ("limit", "most"), [(None, 1 << 30), (0, 1 << 30), (1 << 30, (1 << 30) // 5), (1 << 40, 1 << 30)]
)
def test_prefixes_take_a_share_of_the_memory(run: str, limit: int | None, most: int) -> None:
    worker = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=limit))
    assert store.prefixes(run_state(run), worker).limit == most


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


def order(run: str, name: str, *numbers: int) -> bytes:
    """A task that asks for the absolute value of each number."""
    template: Any = ({FUNCTION: absolute}, {}, (FUNCTION, 0), 1, 0)
    return pickle.dumps(TaskSpec(run, name, {0: template}, {}, {}, {}, [(0, {0: n}) for n in numbers], 60.0, None))


def absolute(number: int) -> int:
    if number < 0:
        during[number] = store.recall("Client-1-run", ["running"])
    return abs(number)


during: dict[int, Any] = {}
"""What a recall was told within each call."""


def test_what_a_task_that_is_recalled_has_done_is_told(run: str) -> None:
    assert store.recall(run, ["waiting"]) == {}
    assert run_task(order(run, "waiting", 1, 2)).outcomes == [], "it begins nothing when it comes"
    assert run_task(order(run, "done", 1)).outcomes == [(True, 1)]
    assert store.recall(run, ["done", "never sent"]) == {"done": None}, "its reply is on its way"
    during.clear()
    assert run_task(order(run, "running", -1, -2)).outcomes == [(True, 1)]
    assert during == {-1: {"running": ([], [])}}
