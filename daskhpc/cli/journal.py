"""``daskhpc journal check``: what is in a journal, and what of it is damaged."""

from __future__ import annotations

import click

from ..text import bytes_text, counted
from .errors import exit_on_error

_PAGE = {"help_option_names": ["-h", "--help"]}
_SHOWN = 20


@click.group(short_help="Look after journals, the folders of checkpoints.", context_settings=_PAGE)
def journal() -> None:
    """Look after journals, the folders that `checkpoint` names."""


@journal.command(context_settings=_PAGE)
@click.argument("folder", metavar="DIR")
def check(folder: str) -> None:
    """Read all of the journal DIR and say what is damaged; the exit code is 1 if anything is."""
    from ..journal.check import check

    with exit_on_error():
        report = check(folder)
    parts = [counted(report.records, "result"), counted(report.segments, "segment"), bytes_text(report.bytes)]
    parts += [counted(report.failures, "failed call")] if report.failures else []
    parts += [f"{counted(report.duplicates, 'result')} more than once"] if report.duplicates else []
    parts += [f"{counted(len(report.orphans), 'payload')} that nothing refers to"] if report.orphans else []
    click.echo(f"{folder}: {', '.join(parts)}; {'damaged' if report.damages else 'no damage'}")
    for damage in report.damages[:_SHOWN]:
        click.echo(f"  {damage.path}, byte {damage.offset:,}: {damage.reason}")
    if len(report.damages) > _SHOWN:
        click.echo(f"  and {len(report.damages) - _SHOWN:,} more")
    if report.damages:
        click.echo("All else is intact. Submit the same job again: what cannot be read is computed anew.")
        raise SystemExit(1)
