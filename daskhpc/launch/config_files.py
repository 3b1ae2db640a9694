"""Reads ``daskhpc:`` from the YAML files in dask.config's places, without Dask, with the file of each value.

Importing `dask.config` imports all of Dask, which takes longer than all else that a command on a login node does.
"""

from __future__ import annotations

import os
import re
import site
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..settings import ELSEWHERE, PREFIX
from ..text import one_line

KEY = "daskhpc"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What one file has under ``daskhpc:``."""

    path: str
    values: Mapping[str, Any]


def places(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The files and folders that dask.config reads; the value in a later one holds.

    Notes
    -----
    These are `dask.config.paths`, whose rule stands in Dask's documentation of its configuration.
    """
    given = os.environ if env is None else env
    paths = [
        given.get("DASK_ROOT_CONFIG", "/etc/dask"),
        os.path.join(sys.prefix, "etc", "dask"),
        *(os.path.join(prefix, "etc", "dask") for prefix in site.PREFIXES),
        os.path.join(os.path.expanduser("~"), ".config", "dask"),
        *([given["DASK_CONFIG"]] if "DASK_CONFIG" in given else []),
    ]
    return tuple(reversed(dict.fromkeys(reversed(paths))))


def personal_file(env: Mapping[str, str] | None = None) -> Path:
    """The file of this user that daskhpc writes: in the last folder of `places`."""
    last = Path(places(env)[-1])
    return last if last.suffix in (".yaml", ".yml") else last / f"{KEY}.yaml"


def read(env: Mapping[str, str] | None = None) -> tuple[ConfigFile, ...]:
    """What all files have under ``daskhpc:``, in the order in which a later one holds.

    Raises
    ------
    SettingsError
        If a file that names daskhpc is no YAML, or what it has there is no mapping.
    """
    return tuple(found for path in _files(places(env)) if (found := _read(path)) is not None)


def _files(paths: tuple[str, ...]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            try:
                yield from sorted(p for p in path.iterdir() if p.suffix.lower() in (".json", ".yaml", ".yml"))
            except OSError:
                continue  # Dask passes over a folder that it may not read
        elif path.is_file():
            yield path


def _read(path: Path) -> ConfigFile | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if KEY.encode() not in content:
        return None  # to read Dask's own files costs more than all else
    values = _values(content, path)
    if values is None:
        return None
    if not isinstance(values, dict):
        raise SettingsError(
            f"The entry 'daskhpc:' in {path} is not names with values.", repr(values), "daskhpc:\n    processes: 2"
        )
    return ConfigFile(str(path), {str(name).replace("-", "_"): value for name, value in values.items()})


def _values(content: bytes, path: Path) -> Any:
    """What a file has under ``daskhpc:``; None if that is nothing."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content)
    try:
        document = loader.get_single_node()
        pairs = document.value if isinstance(document, yaml.MappingNode) else []
        _refuse_twice([(name, value) for name, value in pairs if name.value == KEY], path)
        values = loader.construct_document(document) if pairs else None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        words = one_line(getattr(error, "problem", None) or str(error))
        tabs = "spaces in place of tabs" if re.search(rb"^ *\t", content, re.MULTILINE) else f"mend {path}"
        raise SettingsError("A file of settings is no YAML.", f"{path}{line}: {words}", tabs) from None
    return values.get(KEY) if isinstance(values, dict) else None


def _refuse_twice(pairs: list[tuple[Any, Any]], path: Path) -> None:
    """Refuse a name that stands twice in one mapping: YAML takes the last value, with no warning."""
    seen: dict[str, int] = {}
    for name, value in pairs:
        line = name.start_mark.line + 1
        if name.value in seen:
            lines = f"{path}, lines {seen[name.value]} and {line}"
            raise SettingsError(f"A file of settings has '{name.value}:' twice.", lines, "one of the two")
        seen[name.value] = line
        if value.id == "mapping":
            _refuse_twice(value.value, path)


def merged(files: tuple[ConfigFile, ...], env: Mapping[str, str] | None = None) -> dict[str, tuple[Any, str]]:
    """Each value and its source: the last file that has it, or ``DASK_DASKHPC__<NAME>``, which comes before all files.

    ``profile`` and ``profiles`` are not among them: see `profile.load`.
    """
    values: dict[str, tuple[Any, str]] = {}
    for file in files:
        values |= {name: (value, file.path) for name, value in file.values.items()}
    for name, value in (os.environ if env is None else env).items():
        if name.startswith(PREFIX) and "__" not in name.removeprefix(PREFIX):
            values[name.removeprefix(PREFIX).lower()] = (value, name)
    return {name: value for name, value in values.items() if name not in ELSEWHERE}
