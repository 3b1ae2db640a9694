"""The program's world around its calls: captured, entered in a child, changed, and taken back."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pytest
from joblib import Parallel, delayed, parallel_config
from wire import Wire, Worker

from daskhpc.parallel import program_world as world
from daskhpc.parallel.program_world import ProgramWorld, capture, enter

NAME = "DASKHPC_TEST_OF_THE_WORLD"
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # children need not import this module


@pytest.fixture(autouse=True)
def _own_world() -> Iterator[None]:
    """This process's world is as before afterwards."""
    folder, environment, path, config = os.getcwd(), dict(os.environ), [*sys.path], dask.config.config.copy()
    filters, modules, finders = [*warnings.filters], {**sys.modules}, [*sys.meta_path]
    yield
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    dask.config.config.clear()
    dask.config.config.update(config)
    warnings.filters[:] = filters
    world._entered = None
    world.as_the_program.sources = {}
    sys.modules.update(modules)
    sys.meta_path[:] = finders


def captured() -> ProgramWorld:
    found: ProgramWorld = pickle.loads(capture())
    return found


# What is captured.


def test_the_folder_and_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/somewhere"])
    found = captured()
    assert (found.folder, found.path, found.prefix) == (str(tmp_path), (str(tmp_path), "/somewhere"), sys.prefix)


def test_of_the_environment_what_the_program_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "é=1\n2")
    monkeypatch.delenv("PATH")
    found = captured().environment
    assert found[NAME] == "é=1\n2"
    assert found["PATH"] is None
    assert "HOME" not in found
    monkeypatch.delenv(NAME)
    assert NAME not in captured().environment


OWN = """
import os
from daskhpc.cluster.environment import cap_blas_threads
from daskhpc.parallel.program_world import variables
cap_blas_threads(3)
print(os.environ["OMP_NUM_THREADS"], variables())
os.environ["OMP_NUM_THREADS"] = "5"
print(variables())
"""


def test_what_daskhpc_has_set_for_the_programs_own_process_stays_there() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", OWN], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout == "3 {}\n{'OMP_NUM_THREADS': '5'}\n"


def test_of_dasks_configuration_what_the_program_changed() -> None:
    before = captured().config
    with dask.config.set({"array.chunk-size": "7MiB", "a_new.one": [1]}):
        found = captured().config
    assert {name: value for name, value in found.items() if name not in before} == {
        "array.chunk-size": "7MiB",
        "a_new.one": [1],
    }
    assert captured().config == before


def test_filters_of_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert captured().filters == warnings.filters
    assert ("error", None, UserWarning, None, 0) not in captured().filters


def test_what_does_not_travel_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(NAME, "1")
    with dask.config.set({"a_new.one": threading.Lock()}):
        found = captured()
    assert (found.folder, found.environment[NAME]) == (str(tmp_path), "1")
    assert found.config == {}


def test_a_world_that_is_the_same_is_not_sent_again() -> None:
    assert capture() == capture()


# Entering it, in a child of its own.


def look() -> dict[str, Any]:
    """What a call sees."""
    return {
        "folder": os.getcwd(),
        "environment": os.environ.get(NAME),
        "path": list(sys.path),
        "arguments": sys.argv,
        "config": dask.config.get("array.chunk-size"),
        "new": dask.config.get("a_new.one", None),
        "error": ("error", None, UserWarning, None, 0) in warnings.filters,
        "pid": os.getpid(),
    }


@pytest.fixture
def wire() -> Iterator[Wire]:
    """One slot with a real child, and no cluster."""
    with Wire(worker=Worker()) as made:
        yield made


uses = iter(range(10**6))


def seen(wire: Wire) -> dict[str, Any]:
    """What the calls of the next use of Parallel see."""
    (found,) = wire((look, ()), number=next(uses))
    return dict(found)


def test_every_part_comes_and_goes_with_the_program(wire: Wire, tmp_path: Path) -> None:
    plain = seen(wire)
    assert (plain["folder"], plain["arguments"]) == (os.getcwd(), sys.argv)
    here = os.getcwd()
    os.chdir(tmp_path)
    os.environ[NAME] = "one"
    sys.path.insert(0, str(tmp_path / "modules"))
    changed = seen(wire)
    assert changed["pid"] == plain["pid"]
    assert changed["folder"] == str(tmp_path)
    assert changed["environment"] == "one"
    assert changed["path"][0] == str(tmp_path / "modules")
    os.environ[NAME] = "two"
    with dask.config.set({"array.chunk-size": "7MiB", "a_new.one": [1]}), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = seen(wire)
    assert (again["environment"], again["config"], again["new"], again["error"]) == ("two", "7MiB", [1], True)
    os.chdir(here)
    del os.environ[NAME], sys.path[0]
    assert seen(wire) == plain


def test_what_a_call_changes_itself_is_as_the_program_says_in_the_next(wire: Wire, tmp_path: Path) -> None:
    """The folder and the filters: what follows must not depend on which calls came before."""
    (tmp_path / "elsewhere").mkdir()
    before = seen(wire)

    def stray(folder: str) -> None:
        os.chdir(folder)
        warnings.simplefilter("error", UserWarning)

    wire((stray, (str(tmp_path / "elsewhere"),)), number=next(uses))
    assert seen(wire) == before


