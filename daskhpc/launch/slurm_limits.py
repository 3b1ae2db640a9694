"""The output of Slurm's scontrol on partitions and on a job that was accepted; pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .job_spec import JobSpec
from .job_state import clock_seconds
from .limits import AcceptedJob, QueueLimits
from .quantities import mebibytes_of


def limits_command(spec: JobSpec) -> tuple[str, ...]:
    """The question about the partitions that a job may go to; all of them if it names none or several."""
    names = (spec.partition,) if spec.partition and "," not in spec.partition else ()
    return ("scontrol", *_of_cluster(spec.clusters), "--oneliner", "show", "partition", *names)


def test_command(spec: JobSpec, script: str) -> tuple[str, ...]:
    """The command that checks whether a job would be taken, and submits nothing."""
    return ("sbatch", "--test-only", *_of_cluster(spec.clusters), script)


def job_command(job: str, cluster: str) -> tuple[str, ...]:
    """The question about one job as the scheduler holds it."""
    return ("scontrol", *_of_cluster(cluster), "--oneliner", "show", "job", job)


def _of_cluster(name: str) -> tuple[str, ...]:
    return (f"--clusters={name}",) if name else ()


def is_about_now(words: str) -> bool:
    """Whether a refusal of ``--test-only`` may be of the moment: nodes are down, drained or busy, or no answer came.

    sbatch itself takes such a job, which then waits.

    Examples
    --------
    >>> is_about_now("allocation failure: Requested node configuration is not available")
    True
    >>> is_about_now("allocation failure: Invalid partition name specified")
    False
    """
    return re.search(_NOW, words, re.IGNORECASE) is not None


# A node that is drained, and nodes that no site has, are refused with the same words.
_NOW = (
    r"node configuration is not available|nodes? (?:are|is) busy|not available \(down|node not available"
    r"|timed out|unable to contact|temporarily unable|zero bytes|connection re|reservation"
)


def parse_partitions(output: str) -> tuple[QueueLimits, ...]:
    """What ``scontrol --oneliner show partition`` printed.

    Examples
    --------
    >>> line = "PartitionName=short Default=YES MaxNodes=4 MaxTime=1-00:00:00 State=UP TotalNodes=9 MaxMemPerNode=3800"
    >>> [found] = parse_partitions(line)
    >>> found.name, found.default, found.seconds, found.nodes, found.memory
    ('short', True, 86400, 4, 3800)
    """
    found = []
    for line in output.splitlines():
        fields = _fields(line)
        if "PartitionName" not in fields:
            continue
        seconds = clock_seconds(fields.get("MaxTime", ""))
        counts = [number for name in ("MaxNodes", "TotalNodes") if (number := _number(fields, name))]
        found.append(
            QueueLimits(
                name=fields["PartitionName"],
                default=fields.get("Default") == "YES",
                open=fields.get("State", "UP") in ("UP", "DOWN"),  # DOWN: it takes jobs and does not start them
                seconds=int(seconds) if seconds is not None else None,
                nodes=min(counts, default=None),
                cpus=_number(fields, "MaxCPUsPerNode"),
                memory=_number(fields, "MaxMemPerNode"),
            )
        )
    return tuple(found)


def parse_job(output: str) -> AcceptedJob | None:
    """What ``scontrol --oneliner show job`` printed; None if there is no job in it.

    Examples
    --------
    >>> parse_job("JobId=7 Account=(null) TimeLimit=00:06:00 Requeue=1 Partition=main NumNodes=2-2 MinMemoryNode=4G")
    AcceptedJob(partition='main', account='', qos='', seconds=360, nodes=2, cpus=None, memory=4096, ...)
    """
    # A name may have words of any form in it.
    fields = _fields(re.sub(r" JobName=.* (?=UserId=\S*\(\d+\) GroupId=)", " ", output))
    if "JobId" not in fields:
        return None
    seconds = clock_seconds(fields.get("TimeLimit", ""))
    text = {name: fields.get(name, "").replace("(null)", "") for name in ("Partition", "Account", "QOS")}
    return AcceptedJob(
        partition=text["Partition"],
        account=text["Account"],
        qos=text["QOS"],
        seconds=int(seconds) if seconds is not None else None,
        nodes=_number(fields, "NumNodes"),
        cpus=_number(fields, "MinCPUsNode"),
        memory=_size(fields.get("MinMemoryNode", "")),
        memory_per_cpu=_size(fields.get("MinMemoryCPU", "")),
        requeue={"0": False, "1": True}.get(fields.get("Requeue", "")),
    )


def _fields(line: str) -> dict[str, str]:
    # The first of a name counts: comments and commands stand last.
    found: dict[str, str] = {}
    for name, value in re.findall(r"(?:^|\s)([A-Za-z][\w/:]*)=(\S*)", line):
        found.setdefault(name, value)
    return found


def _number(fields: Mapping[str, str], name: str) -> int | None:
    match = re.match(r"\d+", fields.get(name, ""))
    return int(match[0]) if match else None


def _size(text: str) -> int | None:
    try:
        return mebibytes_of(text if not text.isdigit() or text == "0" else f"{text}M")
    except ValueError:
        return None
