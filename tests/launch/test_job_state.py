"""The state of a job by what squeue, sacct, qstat and its own folder say: recorded texts, no scheduler."""

from __future__ import annotations

from datetime import datetime

import pytest

from daskhpc.launch.job_folder import Mark, SubmittedJob
from daskhpc.launch.job_state import (
    JobReport,
    JobState,
    of_one_array,
    reports_of_marks,
    same_job,
    settled,
)
from daskhpc.launch.qstat import parse_qstat
from daskhpc.launch.qstat import queue_command as qstat_command
from daskhpc.launch.squeue import accounting_command, cancel_commands, parse_sacct, parse_squeue, queue_command


def submitted(job: str, cluster: str = "", scheduler: str = "slurm") -> SubmittedJob:
    return SubmittedJob(job, cluster, scheduler, "/a/search.py", "search", "log.txt", 0.0, "token")


SQUEUE = """\
Welcome to the cluster | maintenance on Monday
101|PENDING|Priority|2026-11-26T09:00:00|2026-11-26T12:00:00|2026-11-26T13:00:00|1:00:00||a name
102|RUNNING|None|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-27T09:01:00|1-00:00:00|node[1-2]|a|b "c"
103|COMPLETING|NonZeroExitCode|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|5:00|node1|x
104|TIMEOUT|TimeLimit|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|5:00|node1|x
105|OUT_OF_MEMORY|OutOfMemory|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|5:00|node1|x
106|NODE_FAIL|NodeDown|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|5:00|node1|x
107|PREEMPTED|None|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|5:00|node1|x
108|REQUEUE_HOLD|job_requeued_in_held_state|2026-11-26T09:00:00|N/A|N/A|UNLIMITED||x
109_[3-9%2]|PENDING|JobArrayTaskLimit|2026-11-26T09:00:00|N/A|N/A|5:00||x
109_2|RUNNING|None|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:06:00|5:00|node3|x
110|RESV_DEL_HOLD|ReservationDeleted|2026-11-26T09:00:00|N/A|N/A|5:00||x
111|EXPEDITING|None|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|5:00|node1|x
slurm_load_jobs error: something
"""


def test_squeue() -> None:
    reports = {report.job: report for report in parse_squeue(SQUEUE)}
    assert {job: report.state.name for job, report in reports.items()} == {
        "101": "PENDING",
        "102": "RUNNING",
        "103": "COMPLETING",
        "104": "TIMEOUT",
        "105": "OUT_OF_MEMORY",
        "106": "NODE_FAIL",
        "107": "PREEMPTED",
        "108": "REQUEUED",
        "109_[3-9%2]": "PENDING",
        "109_2": "RUNNING",
        "110": "PENDING",
        "111": "COMPLETING",
    }
    waits, runs = reports["101"], reports["102"]
    assert (waits.reason, waits.start, runs.reason) == ("Priority", datetime(2026, 11, 26, 12).timestamp(), "")
    assert (runs.name, runs.nodes, runs.limit) == ('a|b "c"', "node[1-2]", 86400)
    assert reports["108"].limit is None


def test_squeue_of_two_clusters() -> None:
    line = "7|RUNNING|None|2026-11-26T09:00:00|N/A|N/A|5:00|n1|x"
    reports = parse_squeue(f"CLUSTER: alpha\n{line}\nCLUSTER: beta\n{line.replace('RUNNING', 'PENDING')}\n")
    assert [(report.cluster, report.state.name) for report in reports] == [("alpha", "RUNNING"), ("beta", "PENDING")]


SACCT = """\
201|COMPLETED|0:0|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|00:05:00|node1|x
202|CANCELLED by 1000|0:0|2026-11-26T09:00:00|None|2026-11-26T09:02:00|00:05:00|None assigned|x
203|OUT_OF_MEMORY|0:125|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|00:05:00|node1|x
204|FAILED|3:0|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|00:05:00|node1|x
205|NODE_FAIL|1:0|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|Partition_Limit|node1|x
206|PREEMPTED|0:15|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|00:05:00|node1|x
207|OUT_OF_ME+|0:125|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|00:05:00|node1|x
"""


def test_sacct() -> None:
    reports = {report.job: report for report in parse_sacct(SACCT)}
    assert [report.state.name for report in reports.values()] == [
        "COMPLETED",
        "CANCELLED",
        "OUT_OF_MEMORY",
        "FAILED",
        "NODE_FAIL",
        "PREEMPTED",
        "OUT_OF_MEMORY",
    ]
    assert (reports["202"].reason, reports["202"].start, reports["202"].nodes) == ("CANCELLED by 1000", None, "")
    assert (reports["203"].signal, reports["204"].exit_code) == (125, 3)
    assert parse_sacct("Slurm accounting storage is disabled\n") == ()


