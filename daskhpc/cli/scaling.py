"""``daskhpc scaling``: how much faster a function becomes with more workers."""

from __future__ import annotations

from typing import Any

import click

from ..errors import SettingsError
from ..settings import SCALING_REPEATS
from .errors import exit_on_error
from .run import run
from .setting_options import setting_options

_MODULE = "daskhpc.scaling_study"


@click.command(
    short_help="Time a function with more and more workers.",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    options_metavar="[OPTIONS]",
)
@setting_options
@click.option("--counts", metavar="N,N,...", help="Numbers of workers. Default: the powers of two, and all workers.")
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=SCALING_REPEATS,
    show_default=True,
    help="Times for each number.",
)
@click.option("--weak", is_flag=True, help="Weak scaling: FUNCTION gets the number of workers, and grows its work.")
@click.option("--plain", metavar="NAME", help="The same work without Dask, a function of the file: the second base.")
@click.option("--no-plain", is_flag=True, help="Leave plain Python out.")
@click.option("--spread", is_flag=True, help="Take one worker of each node in turn. Default: fill a node first.")
@click.option("--folder", metavar="DIR", help="Folder for times, table and pictures. Default: scaling-FUNCTION.")
@click.option("--dry-run", is_flag=True, help="Print the command and do not run it.")
@click.argument("target", metavar="FILE.py:FUNCTION")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def scaling(target: str, args: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Time FUNCTION of FILE.py with more and more workers of this allocation, or of this machine.

    The file is imported, not run: its lines under `if __name__ == "__main__"` are left out. ARGS become sys.argv[1:].
    Each time is kept: the same command goes on where a job ended. Remove the folder to measure anew.
    """
    script, _, function = target.rpartition(":")
    with exit_on_error():
        if not script or not function.isidentifier():
            raise SettingsError("daskhpc scaling takes a file and a function of it.", target, "pi.py:estimate")
        if options.pop("checkpoint") is not None or options.pop("retry_failed") is not None:
            raise SettingsError(
                "A scaling study keeps its times in a folder of its own.", "--checkpoint", "--folder DIR"
            )
    own = {name: options.pop(name) for name in ("counts", "repeats", "weak", "plain", "no_plain", "spread", "folder")}
    words = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in own.items()
        if value not in (None, False)
    ]
    nothing = {"checkpoint": None, "retry_failed": None}
    assert run.callback is not None
    run.callback(
        script,
        (*words, "--", function, *args),
        module=False,
        dry_run=dry_run,
        snapshot=None,
        instead=_MODULE,
        as_rank=False,
        **options,
        **nothing,
    )
