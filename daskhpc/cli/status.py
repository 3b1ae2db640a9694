"""``daskhpc status``: how far the work of a journal is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .errors import exit_on_error
from .job_progress import journal_of

if TYPE_CHECKING:
    from ..report.run_progress import RunProgress

_EVERY = 5.0
_WATCH = "--watch"


class _Watching(click.Command):
    """``--watch`` takes a number of seconds, or none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [
            f"{_WATCH}={_EVERY}" if arg == _WATCH and not _is_number(args[at + 1 : at + 2]) else arg
            for at, arg in enumerate(args)
        ]
        return super().parse_args(ctx, given)


def _is_number(args: Sequence[str]) -> bool:
    try:
        return bool(args) and float(args[0]) > 0
    except ValueError:
        return False


@click.command(
    short_help="Say how far the work of a checkpoint is.",
    cls=_Watching,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.option("--failures", is_flag=True, help="List all failed calls with their parameters.")
@click.option(
    _WATCH,
    type=click.FloatRange(min=0, min_open=True),
    metavar="[SECONDS]",
    help=f"Again every {_EVERY:g} seconds, or so many, until it is finished.",
)
@click.argument("folder", metavar="DIR")
def status(folder: str, as_json: bool, failures: bool, watch: float | None) -> None:
    """Say how far the work is whose results are in DIR, the folder that was given as `checkpoint`.

    Also while it runs, from any machine that sees the folder. Nothing is written to it. An id or the title of a job
    means the checkpoint of that job.
    """
    with exit_on_error():
        folder = journal_of(folder)
        while True:
            began = time.monotonic()
            state = _show(folder, as_json, failures, clear=watch is not None and sys.stdout.isatty())
            if watch is None or state in ("finished", "stopped"):
                return
            time.sleep(max(watch, 10 * (time.monotonic() - began)))


def _show(folder: str, as_json: bool, failures: bool, clear: bool) -> str:
    """Print how far it is once; its state."""
    from ..journal.reader import JournalReader
    from ..report.run_progress import run_progress

    now = time.time()
    run = run_progress(JournalReader(folder), now)
    text = json.dumps(_plain(folder, run, failures)) if as_json else "\n".join(_lines(folder, run, now, failures))
    if clear:
        click.clear()
    click.echo(text)
    sys.stdout.flush()
    return run.state


def _lines(folder: str, run: RunProgress, now: float, failures: bool) -> list[str]:
    from ..report.status_text import failure_line, summary

    if failures:
        return [failure_line(failure) for failure in run.failures] or ["No call failed."]
    first, *lines = summary(folder, run, now)
    return [click.style(first, bold=True), *(_coloured(line) for line in lines)]


def _coloured(line: str) -> str:
    return click.style(line, fg="red") if line.startswith("    failed ") else line


def _plain(folder: str, run: RunProgress, failures: bool) -> dict[str, object]:
    data = {"folder": folder, **asdict(run)}
    return data if failures else {name: value for name, value in data.items() if name != "failures"}
