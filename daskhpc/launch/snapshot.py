"""Copies a program and the modules beside it, so that what was submitted is what runs."""

from __future__ import annotations

import ast
import filecmp
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..errors import LaunchError

LARGEST = 64 * 1024**2
"""Bytes of a snapshot above which it is refused: a package that holds data is not code alone."""

_SECONDS_FOR_GIT = 5
_not_copied = shutil.ignore_patterns("__pycache__", ".*")


def local_modules(script: Path) -> list[Path]:
    """The modules and packages of a script's folder that it imports, directly or through one another.

    A module that is imported by a computed name is not seen. Of a package all files count.

    Raises
    ------
    LaunchError
        If the script is not Python; the message has the line.
    """
    folder = script.resolve().parent
    found: dict[Path, None] = {}
    waiting = [script.resolve()]
    while waiting:
        path = waiting.pop()
        try:
            names = sorted(_imported(path))
        except LaunchError:
            if path in found or path == script.resolve():
                raise
            continue  # a file of a package that nothing may import, such as a template or one of Python 2
        for name in names:
            home = _home(folder, name)
            if home is not None and home not in found and home != script.resolve():
                found[home] = None
                waiting += [home] if home.suffix == ".py" else home.rglob("*.py") if home.is_dir() else []
    return list(found)


def _imported(path: Path) -> Iterator[str]:
    """The first parts of the names that a file imports."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise LaunchError(
            f"{path.name} is not valid Python.", f"{path}, line {line}: {error}" if line else str(error), "mend it"
        ) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value.partition(".")[0]


def _home(folder: Path, name: str) -> Path | None:
    """Where a module of a folder is: a package, or a file."""
    if not name:
        return None
    package = folder / name
    if package.is_dir() and ((package / "__init__.py").is_file() or not _is_elsewhere(name)):
        return package
    files = (folder / f"{name}{suffix}" for suffix in importlib.machinery.all_suffixes())
    return next((path for path in files if path.is_file()), None)


def _is_elsewhere(name: str) -> bool:
    """Whether Python finds a module of its own or an installed one, which a folder without ``__init__.py`` is not.

    So a folder of results such as ``wandb`` beside a program that imports that package is no code.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def take_snapshot(script: Path, target: Path) -> None:
    """Copy a script and the modules beside it that it imports into a new folder.

    Raises
    ------
    LaunchError
        If they are larger than `LARGEST` together.
    """
    paths = [script.resolve(), *local_modules(script)]
    if sum(map(_size, paths)) > LARGEST:
        largest = max(paths, key=_size)
        raise LaunchError(
            f"The code of {script.name} is too large to be copied into the job folder.",
            f"more than {LARGEST // 1024**2} MiB, most of them in {largest}",
            "--live, or data in another folder",
        )
    target.mkdir()
    for path in paths:
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=_not_copied, ignore_dangling_symlinks=True)
        else:
            # The script may be a link of another name.
            shutil.copy2(path, target / (script.name if path == script.resolve() else path.name))


def changed_since(snapshot: Path, script: Path) -> list[str]:
    """The names of the copied files that differ from the files beside the script now, or that are gone there."""
    home, changed = script.resolve().parent, []
    for file in sorted(path for path in snapshot.rglob("*") if path.is_file()):
        name = str(file.relative_to(snapshot))
        if file.parent.name == "__pycache__":
            continue  # Python writes it when the job runs
        try:
            same = filecmp.cmp(file, script if name == script.name else home / name, shallow=False)
        except OSError:
            same = False
        if not same:
            changed.append(name)
    return changed


def _size(path: Path) -> int:
    """Bytes that are copied of a module or a package, or more than `LARGEST`: a link in it may lead to any amount."""
    if not path.is_dir():
        return path.stat().st_size
    size = 0
    for home, folders, names in os.walk(path, followlinks=True):
        left_out = _not_copied(home, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out]
        files = (os.path.join(home, name) for name in names if name not in left_out)
        size += sum(os.stat(file).st_size for file in files if os.path.exists(file))
        if size > LARGEST:
            break
    return size


def git_state(folder: Path) -> dict[str, str] | None:
    """The commit of the repository that a folder is in, and which files differ from it; None if there is none."""
    told = {}
    for key, command in (("commit", "rev-parse HEAD"), ("changed", "status --porcelain -- .")):
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *command.split()],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS_FOR_GIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        told[key] = done.stdout.strip()
    return told
