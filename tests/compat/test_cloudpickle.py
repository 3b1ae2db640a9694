"""What daskhpc needs of cloudpickle beyond its public names is still there."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daskhpc.compat.cloudpickle import dumps

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
