"""What qstat of PBS Pro and Torque is asked, and what it answers; no effects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .job_folder import SubmittedJob
from .job_state import JobReport, JobState, clock_seconds, moment, whole_number

_PBS = {
    "Q": JobState.PENDING,
    "H": JobState.PENDING,
    "W": JobState.PENDING,
    "T": JobState.PENDING,
    "M": JobState.PENDING,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "U": JobState.SUSPENDED,
    "E": JobState.COMPLETING,
}
# What PBS Pro gives as the exit code of a job that it killed.
_PBS_KILLED = {
    -24: JobState.FAILED,  # more CPUs than asked for, in a burst
    -25: JobState.FAILED,  # and over the whole job
    -26: JobState.OUT_OF_MEMORY,  # vmem
    -27: JobState.OUT_OF_MEMORY,  # mem
    -28: JobState.TIMEOUT,  # cput
    -29: JobState.TIMEOUT,  # walltime
}
_SIGTERM, _SIGKILL = 15, 9


def queue_command(jobs: Sequence[SubmittedJob], user: str) -> tuple[str, ...]:
    """The one question about all jobs, of PBS Pro also about those that have ended (``-x``; to Torque that means XML).

    Notes
    -----
    By id: a list of all jobs of a user has no full report. qstat answers for the ids that it knows, and names the
    others on standard error.
    """
    ended = ("-x",) if any(job.scheduler == "pbspro" for job in jobs) else ()
    return ("qstat", *ended, "-f", *sorted({job.id for job in jobs}))


def cancel_commands(jobs: Sequence[SubmittedJob]) -> tuple[tuple[str, ...], ...]:
    """The command that ends jobs."""
    return (("qdel", *(job.id for job in jobs)),)


def parse_qstat(output: str) -> tuple[JobReport, ...]:
    """What ``qstat -f`` of PBS Pro or Torque printed, with or without jobs that have ended.

    Notes
    -----
    The text form, because both have it, and because the JSON of PBS Pro is broken by quotes in a job's environment.
    A long value goes on in lines that begin with a tab.
    """
    joined = re.sub(r"\n\t", "", output)
    blocks = re.split(r"(?m)^Job Id: *", joined)[1:]
    return tuple(_pbs_report(block) for block in blocks)


def _pbs_report(block: str) -> JobReport:
    job, _, rest = block.partition("\n")
    values = {
        key.strip(): value.strip()
        for key, equals, value in (line.partition(" = ") for line in rest.splitlines())
        if equals and _is_attribute(key)
    }
    code = whole_number(values.get("exit_status", values.get("Exit_status", "")))
    state = _pbs_state(values, code)
    comment = values.get("comment", "")
    if state.waiting and not comment and values.get("Hold_Types", "n") != "n":
        comment = f"Hold_Types {values['Hold_Types']}"
    code, signal = (None, code % 256) if code is not None and code >= 256 else (code, None)
    runs = whole_number(values.get("run_count", "")) or 0
    return JobReport(
        job=job.strip(),
        state=state,
        source="qstat",
        reason=comment,
        name=values.get("Job_Name", ""),
        exit_code=code,
        signal=signal,
        submitted=moment(values.get("ctime", "")),
        start=moment(values.get("stime", values.get("start_time", values.get("estimated.start_time", "")))),
        end=moment(values.get("obittime", values.get("comp_time", ""))),
        limit=clock_seconds(values.get("Resource_List.walltime", "")),
        nodes=values.get("exec_host", ""),
        restarts=max(0, runs - 1),
    )


def _is_attribute(key: str) -> bool:
    """Whether the part of a line before ``=`` is the name of a job's attribute, as ``Resource_List.walltime`` is."""
    return re.fullmatch(r" {1,8}[A-Za-z_]\w*(\.\w+)?", key) is not None


def _pbs_state(values: Mapping[str, str], code: int | None) -> JobState:
    letter = values.get("job_state", "")
    if letter not in ("F", "C", "X"):
        state = _PBS.get(letter, JobState.UNKNOWN)
        runs = whole_number(values.get("run_count", "")) or 0
        return JobState.REQUEUED if state is JobState.PENDING and runs > 0 else state
    comment = values.get("comment", "")
    if code is None:
        # PBS Pro keeps a job that was deleted while it waited without an exit code.
        return JobState.CANCELLED if re.search(r"terminated|deleted", comment, re.IGNORECASE) else JobState.UNKNOWN
    if code < 0:
        return _PBS_KILLED.get(code, JobState.FAILED)
    if code in (256 + _SIGTERM, 256 + _SIGKILL):
        return JobState.TIMEOUT if _over_walltime(values) else JobState.CANCELLED
    return JobState.FAILED if code else JobState.COMPLETED


def _over_walltime(values: Mapping[str, str]) -> bool:
    """Whether the job ran for as long as it had asked for: qdel and the time limit leave the same exit code."""
    limit = clock_seconds(values.get("Resource_List.walltime", ""))
    used = clock_seconds(values.get("resources_used.walltime", ""))
    return limit is not None and used is not None and used >= limit
