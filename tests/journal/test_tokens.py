"""Equal work has equal tokens, other work others: values, objects, estimators and calls."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import fractions
import functools
import operator
import os
import pathlib
import pickle
import random
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.model_selection._validation import _fit_and_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.parallel import _FuncWrapper

import daskhpc
from daskhpc.errors import JournalError
from daskhpc.journal import origins
from daskhpc.journal.calls import call_key
from daskhpc.journal.describe import describe
from daskhpc.journal.tokens import Tokens, token

Point = namedtuple("Point", "x y")
Other = namedtuple("Other", "x y")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


class Kept(dict[str, int]):
    pass


DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (0, False),
    (1, np.int64(1)),
    (1.0, np.float64(1)),
    (np.float32(1), np.float64(1)),
    (1, "1"),
    ("1", b"1"),
    (b"1", bytearray(b"1")),
    (0.0, -0.0),
    (None, "None"),
    ([1, 2], (1, 2)),
    ([1, 2], [2, 1]),
    ([[1], 2], [1, [2]]),
    (["ab", "c"], ["a", "bc"]),
    ([], ()),
    ({}, set()),
    (set(), frozenset()),
    ({"a": 1}, {"a": 2}),
    ({"a": "b"}, {"b": "a"}),
    ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    (OrderedDict(a=1), {"a": 1}),
    (Kept(a=1), {"a": 1}),
    (Point(1, 2), Other(1, 2)),
    (Point(1, 2), (1, 2)),
    ("x" * 1000, "x" * 999 + "y"),
    (Colour.RED, Colour.BLUE),
    (Colour.RED, 1),
    (int, float),
    (np.mean, np.median),
    (np.add, np.multiply),
    (operator.itemgetter(1), operator.itemgetter(2)),
    ("a".join, "b".join),
    (functools.partial(int, base=2), functools.partial(int, base=3)),
    (Box(1), Box(2)),
    (pathlib.Path("a"), "a"),
    (datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    (fractions.Fraction(1, 2), 0.5),
    (random.Random(1), random.Random(2)),
    (np.random.default_rng(1), np.random.default_rng(2)),
    (np.random.RandomState(1), np.random.RandomState(2)),
    (scipy.stats.uniform(0, 1), scipy.stats.uniform(0, 2)),
    (scipy.stats.uniform(0, 1), scipy.stats.norm(0, 1)),
    (SVC(C=1), SVC(C=2)),
    (SVC(C=1), SVC(C=1.0)),
    (KFold(3), KFold(5)),
    (make_pipeline(SVC(C=1)), make_pipeline(SVC(C=2))),
    (LogisticRegression(), LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])),
    (make_scorer(accuracy_score), make_scorer(f1_score)),
    (make_scorer(f1_score, average="macro"), make_scorer(f1_score, average="micro")),
    (GridSearchCV(SVC(), {"C": [1]}), GridSearchCV(SVC(), {"C": [2]})),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_things_have_different_tokens(one: Any, other: Any) -> None:
    assert token(one) != token(other)


@pytest.mark.parametrize("value", [v for pair in DIFFERENT for v in pair if not hasattr(v, "rvs")])
def test_a_copy_has_the_same_token(value: Any) -> None:
    if isinstance(value, np.random.Generator) and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("copies lose the seeds that they spawn from before NumPy 2")
    assert token(value) == token(copy.deepcopy(value)) == token(pickle.loads(pickle.dumps(value)))


def shared(one: Any) -> Any:
    return [one, one]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Counter("aab"), Counter("baa")),
        ({"x", "y", "z", 1, 2.5}, {2.5, "z", 1, "y", "x"}),
        (float("nan"), -float("-nan")),
        (shared([1, 2]), [[1, 2], [1, 2]]),
        (shared(Box([])), [Box([]), Box([])]),
        (deque([1, 2]), deque([1, 2])),
        (SVC(verbose=True), SVC(verbose=False)),
        (RandomForestClassifier(n_jobs=2), RandomForestClassifier()),
        (GridSearchCV(SVC(), {}, pre_dispatch=4), GridSearchCV(SVC(), {})),
        (daskhpc.GridSearchCV(SVC(), {}, progress=False), daskhpc.GridSearchCV(SVC(), {})),
        (Pipeline([("s", SVC(verbose=1))]), Pipeline([("s", SVC())])),
        (SVC(C=3), clone(SVC(C=3))),
    ],
)
def test_what_makes_no_difference(one: Any, other: Any) -> None:
    assert token(one) == token(other)


def test_where_a_memory_lies_makes_no_difference(tmp_path: pathlib.Path) -> None:
    one, other = (Pipeline([("s", SVC())], memory=joblib.Memory(tmp_path / name)) for name in "xy")
    assert token(one) == token(other)


def test_what_daskhpc_keeps_while_it_works_is_no_part_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = token(daskhpc.GridSearchCV(SVC(), {}))
    monkeypatch.setattr("daskhpc.search.classes._WHOLE", "another text")
    assert token(daskhpc.GridSearchCV(SVC(), {})) == before


class Growing:
    """Adds to the container that it is in when it is looked at, as another thread may at that moment."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def __reduce__(self) -> Any:
        if isinstance(self.container, dict):
            self.container[len(self.container)] = 0
        else:
            self.container.add(len(self.container))
        return int, (1,)


