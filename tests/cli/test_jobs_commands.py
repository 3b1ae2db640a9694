"""``daskhpc jobs``, ``logs``, ``cancel``, ``profile`` and ``config`` as they are typed, beside schedulers of sh."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from place import Place
from report.made import append, begin, fits

from daskhpc.cli import main
from daskhpc.errors import EXIT_FAILED
from daskhpc.journal.journal import Journal
from daskhpc.launch.job_folder import JobFolder, SubmittedJob

TRACEBACK = 'Traceback (most recent call last):\n  File "search.py", line 12, in <module>\nKeyError: 1\n'
LOG = f"daskhpc: run 1 of job 12 begins on n1\nearly\ndaskhpc: run 2 of job 12 begins on n2\n{TRACEBACK}late\n"


class Desk(Place):
    """A login node whose scheduler is a few lines of sh."""

    def job(self, number: str, name: str = "a search", scheduler: str = "slurm", log: str | None = None) -> JobFolder:
        """A job that was submitted from here."""
        path = self.work / f"{name} {number}"
        request = {"spec": {"array": ""}, "program": {"working_directory": str(path), "run_options": []}}
        folder = JobFolder.create(path, request)
        folder.add(SubmittedJob(number, "", scheduler, "/a/search.py", name, "log.txt", time.time() - 60, "token"))
        if log is not None:
            (path / "log.txt").write_text(log)
        return folder

    def squeue(self, *rows: str) -> None:
        lines = "\n".join(f"{row}|None|2026-11-26T09:00:00|N/A|N/A|1:00:00|n1|x" for row in rows)
        self.fake("squeue", f"/bin/cat <<'END'\n{lines}\nEND")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made.env["XDG_STATE_HOME"] = str(tmp_path / "state")
    return made


def test_jobs(desk: Desk) -> None:
    assert desk.daskhpc("jobs").out == "No jobs. To submit one: daskhpc submit --nodes 2 --time 1h script.py\n"
    desk.job("12")
    failed = desk.job("13", "other")
    (failed.path / "marks").write_text("13 0 began 1000 n1\n13 0 ended 1100 3\n")
    desk.squeue("12|PENDING")
    done = desk.daskhpc("jobs")
    assert (done.code, done.err) == (0, "")
    first, folder, *_ = done.out.splitlines()
    assert first.startswith("12  a search                  pending, for ")
    assert folder == "    folder: a search 12"
    assert not any(line.startswith("13 ") for line in done.out.splitlines())
    assert "1 older job: daskhpc jobs --all" in done.out
    assert "failed with exit code 3" in desk.daskhpc("jobs", "13").out
    listed = json.loads(desk.daskhpc("jobs", "--all", "--json").out)
    assert [(job["id"], job["state"]) for job in listed] == [("12", "PENDING"), ("13", "FAILED")]
    unknown = desk.daskhpc("jobs", "14")
    assert unknown.code == EXIT_FAILED
    assert unknown.err.splitlines()[-1] == "  try:   daskhpc jobs"


def test_a_scheduler_that_is_not_there(desk: Desk) -> None:
    desk.job("12")
    done = desk.daskhpc("jobs")
    assert done.code == 0
    assert "unknown since" in done.out
    assert "gave no answer" in done.err


def test_logs_show_the_first_traceback_of_the_last_run_first(desk: Desk) -> None:
    folder = desk.job("12", log=LOG)
    (folder.path / "marks").write_text("12 1 began 1000 n2\n12 1 ended 1100 1\n")
    desk.squeue()
    done = desk.daskhpc("logs")
    assert done.code == 0, done.err
    assert done.out == f"{TRACEBACK}\n{TRACEBACK}late\n"
    assert "12 a search, failed with exit code 1 (run 2), run 2 of 2, log: a search 12/log.txt" in done.err
    assert desk.daskhpc("logs", "12", "--run", "1").out == "early\n"
    assert desk.daskhpc("logs", "12", "-n", "1").out == f"{TRACEBACK}\nlate\n"
    assert "no run 3" in desk.daskhpc("logs", "12", "--run", "3").err


def test_logs_of_a_job_that_runs_go_on_until_it_ends(desk: Desk) -> None:
    folder = desk.job("12", log="first\n")
    desk.squeue("12|RUNNING")
    line = [str(desk.python), "-m", "daskhpc", "logs", "-f"]
    with subprocess.Popen(
        line, cwd=desk.work, env=desk.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "first\n"
            with open(folder.path / "log.txt", "a") as log:
                log.write("second\n")
            (folder.path / "marks").write_text("12 0 began 1000 n1\n12 0 ended 1100 3\n")
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert out == "second\n"
    assert err.splitlines()[0].startswith("daskhpc: 12 a search, running")
    assert err.endswith("daskhpc: 12 a search, failed with exit code 3\n")


def test_logs_do_not_wait_for_a_job_that_wrote_no_end_and_is_gone(desk: Desk) -> None:
    folder = desk.job("12", log="first\n")
    (folder.path / "marks").write_text("12 0 began 1000 n1\n")
    desk.squeue("9|RUNNING")
    gone = desk.daskhpc("logs", "-f", "12")
    assert (gone.code, gone.out) == (0, "first\n")
    assert gone.err.startswith("daskhpc: 12 a search, unknown, log: ")
    desk.squeue("12|TIMEOUT")
    (desk.folder / "state/daskhpc/squeue.json").unlink()
    assert "12  a search                  timeout" in desk.daskhpc("jobs", "12").out
    folder.add(SubmittedJob("13", "", "slurm", "/a.py", "a search", "log-13.txt", time.time() - 30, "t"))
    resumed = desk.daskhpc("logs", "-f", "12")
    assert (resumed.code, resumed.out) == (0, "first\n")
    assert resumed.err.startswith("daskhpc: 12 a search, timeout, log: ")


def test_logs_that_are_not_there(desk: Desk) -> None:
    desk.job("12")
    desk.squeue("12|PENDING")
    assert "has not begun" in desk.daskhpc("logs").err
    desk.job("13")
    assert "has no log" in desk.daskhpc("logs", "13").err
    folder = desk.job("15", log="")
    desk.squeue("15|RUNNING", "16|CANCELLED")
    (desk.folder / "state/daskhpc/squeue.json").unlink()
    assert "daskhpc: nothing is in it yet; daskhpc logs -f 15 prints what comes" in desk.daskhpc("logs", "15").err
    folder.add(SubmittedJob("16", "", "slurm", "/a.py", "a search", "log-16.txt", time.time() - 30, "t"))
    done = desk.daskhpc("logs", "16")
    assert "The job ended before it began, so it has no log.\n  found: cancelled\n" in done.err
    assert "try:   daskhpc resume 16; daskhpc logs 15 has the log of the submission before" in done.err


def test_a_user_without_jobs(desk: Desk) -> None:
    for command in ("logs", "resume", "cancel"):
        done = desk.daskhpc(command, "12")
        assert done.code == EXIT_FAILED
        assert "You have no jobs of daskhpc." in done.err
        assert "try:   daskhpc submit --nodes 2 --time 1h script.py" in done.err
    assert "daskhpc profile --detect writes one" in desk.daskhpc("profile").out


def test_every_command_has_a_line_of_help(desk: Desk) -> None:
    lines = desk.daskhpc("--help").out.partition("Commands:\n")[2].splitlines()
    assert len(lines) >= 13
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


def test_cancel(desk: Desk) -> None:
    desk.job("12")
    desk.job("13", "other")
    ended = desk.job("14", "third")
    (ended.path / "marks").write_text("14 0 began 1000 n1\n14 0 ended 1100 0\n")
    desk.squeue("12|RUNNING", "13|PENDING")
    record = shlex.quote(str(desk.folder / "cancelled"))
    desk.fake("scancel", f'echo "$*" >>{record}')
    done = desk.daskhpc("cancel", "12", "other", "14")
    assert done.out == "14 third: completed already\n12 a search: cancelled\n13 other: cancelled\n"
    assert (desk.folder / "cancelled").read_text() == "12 13\n"
    desk.fake("scancel", "echo 'scancel: error: Kill job error on job id 12: Access denied' >&2; exit 1")
    refused = desk.daskhpc("cancel", "12")
    assert refused.code == EXIT_FAILED
    assert "Access denied" in refused.err


def test_cancel_by_pbs(desk: Desk) -> None:
    desk.job("12.server", scheduler="torque")
    desk.fake("qstat", "printf 'Job Id: 12.server\\n    job_state = R\\n'")
    desk.fake("qdel", f'echo "$*" >>{shlex.quote(str(desk.folder / "deleted"))}')
    assert desk.daskhpc("cancel", "12").out == "12.server a search: cancelled\n"
    assert (desk.folder / "deleted").read_text() == "12.server\n"


def site(desk: Desk) -> None:
    desk.fake("sbatch", 'case "$*" in *--mem=*) echo "use --mem-per-cpu" >&2; exit 1;; esac; echo "Job 1 to start" >&2')
    desk.fake("sinfo", "echo 'compute*|up|1-00:00:00|10|48|184000|(null)|(null)'")
    desk.fake("scontrol", "echo 'ClusterName             = delta'")


def test_a_profile_is_detected_and_then_shown(desk: Desk) -> None:
    site(desk)
    dry = desk.daskhpc("profile", "--detect", "--dry-run")
    done = desk.daskhpc("profile", "--detect")
    assert dry.out == done.out
    path = desk.folder / ".config/dask/daskhpc-delta.yaml"
    assert path.read_text() == done.out
    assert "memory: per-cpu  # sbatch --test-only refuses --mem: use --mem-per-cpu" in done.out
    assert "already" in desk.daskhpc("profile", "--detect").err
    assert desk.daskhpc("profile", "--detect", "--force").code == 0
    shown = desk.daskhpc("profile").out.splitlines()
    assert shown[0] == "profile: delta  [it is the only one]"
    assert f"  memory             per-cpu  [{path}]" in shown


def test_config_shows_every_value_and_its_source(desk: Desk) -> None:
    own = desk.folder / ".config/dask/daskhpc.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("daskhpc:\n  processes: 2\n  profiles: {delta: {memory: none, job: {account: ae}}}\n")
    lines = desk.daskhpc("config", DASK_DASKHPC__HEADROOM="0.2").out.splitlines()
    assert lines[0] == f"files: {own}"
    assert f"  processes          2  [{own}]" in lines
    assert "  headroom           0.2  [DASK_DASKHPC__HEADROOM]" in lines
    assert any(
        line.startswith("  nthreads           the CPUs granted") and line.endswith("[default]") for line in lines
    )
    assert f"  memory             none  [{own}]" in lines
    assert lines[-1] == f"  account            ae  [{own}]"
    own.write_text("daskhpc: {proceses: 2}\n")
    wrong = desk.daskhpc("config")
    assert wrong.code == EXIT_FAILED
    assert "the settings are workers, nthreads" in wrong.err
    assert wrong.err.rstrip().endswith("try:   processes")


def test_a_profile_is_what_submit_takes_for_granted(desk: Desk) -> None:
    own = desk.folder / ".config/dask/daskhpc.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "daskhpc:\n  profiles:\n    delta: {memory: per-cpu, cpus-per-node: 4, job: {account: ae, mem: 8G, time: 2h}}\n"
        "    other: {scheduler: pbspro, cpus-per-node: 8}\n"
    )
    desk.fake("sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2; exit 1")
    program = desk.script("search.py")
    ambiguous = desk.daskhpc("submit", program)
    assert "--profile delta" in ambiguous.err
    wrong = desk.daskhpc("submit", "--profile", "delta", program)
    assert "no key 'job.mem'" in wrong.err
    own.write_text(own.read_text().replace("mem: 8G", "memory: 8G"))
    written = desk.daskhpc("submit", "--profile", "delta", "--time", "1h", "--dry-run", program).out
    for line in ("--account=ae", "--mem-per-cpu=2G", "--time=1:00:00"):
        assert f"#SBATCH {line}\n" in written
    other = desk.daskhpc("submit", "--dry-run", program, DASK_DASKHPC__PROFILE="other").out
    assert "#PBS -l select=1:ncpus=8" in other
    refused = desk.daskhpc("submit", "--profile", "delta", program)
    assert refused.code == EXIT_FAILED
    assert refused.err.startswith("daskhpc: sbatch: error: Batch job submission failed: Invalid qos specification\n")
    assert "  try:   --qos NAME" in refused.err


def test_progress_is_that_of_the_journals_that_the_job_wrote(desk: Desk) -> None:
    folder = desk.job("12")
    with Journal.open(folder.path / "checkpoint", "search") as journal:
        begin(journal, "a-0", known=21, replayed=0)
        append(journal, "a-0", fits()[:5])
    now = time.time()
    (folder.path / "marks").write_text(f"12 0 began {now - 50:.0f} n1\n")
    desk.squeue("12|RUNNING")
    assert ", checkpoint: 5 of 21 done\n" in desk.daskhpc("jobs").out
    for file in (folder.path / "checkpoint").iterdir():
        os.utime(file, (now - 500, now - 500))
    assert "checkpoint: 5" not in desk.daskhpc("jobs").out, "an earlier job wrote it"


def test_progress_is_that_of_the_checkpoint_that_was_named(desk: Desk) -> None:
    """And not what a job beside it saves meanwhile."""
    program = {"working_directory": str(desk.work), "run_options": ["--checkpoint=kept here"]}
    folder = JobFolder.create(desk.work / "jobs", {"spec": {"array": ""}, "program": program})
    folder.add(SubmittedJob("12", "", "slurm", "/a.py", "a search", "log.txt", time.time() - 60, "t"))
    (folder.path / "marks").write_text(f"12 0 began {time.time() - 50:.0f} n1\n")
    desk.squeue("12|RUNNING")
    for name, count in (("kept here", 3), ("another's", 5)):
        with Journal.open(desk.work / name, "search") as journal:
            begin(journal, "a-0", known=21, replayed=0)
            append(journal, "a-0", fits()[:count])
    assert ", kept here: 3 of 21 done\n" in desk.daskhpc("jobs").out


def test_the_log_of_an_element_has_the_state_of_the_element(desk: Desk) -> None:
    folder = JobFolder.create(desk.work / "jobs", {"spec": {"array": "0-2"}, "program": {}})
    folder.add(SubmittedJob("12", "", "slurm", "/a.py", "a search", "log-12_%a.txt", time.time() - 60, "t"))
    for element, end in enumerate(("12_0 0 ended 1100 0\n", "12_1 0 ended 1100 3\n", "")):
        (folder.path / f"log-12_{element}.txt").write_text(f"of {element}\n{TRACEBACK}")
        with (folder.path / "marks").open("a") as file:
            file.write(f"12_{element} 0 began 1000 n1\n{end}")
    desk.squeue("12_2|RUNNING")
    for name, words, first in (
        ("12_0", "element 0, completed", "of 0"),
        ("12_1", "element 1, failed with exit code 3", "Traceback (most recent call last):"),
        ("12_2", "element 2, running", "Traceback (most recent call last):"),
        ("12", "element 1, failed with exit code 3", "Traceback (most recent call last):"),
    ):
        done = desk.daskhpc("logs", name)
        assert done.err.startswith(f"daskhpc: 12 a search, {words}, "), done.err
        assert done.out.splitlines()[0] == first
    followed = desk.daskhpc("logs", "-f", "12_0")
    assert (followed.code, followed.out) == (0, f"of 0\n{TRACEBACK}")


def test_resume(desk: Desk) -> None:
    request = {
        "spec": {"name": "a search", "array": "", "chain": None, "env": ["A=1"]},
        "site": {"scheduler": "slurm"},
        "program": {"script": "/a/search.py", "args": ["x"], "working_directory": str(desk.work), "python": "/p"},
    }
    folder = JobFolder.create(desk.work / "a job", request)
    folder.add(SubmittedJob("12", "", "slurm", "/a/search.py", "a search", "log-12.txt", time.time() - 60, "token"))
    desk.fake("sbatch", 'pwd >>"$HOME/calls"; echo "$*" >>"$HOME/calls"; echo 13')
    desk.env["HOME"] = str(desk.folder)
    for state, words in (("RUNNING", "12 running"), ("PENDING", "12 pending"), ("COMPLETED", "12 completed")):
        desk.squeue(f"12|{state}")
        (desk.folder / "state/daskhpc/squeue.json").unlink(missing_ok=True)
        (folder.path / "states.json").unlink(missing_ok=True)
        refused = desk.daskhpc("resume", "12")
        assert (refused.code, refused.out) == (EXIT_FAILED, "")
        assert words in refused.err
    (folder.path / "states.json").unlink()
    (desk.folder / "state/daskhpc/squeue.json").unlink()
    desk.squeue("12|TIMEOUT")
    done = desk.daskhpc("resume")
    assert (done.code, done.out) == (0, "13\n"), done.err
    assert (
        "12 timeout; no checkpoint with results is known, so it begins anew; submission 2; the log: 'a job"
        not in done.err
    )
    assert (
        "12 timeout; no checkpoint with results is known, so it begins anew; submission 2; the log: a job/log-13.txt"
        in done.err
    )
    where, line = (desk.folder / "calls").read_text().splitlines()
    assert where == str(folder.path)
    assert line.endswith("job.sbatch")
    assert [job.id for job in folder.submitted()] == ["12", "13"]


def test_a_job_that_another_process_resumes_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this one reads how far its work is."""
    request = {
        "spec": {"name": "a search", "array": ""},
        "site": {"scheduler": "slurm"},
        "program": {"script": "/a/search.py", "args": [], "working_directory": str(desk.work), "python": "/p"},
    }
    folder = JobFolder.create(desk.work / "a job", request)
    folder.add(SubmittedJob("12", "", "slurm", "/a/search.py", "a search", "log-12.txt", time.time() - 60, "token"))
    desk.squeue("12|TIMEOUT")
    desk.fake("sbatch", "echo 14")
    monkeypatch.setenv("PATH", str(desk.bin))

    def read(*_: object) -> str:
        folder.add(SubmittedJob("13", "", "slurm", "/a/search.py", "a search", "log-13.txt", time.time(), "other"))
        return ""

    monkeypatch.setattr("daskhpc.cli.resume.progress_words", read)
    done = CliRunner().invoke(main, ["resume", "12"])
    assert done.exit_code == EXIT_FAILED
    assert "The job was resumed a moment ago." in done.output
    assert [job.id for job in folder.submitted()] == ["12", "13"]


