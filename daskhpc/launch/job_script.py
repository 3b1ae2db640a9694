"""The script of a job, made from a template: a pure function of what was asked for."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import LaunchError
from ..text import counted, duration, printable
from .batch_systems.base import BatchSystem
from .command_lines import EXTRA_RANKS
from .job_spec import JobSpec
from .quantities import size_words
from .site import Site

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
_NUMBER = '"${JOB%%[.[]*}"'
_LOG_PATTERNS = {"%j": _NUMBER, "%A": _NUMBER, "%a": '"${PBS_ARRAY_INDEX:-${PBS_ARRAYID}}"'}
"""What Slurm fills into the name of a log, and ``daskhpc logs`` too, for the shell of a PBS job."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a job runs.

    Attributes
    ----------
    script : str
        Absolute path.
    args : tuple[str, ...]
    working_directory : str
        Where it runs: the folder that it was submitted from.
    python : str
        Absolute path of the interpreter.
    run_options : tuple[str, ...]
        Options of ``daskhpc run``.
    environment : Mapping[str, str]
        Variables that the interpreter needs to find what it found at submission.
    """

    script: str
    args: tuple[str, ...]
    working_directory: str
    python: str
    run_options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def job_script(
    spec: JobSpec, site: Site, system: BatchSystem, program: Program, folder: str, env: Mapping[str, str]
) -> str:
    """The text of a job's script.

    Parameters
    ----------
    spec : JobSpec
    site : Site
    system : BatchSystem
    program : Program
    folder : str
        Absolute path of the job folder.
    env : Mapping[str, str]
        Where the values of the variables come from that the spec gives by name alone.

    Raises
    ------
    LaunchError
        If the batch system has no option for something in the spec, or a template is wrong.
    """
    for path in (folder, program.working_directory):
        if not path.isprintable():
            raise LaunchError(
                "A job cannot run in a folder of this name.",
                repr(path),
                "a folder with a name in UTF-8 and on one line",
            )
    return _render(
        site,
        f"{system.script_name}.j2",
        summary=printable(f"{Path(program.script).name}: {in_words(spec)}"),
        script=system.script_name,
        directives=system.directive_lines(spec, site),
        folder=folder,
        log=_log(spec, system),
        array=bool(spec.array),
        modules=(*site.modules, *spec.modules),
        setup=(*site.setup, *spec.setup),
        environment=[*_login(site), *_exports(spec, program, env)],
        working_directory=program.working_directory,
        program=_command(spec, site, system, program),
        requeue=_requeues(spec, site, system),
        chain=f"{shlex.quote(program.python)} -P -m daskhpc chain" if (spec.chain or 1) > 1 else "",
    )


def _requeues(spec: JobSpec, site: Site, system: BatchSystem) -> bool:
    """Whether the script runs its job again near the time limit; refuses what batch system and spec rule out."""
    if site.resume == "requeue" and not system.requeues:
        raise LaunchError(
            f"A job of {system.title} cannot run itself again.",
            "resume: requeue in the site's profile",
            "resume: chain, or resume: by-hand, in the profile",
        )
    if (spec.chain or 1) > 1 and spec.array:
        raise LaunchError(
            "An array has no chain.", f"--array {spec.array} --chain {spec.chain}", "one of the two, or a job per index"
        )
    return system.requeues and site.resume in (None, "requeue") and not spec.no_requeue and (spec.chain or 1) == 1


def workers_prologue(spec: JobSpec, site: Site, system: BatchSystem, program: Program, env: Mapping[str, str]) -> str:
    """The lines of a job that holds workers, from its directives to the command of the workers.

    The job's folder is the one that it is submitted from. Parameters and errors are those of `job_script`.
    """
    return _render(
        site,
        f"workers.{system.script_name.partition('.')[2]}.j2",
        log=_log(spec, system),
        modules=(*site.modules, *spec.modules),
        setup=(*site.setup, *spec.setup),
        environment=_exports(spec, program, env),
        working_directory=program.working_directory,
    )


def in_words(spec: JobSpec) -> str:
    """What a job asks for, in words.

    Examples
    --------
    >>> in_words(JobSpec.make(nodes=2, time="90m", memory="180G"))
    '2 whole nodes, 180 GiB per node, at most 1 h 30 min'
    >>> in_words(JobSpec.make(cpus_per_task=4, tasks_per_node=2, gpus=2))
    "1 node, 2 workers per node, 4 CPUs per worker, 2 GPUs per node, the site's own time limit"
    """
    parts = [counted(spec.nodes, "whole node" if spec.whole_nodes else "node")]
    if spec.tasks_per_node > 1:
        parts.append(f"{spec.tasks_per_node} workers per node")
    if spec.cpus_per_task is not None:
        parts.append(f"{counted(spec.cpus_per_task, 'CPU')} per worker")
    if spec.memory is not None:
        parts.append(f"{size_words(spec.memory)} per node")
    if spec.gpus is not None:
        parts.append(f"{counted(spec.gpus, 'GPU')} per node")
    parts.append(f"at most {duration(spec.time)}" if spec.time else "the site's own time limit")
    if (spec.chain or 1) > 1:
        parts.append(f"{spec.chain} jobs one after the other")
    return ", ".join(parts)


def _log(spec: JobSpec, system: BatchSystem) -> str:
    """Where the script of a system that keeps the output until the end writes its log, for its shell."""
    if spec.output:
        filled = {**_LOG_PATTERNS, "%x": shlex.quote(spec.name)}
        parts = re.split("(%[jAax])", spec.output)
        return "".join(filled.get(part) or shlex.quote(part) for part in parts if part)
    return '"${JOB_FOLDER}/' + system.log_name.format(id="${JOB}") + '"'


def _login(site: Site) -> list[tuple[str, str]]:
    """What tells the program the login node's name for the line that is printed for the user's own machine."""
    return [("DASKHPC_LOGIN", shlex.quote(site.login))] if site.login else []


def _exports(spec: JobSpec, program: Program, env: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variables of the program with their values for a shell."""
    exports = [(name, shlex.quote(value)) for name, value in program.environment.items()]
    exports.append(("PATH", f'{shlex.quote(str(Path(program.python).parent))}:"${{PATH}}"'))
    for text in spec.env:
        name, equals, value = text.partition("=")
        if not equals and name not in env:
            raise LaunchError(f"There is no environment variable {name}.", "--env " + name, f"--env {name}=VALUE")
        exports.append((name, shlex.quote(value if equals else env[name])))
    return exports


