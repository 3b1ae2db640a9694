"""``daskhpc journal``: check, compact and merge journals."""

from __future__ import annotations

import click

from .errors import exit_on_error

_PAGE = {"help_option_names": ["-h", "--help"]}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_SHOWN = 20


@click.group(context_settings=_PAGE)
def journal() -> None:
    """Look after journals, the folders that `checkpoint` names."""


@journal.command(context_settings=_PAGE)
@click.argument("folder", metavar="DIR")
def check(folder: str) -> None:
    """Read all of the journal DIR and say what is damaged; the exit code is 1 if anything is."""
    from ..journal.upkeep import check

    with exit_on_error():
        report = check(folder)
    parts = [counted(report.records, "result"), counted(report.segments, "segment"), size_text(report.bytes)]
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


@journal.command(context_settings=_PAGE)
@click.option("--force", is_flag=True, help="Take in all segments; only when no job writes to the journal.")
@click.argument("folder", metavar="DIR")
def compact(folder: str, force: bool) -> None:
    """Make one segment of all finished ones of the journal DIR, and remove payloads that nothing refers to."""
    from ..journal.upkeep import compact

    with exit_on_error():
        done = compact(folder, force)
    what = f"made one of {done.segments} segments" if done.segments > 1 else "there was nothing to put together"
    click.echo(f"{folder}: {what}, {counted(done.payloads, 'unused file')} removed")
    if done.left:
        hint = "" if force else "; if none on any machine does, use --force"
        click.echo(f"  {counted(done.left, 'segment')} left alone: a process may still write there{hint}")


@journal.command(context_settings=_PAGE)
@click.argument("target")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
def merge(target: str, sources: tuple[str, ...]) -> None:
    """Take the results of each SOURCE, a journal of the same work, into the journal TARGET, made if there is none."""
    from ..journal.upkeep import merge

    with exit_on_error():
        taken = merge(target, *sources)
    click.echo(f"{target}: {counted(taken, 'result')} taken from {counted(len(sources), 'journal')}")


def counted(number: int, unit: str) -> str:
    """``1 segment``, ``1,200 results``."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def size_text(size: float) -> str:
    """``512 bytes``, ``3.4 MB``."""
    place = 0
    while size >= 1000 and place < len(_UNITS) - 1:
        size, place = size / 1000, place + 1
    return f"{size:.0f} {_UNITS[place]}" if place == 0 or size >= 10 else f"{size:.1f} {_UNITS[place]}"
