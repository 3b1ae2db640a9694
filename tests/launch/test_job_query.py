"""One question for all jobs, kept for some seconds; what a scheduler forgets, the folder knows. No scheduler here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from daskhpc import jobs
from daskhpc.errors import LaunchError
from daskhpc.jobs import Job
from daskhpc.launch.find_jobs import find_job, log_file
from daskhpc.launch.job_folder import JobFolder, SubmittedJob
from daskhpc.launch.job_query import FRESH_SECONDS, ListedJob, forget_answers, listed
from daskhpc.launch.job_state import JobReport, JobState, moment
from daskhpc.launch.jobs_text import job_lines
from daskhpc.launch.maintenance import Maintenance
from daskhpc.launch.resume import check_resumable
from daskhpc.launch.scheduler_commands import CommandAnswer

ROW = "{id}|{state}|{reason}|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T10:01:00|1:00:00|n1|x"
NO_ACCOUNTING = CommandAnswer(1, "", "Slurm accounting storage is disabled")


class Site:
    """A scheduler that answers as it is told, and counts the questions."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, str]] = {}
        self.answers: dict[str, CommandAnswer] = {"sacct": NO_ACCOUNTING}
        self.asked: list[tuple[str, ...]] = []
        self.clock = 10_000.0

    def ask(self, argv: Sequence[str]) -> CommandAnswer:
        self.asked.append(tuple(argv))
        lines = [ROW.format(id=job, state=state, reason=reason) for job, (state, reason) in self.rows.items()]
        return self.answers.get(argv[0]) or CommandAnswer(0, "\n".join(lines) + "\n", "")

    def now(self) -> float:
        return self.clock


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def job(
    root: Path, number: str, name: str = "search", scheduler: str = "slurm", array: str = "", cluster: str = ""
) -> JobFolder:
    folder = JobFolder.create(root / f"{name}-{number}", {"spec": {"array": array}, "program": {}})
    log = f"log-{number}_%a.txt" if array else f"log-{number}.txt"
    folder.add(SubmittedJob(number, cluster, scheduler, "/a/search.py", name, log, 9_000.0, "token"))
    return folder


def mark(folder: JobFolder, *lines: str) -> None:
    with open(folder.path / "marks", "a") as file:
        file.writelines(f"{line}\n" for line in lines)


def states(site: Site, root: Path, *folders: JobFolder) -> list[str]:
    found = listed(folders, site.ask, root / "cache", site.now)
    return [item.report.state.name for item in found]


def test_an_answer_from_before_a_jobs_own_mark_is_not_taken(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "1")
    mark(folder, "1 0 began 9990 n1")
    site.rows = {"1": ("PENDING", "Dependency")}
    assert states(site, tmp_path, folder) == ["REQUEUED"]
    mark(folder, "1 1 began 10002 n1", "1 1 ended 10003 0")
    site.rows = {}
    site.clock += 5
    assert states(site, tmp_path, folder) == ["COMPLETED"]
    assert [argv[0] for argv in site.asked].count("squeue") == 2


def test_a_node_whose_clock_is_two_hours_ahead_or_behind(site: Site, tmp_path: Path) -> None:
    """Marks have the node's time. The state stays the scheduler's, and no time in words is negative."""
    began = moment("2026-11-26T09:01:00") or 0.0
    for number, skew in (("12", 7200), ("13", -7200)):
        folder = job(tmp_path, number)
        site.rows, site.clock = {number: ("RUNNING", "None")}, max(site.clock + 100, began + 600)
        mark(folder, f"{number} 0 began {began + skew:.0f} n1")
        assert states(site, tmp_path, folder) == ["RUNNING"]
        mark(folder, f"{number} 0 ended {began + 3600 + skew:.0f} 143")
        site.rows, site.clock = {number: ("TIMEOUT", "TimeLimit")}, site.clock + 3600
        assert states(site, tmp_path, folder) == ["TIMEOUT"]
    assert shown(JobState.RUNNING, start=NOW + 3600, limit=None)[0].endswith("running, for 0.0 s")
    assert shown(JobState.COMPLETED, end=NOW + 3600)[0].endswith("completed, 0.0 s ago")


def test_two_hundred_jobs_are_one_question(site: Site, tmp_path: Path) -> None:
    folders = [job(tmp_path, str(number)) for number in range(200)]
    site.rows = {str(number): ("RUNNING", "None") for number in range(200)}
    assert states(site, tmp_path, *folders) == ["RUNNING"] * 200
    assert [argv[0] for argv in site.asked] == ["squeue"]
    states(site, tmp_path, *folders)
    assert len(site.asked) == 1, "the answer is kept"
    site.clock += FRESH_SECONDS
    states(site, tmp_path, *folders)
    assert len(site.asked) == 2
    forget_answers(tmp_path / "cache")
    states(site, tmp_path, *folders)
    assert len(site.asked) == 3


