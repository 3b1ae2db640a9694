"""The output of qstat of PBS Pro and Torque on queues and on a job that was accepted; pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .job_spec import JobSpec
from .job_state import clock_seconds
from .limits import AcceptedJob, QueueLimits
from .quantities import mebibytes_of


def limits_command(spec: JobSpec) -> tuple[str, ...]:
    """The question about the queue that a job goes to, or about all of them."""
    return ("qstat", "-Q", "-f", *((spec.partition,) if spec.partition else ()))


def job_command(job: str, cluster: str) -> tuple[str, ...]:
    """The question about one job as the scheduler holds it."""
    return ("qstat", "-f", job)


def parse_queues(output: str) -> tuple[QueueLimits, ...]:
    """What ``qstat -Qf`` of PBS Pro or Torque printed.

    Examples
    --------
    >>> [found] = parse_queues("Queue: short\\n    resources_max.walltime = 01:00:00\\n    enabled = False\\n")
    >>> found.name, found.seconds, found.open
    ('short', 3600, False)
    """
    found = []
    for block in re.split(r"(?m)^Queue: *", output.replace("\n\t", ""))[1:]:
        name, _, rest = block.partition("\n")
        values = _values(rest)
        limit = {key.removeprefix("resources_max."): text for key, text in values.items() if "resources_max." in key}
        seconds = clock_seconds(limit.get("walltime", ""))
        counts = [int(limit[key]) for key in ("nodect", "nodes") if limit.get(key, "").isdigit()]
        found.append(
            QueueLimits(
                name=name.strip(),
                open=values.get("enabled", "True") == "True",
                seconds=int(seconds) if seconds is not None else None,
                nodes=min(counts, default=None),
            )
        )
    return tuple(found)


def parse_job(output: str) -> AcceptedJob | None:
    """What ``qstat -f`` printed of one job; None if there is no job in it.

    Examples
    --------
    >>> text = "Job Id: 7.server\\n    queue = short\\n    Resource_List.walltime = 01:00:00\\n    Rerunable = True\\n"
    >>> job = parse_job(text)
    >>> job.partition, job.seconds, job.requeue
    ('short', 3600, True)
    """
    if not output.lstrip().startswith("Job Id:"):
        return None
    values = _values(output.replace("\n\t", ""))
    seconds = clock_seconds(values.get("Resource_List.walltime", ""))
    select = re.search(r":mem=(\w+)", values.get("Resource_List.select", ""))
    nodes = values.get("Resource_List.nodect", "")
    project = values.get("project", "")  # of a job that names none PBS Pro makes up one
    return AcceptedJob(
        partition=values.get("queue", ""),
        account=values.get("Account_Name", "" if project.endswith("default") else project),
        seconds=int(seconds) if seconds is not None else None,
        nodes=int(nodes) if nodes.isdigit() else None,
        memory=_size(select[1]) if select else None,
        requeue={"True": True, "False": False}.get(values.get("Rerunable", "")),
    )


def _values(text: str) -> Mapping[str, str]:
    pairs = (line.partition(" = ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _size(text: str) -> int | None:
    try:
        return mebibytes_of(text)
    except ValueError:
        return None
