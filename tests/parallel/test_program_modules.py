"""Calls run the code that the program has, whatever has become of the files of its modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from joblib import Parallel, delayed, parallel_config

from daskhpc.parallel import program_modules
from daskhpc.parallel.program_modules import AsTheProgram, ModuleSource, ProgramModules

USER = "from basis_of_a_program import word\n\ndef call(number):\n    return f'{word()} {number}'\n"


def basis(word: str) -> str:
    return f"def word():\n    return {word!r}\n"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a program's two modules; one takes a function of the other."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "basis_of_a_program.py").write_text(basis("first"))
    (tmp_path / "user_of_a_program.py").write_text(USER)
    yield tmp_path
    for name in ("basis_of_a_program", "user_of_a_program"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("cluster", [True, False])
def test_calls_run_what_the_program_has_imported(
    cluster: bool, modules: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if cluster:
        request.getfixturevalue("client")
    used, using = map(importlib.import_module, ("basis_of_a_program", "user_of_a_program"))

    def called(number: int) -> Any:
        with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2):
            return Parallel()(delayed(using.call)(number) for _ in range(2))

    with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2):
        Parallel()(delayed(abs)(number) for number in range(4))  # the children have not imported the modules
    (modules / "basis_of_a_program.py").write_text(basis("the second"))
    assert called(1) == ["first 1", "first 1"]
    importlib.reload(used)
    importlib.reload(using)
    assert called(1) == ["the second 1", "the second 1"]
    (modules / "basis_of_a_program.py").write_text(basis("first"))
    importlib.reload(used)
    importlib.reload(using)
    assert called(2) == ["first 2", "first 2"]


@pytest.fixture
def as_the_program() -> Iterator[AsTheProgram]:
    finder = AsTheProgram()
    yield finder
    sys.meta_path.remove(finder)


def test_a_package_is_imported_from_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_the_program: AsTheProgram
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "package_of_a_program"
    folder.mkdir()
    for file in ("__init__.py", "inner.py"):
        (folder / file).write_text("edited = True\n")
    inside = {"package_of_a_program": "__init__.py", "package_of_a_program.inner": "inner.py"}
    as_the_program.use(
        {name: ModuleSource(str(folder / file), file[0] == "_", b"edited = False\n") for name, file in inside.items()}
    )
    inner: ModuleType = importlib.import_module("package_of_a_program.inner")
    try:
        assert not inner.edited
        assert not sys.modules["package_of_a_program"].edited
        assert sorted(file.name for file in folder.iterdir()) == ["__init__.py", "inner.py"], "nothing compiled"
    finally:
        for name in inside:
            sys.modules.pop(name)


def test_what_is_the_same_stays(modules: Path, as_the_program: AsTheProgram) -> None:
    """A module that a child has imported from the same file, before it was told of it."""
    module = importlib.import_module("user_of_a_program")
    found = ProgramModules().sources()
    as_the_program.use(found)
    as_the_program.use({})
    as_the_program.use(found)
    assert sys.modules["user_of_a_program"] is module


def test_what_is_sent(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("user_of_a_program")
    mine = ProgramModules()
    assert mine.sources()["user_of_a_program"] == ModuleSource(
        str(modules / "user_of_a_program.py"), False, USER.encode()
    )
    assert not {name.partition(".")[0] for name in mine.sources()} & {"daskhpc", "numpy", "json", "joblib", "__main__"}
    monkeypatch.setattr(program_modules, "_MOST_BYTES", 50)
    assert mine.to_send() == {}