def test_an_answer_from_before_a_job_says_nothing_of_it(site: Site, tmp_path: Path) -> None:
    old = job(tmp_path, "1")
    site.rows = {"1": ("RUNNING", "None")}
    states(site, tmp_path, old)
    new = job(tmp_path, "2")
    new.add(SubmittedJob("2", "", "slurm", "/a", "x", "log", site.clock + 1, "t"))
    site.clock += 2
    site.rows["2"] = ("PENDING", "Priority")
    assert states(site, tmp_path, old, new) == ["RUNNING", "PENDING"]


def test_gone_is_not_done(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "1")
    mark(folder, "1 0 began 9100 n1")
    site.rows = {"1": ("RUNNING", "None")}
    assert states(site, tmp_path, folder) == ["RUNNING"]
    site.rows, site.clock = {}, site.clock + 1000
    (gone,) = listed([folder], site.ask, tmp_path / "cache", site.now)
    assert (gone.report.state, gone.report.seen) == (JobState.UNKNOWN, 10_000.0)
    assert any("unknown since" in line for line in job_lines(gone, site.clock, 3))
    mark(folder, "1 0 ended 9200 0")
    assert states(site, tmp_path, folder) == ["COMPLETED"]


def test_accounting_is_asked_only_for_what_the_queue_forgot(site: Site, tmp_path: Path) -> None:
    first, second = job(tmp_path, "1"), job(tmp_path, "2")
    site.rows = {"1": ("RUNNING", "None")}
    row = "2|OUT_OF_MEMORY|0:125|2026-11-26T09:00:00|2026-11-26T09:01:00|2026-11-26T09:02:00|00:05:00|n1|x\n"
    site.answers["sacct"] = CommandAnswer(0, row, "")
    assert states(site, tmp_path, first, second) == ["RUNNING", "OUT_OF_MEMORY"]
    assert [argv[0] for argv in site.asked] == ["squeue", "sacct"]
    assert "--jobs=2" in site.asked[-1]
    site.clock += 1000
    assert states(site, tmp_path, second) == ["OUT_OF_MEMORY"]
    assert len(site.asked) == 2, "an end that was seen is not asked for again"


def test_accounting_that_is_not_there_is_left_alone(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "1")
    for _ in range(3):
        assert states(site, tmp_path, folder) == ["UNKNOWN"]
        site.clock += FRESH_SECONDS
    assert [argv[0] for argv in site.asked].count("sacct") == 1
    assert [argv[0] for argv in site.asked].count("squeue") == 3


@pytest.mark.parametrize(
    "answer",
    [
        CommandAnswer(None, "", ""),
        CommandAnswer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"),
        CommandAnswer(1, "", "slurm_load_jobs error: Socket timed out on send/recv operation"),
    ],
)
def test_a_silent_scheduler_ends_no_job(site: Site, tmp_path: Path, answer: CommandAnswer) -> None:
    running, ended = job(tmp_path, "1"), job(tmp_path, "2")
    mark(running, "1 0 began 9100 n1")
    mark(ended, "2 0 began 9100 n1", "2 0 ended 9200 3")
    site.answers["squeue"] = answer
    found = listed([running, ended], site.ask, tmp_path / "cache", site.now)
    assert [item.report.state.name for item in found] == ["UNKNOWN", "FAILED"]
    assert found[0].silence in (answer.err, "squeue gave no answer")


def test_a_job_that_is_about_to_be_requeued_has_not_ended(site: Site, tmp_path: Path) -> None:
    """Its script writes the mark before it calls scontrol; an end that was kept would hold for ever."""
    folder = job(tmp_path, "1")
    began = moment("2026-11-26T09:01:00") or 0.0
    mark(folder, f"1 0 began {began:.0f} n1", f"1 0 ended {began + 600:.0f} 75")
    site.clock = began + 602
    site.rows = {"1": ("RUNNING", "None")}
    assert states(site, tmp_path, folder) == ["COMPLETING"]
    site.rows, site.clock = {"1": ("PENDING", "BeginTime")}, site.clock + 20
    assert states(site, tmp_path, folder) == ["REQUEUED"]


