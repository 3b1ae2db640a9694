"""What was submitted is what runs: which modules count, and what is copied."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from daskhpc.errors import LaunchError
from daskhpc.launch import snapshot
from daskhpc.launch.snapshot import git_state, local_modules, take_snapshot


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a project"
    write(
        folder,
        main_py="import os, helpers.deep as d\nfrom tools import x\ndef f():\n    import late\n"
        "import importlib\nimportlib.import_module('computed')\n",
        helpers__init_py="",
        helpers__deep_py="import chained",
        helpers__table="1 2 3",
        tools_py="import tools\nfrom . import not_beside\n",
        chained_py="",
        late_py="import main",
        computed_py="",
        unused_py="",
        os_py="",
        data__init="",
    )
    return folder


def test_the_modules_that_count(project: Path) -> None:
    names = sorted(path.name for path in local_modules(project / "main.py"))
    # os.py counts, since the folder of a program comes first: plain python would import it for a module that it has
    # not imported itself.
    assert names == ["chained.py", "computed.py", "helpers", "late.py", "os.py", "tools.py"]


def test_a_folder_of_data_with_the_name_of_a_module_is_no_code(project: Path) -> None:
    """As ``wandb`` writes one; Python passes over a folder without ``__init__.py`` if it finds the module elsewhere."""
    write(project, main_py="import json, yaml, plain", json__run="1", yaml__old_py="1 +", plain__module_py="")
    assert [path.name for path in local_modules(project / "main.py")] == ["plain"]


def test_what_is_copied(project: Path, tmp_path: Path) -> None:
    (project / "helpers" / "__pycache__").mkdir()
    take_snapshot(project / "main.py", tmp_path / "code")
    copied = sorted(
        str(path.relative_to(tmp_path / "code")) for path in (tmp_path / "code").rglob("*") if path.is_file()
    )
    wanted = ["chained.py", "computed.py", "helpers/deep.py", "helpers/init.py", "helpers/table", "late.py", "main.py"]
    assert copied == [*wanted, "os.py", "tools.py"]


def test_a_program_that_is_a_link(project: Path, tmp_path: Path) -> None:
    """Python takes the modules beside the file that the link leads to."""
    (tmp_path / "run.py").symlink_to(project / "main.py")
    take_snapshot(tmp_path / "run.py", tmp_path / "code")
    assert (tmp_path / "code" / "run.py").is_file()
    assert (tmp_path / "code" / "tools.py").is_file()


def test_code_that_is_too_large(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LARGEST", 1000)
    (project / "helpers" / "table").write_text("x" * 2000)
    with pytest.raises(LaunchError, match=r"too large[^$]*helpers[^$]*--live"):
        take_snapshot(project / "main.py", tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_links_in_a_package(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and data lie on another disk; what is copied is what a link leads to."""
    write(tmp_path, scratch__few="x" * 10, scratch__run__many="x" * 2000)
    (project / "helpers" / "gone").symlink_to("/nowhere/at/all")
    (project / "helpers" / "few").symlink_to(tmp_path / "scratch" / "few")
    (project / "helpers" / ".git").symlink_to(tmp_path / "scratch")
    monkeypatch.setattr(snapshot, "LARGEST", 1000)
    take_snapshot(project / "main.py", tmp_path / "code")
    assert sorted(path.name for path in (tmp_path / "code" / "helpers").iterdir()) == [
        "deep.py",
        "few",
        "init.py",
        "table",
    ]
    (project / "helpers" / "data").symlink_to(tmp_path / "scratch")
    with pytest.raises(LaunchError, match=r"too large[^$]*helpers"):
        take_snapshot(project / "main.py", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_python_writes_beside_the_copies_is_no_change(project: Path, tmp_path: Path) -> None:
    take_snapshot(project / "main.py", tmp_path / "code")
    for folder in ("code", "code/helpers"):
        (tmp_path / folder / "__pycache__").mkdir()
        (tmp_path / folder / "__pycache__" / "deep.cpython-312.pyc").write_text("compiled")
    assert snapshot.changed_since(tmp_path / "code", project / "main.py") == []


def test_a_program_with_an_error_of_syntax(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("x = 1\ny = (\n")
    with pytest.raises(LaunchError, match=r"main.py is not valid Python[^$]*line 2"):
        take_snapshot(tmp_path / "main.py", tmp_path / "code")


def test_a_file_of_a_package_that_is_no_python(tmp_path: Path) -> None:
    """Nothing has to import it; a module beside the program is imported."""
    write(tmp_path, main_py="import lib", lib__init_py="", lib__old_py="print 1")
    take_snapshot(tmp_path / "main.py", tmp_path / "code")
    assert (tmp_path / "code" / "lib" / "old.py").is_file()
    write(tmp_path, main_py="import beside", beside_py="print 1")
    with pytest.raises(LaunchError, match=r"beside.py is not valid Python"):
        local_modules(tmp_path / "main.py")


def test_the_state_of_a_repository(project: Path, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *identity, "-C", str(project), *words], check=True, capture_output=True)

    assert git_state(project) is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git_state(project)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["changed"] == ""
    (project / "main.py").write_text("changed")
    dirty = git_state(project)
    assert dirty == {"commit": clean["commit"], "changed": "M main.py"}
