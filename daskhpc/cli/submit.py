"""``daskhpc submit``: a program as a job of Slurm or PBS, from a login node."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from ..launch.acceptance import read_back
from ..launch.batch_systems import BATCH_SYSTEMS
from ..launch.job_draft import draft_job, send_draft
from ..launch.job_spec import JobSpec
from ..launch.profile import load
from ..settings import Settings
from .errors import exit_on_error
from .setting_options import setting_option_words, setting_options

_SCHEDULERS = [system.name for system in BATCH_SYSTEMS]


class _Grouped(click.Command):
    """Shows the options under the headings of `JobSpec`, and then those of ``daskhpc run``."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        declared = JobSpec.declared()
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.name is not None:
                option = declared.get(parameter.name)
                groups.setdefault(option.group if option else _heading(parameter.name), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _heading(name: str) -> str:
    return (
        "This command"
        if name in ("dry_run", "folder", "profile", "scheduler", "help")
        else "The program, as of daskhpc run"
    )


def _resource_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `JobSpec` declares."""
    for name, option in reversed(list(JobSpec.declared().items())):
        how: dict[str, Any] = {"metavar": option.metavar, "multiple": option.is_repeated}
        if option.is_flag:
            how = {"is_flag": True}
        command = click.option(*option.option.split(), name, help=option.meaning, **how)(command)
    return command


@click.command(
    short_help="Submit a program as a job, from a login node.",
    cls=_Grouped,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    options_metavar="[OPTIONS]",
)
@click.option("--dry-run", is_flag=True, help="Print the job script; nothing is written and nothing submitted.")
@click.option("--folder", metavar="DIR", help="The job's new folder. Default: one in daskhpc-jobs, here.")
@click.option("--profile", metavar="NAME", help="The site and the defaults of its jobs: see daskhpc profile.")
@click.option("--scheduler", type=click.Choice(_SCHEDULERS), help="Default: what is installed here.")
@_resource_options
@setting_options
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def submit(
    script: str,
    args: tuple[str, ...],
    dry_run: bool,
    folder: str | None,
    profile: str | None,
    scheduler: str | None,
    **options: Any,
) -> None:
    """Submit SCRIPT as a job that runs it on all of its nodes, as `daskhpc run` does.

    The job's id is printed on standard output, all else on standard error.
    """
    given = {name: options.pop(name) for name in JobSpec.declared()}
    with exit_on_error():
        site = replace(load(profile).site, scheduler=scheduler) if scheduler else None
        Settings.resolve(options, config={})  # a value that is refused is refused now, and not when the job begins
        words = setting_option_words(options)
        draft = draft_job(script, args, run_options=words, folder=folder, site=site, profile=profile, **given)
        if dry_run:
            click.echo(draft.script, nl=False)
            return
        sent = send_draft(draft)
        log = os.path.join(sent.folder.path, sent.jobs[0].log)
        for job in sent.jobs:
            click.echo(job.id + (f";{job.cluster}" if job.cluster else ""))
        click.echo(f"daskhpc: {draft.words}; the log: {os.path.relpath(log)}", err=True)
        first = sent.jobs[0]
        for change in read_back(draft.system, draft.spec, draft.site, first):
            click.echo(f"daskhpc: the site changed {change}", err=True)
        for excess in sent.beyond:
            click.echo(
                f"daskhpc: {excess.words}: the job may wait for ever\n"
                f"  try:   daskhpc cancel {first.id}, then submit with {excess.todo}",
                err=True,
            )