@pytest.mark.parametrize("container", [{}, set()])
def test_a_container_that_grows_while_it_is_looked_at(container: Any) -> None:
    one = Growing(container)
    if isinstance(container, dict):
        container[one] = 0
    else:
        container.add(one)
    assert token(container) != token(type(container)())
    assert len(container) == 2


def test_a_generator_that_has_drawn_is_another() -> None:
    for rng in (np.random.default_rng(0), np.random.RandomState(0), random.Random(0)):
        before = token(rng)
        rng.random()
        assert token(rng) != before


def test_a_cloned_search_is_the_same_whatever_was_drawn_meanwhile() -> None:
    search = RandomizedSearchCV(SVC(), {"C": scipy.stats.uniform(0, 1), "gamma": [1, 2]})
    before = token(clone(search))
    np.random.random()
    assert token(clone(search)) == token(search) == before
    assert token(RandomizedSearchCV(SVC(), {"C": scipy.stats.uniform(0, 2), "gamma": [1, 2]})) != before


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.frozensets(st.text(max_size=3) | st.integers(), max_size=4)
        | inner.map(Box)
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(values)
def test_any_copy_of_any_value_has_the_same_token(value: Any) -> None:
    assert token(value) == token(copy.deepcopy(value)) == token(pickle.loads(pickle.dumps(value)))


def ring(*names: str) -> Box:
    boxes = [Box([name]) for name in names]
    for box, following in zip(boxes, boxes[1:] + boxes[:1], strict=True):
        box.content.append(following)
    return boxes[0]


def test_circles_have_tokens_that_do_not_depend_on_what_was_known() -> None:
    assert token(ring("a", "b")) == token(ring("a", "b")) == token(pickle.loads(pickle.dumps(ring("a", "b"))))
    assert token(ring("a", "b")) != token(ring("a", "c"))
    assert token(ring("a", "b")) != token(ring("b", "a"))
    first = ring("a", "b")
    second = first.content[1]
    assert token([first, second]) == token([ring("a", "b"), ring("b", "a")])
    both = [1]
    both.append(both)  # type: ignore[arg-type]
    assert token(both) == token(copy.deepcopy(both))


def test_functions_that_call_each_other_are_the_same_in_any_order() -> None:
    tokens = Tokens()
    together = tokens.token(even), tokens.token(odd)
    again = Tokens()
    assert (again.token(odd), again.token(even)) == together[::-1]
    assert (token(even), token(odd)) == together
    assert token(even) != token(odd)


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def test_much_sharing_costs_no_time() -> None:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    assert token(value) == token(copy.deepcopy(value))


class Holder:
    def __init__(self) -> None:
        self.handle = threading.Lock()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([{"x": (1, threading.Lock())}], "args[0][0]['x'][1]: a thread lock"),
        (make_pipeline(StandardScaler(), Holder()), "args[0].steps[1][1].handle: a thread lock"),
        ((i for i in [1]), "args[0]: a generator"),
        (sys.__stderr__, "args[0]: an open file"),
        (functools.partial(int, Holder()), "args[0].args[0].handle: a thread lock"),
    ],
)
def test_what_has_no_key_is_named(value: Any, found: str) -> None:
    with pytest.raises(JournalError) as caught:
        call_key(len, (value,), {}, Tokens())
    assert caught.value.found == found
    assert "without checkpoint" in caught.value.todo


def test_what_is_nested_too_deeply_is_an_error_in_three_parts() -> None:
    value: Any = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(JournalError, match="nested too deeply"):
        token(value)


def test_a_large_array_is_read_once_until_forgotten() -> None:
    tokens, large, small = Tokens(), np.zeros(10_000), np.zeros(10)
    before = tokens.token(large), tokens.token(small)
    large[0] = small[0] = 1
    assert tokens.token(large) == before[0]
    assert tokens.token(small) != before[1]
    tokens.forget()
    assert tokens.token(large) == token(large) != before[0]


def test_another_array_in_the_place_of_one_that_is_gone_is_another() -> None:
    tokens, seen = Tokens(), set()
    for i in range(20):
        seen.add(tokens.token(np.full(10_000, i)))
    assert len(seen) == 20
    assert len(tokens._kept) <= 1


def test_another_version_of_a_library_is_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [token(v) for v in (SVC(), accuracy_score, SVC)]
    arrays = [token(v) for v in (np.ones(3), np.random.default_rng(0))]

    def later(top: str) -> str:
        return f"{top} 99"

    origins._origin.cache_clear()
    monkeypatch.setattr(origins, "_version", later)
    try:
        assert all(a != b for a, b in zip(before, [token(v) for v in (SVC(), accuracy_score, SVC)], strict=True))
        assert arrays == [token(v) for v in (np.ones(3), np.random.default_rng(0))]
    finally:
        origins._origin.cache_clear()


