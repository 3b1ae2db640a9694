"""What daskhpc needs of cloudpickle beyond its public names is still there."""

from __future__ import annotations

import pickle
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daskhpc.compat.cloudpickle import dumps, loads

PROGRAM = """
def outer(x):
    def inner(y):
        return x / y
    return inner(0)

class Model:
    def fit(self):
        return outer(1)
"""


def program(file: str) -> dict[str, Any]:
    """What a program's main module has."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(PROGRAM, file, "exec"), space)
    return space


@pytest.mark.parametrize("name", ["outer", "Model"])
def test_functions_that_travel_keep_their_file_and_lines(name: str) -> None:
    made = pickle.loads(dumps(program("/home/me/my program.py")[name]))
    work: Callable[[], Any] = made().fit if name == "Model" else lambda: made(1)
    with pytest.raises(ZeroDivisionError) as caught:
        work()
    found = [(each.filename, each.name, each.lineno) for each in traceback.extract_tb(caught.tb)]
    assert found[-2:] == [("/home/me/my program.py", "outer", 5), ("/home/me/my program.py", "inner", 4)]


def test_each_function_has_its_own_file() -> None:
    one, two = pickle.loads(dumps([program(file)["outer"] for file in ("cell 1", "cell 2")]))
    assert (one.__code__.co_filename, two.__code__.co_filename) == ("cell 1", "cell 2")


def test_buffers_go_aside() -> None:
    array, aside = np.arange(5), list[pickle.PickleBuffer]()
    assert (pickle.loads(dumps(array, aside.append), buffers=aside) == array).all()
    assert len(aside) == 1


CLASSES = """
import abc, enum, typing
from dataclasses import dataclass

class State(enum.Enum):
    GOOD = 1

class Part(enum.Flag):
    ONE = 1
    TWO = 2

class Base(abc.ABC):
    @abc.abstractmethod
    def state(self): ...

@dataclass
class Result(Base):
    loss: float
    def state(self):
        return State.GOOD

@dataclass(frozen=True, slots=True)
class Row:
    x: int

class Pair(typing.NamedTuple):
    a: int
    b: int

T = typing.TypeVar("T")
class Box(typing.Generic[T]): ...
class Whole(Box[int]): ...
class Failure(ValueError): ...

def local():
    class State: ...
    class Inner: ...
    return State(), Inner()

made = [State.GOOD, Part.ONE | Part.TWO, Result(0.5), Row(1), Pair(1, 2), Box(), Whole(), Failure("no"), Result]
"""


def started(monkeypatch: pytest.MonkeyPatch, text: str = CLASSES) -> dict[str, Any]:
    """What the main module of a program has that is started now."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(text, vars(main))
    return vars(main)


def test_what_an_earlier_run_pickled_is_of_the_programs_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dumps(started(monkeypatch)["made"])
    now = started(monkeypatch)
    found = loads(data)
    assert found[:5] == now["made"][:5]
    assert [type(each) for each in found] == [type(each) for each in now["made"]]
    assert found[0] is now["State"].GOOD
    assert found[2].state() is now["State"].GOOD
    assert found[-1] is now["Result"]


def test_local_classes_and_those_that_the_program_does_not_have_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    first = started(monkeypatch)
    local, pair = dumps(first["local"]()), dumps(first["made"][4])
    now = started(monkeypatch, CLASSES.replace("Pair", "Couple"))
    state, inner = loads(local)
    assert (type(state).__name__, type(inner).__name__) == ("State", "Inner")
    assert type(state) is not now["State"]
    assert loads(pair) == (1, 2)
