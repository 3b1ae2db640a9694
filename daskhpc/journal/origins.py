"""Where code is from: a library by its version, or the user's own."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import sysconfig
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from .key_parts import digest

_SITES = {"site-packages", "dist-packages"}
_COMPILED = (".so", ".pyd")
_DASKHPC = Path(__file__).parents[1]


class Origin(NamedTuple):
    """Of a module: whether its code is the user's own, and else which version of it this is."""

    own: bool
    version: str


OWN = Origin(True, "")


def origin(module: str | None) -> Origin:
    """Where a module's code is from.

    Notes
    -----
    Libraries are the standard library, whose version does not count, and what lies below a site-packages folder and
    belongs to a distribution. If that was installed from a folder or a repository, its files count as well. An editable
    install lies elsewhere: it is the user's own code, but for daskhpc: its globals change while it works. A compiled
    module elsewhere goes by its file's content.
    """
    if not module or module == "__main__":
        return OWN
    file = file_of(module)
    if file is None and "." in module:
        return origin(module.rpartition(".")[0])
    return _origin(module, file)


@cache
def _origin(module: str, file: str | None) -> Origin:
    top = module.partition(".")[0]
    if file is None:
        return Origin(False, "") if top in sys.stdlib_module_names else OWN
    path = Path(file)
    if _SITES.intersection(path.parts):
        version = _version(top)
        return Origin(False, version) if version else OWN
    if lies_with_libraries(file):
        return Origin(False, "")
    if path.suffix in _COMPILED:
        return Origin(False, digest(path.read_bytes()).hex())
    return Origin(False, _files_of_daskhpc()) if top == _DASKHPC.name else OWN


def lies_with_libraries(file: str) -> bool:
    """Whether a file lies with the standard library, or below a site-packages folder."""
    return file.startswith(_standard_library()) or any(f"{os.sep}{site}{os.sep}" in file for site in _SITES)


@cache
def _standard_library() -> tuple[str, ...]:
    return tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))


def file_of(module: str) -> str | None:
    """The file of a module, imported or not; None if it has none. Imports nothing."""
    found = sys.modules.get(module)
    if found is None:
        spec = _spec(module)
        return spec.origin if spec is not None and spec.has_location else None
    file = getattr(found, "__file__", None)
    if file is None:  # a namespace package
        file = next(iter(getattr(found, "__path__", ())), None)
    return file if isinstance(file, str) else None


def _spec(module: str) -> ModuleSpec | None:
    parent = module.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(module)
    imported, spec = sys.modules.get(parent), None if parent in sys.modules else _spec(parent)
    inside = getattr(imported, "__path__", None) or (spec.submodule_search_locations if spec is not None else None)
    return PathFinder.find_spec(module, list(inside)) if inside else None


def named(module: str | None, qualname: str) -> Any:
    """What a module has under a name; None if it has nothing."""
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


@cache
def _files_of_daskhpc() -> str:
    files = sorted(_DASKHPC.rglob("*.py"))
    return digest(b"".join(f"{file.relative_to(_DASKHPC)}\0".encode() + file.read_bytes() for file in files)).hex()


@cache
def _version(top: str) -> str:
    names = sorted(set(_distributions().get(top, ())))
    return ", ".join(f"{name.lower()} {importlib.metadata.version(name)}{_build(name)}" for name in names)


def _build(name: str) -> str:
    """What tells two installations of one version apart: the files, if they come from a folder or a repository.

    There the code changes and the number stays, as after ``pip install .``.
    """
    found = importlib.metadata.distribution(name)
    if found.read_text("direct_url.json") is None:
        return ""
    lines = sorted((found.read_text("RECORD") or "").splitlines())
    files = [line for line in lines if not line.endswith(",") and ".dist-info/" not in line and line[:2] != ".."]
    return f"+{digest(chr(10).join(files).encode()).hex()[:12]}"


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
