"""``daskhpc config``: every setting, every key of the profile, and the source of each value."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import click

from ..launch import config_files
from ..launch.profile import VARIABLE as PROFILE_VARIABLE
from ..launch.profile import Profile, choose
from ..launch.site import Site
from ..settings import Settings
from .errors import exit_on_error

_WIDTH = 18


@click.command(
    short_help="Print every setting, and where its value is from.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--profile", "name", metavar="NAME", help="The profile to show. Default: the one that `submit` takes.")
def config(name: str | None) -> None:
    """Print every setting of a run and every key of the profile, with its value and its source.

    A name that does not exist is refused, with the valid ones.
    """
    with exit_on_error():
        files = config_files.read()
        found = config_files.merged(files)
        settings = Settings.resolve(config={key: value for key, (value, _) in found.items()})
        chosen = choose(files, name, os.environ.get(PROFILE_VARIABLE))
    read = ", ".join(file.path for file in files) or "none"
    click.echo(f"files: {read}")
    click.echo("settings of a run:")
    for key, setting in Settings.declared().items():
        value, source = getattr(settings, key), found[key][1] if key in found else ""
        shown = setting.otherwise if not source else _shown(value)
        click.echo(f"  {key:{_WIDTH}} {shown}  [{source or 'default'}]")
    for line in profile_lines(chosen):
        click.echo(line)


def profile_lines(profile: Profile) -> list[str]:
    """Every key of a profile with its value and its source."""
    otherwise = "; daskhpc profile --detect writes one" if not profile.name else ""
    lines = [f"profile: {profile.name or 'none'}  [{profile.chosen_by}{otherwise}]"]
    for key in (field.name for field in fields(Site)):
        lines.append(f"  {key:{_WIDTH}} {_shown(getattr(profile.site, key))}  [{profile.sources.get(key, 'default')}]")
    if profile.job:
        lines.append("options of a job:")
    for key, value in profile.job.items():
        lines.append(f"  {key:{_WIDTH}} {_shown(value)}  [{profile.sources[f'job.{key}']}]")
    return lines


def _shown(value: Any) -> str:
    if value is None or value in ("", (), []):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
