"""A search whose job steps are killed: submitted again, it makes only what was not saved, and finds the same."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import sys
import time
from pathlib import Path

import pytest
from bed import SlurmBed
from journal.kills import FOLDER, PROGRAMS, Story

pytestmark = pytest.mark.slurm

ROUNDS = int(os.environ.get("KILLS_ROUNDS", "2"))
SEED = int(os.environ.get("KILLS_SEED", time.time_ns() % 2**32))
PROGRAM = PROGRAMS["grid"]
OPTIONS = ("--nodes=2", "--nodelist=node1,node2", "--mem=2G", "--cpus-per-task=4", "--output=out", "--error=err")
RUN_SECONDS = 120.0
END_SECONDS = 30.0


def submit(bed: SlurmBed, story: Story) -> int:
    folder = story.log.parent
    script = folder / "job.sh"
    srun = "srun --overcommit --distribution=cyclic --cpus-per-task=4 --ntasks=4 --mpi=pmi2"
    script.write_text(f"#!/bin/bash\n{srun} {shlex.quote(sys.executable)} {shlex.quote(str(FOLDER / PROGRAM.file))}\n")
    return bed.sbatch(script, *OPTIONS, cwd=folder, env=story.env)


def ended(bed: SlurmBed, job: int, story: Story, timeout: float) -> str:
    """The state of a job that has ended, of which nothing is left."""
    state = bed.wait(job, timeout)["JobState"]
    deadline = time.monotonic() + END_SECONDS
    while left := bed.processes(job):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    story.settle()
    return state


def finish(bed: SlurmBed, story: Story) -> None:
    assert ended(bed, submit(bed, story), story, RUN_SECONDS) == "COMPLETED", (story.log.parent / "err").read_text()
    assert len(story.saved) == PROGRAM.calls


@pytest.mark.timeout(900 + 60 * ROUNDS)
def test_a_search_whose_steps_are_killed_is_taken_up_again(slurm: SlurmBed, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    moments = random.Random(SEED)
    reference = Story(tmp_path / "reference")
    finish(slurm, reference)
    stories = (Story(tmp_path / f"killed {number}") for number in itertools.count())
    story, number = next(stories), 0
    while number < ROUNDS:
        before, more = story.records(), moments.randint(1, PROGRAM.calls // (ROUNDS + 2))
        job = submit(slurm, story)
        deadline = time.monotonic() + RUN_SECONDS
        while story.records() < before + more and not story.results.exists():
            assert time.monotonic() < deadline, (story.log.parent / "err").read_text()
            time.sleep(0.02)
        # Of a step, its tasks get SIGKILL at once; of a job, Slurm cancels it, with SIGTERM first.
        target, expected = ((f"{job}.0", "FAILED"), (f"{job}", "CANCELLED"))[number % 2]
        done = slurm.run(["scancel", "--signal=KILL", target], END_SECONDS)
        assert done.returncode == 0 or story.results.exists(), done.stderr
        state = ended(slurm, job, story, END_SECONDS)
        if story.results.exists():  # it was done before the order to end it came
            assert len(story.saved) == PROGRAM.calls
            assert story.outcome() == reference.outcome()
            story = next(stories)
            continue
        number += 1
        print(f"{target} killed after {more} more results; {len(story.saved)} results, {state}")
        assert state == expected, (story.log.parent / "err").read_text()
    finish(slurm, story)
    assert story.outcome() == reference.outcome()
