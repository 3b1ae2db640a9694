"""What squeue and sacct of Slurm are asked, and what they answer; no effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .job_folder import SubmittedJob
from .job_state import ENDED, JobReport, JobState, clock_seconds, moment, whole_number

_SLURM = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,  # the nodes are being booted
    "RESV_DEL_HOLD": JobState.PENDING,  # its reservation was deleted
    "REVOKED": JobState.PENDING,  # another cluster of the federation has the job
    "REQUEUED": JobState.REQUEUED,
    "REQUEUE_HOLD": JobState.REQUEUED,
    "REQUEUE_FED": JobState.REQUEUED,
    "SPECIAL_EXIT": JobState.REQUEUED,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SUSPENDED": JobState.SUSPENDED,
    "STOPPED": JobState.SUSPENDED,
    "COMPLETING": JobState.COMPLETING,
    "STAGE_OUT": JobState.COMPLETING,
    "EXPEDITING": JobState.COMPLETING,  # Slurm 25.11 looks whether it is to be requeued
    **{state.name: state for state in ENDED},
}


def queue_command(jobs: Sequence[SubmittedJob], user: str) -> tuple[str, ...]:
    """The one question about all jobs of a user, also about those that ended some minutes ago.

    Notes
    -----
    By user and not by id: squeue fails if it has forgotten the only id that it is asked for.
    """
    clusters = sorted({job.cluster for job in jobs} - {""})
    where = (f"--clusters={','.join(clusters)}",) if clusters else ()
    return ("squeue", "--noheader", "--states=all", f"--user={user}", f"--format={SQUEUE_FORMAT}", *where)


def accounting_command(jobs: Sequence[SubmittedJob]) -> tuple[str, ...]:
    """The question about jobs that the queue has forgotten; a site without accounting does not answer it."""
    clusters = sorted({job.cluster for job in jobs} - {""})
    where = (f"--clusters={','.join(clusters)}",) if clusters else ()
    ids = ",".join(sorted(job.id for job in jobs))
    return ("sacct", "--noheader", "--parsable2", "--allocations", f"--format={SACCT_FORMAT}", f"--jobs={ids}", *where)


def cancel_commands(jobs: Sequence[SubmittedJob]) -> tuple[tuple[str, ...], ...]:
    """The commands that end jobs, one for each cluster."""
    clusters = sorted({job.cluster for job in jobs})
    return tuple(
        (
            "scancel",
            *((f"--clusters={cluster}",) if cluster else ()),
            *(job.id for job in jobs if job.cluster == cluster),
        )
        for cluster in clusters
    )


# A name may have any character, so it stands last; none of the others has a bar.
SQUEUE_FORMAT = "%i|%T|%r|%V|%S|%e|%l|%N|%j"
SACCT_FORMAT = "JobID,State,ExitCode,Submit,Start,End,Timelimit,NodeList,JobName"


def slurm_state(text: str) -> JobState:
    """The state that a word of squeue or sacct stands for: ``CANCELLED by 1000``, ``OUT_OF_ME+``, ``RUNNING``.

    Examples
    --------
    >>> slurm_state("CANCELLED by 1000"), slurm_state("OUT_OF_ME+"), slurm_state("NEW_IN_SLURM_99")
    (<JobState.CANCELLED: 'cancelled'>, <JobState.OUT_OF_MEMORY: 'out of memory'>, <JobState.UNKNOWN: 'unknown'>)
    """
    word = text.split()[0] if text.split() else ""
    if word.endswith("+"):  # sacct cuts what its column does not hold
        fitting = {state for name, state in _SLURM.items() if name.startswith(word[:-1])}
        return fitting.pop() if len(fitting) == 1 else JobState.UNKNOWN
    return _SLURM.get(word, JobState.UNKNOWN)


def parse_squeue(output: str) -> tuple[JobReport, ...]:
    """What ``squeue --noheader --format=SQUEUE_FORMAT`` printed; lines of another form, such as banners, are skipped.

    Examples
    --------
    >>> line = "77|PENDING|Priority|2026-11-26T09:00:00|N/A|N/A|1:00:00||a|b"
    >>> report, = parse_squeue(line)
    >>> report.job, report.state.name, report.reason, report.limit, report.name
    ('77', 'PENDING', 'Priority', 3600.0, 'a|b')
    """
    reports, cluster = [], ""
    for line in output.splitlines():
        if line.startswith("CLUSTER: "):
            cluster = line.partition(": ")[2].strip()
        row = line.split("|", SQUEUE_FORMAT.count("|"))
        if len(row) == SQUEUE_FORMAT.count("|") + 1 and row[0].strip()[:1].isdigit():
            reports.append(replace(_queued(row), cluster=cluster))
    return tuple(reports)


def _queued(row: Sequence[str]) -> JobReport:
    job, state, reason, submitted, start, end, limit, nodes, name = row
    return JobReport(
        job=job.strip(),
        state=slurm_state(state),
        source="squeue",
        reason="" if reason == "None" else reason,
        name=name,
        submitted=moment(submitted),
        start=moment(start),
        end=moment(end),
        limit=clock_seconds(limit),
        nodes=nodes,
    )


def parse_sacct(output: str) -> tuple[JobReport, ...]:
    """What ``sacct --noheader --parsable2 --allocations --format=SACCT_FORMAT`` printed."""
    count = SACCT_FORMAT.count(",")
    rows = (line.split("|", count) for line in output.splitlines())
    return tuple(
        JobReport(
            job=row[0],
            state=slurm_state(row[1]),
            source="sacct",
            reason=row[1] if " " in row[1] else "",
            name=row[8],
            exit_code=whole_number(row[2].partition(":")[0]),
            signal=whole_number(row[2].partition(":")[2]) or None,
            submitted=moment(row[3]),
            start=moment(row[4]),
            end=moment(row[5]),
            limit=clock_seconds(row[6]),
            nodes="" if row[7] == "None assigned" else row[7],
        )
        for row in rows
        if len(row) == count + 1 and row[0][:1].isdigit()
    )
