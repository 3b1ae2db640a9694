"""Code that arrives by a pickler, or is copied, has the token of the original, whatever the pickler rebuilds."""

from __future__ import annotations

import copy
import functools
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from daskhpc.journal.tokens import token

ZOO = """
import abc, collections, dataclasses, enum, functools, typing, operator
import numpy as np

LIMIT = 3
TABLE = {"a": [1, 2], "b": np.arange(4)}

def helper(x):
    return x > LIMIT

def with_doc(x):
    "doc"
    return x > LIMIT

def recursive(x):
    return helper(x), recursive

def mutual_a(x):
    return mutual_b(x)

def mutual_b(x):
    return mutual_a(x)

def annotated(x: "int", y: typing.Optional[int] = None, *a: int, k: float = 2.0) -> list:
    return [x, y]

def uses_table(x):
    return TABLE[x], operator.add(1, 2), np.linalg.norm(x)

def imports(x):
    import json, os.path

    return json.dumps(x), os.path

def makes(k, unused=None):
    later = k

    def inner(x):
        nonlocal later
        later += 1
        return x + later + k

    return inner

def makes_empty():
    def inner():
        return missing

    if False:
        missing = 1
    return inner

closure = makes(3)
empty = makes_empty()

def makes_class(k):
    class Local:
        "doc of local"

        level = k

        def f(self):
            return k, LIMIT

        @staticmethod
        def s():
            return helper(k)

        @classmethod
        def c(cls):
            return cls, Local

    return Local

Local = makes_class(2)

def gen(x):
    yield from (helper(i) for i in x)

async def coro(x):
    return await x

def comp(x):
    return [y + LIMIT for y in x], {y: "a" for y in x}

lam = lambda x: x + 1

def deco(f):
    @functools.wraps(f)
    def wrapper(*a, **k):
        return f(*a, **k)

    return wrapper

@deco
def wrapped(x):
    "wrapped doc"
    return helper(x)

wrapped_lib = deco(np.mean)
part = functools.partial(helper, 3)
partm = functools.partial(wrapped, x=3)

def attributed(x):
    return x

attributed.note = {"a": 1}

def kwd(*, a=1, b=(2, 3)):
    return a

class Plain:
    level = LIMIT

    def __init__(self, a=1):
        self.a = a

    def fit(self):
        return helper(self), Plain

    @property
    def name(self):
        return "n"

    @property
    def cp(self):
        return helper(1)

    @staticmethod
    def s(x):
        return x

    @classmethod
    def c(cls):
        return cls

    class Inner:
        x = 1

        def f(self):
            return Plain

class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a = 1
        self.b = 2

class SlotsW:
    __slots__ = ("a", "__weakref__", "__dict__")

    def __init__(self):
        self.a = 1
        self.c = 2

class Sub(Plain):
    def fit(self):
        return super().fit()

class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
    @property
    @abc.abstractmethod
    def p(self): ...

class Concrete(Abstract):
    def f(self):
        return 1

    @property
    def p(self):
        return 2

class Meta(type):
    def __new__(m, n, b, ns):
        return super().__new__(m, n, b, ns)

class WithMeta(metaclass=Meta):
    x = 1

class InitSub:
    def __init_subclass__(cls, **k):
        super().__init_subclass__()
        cls.tag = k.get("tag")

class Tagged(InitSub, tag=3):
    pass

@dataclasses.dataclass
class Data:
    a: int
    b: list = dataclasses.field(default_factory=list)
    c: float = 2.0

    def total(self):
        return self.a + self.c

@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Frozen:
    a: int = 1
    b: str = "x"

@dataclasses.dataclass(kw_only=True)
class SubData(Data):
    d: int = 3

class Color(enum.Enum):
    RED = 1
    BLUE = "b"

    def label(self):
        return self.name.lower()

class Flags(enum.IntFlag):
    A = 1
    B = 2
    AB = 3

class Str(str, enum.Enum):
    X = "x"

Dyn = enum.Enum("Dyn", "ONE TWO")

class NT(typing.NamedTuple):
    a: int
    b: str = "x"

    def f(self):
        return self.a

CNT = collections.namedtuple("CNT", "x y", defaults=[2])

class TD(typing.TypedDict):
    a: int

T = typing.TypeVar("T")

class Gen(typing.Generic[T]):
    def f(self, x: T) -> T:
        return x

class GenSub(Gen[int]):
    y = 1

class Proto(typing.Protocol):
    def f(self) -> int: ...

class Exc(ValueError):
    def __init__(self, a, b=2):
        super().__init__(a)
        self.b = b

class Desc:
    def __get__(self, o, t=None):
        return 3

    def __set_name__(self, o, n):
        self.n = n

class UsesDesc:
    d = Desc()

class CallIt:
    def __call__(self, x):
        return x

class ListSub(list):
    def f(self):
        return 1

class DictSub(dict):
    pass

class GetState:
    def __init__(self):
        self.a = 1
        self.t = 2

    def __getstate__(self):
        return {"a": self.a}

    def __setstate__(self, s):
        self.a = s["a"]
        self.t = 0

@functools.total_ordering
class Ordered:
    def __init__(self, v=1):
        self.v = v

    def __eq__(self, o):
        return self.v == o.v

    def __lt__(self, o):
        return self.v < o.v

class PartialMethod:
    pm = functools.partialmethod(lambda self, a: a, 3)

import sklearn.base

class Est(sklearn.base.ClassifierMixin, sklearn.base.BaseEstimator):
    def __init__(self, a=1, f=helper):
        self.a = a
        self.f = f

    def fit(self, X, y=None):
        self.c_ = helper(self.a)
        return self

    def predict(self, X):
        return X

from sklearn.utils.metaestimators import available_if

class Meta2(sklearn.base.BaseEstimator):
    @available_if(lambda self: True)
    def predict(self, X):
        return X

from sklearn.preprocessing import FunctionTransformer

ft = FunctionTransformer(helper, kw_args={})
est = Est().fit(1)
from contextlib import contextmanager

@contextmanager
def managed(x):
    yield helper(x)

def nested_class_fn():
    class A:
        "doc"

        z = 1

        def f(self):
            self.q = 1
            return self.q

    return A

def sets(x):
    return x in {"a", "b", "c", "dd"}

def excs(x):
    try:
        return helper(x)
    except (ValueError, KeyError) as e:
        raise RuntimeError from e
    finally:
        print(x)

def glob_write():
    global WRITTEN
    WRITTEN = 1

values = {
    "recursive": recursive,
    "with_doc": with_doc,
    "mutual_a": mutual_a,
    "mutual_b": mutual_b,
    "annotated": annotated,
    "uses_table": uses_table,
    "imports": imports,
    "closure": closure,
    "empty": empty,
    "Local": Local,
    "LocalI": Local(),
    "gen": gen,
    "coro": coro,
    "comp": comp,
    "lam": lam,
    "wrapped": wrapped,
    "wrapped_lib": wrapped_lib,
    "part": part,
    "partm": partm,
    "attributed": attributed,
    "kwd": kwd,
    "Plain": Plain,
    "PlainI": Plain(),
    "method": Plain().fit,
    "unbound": Plain.fit,
    "cm": Plain.c,
    "Inner": Plain.Inner,
    "Slots": Slots,
    "SlotsI": Slots(),
    "SlotsW": SlotsW,
    "SlotsWI": SlotsW(),
    "Sub": Sub,
    "SubI": Sub(),
    "Abstract": Abstract,
    "Concrete": Concrete,
    "ConcreteI": Concrete(),
    "WithMeta": WithMeta,
    "Tagged": Tagged,
    "Data": Data,
    "DataI": Data(1),
    "Frozen": Frozen,
    "FrozenI": Frozen(),
    "SubData": SubData,
    "Color": Color,
    "ColorM": Color.RED,
    "Flags": Flags,
    "FlagsM": Flags.A,
    "FlagsC": Flags.A | Flags.B,
    "Str": Str,
    "StrM": Str.X,
    "Dyn": Dyn,
    "DynM": Dyn.ONE,
    "NT": NT,
    "NTI": NT(1),
    "CNT": CNT,
    "CNTI": CNT(1),
    "TD": TD,
    "Gen": Gen,
    "GenSub": GenSub,
    "GenSubI": GenSub(),
    "Proto": Proto,
    "Exc": Exc,
    "ExcI": Exc(1),
    "Desc": Desc,
    "UsesDesc": UsesDesc,
    "CallIt": CallIt(),
    "ListSub": ListSub([1]),
    "DictSub": DictSub(a=1),
    "GetState": GetState(),
    "Ordered": Ordered,
    "OrderedI": Ordered(),
    "PartialMethod": PartialMethod,
    "Est": Est,
    "EstI": Est(),
    "est": est,
    "Meta2": Meta2(),
    "ft": ft,
    "managed": managed,
    "nested_class_fn": nested_class_fn,
    "sets": sets,
    "excs": excs,
    "glob_write": glob_write,
    "T": T,
}
"""