def _command(spec: JobSpec, site: Site, system: BatchSystem, program: Program) -> str:
    """The line that runs the program on all ranks, for a shell."""
    words = [shlex.quote(program.python), "-P -m daskhpc run"]
    if site.launcher:
        ranks = spec.nodes * spec.tasks_per_node + EXTRA_RANKS
        try:
            launcher = site.launcher.format(ranks=ranks, nodes=spec.nodes)
        except (KeyError, IndexError, ValueError) as error:
            raise LaunchError(
                f"The launcher of the site's profile is not understood: {error}.", site.launcher, "{ranks} and {nodes}"
            ) from None
        words = [launcher, *words, "--as-rank"]
    options = [*map(shlex.quote, program.run_options)]
    asked = any(option.startswith("--workers") for option in options)
    if spec.tasks_per_node > 1 and not (system.counts_tasks or site.launcher or asked):
        options.insert(0, f"--workers={spec.nodes * spec.tasks_per_node}")
    if not spec.live:
        options.append('--snapshot "${JOB_FOLDER}/code"')
    first = [[*words], [*options, "--"]] if options else [[*words, "--"]]
    lines = [*map(" ".join, first), shlex.join([program.script, *program.args])]
    return " \\\n    ".join(lines)


def _render(site: Site, name: str, **values: object) -> str:
    from jinja2 import TemplateError

    folder = os.path.expanduser(site.templates)
    if folder and not os.path.isdir(folder):
        found = f"templates: {site.templates}, and {os.path.abspath(folder)} is no folder"
        raise LaunchError(
            "The folder of job script templates is not there.", found, "templates: a folder that is there"
        )
    try:
        return _environment(folder).get_template(name).render(values)
    except TemplateError as error:
        where = site.templates or str(TEMPLATES)
        raise LaunchError(f"The template {name} of the job script is wrong.", f"{error}, in {where}", "") from None


def _environment(folder: str) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, str(TEMPLATES)] if folder else [str(TEMPLATES)]),
        undefined=StrictUndefined,
        autoescape=False,  # the result is no HTML; values are quoted for the shell by the filter
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shell"] = shlex.quote
    return environment
