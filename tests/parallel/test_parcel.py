"""What travels: which values pass for one another, templates and parcels, and calls as they arrive."""

from __future__ import annotations

import collections
import copy
import decimal
import enum
import functools
import gc
import pickle
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from wire import Wire

from daskhpc.parallel.parcel import FUNCTION, NODE_MEMORY_BYTES, Factory, Parcel, Ref, alike, plain

X = np.arange(12.0).reshape(4, 3)


class Words(list):  # type: ignore[type-arg]
    pass


class Whole(int):
    pass


class Slotted(BaseEstimator):  # type: ignore[misc]
    __slots__ = ("hidden",)


class Reduced(BaseEstimator):  # type: ignore[misc]
    def __reduce__(self) -> Any:
        return (int, (id(self),))


class Listed(BaseEstimator, list):  # type: ignore[misc, type-arg]
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def get(self) -> int:
        return self.x


def slotted(value: int) -> Slotted:
    made = Slotted()
    made.hidden = value
    return made


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array = array.copy()
    array.flags.writeable = False
    return array


def noted(partial: Any) -> Any:
    partial.note = 1
    return partial


DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (0, False),
    (1.0, True),
    (0.0, -0.0),
    (1, np.int64(1)),
    (1.0, np.float64(1)),
    (np.float32(1), np.float64(1)),
    (0j, -0j),
    (complex(0, 0.0), complex(0, -0.0)),
    ("1", 1),
    ("a", b"a"),
    (None, 0),
    ((1, 2), [1, 2]),
    ((1,), (1, 1)),
    ([1, [2, [3]]], [1, [2, [3.0]]]),
    ({"a": 1}, {"a": True}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1: "a"}, {True: "a"}),
    ({1: "a"}, {1.0: "a"}),
    ({(1, 2): "a"}, {(1.0, 2): "a"}),
    ({0.0: "a"}, {-0.0: "a"}),
    ({1, 2}, {1.0, 2}),
    (Words([1]), Words([1])),
    (Words([1]), [1]),
    (Whole(1), 1),
    (collections.OrderedDict(a=1), {"a": 1}),
    (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    (Colour.RED, Colour.BLUE),
    (Point(1), Point(2)),
    (Point(1).get, Point(2).get),
    (functools.partial(int, base=2), functools.partial(int, base=3)),
    (functools.partial(int), functools.partial(float)),
    (functools.partial(int), noted(functools.partial(int))),
    (X, X.astype(np.int64)),
    (X, X.astype(">f8")),
    (X, np.asfortranarray(X)),
    (X, X.reshape(3, 4)),
    (X, X.view(np.int64)),
    (X, X + 1),
    (X, np.ma.masked_array(X)),
    (X, np.asmatrix(X)),
    (X, read_only(X)),
    (np.array([0.0]), np.array([-0.0])),
    (np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
    (np.array([1], "M8[s]"), np.array([1], "M8[ms]")),
    (np.random.RandomState(0), np.random.RandomState(1)),
    (np.random.default_rng(0), np.random.default_rng(1)),
    (random.Random(0), random.Random(1)),
    (pd.Series([1]), pd.Series([2])),
    (StandardScaler(), StandardScaler(with_mean=False)),
    (StandardScaler(with_mean=True), StandardScaler(with_mean=1)),
    (StandardScaler(), StandardScaler().fit(X)),
    (StandardScaler().fit(X), StandardScaler().fit(X + 1)),
    (DecisionTreeClassifier().fit(X, [0, 0, 1, 1]), DecisionTreeClassifier().fit(X, [0, 1, 0, 1])),
    (SGDClassifier(random_state=np.random.RandomState(0)), SGDClassifier(random_state=np.random.RandomState(1))),
    (slotted(1), slotted(2)),
    (Reduced(), Reduced()),
    (Listed([1]), Listed([2])),
]


IDS = [f"{type(a).__name__}-{type(b).__name__}" for a, b in DIFFERENT]


@pytest.mark.parametrize(("a", "b"), DIFFERENT, ids=IDS)
def test_what_a_call_can_tell_apart_is_not_alike(a: Any, b: Any) -> None:
    assert not alike(a, b)
    assert not alike(b, a)
    assert not alike([1, {"k": (a,)}], [1, {"k": (b,)}])
    assert not alike(StandardScaler(with_mean=a), StandardScaler(with_mean=b))


@pytest.mark.parametrize(
    "value",
    [
        1,
        -0.0,
        float("nan"),
        "text",
        None,
        [1, (2.0, {"a": b"x"})],
        X,
        np.asfortranarray(X),
        StandardScaler(),
        SGDClassifier(penalty="l1", alpha=0.5),
        functools.partial(int, base=2),
    ],
    ids=repr,
)
def test_copies_are_alike(value: Any) -> None:
    assert alike(value, copy.deepcopy(value))


def circle() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def test_circles_do_no_harm() -> None:
    assert alike(circle(), circle()) in (True, False)
    assert not plain(circle())


@pytest.mark.parametrize(
    "value", [1, 1.5, "a", b"a", None, True, 1j, (1, [2, {"a": 3}]), {1, 2}, frozenset("a"), np.float32(1), np.bool_(1)]
)
def test_plain(value: Any) -> None:
    assert plain(value)


@pytest.mark.parametrize(
    "value",
    [
        X,
        Words(),
        Whole(1),
        Point(1),
        [[[[1]]]],
        "a" * (1 << 20),
        list(range(10_000)),
        np.datetime64("now"),
        np.void(b"a"),
        len,
        int,
        collections.OrderedDict(),
        collections.Counter(),
        {"a": X},
    ],
    ids=lambda value: type(value).__name__,
)
def test_not_plain(value: Any) -> None:
    assert not plain(value)


@pytest.mark.parametrize(
    "value", [[[1.5] * 900 for _ in range(900)], ["a" * 60_000 for _ in range(900)]], ids=["table", "texts"]
)
def test_what_goes_with_every_call_is_small(value: Any) -> None:
    assert len(pickle.dumps(value)) > NODE_MEMORY_BYTES
    assert not plain(value)


# The factory.


def never(_function: Any) -> bool:
    return False


def f(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def factored(factory: Factory, function: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[Any, Any]]:
    return factory.factor(function, args, kwargs, never)[:2]


def needing(factory: Factory, *args: Any) -> tuple[Any, list[Parcel]]:
    """A call's template, and the parcels that it needs."""
    template, _, parcels = factory.factor(f, args, {}, never)
    return template, parcels


def test_a_call_is_its_differences() -> None:
    factory = Factory()
    template, first = factored(factory, f, X, 1, name="a")
    again, second = factored(factory, f, X, 2, name="a")
    assert again is template
    assert (first, second) == ({}, {1: 2})
    assert set(template.parcels) == {FUNCTION, 0}
    _, third = factored(factory, f, X + 1, 1, name="b")
    assert third == {0: Ref(2), "name": "b"}
    assert factory.parcels[2].value[0, 0] == 1


def test_shapes_have_templates_of_their_own() -> None:
    factory = Factory()
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        ((1, 2), {}),
        ((1,), {"a": 2}),
        ((1,), {"b": 2}),
        ((), {"a": 1, "b": 2}),
        ((), {"b": 1, "a": 2}),
    ]
    assert len({factored(factory, f, *a, **k)[0].number for a, k in calls}) == len(calls)
    assert all(factored(factory, f, *a, **k)[1] == {} for a, k in calls)


def test_a_wrapped_array_is_one_parcel() -> None:
    factory = Factory()
    template, _ = factored(factory, f, X, X)
    assert template.parcels[0] is template.parcels[1]
    _, differences = factored(factory, f, other := X + 1, other)
    assert differences[0] == differences[1]
    assert factory.parcels[differences[0].number].uses == 1


def test_parcels_are_counted_and_forgotten() -> None:
    factory = Factory()
    template, first = needing(factory, X, 0)
    _, once = needing(factory, X + 1, 0)
    _, twice = needing(factory, shared := X + 2, 0)
    _, again = needing(factory, shared, 1)
    (gone,) = factory.finished(template, once)
    assert gone in once
    assert gone.number not in factory.parcels
    assert factory.finished(template, twice) == []
    assert all(parcel.number in factory.parcels for parcel in twice)
    assert factory.finished(template, again) == []
    assert factory.finished(template, first) == []
    assert template.parcels[0].pending == 0


def test_ids_are_not_mistaken_when_they_come_again() -> None:
    factory = Factory()
    template, _ = factored(factory, f, X, 0)
    seen: dict[int, float] = {}
    for i in range(200):
        _, differences, parcels = factory.factor(f, (np.full(3, float(i)), i), {}, never)
        number = differences[0].number
        assert number not in seen
        seen[number] = i
        assert factory.parcels[number].value[0] == i
        if i % 2:
            factory.finished(template, parcels)


def test_what_is_forgotten_is_freed() -> None:
    factory = Factory()
    template, _ = factored(factory, f, X)
    array = X + 1
    _, parcels = needing(factory, array)
    alive = weakref.ref(array)
    del array
    gc.collect()
    assert alive() is not None
    factory.finished(template, parcels)
    del parcels
    gc.collect()
    assert alive() is None


def test_many_threads() -> None:
    factory = Factory()
    shared = [np.full(3, i) for i in range(5)]
    template, _ = factored(factory, f, X, 0)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        try:
            waiting = []
            for i in range(300):
                value = choose.choice(shared) if choose.random() < 0.5 else np.full(3, i)
                waiting.append(needing(factory, value, i)[1])
                if choose.random() < 0.7:
                    factory.finished(template, waiting.pop(choose.randrange(len(waiting))))
            for parcels in waiting:
                factory.finished(template, parcels)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    pending = {parcel.number: parcel.pending for parcel in factory.parcels.values()}
    assert sum(pending.values()) == 2  # of the first call: its function and X
    assert len(factory.parcels) <= 2 + len(shared)


@pytest.mark.parametrize(
    ("threshold", "mapped"), [(None, 0), (1, 2), (0, 2), (8 * 1000, 1), (8 * 1000 + 1, 0)], ids=repr
)
def test_packing(threshold: int | None, mapped: int) -> None:
    parcel = Parcel(0, [np.arange(1000.0), np.arange(10.0), np.arange(20.0)[::2]])
    parcel.pack(threshold)
    assert parcel.packed
    assert len(parcel.frames) == (mapped + 1 if mapped else 0)
    assert (parcel.layout is None) == bool(parcel.blob)
    stream, buffers = (parcel.frames[0], parcel.frames[1:]) if mapped else (parcel.blob, [])
    for a, b in zip(pickle.loads(stream, buffers=buffers), parcel.value, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_long_stream_lies_in_memory() -> None:
    parcel = Parcel(0, list(range(NODE_MEMORY_BYTES)))
    parcel.pack(1 << 20)
    assert not parcel.blob
    assert parcel.layout is not None
    assert len(parcel.frames) == len(parcel.layout.spans) == 1


def test_what_cannot_be_pickled() -> None:
    parcel = Parcel(0, [np.zeros(1000), threading.Lock()])
    with pytest.raises(TypeError, match="lock"):
        parcel.pack(1)
    assert not parcel.packed


# Calls as they arrive: through the client's tasks, a worker's slot and what its child does, all in this process.


def tell(*args: Any, **kwargs: Any) -> Any:
    return args, list(kwargs.items())


@pytest.fixture
def wire() -> Any:
    with Wire() as made:
        yield made


def test_calls_arrive_as_they_were_made(wire: Wire) -> None:
    values = [0, 0.0, -0.0, False, "", None, (), [], {}, {1: 2}, {True: 2}, {1.0: 2}, 1, True, 1.0, b"", 0j]
    found = wire(*((tell, (v, v)) for v in values))
    for value, (args, _) in zip(values, found, strict=True):
        assert pickle.dumps(args[0]) == pickle.dumps(value)


def test_keyword_arguments_keep_their_order(wire: Wire) -> None:
    named = {"a": X, "b": 1, "c": [X], "d": None}
    for _, found in wire((tell, (), named), (tell, (), named), (tell, (), named | {"c": 0})):
        assert [name for name, _ in found] == list(named)


def test_functions_of_one_name_are_told_apart(wire: Wire) -> None:
    def closure(n: int) -> Callable[[int], int]:
        return lambda x: x + n

    pair: dict[Any, Any] = {}
    for n in (1, 2):
        exec(f"def same(x): return x * {n * 10}", {"__name__": "somewhere"}, pair)
        pair[n] = pair.pop("same")
    calls = [(closure(1), (1,)), (closure(2), (1,)), (pair[1], (1,)), (pair[2], (1,)), (closure(3), (1,))]
    assert wire(*calls) == [2, 3, 10, 20, 4]


def test_bound_methods_and_partials(wire: Wire) -> None:
    points = [Point(i) for i in range(3)]
    assert wire(*((p.get, ()) for p in points)) == [0, 1, 2]
    assert wire(*((functools.partial(int, base=b), ("11",)) for b in (2, 3, 8))) == [3, 4, 9]


def append(to: list[int], i: int) -> list[int]:
    to.append(i)
    return to


def test_each_call_has_its_own_new_list(wire: Wire) -> None:
    assert wire(*((append, ([], i)) for i in range(3))) == [[0], [1], [2]]


def test_each_call_has_its_own_new_array(wire: Wire) -> None:
    def add(array: Any, i: int) -> Any:
        array += i + 1
        return array.tolist()

    assert wire(*((add, (np.zeros(1), i)) for i in range(3))) == [[1.0], [2.0], [3.0]]


def test_each_call_has_its_own_clone(wire: Wire) -> None:
    """As in learning_curve, which fits clones of one estimator part by part."""

    def more(scaler: StandardScaler, i: int) -> int:
        scaler.partial_fit(X)
        return int(scaler.n_samples_seen_)

    assert wire(*((more, (StandardScaler(), i)) for i in range(3))) == [len(X)] * 3


def test_each_call_has_its_own_part_of_a_mixed_argument(wire: Wire) -> None:
    def put(box: dict[str, Any], i: int) -> int:
        box.setdefault("seen", []).append(i)
        return len(box["seen"])

    assert wire(*((put, ({"x": X}, i)) for i in range(3))) == [1, 1, 1]


def test_two_arguments_that_were_one_in_the_first_call_only(wire: Wire) -> None:
    def grow(a: list[int], b: list[int], _i: int) -> int:
        a.append(1)
        return len(b)

    one: list[int] = []
    assert wire((grow, (one, one, 0)), (grow, ([], [], 1))) == [1, 0]


def test_what_the_caller_changes_between_two_parallels(wire: Wire) -> None:
    """The loop of a managed Parallel that changes its weights in place."""

    def total(values: Any, i: int) -> float:
        return float(sum(values)) + i

    weights, table = np.ones(3), [1.0] * 3
    assert wire((total, (weights, 0)), (total, (weights, 1)), (total, (table, 0)), number=0) == [3, 4, 3]
    weights += 1
    table[:] = [2.0] * 3
    assert wire((total, (weights, 0)), (total, (weights, 1)), (total, (table, 0)), number=1) == [6, 7, 6]


def test_an_estimator_that_the_caller_fits_between_two_parallels(wire: Wire) -> None:
    def seen(scaler: StandardScaler, _i: int) -> int:
        return int(getattr(scaler, "n_samples_seen_", 0))

    scaler = StandardScaler()
    assert wire((seen, (scaler, 0)), (seen, (scaler, 1)), number=0) == [0, 0]
    scaler.fit(X)
    assert wire((seen, (scaler, 0)), (seen, (scaler, 1)), number=1) == [4, 4]


@pytest.mark.parametrize(
    "values",
    [
        (np.float32, np.float64),
        (np.ndarray, pd.Series),
        (int, float),
        (pd.DataFrame({"nbytes": [1, 2]}), pd.DataFrame({"nbytes": [3, 4]})),
    ],
    ids=["scalar types", "array types", "types", "a column called nbytes"],
)
def test_values_whose_nbytes_is_no_number(wire: Wire, values: tuple[Any, Any]) -> None:
    for value, (args, _) in zip(values, wire(*((tell, (v, 0)) for v in values)), strict=True):
        assert args[0] is value or args[0].equals(value)


class Unsized:
    """As a Dask array of unknown chunks."""

    nbytes = float("nan")


def test_values_of_unknown_size(wire: Wire) -> None:
    found = wire((tell, (Unsized(), 0)), (tell, (Unsized(), 1)))
    assert all(isinstance(args[0], Unsized) for args, _ in found)


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c", None])
@pytest.mark.parametrize("threshold", [0, 1, 1000, None])
def test_arrays_of_all_kinds(mode: str | None, threshold: int | None) -> None:
    big = np.arange(60_000.0).reshape(200, 300)
    arrays = [big, np.asfortranarray(big), big[::2, ::3], big[:0], np.array(1.0), np.array(["a", None], dtype=object)]
    with Wire(threshold, mode) as wire:
        for _ in range(2):
            for i, (args, _named) in enumerate(wire(*((tell, (a, i)) for i, a in enumerate(arrays)))):
                np.testing.assert_array_equal(args[0], arrays[i])


def test_calls_cost_few_bytes_whatever_they_share(wire: Wire) -> None:
    shared = list(range(100_000))
    calls = wire.make(*((tell, (X, shared, i)) for i in range(1000)))
    assert all(len(pickle.dumps(call.differences)) < 50 for call in calls)