def test_resume_says_which_files_were_changed(desk: Desk) -> None:
    """The copies run, and a mistake that was mended meanwhile is still in them."""
    desk.fake("sbatch", 'case "$1" in --test-only) exit 0;; esac; echo 12')
    desk.script("beside.py", "x = 1\n")
    assert desk.daskhpc("submit", desk.script("search.py", "import beside\n")).code == 0
    desk.squeue("12|FAILED")
    done = desk.daskhpc("resume")
    assert "changed since" not in done.err
    desk.script("beside.py", "x = 2\n")
    done = desk.daskhpc("resume")
    assert (
        "daskhpc: changed since the job was submitted first: beside.py; the job runs the copies of then\n" in done.err
    )
    assert "try:   daskhpc cancel 12, then daskhpc submit" in done.err


def test_the_results_of_a_job_by_its_id(desk: Desk) -> None:
    folder = desk.job("12")
    for command in ("results", "status"):
        refused = desk.daskhpc(command, "12")
        assert refused.code == EXIT_FAILED
        assert "Job 12 has no results in a checkpoint.\n  found: it was submitted without --checkpoint" in refused.err
        assert "try:   daskhpc logs 12" in refused.err
        nothing = desk.daskhpc(command, "13")
        assert nothing.code == EXIT_FAILED
        assert nothing.err.startswith(
            "daskhpc: There is no checkpoint folder '13', and no job of that name.\n  found: "
        )
        assert nothing.err.endswith("  try:   daskhpc jobs\n")
    with Journal.open(folder.path / "kept", "search") as journal:
        begin(journal, "a-0", known=21, replayed=0)
        append(journal, "a-0", fits()[:5])
    assert "5 of 21" in desk.daskhpc("status", "12").out
    assert desk.daskhpc("results", "12").out == desk.daskhpc("results", "a search 12/kept").out != ""
    with Journal.open(folder.path / "other", "search") as journal:
        begin(journal, "a-0", known=21, replayed=0)
        append(journal, "a-0", fits()[:5])
    assert (
        "has several folders of results.\n  found: a search 12/kept, a search 12/other"
        in desk.daskhpc("status", "12").err
    )


