"""Builds the wheel, and an environment of its own that has this wheel and what it requires, without any extra."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SOURCES = ("daskhpc", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff")


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist and the wheel of this checkout, made from the sdist; the build tools of this environment make both."""
    copy = folder / "copy"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    dist = folder / "dist"
    sdist = dist / _hook("build_sdist", copy, dist)
    shutil.unpack_archive(sdist, folder / "sdist")
    (unpacked,) = (folder / "sdist").iterdir()
    return sdist, dist / _hook("build_wheel", unpacked, dist)


def _hook(name: str, source: Path, dist: Path) -> str:
    code = f"from setuptools import build_meta; print(build_meta.{name}({str(dist)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def environment(folder: Path, wheel: Path) -> Path:
    """The folder of the commands of a new environment with the wheel.

    There is no registry to ask in a test, so the packages that daskhpc requires are linked from this environment: these
    and what they require, and no other.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    commands = folder / "bin"
    install = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "install", "--no-index", "--no-deps"]
    subprocess.run([*install, "--quiet", str(wheel)], check=True, timeout=200)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in sorted(required()):
        for entry in _entries(distribution(name)):
            target = packages / entry.name
            if not target.exists():
                target.symlink_to(entry)
    return commands


def required() -> set[str]:
    """The names of all packages that daskhpc requires, directly or not, without its extras."""
    found: set[str] = set()
    todo = [("daskhpc", "")]
    seen: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name != "daskhpc":
            found.add(name)
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(_plain(needed.name), part) for part in ("", *needed.extras)]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _entries(package: Distribution) -> Iterator[Path]:
    """What a package has at the top of site-packages."""
    packages = Path(sysconfig.get_path("purelib"))
    tops = {Path(file).parts[0] for file in package.files or ()}
    for top in tops - {"..", "__pycache__"}:
        yield packages / top


def clean_environment(commands: Path, home: Path) -> dict[str, str]:
    """Variables of a user who has activated that environment, and nothing of this one."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DASK", "PYTHON", "SLURM", "PMI"))
    }
    return {**kept, "PATH": f"{commands}:/usr/bin:/bin", "HOME": str(home), "VIRTUAL_ENV": str(commands.parent)}
