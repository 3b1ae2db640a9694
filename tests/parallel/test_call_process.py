"""A child process's side: the parcels that it keeps, the objects that calls share, the calls of one batch."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
import threadpoolctl
from wire import Wire

from daskhpc.parallel.call_process import ChildRun
from daskhpc.parallel.memory_segment import MemorySegment
from daskhpc.parallel.parcel import Parcel
from daskhpc.parallel.prefix_cache import PrefixCache
from daskhpc.parallel.task import ChildOrder


def order(blobs: dict[int, bytes], places: dict[int, Any]) -> ChildOrder:
    return ChildOrder("run", b"", blobs, places, 0, "")


def segment_of(value: Any) -> MemorySegment:
    """A large parcel in this process's memory."""
    parcel = Parcel(0, value)
    parcel.pack(1)
    assert parcel.layout is not None
    segment = MemorySegment.create(parcel.layout)
    for (offset, _), frame in zip(parcel.layout.spans, parcel.frames, strict=True):
        segment.write(offset, frame)
    segment.finish()
    return segment


@pytest.fixture
def child() -> ChildRun:
    return ChildRun(PrefixCache(0))


def test_small_parcels_are_made_anew_each_time(child: ChildRun) -> None:
    child.take(order({1: pickle.dumps([1, 2])}, {}))
    first, second = child.load(1, "r"), child.load(1, "r")
    assert first == second == [1, 2]
    assert first is not second
    child.drop([1, 2])
    with pytest.raises(KeyError):
        child.load(1, "r")


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c", None])
def test_large_parcels_are_as_joblibs_mmap_mode_says(child: ChildRun, mode: str | None) -> None:
    array = np.arange(1000.0)
    segment = segment_of({"x": array, "y": [1]})
    child.take(order({}, {7: segment.place_for_others()}))
    segment.close()
    values = [child.load(7, mode) for _ in range(3)]
    for value in values:
        np.testing.assert_array_equal(value["x"], array)
        assert value["x"].flags.writeable == (mode != "r")
    assert (values[0]["x"].ctypes.data == values[1]["x"].ctypes.data) == (mode in ("r", "r+", "w+"))
    if mode in ("r+", "w+", "c", None):
        values[0]["x"][0] = 5
        assert (values[1]["x"][0] == 5) == (mode in ("r+", "w+"))
    child.drop([7])
    assert values[0]["x"][1] == 1.0
    with pytest.raises(KeyError):
        child.load(7, mode)
    assert not any(kept for kept in (child.blobs, child.frames, child.segments, child.objects))


def test_a_parcel_that_nobody_holds_is_an_error(child: ChildRun) -> None:
    segment = segment_of(np.arange(1000.0))
    place = segment.place_for_others()
    segment.close()
    with pytest.raises(RuntimeError, match=f"process {os.getpid()} .* does not let this one open its data"):
        child.take(order({}, {1: place}))


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


def nothing(_: Any) -> None:
    pass


def fail(i: int) -> int:
    if i == 1:
        raise ValueError("one")
    return i


def test_a_batch_ends_at_its_first_error(wire: Wire) -> None:
    """Whoever waits is to know at once; the calls behind it are given back."""
    records = wire.result(wire.task(wire.make(*((fail, (i,)) for i in range(4))))).records
    assert [pickle.loads(record).ok for record in records] == [True, False]


def test_what_all_calls_of_a_batch_share_is_one_object_in_it(wire: Wire) -> None:
    """As in a batch of joblib's own."""
    shared: list[Any] = [np.zeros(3)]

    def seen(values: list[Any], i: int) -> int:
        values.append(i)
        return len(values)

    assert wire((seen, (shared, 0)), (seen, (shared, 1))) == [2, 3]
    assert wire((seen, (shared, 2))) == [2], "not beyond the batch"
    assert len(shared) == 1


def test_a_function_by_value_comes_and_goes(wire: Wire) -> None:
    """What a call returns of classes that cannot be imported arrives by value."""

    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    def make(x: int) -> Local:
        return Local(x)

    assert [made.x for made in wire((make, (1,)), (make, (2,)))] == [1, 2]


def inner() -> tuple[int, Any, int]:
    backend, _ = joblib.parallel.get_active_backend()
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return joblib.effective_n_jobs(-1), type(backend).__name__, max(pools, default=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_set_around_the_calls_is_gone_afterwards(threads: int) -> None:
    before = inner()
    with Wire() as wire:
        wire.builder.options = type(wire.builder.options)(-1, inner_threads=threads)
        (found,) = wire((inner, ()))
    assert found == (1, "NestedBackend", threads if before[2] else 0)
    assert inner() == before