def pbs(job: str, *lines: str) -> str:
    return f"Job Id: {job}\n" + "".join(f"    {line}\n" for line in lines) + "\n"


PBS_PRO = (
    pbs(
        "301.server",
        "Job_Name = a = b",
        "job_state = Q",
        "comment = Not Running: Insufficient amount of resource:\n\t ncpus",
    )
    + pbs("302.server", "job_state = R", "stime = Thu Nov 26 09:40:15 2026", "Resource_List.walltime = 01:00:00")
    + pbs("303.server", "job_state = F", "Exit_status = 0")
    + pbs("304.server", "job_state = F", "Exit_status = -29")
    + pbs("305.server", "job_state = F", "Exit_status = -27")
    + pbs("306.server", "job_state = F", "Exit_status = 271", "resources_used.walltime = 00:00:10")
    + pbs("307.server", "job_state = F", "comment = Job run at Thu Nov 26 and failed")
    + pbs("308.server", "job_state = F", "comment = Not Running: not enough and terminated")
    + pbs("309.server", "job_state = Q", "run_count = 1")
    + pbs("310[].server", "job_state = B", "array = True")
    + pbs("311.server", "job_state = F", "Exit_status = 143", "Variable_List = X=job_state = R,\n\tY=2")
)


def test_qstat_of_pbs_pro() -> None:
    reports = {report.job.partition(".")[0]: report for report in parse_qstat(PBS_PRO)}
    assert {job: report.state.name for job, report in reports.items()} == {
        "301": "PENDING",
        "302": "RUNNING",
        "303": "COMPLETED",
        "304": "TIMEOUT",
        "305": "OUT_OF_MEMORY",
        "306": "CANCELLED",
        "307": "UNKNOWN",
        "308": "CANCELLED",
        "309": "REQUEUED",
        "310[]": "RUNNING",
        "311": "FAILED",
    }
    assert reports["301"].reason == "Not Running: Insufficient amount of resource: ncpus"
    assert reports["301"].name == "a = b"
    assert (reports["302"].limit, reports["302"].start) == (3600, datetime(2026, 11, 26, 9, 40, 15).timestamp())
    assert (reports["306"].signal, reports["311"].exit_code) == (15, 143)


def test_qstat_of_torque() -> None:
    text = pbs(
        "401.server",
        "job_state = C",
        "exit_status = 271",
        "Resource_List.walltime = 00:10:00",
        "resources_used.walltime = 00:10:03",
    ) + pbs("402.server", "job_state = H", "Hold_Types = u")
    late, held = parse_qstat(text)
    assert (late.state, held.state, held.reason) == (JobState.TIMEOUT, JobState.PENDING, "Hold_Types u")


def test_one_question_for_all_jobs() -> None:
    jobs = [submitted(str(number)) for number in range(200)]
    assert queue_command(jobs, "ada")[:4] == ("squeue", "--noheader", "--states=all", "--user=ada")
    both = [submitted("1", "beta"), submitted("2", "alpha"), submitted("3", "beta")]
    assert queue_command(both, "ada")[-1] == "--clusters=alpha,beta"
    assert accounting_command(both)[-2:] == ("--jobs=1,2,3", "--clusters=alpha,beta")
    assert cancel_commands(both) == (("scancel", "--clusters=alpha", "2"), ("scancel", "--clusters=beta", "1", "3"))
    assert cancel_commands([submitted("1")]) == (("scancel", "1"),)
    assert qstat_command([submitted("1.s", scheduler="pbspro")], "ada") == ("qstat", "-x", "-f", "1.s")
    assert qstat_command([submitted("1.s", scheduler="torque")], "ada") == ("qstat", "-f", "1.s")


@pytest.mark.parametrize(
    ("wanted", "reported", "same"),
    [
        ("12", "123", False),
        ("123", "12", False),
        ("123", "123", True),
        ("123", "123_4", True),
        ("123_4", "123_4", True),
        ("123_4", "123_5", False),
        ("123_4", "123", False),
        ("123;alpha", "123", True),
        ("123.server", "123.server.site.org", True),
        ("123.server", "123.other", False),
        ("123[].server", "123[4].server", True),
        ("123[4].server", "123[].server", False),
        ("12.server", "123.server", False),
    ],
)
def test_ids_are_compared_whole(wanted: str, reported: str, same: bool) -> None:
    assert same_job(wanted, reported) is same


BEGAN, ENDED = Mark("7", 0, "began", 1000, "node1"), Mark("7", 0, "ended", 1100, "0")


