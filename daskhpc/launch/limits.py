"""The limits of a partition or queue, and what a job asks for beyond them; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..text import counted, duration
from .job_spec import JobSpec
from .quantities import clock, size_words
from .site import Site


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one partition or queue takes. None is no limit, or one that is not known.

    Attributes
    ----------
    name : str
    default : bool
        Whether it takes the jobs that name none.
    open : bool
        Whether it takes jobs now.
    seconds : int or None
        The longest time limit.
    nodes : int or None
        The most nodes of a job.
    cpus : int or None
        The most CPUs of a job on a node.
    memory : int or None
        The most memory of a job on a node, in MiB. The most for a CPU is no limit: Slurm adds CPUs.
    """

    name: str
    default: bool = False
    open: bool = True
    seconds: int | None = None
    nodes: int | None = None
    cpus: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Excess:
    """One thing of which a job asks for more than a queue has.

    Attributes
    ----------
    words : str
        What is asked for and what there is.
    todo : str
        The option to type.
    """

    words: str
    todo: str


def excesses(spec: JobSpec, site: Site, queues: Sequence[QueueLimits]) -> tuple[Excess, ...]:
    """What a job asks for beyond the limits of the queue that it goes to.

    Parameters
    ----------
    spec : JobSpec
    site : Site
    queues : Sequence[QueueLimits]
        Those of the site, or only the ones that were asked for. If the job names several, it may go to any of them.

    Examples
    --------
    >>> small = QueueLimits("short", default=True, seconds=3600, nodes=4)
    >>> [excess] = excesses(JobSpec.make(nodes=2, time="2h"), Site(), [small])
    >>> excess.words, excess.todo
    ('--time 2:00:00, and short has at most 1 h', '--time 1:00:00')
    """
    names = spec.partition.split(",") if spec.partition else [queue.name for queue in queues if queue.default]
    if not names and len(queues) == 1:
        names = [queues[0].name]
    each = [_beyond(spec, site, queue) for queue in queues if queue.name in names]
    return min(each, key=len, default=())


def _beyond(spec: JobSpec, site: Site, queue: QueueLimits) -> tuple[Excess, ...]:
    found = []
    if not queue.open:
        found.append(Excess(f"{queue.name} takes no jobs now", "another --partition"))
    if spec.time and queue.seconds is not None and spec.time > queue.seconds:
        words = f"--time {clock(spec.time)}, and {queue.name} has at most {duration(queue.seconds)}"
        found.append(Excess(words, f"--time {clock(queue.seconds)}"))
    if queue.nodes is not None and spec.nodes > queue.nodes:
        words = f"--nodes {spec.nodes}, and {queue.name} has at most {counted(queue.nodes, 'node')}"
        found.append(Excess(words, f"--nodes {queue.nodes}"))
    cpus = spec.cpus_per_node(site) if spec.cpus_per_task else None
    if cpus is not None and queue.cpus is not None and cpus > queue.cpus:
        words = f"{counted(cpus, 'CPU')} per node, and {queue.name} has at most {queue.cpus}"
        found.append(Excess(words, f"--cpus-per-task {max(1, queue.cpus // spec.tasks_per_node)}"))
    if spec.memory and queue.memory is not None and spec.memory > queue.memory:
        words = f"--mem {size_words(spec.memory)} per node, and {queue.name} has at most {size_words(queue.memory)}"
        found.append(Excess(words, f"--mem {queue.memory}M"))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A job as the scheduler holds it; None and an empty text are what it does not say.

    Attributes
    ----------
    partition, account, qos : str
    seconds : int or None
        The time limit.
    nodes : int or None
    cpus : int or None
        On each node, at least.
    memory, memory_per_cpu : int or None
        On each node and for each CPU, in MiB.
    requeue : bool or None
        Whether it may be run again.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    seconds: int | None = None
    nodes: int | None = None
    cpus: int | None = None
    memory: int | None = None
    memory_per_cpu: int | None = None
    requeue: bool | None = None


def rewritten(spec: JobSpec, site: Site, job: AcceptedJob) -> tuple[str, ...]:
    """What the site changed of what a job asked for, one sentence each.

    Examples
    --------
    >>> rewritten(JobSpec.make(time="2h", partition="long"), Site(), AcceptedJob(partition="short", seconds=3600))
    ("partition: 'short', and not 'long'", 'time: 1 h, and not 2 h')
    """
    lines = []
    for name in ("partition", "account", "qos"):
        asked, given = getattr(spec, name), getattr(job, name)
        # Of several that are allowed the scheduler takes one.
        if asked and given and given not in asked.split(",") and given != asked:
            lines.append(f"{name}: {given!r}, and not {asked!r}")
    # Slurm counts minutes, and rounds up.
    if spec.time and job.seconds is not None and not spec.time <= job.seconds < spec.time + 60:
        lines.append(f"time: {duration(job.seconds)}, and not {duration(spec.time)}")
    if job.nodes is not None and job.nodes != spec.nodes:
        lines.append(f"nodes: {job.nodes}, and not {spec.nodes}")
    cpus = spec.cpus_per_node(site) if spec.cpus_per_task else None
    if cpus is not None and job.cpus is not None and job.cpus > cpus:
        lines.append(f"CPUs: {job.cpus} on each node, and not {cpus}")
    lines += _memory(spec, site, cpus, job)
    if job.requeue is False and not spec.no_requeue:
        lines.append("requeue: off, so a job that is not done goes on only with daskhpc resume")
    return tuple(lines)


def _memory(spec: JobSpec, site: Site, cpus: int | None, job: AcceptedJob) -> list[str]:
    if not spec.memory or site.memory == "none":
        return []
    asked, given, where = spec.memory, job.memory, "per node"
    if site.memory == "per-cpu":
        count = cpus or site.cpus_per_node or 1
        asked, given, where = max(spec.memory // count, 1), job.memory_per_cpu, "per CPU"
    if given is None or given == asked:
        return []
    return [f"memory: {size_words(given)} {where}, and not {size_words(asked)}"]
