"""``daskhpc profile``: the profile of a site, shown, or written from what the site's own commands say."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import click

from ..atomic import replacing
from ..errors import LaunchError
from ..launch import config_files
from ..launch.batch_systems import batch_system, installed_batch_system
from ..launch.profile import load
from ..launch.scheduler_commands import ask
from ..launch.site_detection import LAUNCHERS, DetectedSite, SiteAnswer, profile_yaml
from ..text import one_line
from .config import profile_lines
from .errors import exit_on_error


@click.command(
    short_help="Show the profile of this site, or write one.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--detect", is_flag=True, help="Ask the scheduler, and write a profile.")
@click.option("--name", metavar="NAME", help="The profile's name. Default: the cluster's own.")
@click.option("--dry-run", is_flag=True, help="With --detect: print the profile and write nothing.")
@click.option("--force", is_flag=True, help="With --detect: replace the file that is there.")
def profile(detect: bool, name: str | None, dry_run: bool, force: bool) -> None:
    """Show the profile that holds here; with --detect, write one from what the scheduler and the modules say."""
    with exit_on_error():
        if not detect:
            if dry_run or force:
                raise LaunchError("--dry-run and --force go with --detect.", "no --detect", "daskhpc profile --detect")
            for line in profile_lines(load(name)):
                click.echo(line)
            return
        site = _detected()
        chosen = name or site.name
        text = profile_yaml(site, chosen)
        if dry_run:
            click.echo(text, nl=False)
            return
        path = _path(chosen)
        if path.exists() and not force:
            raise LaunchError(
                f"There is a profile {chosen!r} already.", str(path), "--force to replace it, --name for another one"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                draft.write_text(text, encoding="utf-8")
        except OSError as error:
            todo = "DASK_CONFIG with a folder that you can write to; --dry-run prints the profile alone"
            raise LaunchError("The profile could not be written.", one_line(str(error)), todo) from None
        load(chosen)  # a name or a value that cannot be read back is refused now, not when a job is submitted
        click.echo(text, nl=False)
        click.echo(f"daskhpc: written to {path}; next: daskhpc submit --nodes 2 --time 1h script.py", err=True)


def _path(name: str) -> Path:
    """A file of its own, so that no other is edited; its name sorts before daskhpc.yaml, whose values hold."""
    if os.sep in name or name.startswith("."):
        raise LaunchError(f"A profile cannot be called {name!r}.", "it becomes the name of a file", "--name delft")
    return config_files.personal_file().parent / f"{config_files.KEY}-{name}.yaml"


def _detected() -> DetectedSite:
    """The answers of the scheduler of this login node."""
    system = batch_system(installed_batch_system())
    user = pwd.getpwuid(os.geteuid()).pw_name
    questions = system.questions.items()
    answers = {what: _answer([word.replace("{user}", user) for word in words]) for what, words in questions}
    commands = [name for name in LAUNCHERS if shutil.which(name)]
    modules = [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name]
    return system.detect(answers, commands, modules)


def _answer(words: list[str]) -> SiteAnswer:
    if shutil.which(words[0]) is None:
        return SiteAnswer(None, "")
    said = ask(words)
    # sbatch --test-only and qstat --version answer on standard error.
    return SiteAnswer(said.code, said.out if said.out.strip() else said.err)