def test_an_end_is_asked_for_again_if_the_queue_was_silent(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "1")
    mark(folder, "1 0 began 9100 n1", "1 0 ended 9200 75")
    site.answers["squeue"] = CommandAnswer(None, "", "")
    (silent,) = listed([folder], site.ask, tmp_path / "cache", site.now)
    with pytest.raises(LaunchError, match="Whether the job still runs is not known"):
        check_resumable(folder, [silent])
    del site.answers["squeue"]
    site.rows, site.clock = {"1": ("PENDING", "BeginTime")}, site.clock + 20
    assert states(site, tmp_path, folder) == ["REQUEUED"]


def test_a_job_that_was_requeued_by_hand_after_its_end(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "1")
    mark(folder, "1 0 began 9100 n1", "1 0 ended 9200 3")
    site.rows = {"1": ("FAILED", "NonZeroExitCode")}
    assert states(site, tmp_path, folder) == ["FAILED"]
    mark(folder, "1 1 began 9300 n1")
    site.rows, site.clock = {"1": ("RUNNING", "None")}, site.clock + 20
    assert states(site, tmp_path, folder) == ["RUNNING"]


@pytest.mark.parametrize("greeting", ["", "Welcome to the cluster\n"])
def test_an_answer_that_failed_is_not_all(site: Site, tmp_path: Path, greeting: str) -> None:
    """A wrapper of a site's squeue, or one cluster of several, may print something all the same."""
    running, other = job(tmp_path, "1"), job(tmp_path, "2")
    mark(running, "1 0 began 9100 n1")
    row = ROW.format(id="2", state="RUNNING", reason="None") + "\n"
    site.answers["squeue"] = CommandAnswer(1, greeting + row, "slurm_load_jobs error: Unable to contact controller")
    found = listed([running, other], site.ask, tmp_path / "cache", site.now)
    assert [item.report.state.name for item in found] == ["UNKNOWN", "RUNNING"]
    with pytest.raises(LaunchError, match="Whether the job still runs is not known"):
        check_resumable(running, found[:1])


def test_jobs_here_and_on_another_cluster(site: Site, tmp_path: Path) -> None:
    """With ``--clusters`` squeue leaves out the cluster of this machine; an id is of one cluster alone."""
    here, there = job(tmp_path, "7", name="here"), job(tmp_path, "7", name="there", cluster="alpha")

    def ask(argv: Sequence[str]) -> CommandAnswer:
        if argv[0] != "squeue":
            return NO_ACCOUNTING
        state = "PENDING" if "--clusters=alpha" in argv else "RUNNING"
        return CommandAnswer(0, ROW.format(id="7", state=state, reason="None") + "\n", "")

    found = listed([here, there], ask, tmp_path / "cache", site.now)
    assert [item.report.state.name for item in found] == ["RUNNING", "PENDING"]


