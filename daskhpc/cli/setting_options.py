"""The options that `Settings` declares, for the commands that run programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import click

from ..settings import Settings


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `Settings` declares."""
    types = {f.name: f.type for f in fields(Settings)}
    # click shows options in the reverse order of their decorators
    for name, setting in reversed(list(Settings.declared().items())):
        if not setting.option:
            continue
        how: dict[str, Any] = {"type": int if types[name] in ("int", "int | None") else str}
        if types[name] == "bool":
            how = {"is_flag": True, "default": None}
        option = click.option(*setting.option.split(), name, metavar=setting.metavar or None, help=setting.text, **how)
        command = option(command)
    return command


def setting_option_words(given: Mapping[str, Any]) -> list[str]:
    """The options of `setting_options` with the values that were given, as words of a command line."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in given.items()
        if value is not None
    ]