def test_cancel_of_a_chain_and_of_a_job_that_was_resumed(desk: Desk) -> None:
    folder = desk.job("12")
    for number, after in (("13", ""), ("14", "13"), ("15", "14")):
        folder.add(SubmittedJob(number, "", "slurm", "/a.py", "a search", "log.txt", time.time() - 60, "t", after))
    (folder.path / "marks").write_text("13 0 began 1000 n1\n13 0 ended 1100 75\n")
    desk.squeue("14|RUNNING", "15|PENDING")
    record = shlex.quote(str(desk.folder / "cancelled"))
    desk.fake("scancel", f'echo "$*" >>{record}')
    assert desk.daskhpc("cancel", "12").out == "12 a search: ended already, and was resumed as 13\n"
    assert not (desk.folder / "cancelled").exists()
    assert desk.daskhpc("cancel", "13").code == 0
    assert (desk.folder / "cancelled").read_text() == "15 14\n", "the jobs after it would begin at its end"


def test_cancel_of_a_chain_of_which_one_job_is_forgotten(desk: Desk) -> None:
    """It was killed with its node, and squeue does not list it any more; scancel would refuse it."""
    folder = desk.job("13")
    folder.add(SubmittedJob("14", "", "slurm", "/a.py", "a search", "log.txt", time.time() - 60, "t", "13"))
    (folder.path / "marks").write_text("13 0 began 1000 n1\n")
    desk.squeue("14|RUNNING")
    desk.fake("scancel", '[ "$*" = 14 ] || { echo "scancel: error: Invalid job id specified" >&2; exit 1; }')
    done = desk.daskhpc("cancel", "13")
    assert (done.code, done.out) == (0, "14 a search: cancelled\n"), done.err