def marks(*lines: Mark) -> JobReport | None:
    return of_one_array(reports_of_marks(lines))


def queue(state: JobState, start: float | None = None, end: float | None = None) -> JobReport:
    return JobReport("7", state, "squeue", start=start, end=end)


FAILED_3, ENDED_75 = Mark("7", 0, "ended", 1100, "3"), Mark("7", 0, "ended", 1100, "75")
LAST = JobReport("7", JobState.RUNNING, "squeue", seen=1050)
LAST_TIMEOUT = JobReport("7", JobState.TIMEOUT, "squeue", end=1100, seen=1200)


@pytest.mark.parametrize(
    ("folder", "told", "accounting", "last", "state"),
    [
        (None, queue(JobState.PENDING), None, None, "PENDING"),
        (marks(BEGAN), queue(JobState.RUNNING), None, None, "RUNNING"),
        (marks(BEGAN), queue(JobState.PENDING), None, None, "REQUEUED"),
        (marks(BEGAN, FAILED_3), queue(JobState.PENDING), None, None, "REQUEUED"),
        (marks(BEGAN, FAILED_3), queue(JobState.RUNNING, start=1200), None, None, "RUNNING"),
        (marks(BEGAN, ENDED), queue(JobState.COMPLETING, start=1000), None, None, "COMPLETED"),
        # its script may be about to call scontrol requeue, or the scheduler to requeue a job that was preempted
        (marks(BEGAN, ENDED_75), queue(JobState.RUNNING, start=1000), None, None, "COMPLETING"),
        (marks(BEGAN, ENDED_75), queue(JobState.COMPLETING, start=1000), None, None, "COMPLETING"),
        (marks(BEGAN, FAILED_3), queue(JobState.COMPLETING, start=1000), None, None, "FAILED"),
        (marks(BEGAN, ENDED_75), queue(JobState.FAILED, start=1000, end=1100), None, None, "FAILED"),
        (marks(BEGAN, ENDED), None, None, None, "COMPLETED"),
        (marks(BEGAN, FAILED_3), None, None, None, "FAILED"),
        (marks(BEGAN, FAILED_3), queue(JobState.TIMEOUT, end=1100), None, None, "TIMEOUT"),
        (marks(BEGAN), queue(JobState.NODE_FAIL, end=1100), None, None, "NODE_FAIL"),
        (marks(BEGAN), None, JobReport("7", JobState.OUT_OF_MEMORY, "sacct"), None, "OUT_OF_MEMORY"),
        (marks(BEGAN), None, JobReport("7", JobState.RUNNING, "sacct"), None, None),
        # gone is not done: it began, and nobody knows more
        (marks(BEGAN), None, None, None, None),
        (marks(BEGAN), None, None, LAST, None),
        (None, None, None, None, None),
        (None, queue(JobState.UNKNOWN), None, None, None),
        # what the scheduler has forgotten, the folder still knows
        (marks(BEGAN, FAILED_3), None, None, LAST_TIMEOUT, "TIMEOUT"),
        # a run that began after the end that was seen
        (
            marks(Mark("7", 1, "began", 1300, "n"), Mark("7", 1, "ended", 1400, "0")),
            None,
            None,
            LAST_TIMEOUT,
            "COMPLETED",
        ),
    ],
)
def test_sources_in_their_order(
    folder: JobReport | None,
    told: JobReport | None,
    accounting: JobReport | None,
    last: JobReport | None,
    state: str | None,
) -> None:
    found = settled(folder, told, accounting, last)
    assert (found.state.name if found else None) == state


def test_a_time_limit_keeps_the_exit_code_of_the_folder() -> None:
    found = settled(marks(BEGAN, Mark("7", 0, "ended", 1100, "75")), queue(JobState.TIMEOUT, end=1100))
    assert found is not None
    assert (found.state, found.exit_code) == (JobState.TIMEOUT, 75)


def test_marks_of_restarts() -> None:
    again = Mark("7", 1, "began", 1300, "node2")
    found = marks(BEGAN, FAILED_3, again)
    assert found is not None
    assert (found.state, found.restarts, found.nodes, found.exit_code) == (JobState.RUNNING, 1, "node2", None)


def test_an_array_runs_while_one_element_runs_and_is_completed_if_all_are() -> None:
    states = [JobState.COMPLETED, JobState.FAILED, JobState.RUNNING, JobState.PENDING]
    reports = [JobReport(f"9_{index}", state, "squeue") for index, state in enumerate(states)]
    order = [of_one_array(reports[:end]) for end in (1, 2, 3, 4)]
    assert [report.state.name for report in order if report] == ["COMPLETED", "FAILED", "RUNNING", "RUNNING"]
