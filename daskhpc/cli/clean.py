"""``daskhpc clean``: removes the folders of jobs that have ended."""

from __future__ import annotations

import time

import click

from ..errors import LaunchError
from ..launch.clean import CleanRule, Kept, job_states, sorted_out
from ..launch.find_jobs import find_job
from ..launch.job_folder import JobFolder
from ..launch.job_query import listed
from ..launch.jobs_text import near
from ..launch.quantities import seconds_of
from ..launch.scheduler_commands import ask
from ..own_files import state_folder
from ..text import bytes_text, counted
from .errors import exit_on_error


@click.command(
    short_help="Remove the folders of jobs that have ended.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--older-than", metavar="TIME", help="Only jobs that ended so long ago: 7d, 12h.")
@click.option(
    "--state", "states", metavar="STATE", multiple=True, help="Only jobs that ended so: completed; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.argument("names", metavar="[JOB]...", nargs=-1)
def clean(names: tuple[str, ...], older_than: str | None, states: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Remove the folders of jobs that have ended, or only of each JOB: an id, a job's folder or its title.

    A folder goes with its script, its copy of the code and its logs. Checkpoints and results stay, wherever they are: a
    folder with files that daskhpc did not write is kept.
    """
    with exit_on_error():
        rule = CleanRule(_seconds(older_than), job_states(states))
        every = list(JobFolder.all())
        folders = list({f.path: f for f in (find_job(name, every)[0] for name in names)}.values()) if names else every
        submitted = {folder.path: folder.submitted() for folder in folders}
        chosen, kept = sorted_out(folders, listed(folders, ask, state_folder()), rule, time.time())
        for folder, why in kept:
            if names or why in (Kept.OTHER_FILES, Kept.SILENT):
                click.echo(f"{near(folder.path)} stays: {why.value}", err=True)
        if not chosen:
            click.echo("Nothing to remove.")
            return
        sizes = [folder.size() for folder in chosen]
        for folder, size in zip(chosen, sizes, strict=True):
            click.echo(f"{near(folder.path)}  {bytes_text(size)}")
        total = f"{counted(len(chosen), 'job folder')}, {bytes_text(sum(sizes))}"
        if dry_run:
            click.echo(f"{total}: nothing was removed")
            return
        if not yes and not click.confirm(f"Remove {total}?"):
            raise LaunchError("Nothing was removed.", total, "daskhpc clean --yes")
        for folder in chosen:
            if folder.submitted() != submitted[folder.path]:
                raise LaunchError(
                    "A job was resumed meanwhile.", near(folder.path), "daskhpc clean, for those that are left"
                )
            folder.remove()
        click.echo(f"{total}: removed")


def _seconds(text: str | None) -> float:
    try:
        return float(seconds_of(text)) if text else 0.0
    except ValueError as error:
        raise LaunchError(f"--older-than does not take {text!r}.", "", f"--older-than: {error}") from None
