"""What every batch system has to say of itself, so that jobs can be submitted to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ...errors import LaunchError
from ..job_spec import JobSpec
from ..site import Site
from ..site_detection import DetectedSite, SiteAnswer

_IN_SCRIPT = ("tasks_per_node", "env", "modules", "setup", "live", "chain")
"""The options that are no directives, or part of another one."""


class BatchSystem(ABC):
    """How one batch system is asked for a job: pure functions of a spec and a site.

    To add a batch system, write one subclass in a file of its own, with a template of its job script, and put an
    object of it into `BATCH_SYSTEMS` of this package.
    """

    name: ClassVar[str]
    """Its name in profiles and records."""

    title: ClassVar[str]
    """Its name in messages."""

    submit_command: ClassVar[str]
    """The command that submits."""

    script_name: ClassVar[str]
    """How a job script is called in its folder; the template has the same name with ``.j2``."""

    log_name: ClassVar[str]
    """How the log is called in the folder; ``{id}`` stands for the job's id."""

    array_log_name: ClassVar[str]
    """The same for an array; ``%a`` stands for the element."""

    directives: ClassVar[dict[str, str]]
    """The options of `JobSpec` that it has; one that is one directive with its form, with the value for ``{}``."""

    directive_mark: ClassVar[str]
    """How the lines of a script begin that are directives."""
    jobqueue: ClassVar[str]
    """How the names of dask-jobqueue's classes for this system begin."""
    pass_through: ClassVar[str]
    """The option of `JobSpec` whose lines are this system's own."""

    questions: ClassVar[Mapping[str, tuple[str, ...]]]
    """What `daskhpc profile --detect` asks, by names that `detect` knows; ``{user}`` stands for the user."""

    @abstractmethod
    def detect(
        self, answers: Mapping[str, SiteAnswer], commands: Collection[str], modules: Sequence[str]
    ) -> DetectedSite:
        """The facts of a site by the answers, by the launchers on the path, and by the modules that are loaded."""

    @abstractmethod
    def is_installed(self, env: Mapping[str, str]) -> bool:
        """Whether its commands are on the path of an environment."""

    transient: ClassVar[tuple[str, ...]]
    """What the submit command prints if it was not able to submit, and a later try may."""

    lost: ClassVar[tuple[str, ...]]
    """What it prints if it does not know whether it has submitted."""

    @abstractmethod
    def directive_lines(self, spec: JobSpec, site: Site) -> list[str]:
        """The directives of a job script, each a line without its end.

        Raises
        ------
        LaunchError
            If the spec has an option that this system has not, or a value that its lines cannot carry.
        """

    requeues: ClassVar[bool]
    """Whether a job of it can be run again under its own id by its own script."""

    counts_tasks: ClassVar[bool]
    """Whether a job of it knows how many workers it asked for; if not, the command of its script has their number."""

    @abstractmethod
    def submit_line(self, script: str, spec: JobSpec, token: str, after: str = "") -> list[str]:
        """The command that submits a script, and with it a token by which the job can be found.

        With `after`, the job begins when the job of that id has ended in whatever way; this replaces a dependency of
        the spec.
        """

    @abstractmethod
    def job_id(self, out: str) -> tuple[str, str]:
        """The job's id, whole, and its cluster, of what the submit command wrote to its standard output.

        Raises
        ------
        ValueError
            If there is none.
        """

    @abstractmethod
    def search_line(self, spec: JobSpec) -> list[str]:
        """The command that lists this user's jobs with their tokens."""

    @abstractmethod
    def found(self, out: str, token: str) -> str | None:
        """The id of the job with a token, of what the command of `search_line` printed; None if it is not there."""

    @abstractmethod
    def controller_line(self) -> list[str]:
        """The command that prints on which machine the batch system's server runs."""

    @abstractmethod
    def controller(self, out: str) -> str:
        """The address or the name of that machine, of what the command printed; empty if it is not there."""

    def refuse_others(self, spec: JobSpec) -> None:
        """Refuse an option that this system's table has not: it would be ignored."""
        known = (*self.directives, *_IN_SCRIPT, self.pass_through)
        for name in spec.given():
            if name not in known:
                flag = JobSpec.declared()[name].flag
                raise LaunchError(
                    f"{self.title} has no {flag}.",
                    f"{flag} {getattr(spec, name)}",
                    f"without {flag}, or the site's own form of it: --{self.pass_through} 'OPTION'",
                )


def refuse_all_of_shared(spec: JobSpec) -> None:
    """Refuse ``--mem all`` of nodes that the job shares, if it can only be asked for as part of whole nodes."""
    if spec.memory == 0 and not spec.whole_nodes:
        raise LaunchError(
            "Here all memory of a node comes with whole nodes alone.",
            f"--mem all, and --cpus-per-task {spec.cpus_per_task}",
            "--exclusive, or --mem with a size",
        )
