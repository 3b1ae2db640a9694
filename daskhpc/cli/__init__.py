"""The ``daskhpc`` command, also ``dask hpc`` and ``python -m daskhpc``: parse, call, print."""

from __future__ import annotations

import importlib
import signal
from typing import Any

import click

from .. import __version__
from ..shadowing import explained
from .errors import exit_on_error

_OF_JOBS = ("run", "scaling", "submit", "jobs", "logs", "cancel", "resume", "clean", "chain")
_COMMANDS = (*_OF_JOBS, "profile", "config", "status", "results", "journal")


class _Commands(click.Group):
    """Each command is a module of its name, imported when it is first asked for: none waits for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f".{cmd_name}", __name__), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ImportError, AttributeError) as error:  # the program's own do not come so far
            known = explained(error)
            if known is None:
                raise
            with exit_on_error():
                raise known from None
        except KeyboardInterrupt:  # click's own code for it is 1
            click.echo("KeyboardInterrupt", err=True)
            raise SystemExit(128 + signal.SIGINT) from None


@click.group(name="hpc", cls=_Commands)
@click.version_option(__version__, prog_name="daskhpc")
def main() -> None:
    """Take a Python program from this machine to a Slurm or PBS cluster."""