PROGRAM = """
import numpy as np, enum, dataclasses
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.metrics import make_scorer, f1_score
from daskhpc.journal.tokens import token
class C(enum.Enum):
    A = "x"
@dataclasses.dataclass
class D:
    a: int
    b: object = None
def f(x): return {x, "a", "b"}
print(token([{"a", "b", "c", 1, C.A}, {"x": 1, "y": D(1, {"p", "q"})}, make_pipeline(SVC()), f, C, D, {C.A: f},
             make_scorer(f1_score, average="macro"), np.arange(5), frozenset("hash seeds")]).hex())
"""


def test_another_process_and_hash_seed_makes_no_difference() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
TRAIN, TEST = np.arange(8), np.arange(8, 10)


def fit_key(estimator: Any = None, **changed: Any) -> str:
    given = {
        "scorer": make_scorer(accuracy_score),
        "train": TRAIN,
        "test": TEST,
        "verbose": 0,
        "parameters": {"C": 1},
        "fit_params": {},
        "score_params": {},
        "error_score": np.nan,
    }
    return call_key(_fit_and_score, (estimator or SVC(), X, Y), {**given, **changed}, Tokens())


@pytest.mark.parametrize(
    "same",
    [
        {"verbose": 3},
        {"split_progress": (1, 5), "candidate_progress": (2, 9)},
        {"caller": object(), "callback_ctx": threading.Lock()},
        {"estimator": SVC(verbose=True)},
    ],
)
def test_what_a_fit_only_reports_is_no_part_of_its_key(same: dict[str, Any]) -> None:
    assert fit_key(**same) == fit_key()


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"C": 2}},
        {"train": TRAIN[1:]},
        {"test": TEST[1:]},
        {"scorer": make_scorer(f1_score)},
        {"fit_params": {"sample_weight": Y}},
        {"score_params": {"sample_weight": Y}},
        {"return_train_score": True},
        {"return_estimator": True},
        {"error_score": "raise"},
        {"estimator": SVC(C=5)},
    ],
)
def test_what_a_fit_computes_is_its_key(other: dict[str, Any]) -> None:
    assert fit_key(**other) != fit_key()


def test_a_call_is_its_function_and_all_its_arguments() -> None:
    def key(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        return call_key(function, args, kwargs, Tokens())

    assert len(key(max, 1, 2)) == 32
    assert key(dict, a=1, b=2) == key(dict, b=2, a=1)
    keys = [key(max, 1, 2), key(min, 1, 2), key(max, 2, 1), key(max, (1, 2)), key(max, 1, 2, key=abs), key(dict, a=1)]
    assert len(set(keys)) == len(keys)


def test_the_settings_of_scikit_learn_count_but_not_those_of_display() -> None:
    def key(**config: Any) -> str:
        wrapped = _FuncWrapper(accuracy_score)
        wrapped.config = config
        return call_key(wrapped, (Y, Y), {}, Tokens())

    assert key(transform_output="pandas") != key(transform_output="default")
    assert key(display="text") == key(display="diagram")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((1797, 64)), "float64 array (1797, 64)"),
        (SVC(C=10), "SVC(C=10)"),
        (KFold(5), "KFold(n_splits=5, random_state=None, shuffle=False)"),
        (even, "function even in test_tokens.py"),
        (accuracy_score, "function sklearn.metrics._classification.accuracy_score"),
        (Box, "class Box in test_tokens.py"),
        ([1, 2], "[1, 2]"),
        (list(range(1000)), "list of 1000"),
        ("a", "'a'"),
        (scipy.sparse.csr_array(np.eye(3)), "float64 csr_array (3, 3), 3 stored"),
    ],
)
def test_a_description_is_one_short_line(value: Any, text: str) -> None:
    assert describe(value) == text


def test_a_description_of_what_cannot_be_shown() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ValueError

    assert describe(Bad()).endswith("Bad object")
    assert "0x" not in describe(object())


def test_a_fitted_vectorizer_does_not_go_by_places_in_memory() -> None:
    def fitted(text: str) -> TfidfVectorizer:
        return TfidfVectorizer(stop_words=[*"abc"]).fit([text])

    assert token(fitted("one two")) == token(fitted("one two")) != token(fitted("one three"))


def test_the_global_generator_and_the_environment_do_not_go_by_what_they_are_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw() -> tuple[float, Any]:
        return one(), environment

    one, environment, before = random.random, os.environ, token(random.Random(1))
    plain = token(draw)
    random.random()
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert token(draw) == plain
    assert token(random.Random(1)) == before != token(random.Random(2))
    one = random.gauss  # type: ignore[assignment]
    assert token(draw) != plain
