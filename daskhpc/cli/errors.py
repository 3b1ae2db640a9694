"""How a command ends when daskhpc refuses something: it prints the error. The exit code is 70; 2 for no program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import EXIT_FAILED, EXIT_USAGE, DaskhpcError, ProgramError


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the command with an error's three parts, without a traceback, if daskhpc raises one inside the block."""
    try:
        yield
    except DaskhpcError as error:
        click.echo(f"daskhpc: {error}", err=True)
        raise SystemExit(EXIT_USAGE if isinstance(error, ProgramError) else EXIT_FAILED) from None
