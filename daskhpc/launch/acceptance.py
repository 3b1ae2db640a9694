"""Asks the scheduler about a job before it is submitted, and after it was taken; the deciding is in `limits`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import LaunchError
from .batch_systems.base import BatchSystem
from .job_folder import JobFolder, SubmittedJob
from .job_spec import JobSpec
from .limits import Excess, excesses, rewritten
from .queues import QUEUES
from .refusals import remedy
from .scheduler_commands import CommandAnswer, meanwhile
from .site import Site
from .submission import RefusedError, said

SECONDS = 2.0
"""How long an answer is waited for that a submission can do without."""

Answer = Callable[[], CommandAnswer | None]


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """What was asked about a job before it is submitted; the answers may still be on their way.

    Attributes
    ----------
    system : BatchSystem
    spec : JobSpec
    site : Site
    limits : Answer
        Waits for what the queue takes.
    """

    system: BatchSystem
    spec: JobSpec
    site: Site
    limits: Answer

    @classmethod
    def start(cls, system: BatchSystem, spec: JobSpec, site: Site) -> AskedBefore:
        """Ask for the limits of the queue, without waiting for them."""
        return cls(system, spec, site, _asked(QUEUES[system.name].limits_command(spec)))

    def test(self, folder: JobFolder) -> Answer:
        """Ask whether the script of a folder would be taken, without waiting; None if no command can answer."""
        ask_for = QUEUES[self.system.name].test_command
        if ask_for is None:
            return lambda: None
        return _asked(ask_for(self.spec, self.system.script_name), cwd=str(folder.path))

    def refuse(self, folder: JobFolder, test: Answer) -> tuple[Excess, ...]:
        """Wait for the answers; refuse a job that would not be taken or never run.

        Returns
        -------
        tuple[Excess, ...]
            What the job asks for beyond the limits of its queue. It may run for all that: a QOS may have other limits.

        Raises
        ------
        RefusedError
            The scheduler's own words come first.
        """
        queue = QUEUES[self.system.name]
        limits = self.limits()
        told = queue.parse_limits(limits.out) if limits is not None and limits.code == 0 else ()
        beyond = excesses(self.spec, self.site, told)
        answer = test()
        if answer is None or answer.code in (0, None) or (queue.is_about_now(said(answer)) and not beyond):
            return beyond
        command = shlex.join(queue.test_command(self.spec, self.system.script_name) if queue.test_command else ())
        raise refusal(self.system, said(answer), f"{self.system.title} would not take the job: {command}", beyond)


def refusal(system: BatchSystem, words: str, found: str, beyond: Sequence[Excess]) -> RefusedError:
    """A refusal: the scheduler's own words, then which limit is exceeded, then the option or the key to set."""
    found = "; ".join([found, *(excess.words for excess in beyond)])
    todo = ", ".join(excess.todo for excess in beyond) or remedy(system.name, words)
    return RefusedError(words, found, todo)


def read_back(system: BatchSystem, spec: JobSpec, site: Site, job: SubmittedJob) -> tuple[str, ...]:
    """What the site changed of what a job asked for; nothing if the scheduler does not say within 2 s."""
    queue = QUEUES[system.name]
    answer = _asked(queue.job_command(job.id, job.cluster))()
    accepted = queue.parse_job(answer.out) if answer is not None and answer.code == 0 else None
    return rewritten(spec, site, accepted) if accepted is not None else ()


def _asked(command: Sequence[str], cwd: str | None = None) -> Answer:
    wait = meanwhile(command, cwd=cwd, timeout=SECONDS)

    def answer() -> CommandAnswer | None:
        try:
            return wait()
        except LaunchError:
            return None  # there is no such command; the submission itself shows what is wrong

    return answer