def test_a_chain_of_which_one_job_is_forgotten(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ask", site.ask)
    folder = job(tmp_path, "1")
    folder.add(SubmittedJob("2", "", "slurm", "/a/search.py", "search", "log-2.txt", 9_000.0, "token", "1"))
    mark(folder, "1 0 began 9100 n1")
    site.rows = {"2": ("RUNNING", "None")}
    assert Job(folder.path).state is JobState.RUNNING


def test_of_a_chain_only_what_has_not_ended_is_cancelled(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """scancel and qdel fail if one of the jobs has ended."""
    monkeypatch.setattr(jobs, "ask", site.ask)
    folder = job(tmp_path, "1")
    folder.add(SubmittedJob("2", "", "slurm", "/a/search.py", "search", "log-2.txt", 9_000.0, "token", "1"))
    mark(folder, "1 0 began 9100 n1", "1 0 ended 9200 0")
    site.rows = {"2": ("PENDING", "Priority")}
    Job(folder.path).cancel()
    assert site.asked[-1] == ("scancel", "2")


def test_the_end_of_a_job_that_failed_is_waited_for_until_the_queue_answers(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ask", site.ask)
    folder = job(tmp_path, "1")
    mark(folder, "1 0 began 9100 n1", "1 0 ended 9200 75")
    site.answers["squeue"] = CommandAnswer(None, "", "")
    with pytest.raises(TimeoutError):
        Job(folder.path).wait(timeout=0.1)
    del site.answers["squeue"]
    assert Job(folder.path).wait(timeout=0.1) is JobState.FAILED


def test_marks_that_two_nodes_spoiled(tmp_path: Path) -> None:
    folder = job(tmp_path, "5", array="0-2")
    mark(folder, "5_0 0 began 9100 n1", "5_1 0 be5_2 0 began", "9200 n1 n2 n3 n4", "5_0 0 ended 9200 0")
    assert [mark.event for mark in folder.marks()] == ["began", "ended"]


def test_answers_are_forgotten_if_the_folder_cannot_be_written(tmp_path: Path) -> None:
    """As on compute nodes with a read-only home directory."""
    (tmp_path / "file").write_text("")
    forget_answers(tmp_path / "file" / "daskhpc")


def test_no_command_at_all(site: Site, tmp_path: Path) -> None:
    def missing(argv: Sequence[str]) -> CommandAnswer:
        raise LaunchError("Cannot run squeue.", "no such file", "a login node")

    (found,) = listed([job(tmp_path, "1")], missing, tmp_path / "cache", site.now)
    assert (found.report.state, found.silence) == (JobState.UNKNOWN, "no such file")


def test_what_was_seen_stays_known(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "1")
    mark(folder, "1 0 began 9100 n1", "1 0 ended 9200 143")
    site.rows = {"1": ("TIMEOUT", "TimeLimit")}
    assert states(site, tmp_path, folder) == ["TIMEOUT"]
    site.rows, site.clock = {}, site.clock + 10_000
    (found,) = listed([folder], site.ask, tmp_path / "cache", site.now)
    assert (found.report.state, found.report.exit_code) == (JobState.TIMEOUT, 143)
    (folder.path / "states.json").write_text('{"1": {"state": "OF_TOMORROW"}}')
    assert states(site, tmp_path, folder) == ["FAILED"]


def test_an_array_is_done_only_if_every_element_is(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "5", array="0-2%1")
    mark(folder, "5_0 0 began 9100 n1", "5_0 0 ended 9200 0", "5_1 0 began 9200 n1")
    site.rows = {"5_1": ("RUNNING", "None"), "5_[2%1]": ("PENDING", "JobArrayTaskLimit")}
    assert states(site, tmp_path, folder) == ["RUNNING"]
    site.rows, site.clock = {"5_[2%1]": ("PENDING", "JobArrayTaskLimit")}, site.clock + 100
    mark(folder, "5_1 0 ended 9300 0")
    assert states(site, tmp_path, folder) == ["PENDING"]
    site.rows, site.clock = {}, site.clock + 100
    assert states(site, tmp_path, folder) == ["UNKNOWN"], "nobody knows of the third one"
    mark(folder, "5_2 0 began 9300 n1", "5_2 0 ended 9400 1")
    site.clock += 100
    assert states(site, tmp_path, folder) == ["FAILED"]


def test_an_array_of_pbs_of_which_qstat_lists_no_elements(site: Site, tmp_path: Path) -> None:
    folder = job(tmp_path, "5[].s", scheduler="pbspro", array="0-2")
    going = CommandAnswer(0, "Job Id: 5[].s\n    job_state = B\n    array = True\n", "")
    site.answers["qstat"] = going
    assert states(site, tmp_path, folder) == ["RUNNING"]
    mark(folder, "5[0].s 0 began 9100 n1", "5[0].s 0 ended 9200 0", "5[1].s 0 began 9200 n1")
    site.clock += 100
    (found,) = listed([folder], site.ask, tmp_path / "cache", site.now)
    assert found.report.state is JobState.RUNNING
    assert [(each.job, each.state.name) for each in found.elements] == [("5[0].s", "COMPLETED"), ("5[1].s", "RUNNING")]
    # The third one was ended before it wrote a mark.
    site.answers["qstat"] = CommandAnswer(0, "Job Id: 5[].s\n    job_state = F\n    Exit_status = 1\n", "")
    mark(folder, "5[1].s 0 ended 9300 0")
    site.clock += 100
    assert states(site, tmp_path, folder) == ["FAILED"]


def test_an_array_runs_while_one_of_its_elements_runs(site: Site, tmp_path: Path) -> None:
    """One was killed long ago: it wrote no end, and the queue has forgotten it."""
    folder = job(tmp_path, "5", array="0-2")
    mark(folder, "5_0 0 began 9100 n1")
    site.rows = {"5_1": ("RUNNING", "None"), "5_[2]": ("PENDING", "Priority")}
    assert states(site, tmp_path, folder) == ["RUNNING"]
    assert [argv[0] for argv in site.asked] == ["squeue", "sacct"]


def test_pbs_forgets_some_of_the_jobs(site: Site, tmp_path: Path) -> None:
    first, second = job(tmp_path, "1.s", scheduler="torque"), job(tmp_path, "2.s", scheduler="torque")
    text = "Job Id: 1.s\n    job_state = R\n"
    site.answers["qstat"] = CommandAnswer(153, text, "qstat: Unknown Job Id 2.s\n")
    assert states(site, tmp_path, first, second) == ["RUNNING", "UNKNOWN"]
    assert site.asked == [("qstat", "-f", "1.s", "2.s")]
    site.answers["qstat"], site.clock = CommandAnswer(153, "", "qstat: Unknown Job Id 2.s\n"), site.clock + 100
    (found,) = listed([second], site.ask, tmp_path / "cache", site.now)
    assert found.silence == "", "that it knows no such job is an answer"


# Which job is meant, and how it is shown


def test_which_job_is_meant(tmp_path: Path) -> None:
    first, second = job(tmp_path, "12"), job(tmp_path, "123", name="train", array="0-9")
    both = [first, second]
    assert find_job("12", both)[0].path == first.path
    assert (find_job("123_4", both)[0].path, find_job("123_4", both)[2]) == (second.path, "4")
    assert find_job("train", both)[1].id == "123"
    assert find_job(str(first.path), [])[1].id == "12"
    assert find_job(second.path.name, both)[1].id == "123"
    for wrong in ("1", "1234", "other"):
        with pytest.raises(LaunchError, match=r"no job .*\n.*the last ones are"):
            find_job(wrong, both)
    assert find_job("123_[4-9%2]", both)[2] == "[4-9%2]", "as squeue lists those that wait"
    for nothing in (None, "12"):
        with pytest.raises(LaunchError, match="no jobs of daskhpc"):
            find_job(nothing, [])


def test_one_id_on_two_clusters(tmp_path: Path) -> None:
    alpha, beta = job(tmp_path, "7", name="a", cluster="alpha"), job(tmp_path, "7", name="b", cluster="beta")
    with pytest.raises(LaunchError, match="Several clusters"):
        find_job("7", [alpha, beta])
    assert find_job("7;beta", [alpha, beta])[0].path == beta.path


def test_the_log_of_an_element(tmp_path: Path) -> None:
    folder = job(tmp_path, "5", array="0-2")
    assert log_file(folder.path, folder.submitted()[0], "2").name == "log-5_2.txt"
    own = SubmittedJob("7.server", "", "pbspro", "/a", "x", "/logs/%x-%j.out", 0.0, "t")
    assert log_file(folder.path, own) == Path("/logs/x-7.out")


NOW = time.mktime((2026, 11, 26, 12, 0, 0, 0, 0, -1))


def shown(state: JobState, **fields: object) -> list[str]:
    submitted = SubmittedJob("12", "", "slurm", "/a", "my\x1b title", "log", 0.0, "t")
    report = JobReport("12", state, "squeue", **fields)  # type: ignore[arg-type]
    planned = (Maintenance("spring", NOW + 7200, NOW + 9000, whole=True),)
    return job_lines(ListedJob(submitted, Path("/elsewhere/a"), report), NOW, 3, maintenances=planned)


def test_lines_of_a_job_that_waits() -> None:
    lines = shown(JobState.PENDING, reason="Priority", submitted=NOW - 60, start=NOW + 1800, limit=3600.0)
    assert lines == [
        "12   my title                  pending, for 60 s",
        "    folder: /elsewhere/a",
        "    Priority: Jobs of higher priority are before it.",
        "    The scheduler expects it to start at 12:30.",
        "    next: wait; or cancel it, and submit it with a shorter --time or fewer --nodes",
    ]
    long = shown(JobState.PENDING, reason="ReqNodeNotAvail", limit=4 * 3600.0)
    assert "    The maintenance spring begins at 14:00; the job would not end before. A --time below 2 h would." in [
        line.replace("120 min", "2 h") for line in long
    ]
    held = shown(JobState.PENDING, reason="JobHeldUser", start=NOW + 1800, limit=None)
    assert held[2:] == ["    JobHeldUser: You hold it.", "    next: scontrol release 12"]


def test_lines_of_jobs_that_run_and_that_ended() -> None:
    running = shown(JobState.RUNNING, start=NOW - 600, limit=3600.0, restarts=1)
    assert running[0].endswith("running (run 2), for 10 min, 50 min left")
    assert shown(JobState.FAILED, exit_code=3, end=NOW - 5)[0].endswith("failed with exit code 3, 5.0 s ago")
    assert shown(JobState.FAILED, exit_code=3)[-1] == "    next: daskhpc logs 12"
    assert "goes on from its checkpoint" in shown(JobState.FAILED, exit_code=75)[-1]
    assert shown(JobState.FAILED, signal=9)[0].endswith("failed by SIGKILL")
    assert "--exclude NODE" in shown(JobState.NODE_FAIL)[-1]
    assert len(shown(JobState.COMPLETED)) == 2
