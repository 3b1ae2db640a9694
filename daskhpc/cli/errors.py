"""How a command ends when daskhpc refuses something: it prints the error, and its exit code is 70."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import EXIT_FAILED, DaskhpcError


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the command with an error's three parts, without a traceback, if daskhpc raises one inside the block."""
    try:
        yield
    except DaskhpcError as error:
        click.echo(f"daskhpc: {error}", err=True)
        raise SystemExit(EXIT_FAILED) from None
