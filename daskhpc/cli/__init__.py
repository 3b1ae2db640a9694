"""The ``daskhpc`` command, also ``dask hpc`` and ``python -m daskhpc``: parse, call, print."""

from __future__ import annotations

import click

from .. import __version__
from .journal import journal
from .results import results
from .run import run
from .status import status


@click.group(name="hpc")
@click.version_option(__version__, prog_name="daskhpc")
def main() -> None:
    """Take a Python program from this machine to a Slurm or PBS cluster."""


for _command in (run, status, results, journal):
    main.add_command(_command)
