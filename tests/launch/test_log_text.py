"""What is read first in the log of a job."""

from __future__ import annotations

import pytest

from daskhpc.launch.log_text import explained_lines, first_traceback, log_runs

CHAINED = """\
Traceback (most recent call last):
  File "search.py", line 12, in <module>
    f()
  File "search.py", line 3, in f
    raise KeyError(
        "a"
    )
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "search.py", line 14, in <module>
    raise ValueError("two\\nlines")
ValueError: two
lines"""
OURS = """\
Traceback (most recent call last):
  File "search.py", line 2, in <module>
daskhpc.errors.StartError: It did not start.
  found: this
  try:   that"""


def test_the_first_of_several_tracebacks() -> None:
    second = 'Traceback (most recent call last):\n  File "b.py", line 1\nOSError: later'
    log = f"the start table\n{CHAINED.removesuffix(chr(10) + 'lines')}\nsrun: error: node1\n{second}\n"
    assert first_traceback(log) == CHAINED.removesuffix("\nlines")
    assert first_traceback(f"x\n{OURS}\ny\n") == OURS
    assert first_traceback("no error\n") == ""
    assert first_traceback("Traceback (most recent call last):\n") == "Traceback (most recent call last):"


def test_a_traceback_of_a_group() -> None:
    log = '  + Exception Group Traceback (most recent call last):\n  |   File "a.py", line 1\n  | ExceptionGroup: two\n'
    assert first_traceback(log) == ""  # of groups the members' own tracebacks are read
    member = (
        '    | Traceback (most recent call last):\n    |   File "a.py", line 2\n    | ValueError: one\n    +------\n'
    )
    assert first_traceback(log + member).splitlines()[0].endswith(":")
    assert "ValueError: one" in first_traceback(log + member)


def test_runs() -> None:
    log = "prolog\ndaskhpc: run 1 of job 7_2 begins on n1\na\ndaskhpc: run 2 of job 7_2 begins on n2\nb\nc"
    assert [(run.number, run.host, run.text) for run in log_runs(log)] == [(1, "n1", "prolog\na\n"), (2, "n2", "b\nc")]
    assert [(run.number, run.text) for run in log_runs("old")] == [(1, "old")]
    assert log_runs("")[0].text == ""


LINES = [
    (
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.",
        "memory",
    ),
    ("slurmstepd: error: Detected 2 oom-kill event(s) in step 12.batch cgroup.", "memory"),
    ("slurmstepd: error: Job 12 exceeded memory limit (5000 > 4000), being killed", "memory"),
    ("srun: error: node1: task 2: Out Of Memory", "memory"),
    ("=>> PBS: job killed: mem 5000kb exceeded limit 4000kb", "memory"),
    ("=>> PBS: job killed: vmem 5000kb exceeded limit 4000kb", "memory"),
    ("slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-26T10:00:00 DUE TO TIME LIMIT ***", "time limit"),
    ("=>> PBS: job killed: walltime 3610 exceeded limit 3600", "time limit"),
    (
        "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-26T10:00:00 DUE TO PREEMPTION ***",
        "higher priority",
    ),
    (
        "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-26T10:00:00 DUE TO NODE FAILURE, SEE ***",
        "node of the job failed",
    ),
    (
        "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-26T10:00:00 DUE TO JOB REQUEUE ***",
        "back into the queue",
    ),
    ("slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-26T10:00:00 ***", "Somebody cancelled"),
    (
        "slurmstepd: error: *** STEP 12.0 ON node1 CANCELLED AT 2026-11-26T10:00:00 ***",
        "one of its ranks failed before",
    ),
    ("srun: error: node1: task 2: Segmentation fault (core dumped)", "compiled code"),
    ("srun: error: node1: task 2: Bus error", "shared memory"),
    ("srun: error: node1: task 2: Killed", "for want of memory"),
    ("OSError: [Errno 122] Disk quota exceeded: '/home/ada/x'", "quota"),
    ("OSError: [Errno 28] No space left on device", "disk is full"),
    ("/var/spool/slurmd/job12/slurm_script: line 12: module: command not found", "no command 'module'"),
    ('Lmod has detected the following error: The following module(s) are unknown: "x"', "no environment module"),
    ("ModuleNotFoundError: No module named 'sklearn'", "does not find a package"),
    ("/var/spool/slurmd/job12/slurm_script: line 32: cd: /scratch/x: No such file or directory", "folder of the job"),
    (
        "slurmstepd: error: couldn't chdir to `/scratch/x': No such file or directory: going to /tmp instead",
        "folder of the job",
    ),
    ("srun: error: Unable to create step for job 12: More processors requested than permitted", "start the ranks"),
    ("srun: fatal: SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive.", "two forms"),
    ("/opt/python: /lib64/libc.so.6: version `GLIBC_2.34' not found (required by /opt/python)", "The node differs"),
]


@pytest.mark.parametrize(("line", "meaning"), LINES)
def test_the_schedulers_words(line: str, meaning: str) -> None:
    (found,) = explained_lines(f"a result\n{line}\n{line}\n")
    assert found.line == line
    assert meaning in found.meaning
    assert found.action


def test_the_programs_own_words_are_not_the_schedulers() -> None:
    assert (
        explained_lines(
            "epoch 3: Out Of Memory rate 0.1\nthe Segmentation fault study\n  raise MemoryError('oom_kill')\n"
        )
        == ()
    )
