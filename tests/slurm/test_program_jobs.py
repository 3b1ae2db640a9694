"""The programs of slurm/ by the commands of their READMEs, at a small size, in one job on a real Slurm."""

from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest
from bed import SlurmBed
from test_jobs import PYTHON, REPOSITORY, TWO, Submit

pytestmark = pytest.mark.slurm

LINES = f"""
export PI_POINTS=2000000
run() {{ (cd "$1" && shift && {PYTHON} -m daskhpc "$@") || exit 1; }}
run random_search run search.py --draws 8
run digits_heatmap run heatmap.py --values 2
run kmeans_clusters run kmeans.py --most 3
run monte_carlo_pi run pi.py
run monte_carlo_pi scaling --processes 2 --nthreads 1 --counts 1,4 --repeats 1 --no-plain pi.py:estimate
"""


def test_the_programs(slurm: SlurmBed, tmp_path: object) -> None:
    submit = Submit(slurm, tmp_path)  # type: ignore[arg-type]
    ignored = shutil.ignore_patterns("checkpoint", "results", "scaling-*", "data", "*.csv", "tiles")
    shutil.copytree(REPOSITORY / "slurm", submit.folder, ignore=ignored, dirs_exist_ok=True)
    job = submit.batch(LINES, *TWO, timeout=250)
    assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
    assert job.messages == []
    assert len(re.findall(r"^  worker .* node1,node2 ", job.err, re.MULTILINE)) == 5
    for words in ("8 values of C, 8 different", "Best of 4: ", "Best number of clusters: ", "from 2,000,000 points"):
        assert words in job.out
    study = pd.read_csv(submit.folder / "monte_carlo_pi/scaling-estimate/scaling.csv")
    assert list(study.workers) == [1, 4]
    assert "strong scaling, the work stays the same; 1 repeat, 2 nodes" in job.out
