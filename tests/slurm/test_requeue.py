"""A search that needs three times its time limit: one job that Slurm runs again and again until the search is done."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from bed import SlurmBed
from journal.kills import exactly
from placed import by_hand, placed
from test_jobs import PYTHON, SRUN

pytestmark = pytest.mark.slurm

SCRIPT = Path(__file__).parents[2] / "slurm/digits_search/job.sbatch"
CANDIDATES, FOLDS = 10, 5
# What the job script runs. Each fit takes its time, and is written down when it is over.
PROGRAM = """\
import os
import pickle
import time

import numpy as np
from distributed import Client
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB

import daskhpc
from daskhpc.runtime.commands import with_end_time


class Slow(GaussianNB):
    def fit(self, X, y):
        super().fit(X, y)
        time.sleep({seconds})
        log = os.open("fits", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{{self.var_smoothing}} {{X.sum()}} {{y.sum()}}\\n".encode())
        os.close(log)
        return self


daskhpc.initialize()
with Client() as client:
    client.wait_for_workers(2, timeout=60)
    client.run(lambda: __import__("sklearn.model_selection"))
left = with_end_time(daskhpc.discover()).end_time.value - time.time()
daskhpc.start(time_margin={margin})
print("a run begins", flush=True)
grid = {{"var_smoothing": np.logspace(-6, 1, {candidates})}}
search = daskhpc.GridSearchCV(Slow(), grid, cv={folds}, refit=False, checkpoint="checkpoint")
search.fit(*load_iris(return_X_y=True))
with open("results", "wb") as file:
    pickle.dump(search.cv_results_, file)
"""


class Lives(NamedTuple):
    """How long the job lives at a time.

    Attributes
    ----------
    margin : str
        Of a time limit of one minute, the shortest that there is, what is not for work.
    fit_seconds : float
        A third of what is: 8 threads so make 16 or 24 of the 50 fits.
    timeout : float
    """

    margin: str
    fit_seconds: float
    timeout: float


SHORT, FULL = Lives("left - 15", 4.7, 900), Lives("15", 14.0, 900)


@pytest.fixture
def job(slurm: SlurmBed, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[dict[str, str], Path]:
    """The job of these lives, ended, and its folder."""
    lives: Lives = request.param
    folder = tmp_path / "it's a $(folder)"
    folder.mkdir()
    shutil.copy(SCRIPT, folder)
    text = PROGRAM.format(margin=lives.margin, seconds=lives.fit_seconds, candidates=CANDIDATES, folds=FOLDS)
    (folder / "search.py").write_text(text)
    # Each run has a margin of its own, which start() of a program under `daskhpc run` does not take.
    line = f"env -u SLURM_NTASKS_PER_NODE {SRUN} --ntasks=4 --mpi=pmi2 --kill-on-bad-exit=1 {PYTHON} search.py"
    by_hand(placed(folder / SCRIPT.name), line)
    options = ("--time=1", "--nodelist=node1,node2", "--output=job.out", "--error=job.err")
    number = slurm.sbatch(folder / SCRIPT.name, *options, cwd=folder)
    fields = slurm.wait(number, lives.timeout)
    assert slurm.left_of(number) == []
    return fields, folder


def undisturbed() -> dict[str, object]:
    """What scikit-learn's own search finds."""
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import GaussianNB

    grid = {"var_smoothing": np.logspace(-6, 1, CANDIDATES)}
    search = GridSearchCV(GaussianNB(), grid, cv=FOLDS, refit=False).fit(*load_iris(return_X_y=True))
    return without_times(search.cv_results_)


def without_times(results: dict[str, object]) -> dict[str, object]:
    return {name: exactly(value) for name, value in results.items() if not name.endswith("_time")}


LIVES = [SHORT, FULL] if os.environ.get("ENDINGS") == "all" else [SHORT]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("job", LIVES, ids=["short", "minutes"][: len(LIVES)], indirect=True)
def test_a_search_of_three_time_limits_finishes_under_one_job_id(job: tuple[dict[str, str], Path]) -> None:
    fields, folder = job
    out, err = (Path(fields[name]).read_text() for name in ("StdOut", "StdErr"))
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), err
    restarts = int(fields["Restarts"])
    assert restarts >= 2
    fits = Counter((folder / "fits").read_text().splitlines())
    assert (len(fits), set(fits.values())) == (CANDIDATES * FOLDS, {1}), "each fit is computed once"
    assert out.count("a run begins\n") == restarts + 1, "logs are appended"
    assert len(re.findall(r"The time limit is near .* exit code 75", err)) == restarts
    marks = [line.split() for line in (folder / "marks").read_text().splitlines()]
    assert [words[4] for words in marks if words[2] == "ended"] == ["75"] * restarts + ["0"]
    saved = [int(count) for count in re.findall(r"this run saved (\d+) results in", err)]
    assert len(saved) == restarts
    assert min(saved) > 0
    assert without_times(pickle.loads((folder / "results").read_bytes())) == undisturbed()
