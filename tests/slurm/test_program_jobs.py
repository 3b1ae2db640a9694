"""The job scripts of slurm/ at a small size, by Slurm and by PBS's qsub at the same time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from bed import SlurmBed
from placed import placed
from test_jobs import OUTPUTS, REPOSITORY, TWO, Submit, messages

pytestmark = pytest.mark.slurm


class SmallRun(NamedTuple):
    """How a program is made to end soon, and what it prints then."""

    args: tuple[str, ...]
    printed: str
    edits: Mapping[str, tuple[str, str]] = {}


PROGRAMS = {
    "digits_heatmap": SmallRun(("--values", "2"), "Best of 4: "),
    "kmeans_clusters": SmallRun(("--most", "3"), "Best number of clusters: "),
    "monte_carlo_pi": SmallRun((), "from 2,000,000 points", {"pi.py": ("1_000_000_000", "2_000_000")}),
    "random_search": SmallRun(("--draws", "8"), "8 values of C, 8 different"),
}
ELSEWHERE = {"climatology", "digits_search", "satellite_ddp", "timeseries"}  # in a module of their own


def test_every_program_is_run() -> None:
    assert {path.parent.name for path in (REPOSITORY / "slurm").glob("*/job.*")} == {*PROGRAMS, *ELSEWHERE}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program(slurm: SlurmBed, tmp_path: Path, name: str) -> None:
    run, submit = PROGRAMS[name], Submit(slurm, tmp_path)
    ignored = shutil.ignore_patterns("checkpoint", "__pycache__", "results", "scaling-*", "*.csv", "*.png")
    scripts = {}
    for file in ("job.sbatch", "job.pbs"):
        here = submit.folder / file.partition(".")[2]
        shutil.copytree(REPOSITORY / "slurm" / name, here, ignore=ignored)
        for source, (long, short) in run.edits.items():
            text = (here / source).read_text()
            assert long in text
            (here / source).write_text(text.replace(long, short))
        scripts[file] = placed(here / file, *run.args)
    one = scripts["job.pbs"].read_text().replace("ppn=4", "ppn=1")  # both jobs have a CPU of the same nodes
    scripts["job.pbs"].write_text(one)
    by_slurm = slurm.sbatch(
        scripts["job.sbatch"], *TWO, "--cpus-per-task=1", *OUTPUTS[2:], cwd=scripts["job.sbatch"].parent
    )
    by_pbs = submit.pbs_site.qsub(scripts["job.pbs"])
    for job, log in ((str(by_slurm), f"sbatch/log-{by_slurm}.txt"), (by_pbs, f"pbs/log-{by_pbs}.txt")):
        fields = slurm.wait(int(job.partition(".")[0]), 120)
        text = (submit.folder / log).read_text()
        assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), text
        assert run.printed in text
        assert [line for line in messages(text) if "run 1 of job" not in line] == [], text
        (worker,) = [line.split() for line in text.splitlines() if line.startswith("  worker ")]
        assert worker[1:3] == ["2-3", "node1,node2"], text
