"""A job that loses a node goes on without it, where that was asked for."""

from __future__ import annotations

import os
import re
import shlex
import sys
import textwrap
from pathlib import Path

import pytest
from bed import SlurmBed

pytestmark = pytest.mark.slurm

SEARCH = """
    import json, time
    import numpy
    from sklearn.base import BaseEstimator
    from sklearn.model_selection import GridSearchCV
    import daskhpc

    class Slow(BaseEstimator):
        def __init__(self, number=0):
            self.number = number

        def fit(self, X, y):
            time.sleep(0.3)
            self.mean_ = float(X.mean()) * self.number
            return self

        def score(self, X, y):
            return self.mean_ + float(y.sum())

    X = numpy.random.default_rng(0).standard_normal((200, 3))
    y = X[:, 0]
    search = dict(param_grid={{"number": list(range({candidates}))}}, cv=5, refit=False)
    with daskhpc.start(nthreads=2) as client:
        print("started", flush=True)
        found = daskhpc.GridSearchCV(Slow(), **search).fit(X, y).cv_results_
        print("workers left", len(client.nthreads()), flush=True)
    time.sleep = lambda seconds: None
    expected = GridSearchCV(Slow(), **search).fit(X, y).cv_results_
    names = [name for name in expected if "time" not in name and name != "params"]
    print("equal", all(numpy.array_equal(found[name], expected[name]) for name in names), flush=True)
"""


# A silent node takes a minute longer; with ENDINGS=all.
LOSSES = [("stop", 40), ("unplug", 60)][: 2 if os.environ.get("ENDINGS") == "all" else 1]


@pytest.mark.parametrize(("loss", "candidates"), LOSSES)
def test_a_lost_node_costs_its_workers_and_not_the_job(
    slurm: SlurmBed, tmp_path: Path, loss: str, candidates: int
) -> None:
    """Node 3 holds neither scheduler nor client nor batch shell; it is taken away when the search has begun."""
    (tmp_path / "search.py").write_text(textwrap.dedent(SEARCH.format(candidates=candidates)))
    script = tmp_path / "job.sh"
    python = shlex.quote(sys.executable)
    script.write_text(f"#!/bin/bash\n{python} -m daskhpc run --bootstrap=slurm search.py\necho exit $?\n")
    options = ("--nodes=3", "--nodelist=node1,node2,node3", "--cpus-per-task=2", "--mem=2G", "--no-kill")
    job = slurm.sbatch(script, *options, "--output=job.out", "--error=job.err", cwd=tmp_path)
    out, err = tmp_path / "job.out", tmp_path / "job.err"
    try:
        slurm.until(lambda: out.exists() and "started" in out.read_text(), 120, "the search to begin")
        getattr(slurm, loss)("node3")
        slurm.until(lambda: slurm.states()["node3"].startswith("down"), 60, "Slurm to see that the node is down")
        slurm.until(lambda: "exit" in out.read_text(), 120, "the program to end")
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{out.read_text()}\n{err.read_text()}") from None
    lines = out.read_text().splitlines()
    assert lines[:4] == ["started", "workers left 2", "equal True", "exit 0"], err.read_text()
    said = [line for line in err.read_text().splitlines() if re.match("daskhpc: rank", line)]
    (line,) = said
    assert line.startswith("daskhpc: rank 2 on node3 "), err.read_text()
    slurm.wait(job, 60)
    slurm.until(lambda: all(p.node == "node3" for p in slurm.processes(job)), 15, "the end of the job's processes")
