"""Exceptions of ranks, made again with their causes and lines."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import distributed  # noqa: F401  pickles exceptions in a way of its own from then on
import pytest

from daskhpc.ddp import raised_errors
from daskhpc.ddp.raised_errors import Frame, RaisedError, of_the_user
from daskhpc.errors import SettingsError


class TileError(Exception):
    """Its text is made of what it is given."""

    def __init__(self, path: object, code: int) -> None:
        super().__init__(f"{path} is broken ({code})")
        self.path, self.code = path, code


def plain() -> None:
    raise ValueError("no such tile")


def caused() -> None:
    try:
        {}["rate"]
    except KeyError as error:
        raise TileError("a.npy", 3) from error


def while_handling() -> None:
    try:
        plain()
    except ValueError:
        Path("/nowhere/at/all").read_text()


def quiet() -> None:
    try:
        plain()
    except ValueError:
        raise RuntimeError("first line\n  second line") from None


def interrupted() -> None:
    raise KeyboardInterrupt


def grouped() -> None:
    errors: list[BaseException] = []
    for work in (plain, caused, interrupted):
        try:
            work()
        except BaseException as error:
            errors.append(error)
    raise BaseExceptionGroup("three are wrong", errors)


def undecodable() -> str:
    return b"\xff".decode()


def not_there() -> None:
    __import__("a_module_that_is_not_there")


def raised_by(work: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        work()
    return caught.value


def travelled(error: BaseException) -> BaseException:
    about: RaisedError = pickle.loads(pickle.dumps(RaisedError.of(error)))
    return about.error()


@pytest.mark.parametrize("work", [plain, caused, while_handling, quiet, grouped, undecodable, not_there])
def test_it_is_printed_as_it_was(work: Callable[[], object]) -> None:
    error = raised_by(work)
    made = travelled(error)
    assert type(made) is type(error)
    assert traceback.format_exception(made) == traceback.format_exception(error)


def test_python_prints_it_too(tmp_path: Path) -> None:
    """As it prints what nobody catches, which is not the module `traceback`."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from daskhpc.ddp.raised_errors import RaisedError\n"
        "def fit():\n"
        "    return len([1]) + {}['rate']\n"
        "try:\n"
        "    fit()\n"
        "except KeyError as error:\n"
        "    for each in (error, RaisedError.of(error).error()):\n"
        "        sys.__excepthook__(type(each), each, each.__traceback__)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, timeout=120)
    printed = done.stderr[: len(done.stderr) // 2]
    assert done.stderr == printed * 2
    assert "in fit\n    return len([1]) + {}['rate']\n" in printed


def test_an_init_that_takes_other_arguments_is_not_called() -> None:
    made = travelled(raised_by(caused))
    assert isinstance(made, TileError)
    assert made.__cause__ is not None
    assert (made.path, made.code) == ("a.npy", 3)


def test_one_that_cannot_be_made_again_has_its_name_and_text() -> None:
    def fit() -> None:
        raise TileError(threading.Lock(), 3)

    error = raised_by(fit)
    made = travelled(error)
    assert isinstance(made, RuntimeError)
    assert traceback.format_exception(made)[-1] == f"TileError: {error}\n"


def test_a_long_chain_travels_as_far_as_it_is_read() -> None:
    def fit(depth: int) -> None:
        try:
            fit(depth - 1) if depth else plain()
        except ValueError as error:
            raise ValueError(depth) from error

    links, made = 0, travelled(raised_by(lambda: fit(100)))
    while made.__cause__ is not None:
        links, made = links + 1, made.__cause__
    assert links == 20


def test_lines_of_this_package_are_left_out_unless_it_broke_there() -> None:
    own, user = Frame(raised_errors.__file__, "inside"), Frame("train.py", "fit")
    assert of_the_user([own, own, user, own, user], told=False) == [user, user]
    assert of_the_user([own, user, own], told=True) == [user]
    assert of_the_user([own, user, own], told=False) == [user, own]
    assert of_the_user([own], told=False) == []
    assert of_the_user([own, Frame("<frozen runpy>", "run_path"), user], told=False) == [user]
    told = RaisedError.of(SettingsError("What happened.", "it", "another"))
    assert (told.todo, travelled(told.error()).args) == ("another", ("What happened.", "it", "another"))