def test_resume_without_an_answer_of_the_scheduler(desk: Desk) -> None:
    desk.job("12")
    refused = desk.daskhpc("resume")
    assert refused.code == EXIT_FAILED
    assert "Whether the job still runs is not known" in refused.err


def test_clean(desk: Desk) -> None:
    for number, code in (("12", 0), ("13", 1), ("14", None)):
        folder = desk.job(number)
        lines = f"{number} 0 began 1000 n1\n" + (f"{number} 0 ended 1100 {code}\n" if code is not None else "")
        (folder.path / "marks").write_text(lines)
    desk.squeue("14|RUNNING")
    assert desk.daskhpc("clean", "--older-than", "60:30").code == EXIT_FAILED
    dry = desk.daskhpc("clean", "--dry-run")
    assert "2 job folders" in dry.out
    assert "nothing was removed" in dry.out
    assert desk.daskhpc("clean").code != 0, "there is nobody to say yes"
    assert len(list(JobFolder.all())) == 3
    (desk.work / "a search 12" / "results.csv").write_text("1")
    done = desk.daskhpc("clean", "--yes")
    assert done.code == 0, done.err
    assert "a search 12 stays: it has files that daskhpc did not write" in done.err
    assert sorted(path.name for path in desk.work.iterdir()) == ["a search 12", "a search 14"]
    assert "its job has not ended" in desk.daskhpc("clean", "--yes", "14").err
    assert desk.daskhpc("clean", "--yes", str(desk.work)).code == EXIT_FAILED


def test_clean_leaves_a_job_that_was_resumed_before_the_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = desk.job("12")
    (folder.path / "marks").write_text("12 0 began 1000 n1\n12 0 ended 1100 1\n")
    desk.squeue("9|RUNNING")
    monkeypatch.setenv("PATH", str(desk.bin))

    def confirm(_: str) -> bool:
        folder.add(SubmittedJob("13", "", "slurm", "/a.py", "a search", "log-13.txt", time.time(), "other"))
        return True

    monkeypatch.setattr("click.confirm", confirm)
    done = CliRunner().invoke(main, ["clean"])
    assert done.exit_code == EXIT_FAILED
    assert "A job was resumed meanwhile." in done.output
    assert folder.path.is_dir()