ARRIVING = """
import pickle, sys
import cloudpickle
from daskhpc.journal.tokens import token
for name, pickled in pickle.load(sys.stdin.buffer).items():
    value = pickle.loads(pickled)
    print(name, token(value).hex(), token(pickle.loads(cloudpickle.dumps(value))).hex())
"""


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module with code of many kinds, which cloudpickle pickles by value, as it does ``__main__``."""
    (tmp_path / "zoo_of_code.py").write_text(ZOO)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "zoo_of_code", raising=False)
    module = importlib.import_module("zoo_of_code")
    cloudpickle.register_pickle_by_value(module)
    yield module
    cloudpickle.unregister_pickle_by_value(module)


def sent(zoo: ModuleType) -> dict[str, Any]:
    """What can be pickled: since Python 3.14 a ``functools.partialmethod`` cannot."""
    try:
        pickle.loads(pickle.dumps(functools.partialmethod(print, 1)))
    except TypeError:
        return {name: value for name, value in zoo.values.items() if name != "PartialMethod"}
    return dict(zoo.values)


def test_a_copy_has_the_token_of_the_original(zoo: ModuleType) -> None:
    for name, value in zoo.values.items():
        assert {token(copy.copy(value)), token(copy.deepcopy(value))} == {token(value)}, name


def test_what_arrives_in_another_process_has_the_token_of_the_original(zoo: ModuleType) -> None:
    before = {name: token(value).hex() for name, value in sent(zoo).items()}
    pickled = pickle.dumps({name: cloudpickle.dumps(value) for name, value in sent(zoo).items()})
    done = subprocess.run(
        [sys.executable, "-c", ARRIVING],
        input=pickled,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        timeout=120,
    )
    arrived = {name: tokens for name, *tokens in map(str.split, done.stdout.decode().splitlines())}
    assert arrived == {name: [expected] * 2 for name, expected in before.items()}, done.stderr


def test_what_arrives_in_the_process_that_sent_it_has_the_token_of_the_original(zoo: ModuleType) -> None:
    # this puts rebuilt functions into the original classes, too
    for name, value in sent(zoo).items():
        if name.startswith("Flags"):  # cloudpickle cannot load these where they come from
            continue
        before = token(value)
        assert token(pickle.loads(cloudpickle.dumps(value))) == before == token(value), name


def test_code_of_the_main_program_has_the_token_of_the_module(zoo: ModuleType) -> None:
    main: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(ZOO, "program.py", "exec", dont_inherit=True), main)
    assert {name: token(value) for name, value in main["values"].items()} == {
        name: token(value) for name, value in zoo.values.items()
    }
