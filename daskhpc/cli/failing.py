"""How commands end where daskhpc refuses: the error's text, and its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..errors import EXIT_FAILED, DaskhpcError


@contextmanager
def telling() -> Iterator[None]:
    """Within: an error of daskhpc's ends the command with what it says."""
    try:
        yield
    except DaskhpcError as error:
        click.echo(f"daskhpc: {error}", err=True)
        raise SystemExit(EXIT_FAILED) from None