def test_a_module_beside_the_program(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "beside_the_program.py").write_text("def value(): return 7\n")

    def imported() -> int:
        import beside_the_program  # type: ignore[import-not-found]

        return int(beside_the_program.value())

    sys.path.insert(0, str(tmp_path))
    assert wire((imported, ()), number=next(uses)) == [7]


def test_a_folder_that_is_not_there_is_in_the_error(wire: Wire, tmp_path: Path) -> None:
    lost = tmp_path / "only on the login node"
    lost.mkdir()
    os.chdir(lost)
    world_of_lost = wire.make((open, ("data.csv",)), (abs, (-1,)), number=next(uses))
    os.chdir(tmp_path)
    lost.rmdir()
    with pytest.raises(FileNotFoundError) as raised:
        wire.send(world_of_lost)
    (note,) = raised.value.__notes__
    assert f"working directory {lost} is not there on {os.uname().nodename}" in note
    assert "the call ran in" in note
    assert seen(wire)["folder"] == str(tmp_path)
    with pytest.raises(FileNotFoundError) as raised:
        wire((open, ("data.csv",)), number=next(uses))
    assert not hasattr(raised.value, "__notes__"), "this folder is there"


def test_the_rest_of_the_environment_is_the_nodes() -> None:
    """A variable that the program did not touch has the value of the worker, also after others were changed."""
    code = (
        "import os, pickle, sys\n"
        "from daskhpc.parallel import program_world as world\n"
        "found = []\n"
        "for stream in pickle.load(sys.stdin.buffer):\n"
        "    world.enter(stream)\n"
        "    found.append([os.environ.get(n) for n in ('OWN', 'BOTH', 'NEW')])\n"
        "print(found)\n"
    )
    streams = [
        pickle.dumps(ProgramWorld(os.getcwd(), environment, tuple(sys.path), sys.prefix, [], {}))
        for environment in ({}, {"BOTH": "program", "NEW": "1"}, {"BOTH": None, "OWN": None}, {})
    ]
    environment = {**os.environ, "OWN": "node", "BOTH": "node"}
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(streams), env=environment, capture_output=True, timeout=120
    )
    assert eval(done.stdout) == [
        ["node", "node", None],
        ["node", "program", "1"],
        [None, None, None],
        ["node", "node", None],
    ]


def test_another_python_keeps_its_own_path() -> None:
    own = [*sys.path]
    assert enter(pickle.dumps(ProgramWorld(os.getcwd(), {}, ("/mine", own[-1]), "/another/python", [], {}))) == ""
    assert sys.path == ["/mine", *own]


def test_filters_of_calls_end_with_them() -> None:
    enter(
        pickle.dumps(
            ProgramWorld(os.getcwd(), {}, tuple(sys.path), sys.prefix, [("error", None, UserWarning, None, 0)], {})
        )
    )
    before = [*warnings.filters]
    with world.filters_of_warnings():
        with pytest.raises(UserWarning):
            warnings.warn("now", stacklevel=1)
        warnings.simplefilter("ignore")
    assert warnings.filters == before
    with world.filters_of_warnings(), pytest.raises(UserWarning):
        warnings.warn("again", stacklevel=1)


# The whole way, beside loky's.


takes_initializer = pytest.mark.skipif(
    "backend_kwargs" not in inspect.signature(Parallel).parameters, reason="joblib before 1.5"
)


@takes_initializer
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("cluster", [False, True])
def test_an_initializer_runs_in_each_process_before_its_calls(
    cluster: bool, kept: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if cluster:
        request.getfixturevalue("client")
    name = f"{NAME}_{cluster}_{kept}"

    def prepare(value: str) -> None:
        os.environ[name] = os.environ.get(name, "") + value

    with parallel_config(backend="daskhpc", n_jobs=2, checkpoint=tmp_path / "kept" if kept else False):
        for i in range(2):
            calls = [delayed(lambda _: os.environ[name])(j) for j in (i, 2)]
            assert Parallel(initializer=prepare, initargs=("x",))(calls) == ["x", "x"]


@takes_initializer
def test_an_initializer_that_fails_ends_the_calls(client: Any) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of the initializer")

    with parallel_config(backend="daskhpc", n_jobs=2), pytest.raises(ZeroDivisionError, match="initializer"):
        Parallel(initializer=fail)(delayed(abs)(i) for i in range(3))


def test_a_programs_world_is_what_loky_gives(client: Any, tmp_path: Path) -> None:
    from joblib.externals.loky import get_reusable_executor

    (tmp_path / "module_of_the_program.py").write_text("VALUE = 3\n")
    (tmp_path / "data.txt").write_text("here")

    def call() -> tuple[Any, ...]:
        import module_of_the_program  # type: ignore[import-not-found]

        return module_of_the_program.VALUE, Path("data.txt").read_text(), os.environ.get(NAME), sys.argv

    os.chdir(tmp_path)
    os.environ[NAME] = "set"
    sys.path.insert(0, str(tmp_path))
    get_reusable_executor().shutdown(wait=True)  # loky's processes have the world in which they were started
    results = []
    for backend in ("daskhpc", "loky"):
        with parallel_config(backend=backend, n_jobs=2):
            results.append(Parallel()(delayed(call)() for _ in range(2)))
    get_reusable_executor().shutdown(wait=True)
    assert results == [[(3, "here", "set", sys.argv)] * 2] * 2
