"""The package and its first steps as the pages have them, in a new environment without extras."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import bare
import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "first-steps"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel."""
    return bare.build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def commands(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel."""
    return bare.environment(tmp_path_factory.mktemp("new") / "venv", built[1])


def shell(line: str, commands: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    env = bare.clean_environment(commands, folder)
    return subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def console(page: str) -> Iterator[tuple[str, str]]:
    """Each line that a page has the reader type, with the output that it shows."""
    for block in re.findall(r"```console\n(.*?)```", (PAGES / page).read_text(), re.DOTALL):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            line, _, output = part.partition("\n")
            yield line, output


def test_twine_finds_nothing(built: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_one_that_the_page_shows(commands: Path, tmp_path: Path) -> None:
    (shown,) = [output for line, output in console("install.md") if line == "daskhpc --version"]
    assert shell("daskhpc --version", commands, tmp_path).stdout == shown


def test_every_public_name_is_there_without_extras(commands: Path, tmp_path: Path) -> None:
    code = (
        "import sys, daskhpc\n"
        "assert '/new' in daskhpc.__file__, daskhpc.__file__\n"
        "for name in daskhpc.__all__: getattr(daskhpc, name)\n"
        "print(*({'matplotlib', 'torch', 'h5py', 'netCDF4', 'zarr', 'IPython'} & set(sys.modules)))\n"
    )
    (tmp_path / "look.py").write_text(code)
    done = shell("python look.py", commands, tmp_path)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_the_laptop_page_as_it_is_written(commands: Path, tmp_path: Path) -> None:
    """The first block is saved as search.py; each line after ``$`` is typed, and prints what the page shows."""
    page = (PAGES / "laptop.md").read_text()
    (program, *_) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "search.py").write_text(program)
    for line, shown in console("laptop.md"):
        done = shell(line, commands, tmp_path)
        assert done.returncode == 0, done.stderr
        # The start table is on standard error, and has this machine's own numbers.
        expected = "" if shown.startswith("daskhpc: ") else shown
        expected = expected or shown.splitlines()[-1] + "\n"
        assert doctest.OutputChecker().check_output(expected, done.stdout, OPTIONS), (line, done.stdout, done.stderr)


def test_the_page_for_one_who_slips(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text("print(1)")
    shown = re.search(r"```text\n(daskhpc: Cannot run.*?)```", (PAGES / "problems.md").read_text(), re.DOTALL)
    assert shown is not None
    done = shell("daskhpc run serch.py", commands, tmp_path)
    assert done.stderr == shown[1].replace("/home/ada/work", str(tmp_path))


def test_the_recipe_of_conda_requires_what_the_package_requires() -> None:
    recipe = (ROOT / "conda" / "meta.yaml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    other = {"dask": "dask-core", "xxhash": "python-xxhash"}
    for text in project["dependencies"]:
        name, _, bound = re.sub(r"\[.*\]", "", text).partition(">=")
        assert f"    - {other.get(name, name)} >={bound}\n" in recipe
    assert f'version = "{project["version"]}"' in recipe
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()
