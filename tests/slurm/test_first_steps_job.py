"""The page docs/first-steps/cluster.md as it is written, on a real Slurm of three nodes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from bed import SlurmBed
from test_submit import LoginNode

pytestmark = pytest.mark.slurm

PAGES = Path(__file__).parents[2] / "docs" / "first-steps"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)


def test_the_cluster_page_as_it_is_written(slurm: SlurmBed, tmp_path: Path) -> None:
    """The lines after ``$`` print what the page shows, and the page's own job script computes the same."""
    login = LoginNode(slurm, tmp_path)
    login.program(blocks("laptop.md", "python")[0])
    shown = [part.partition("\n") for part in re.split(r"(?m)^\$ ", blocks("cluster.md", "console")[0])[1:]]
    (submit, _, number), (jobs, _, _), (logs, _, log) = shown
    number = number.splitlines()[0]
    done = login.run(*submit.split()[1:])
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    assert re.search(
        r"^daskhpc: 2 whole nodes, at most 10 min; the log: daskhpc-jobs/search-.*/log-\d+.txt$", done.stderr, re.M
    )

    (script,) = blocks("cluster.md", "bash")
    # The reader's environment is not in ~/venv here.
    activate = f"PATH={Path(sys.executable).parent}:$PATH"
    assert "source ~/venv/bin/activate" in script
    (login.folder / "job.sbatch").write_text(script.replace("source ~/venv/bin/activate", activate))
    own = slurm.sbatch(login.folder / "job.sbatch", cwd=login.folder)

    assert login.run(*jobs.split()[1:]).stdout.startswith(f"{job}  search ")
    assert slurm.wait(int(job), 120)["ExitCode"] == "0:0"
    printed = login.run(*logs.replace(number, job).split()[1:]).stdout
    assert printed.splitlines()[-1] == log.splitlines()[-1]

    fields = slurm.wait(own, 120)
    text = Path(fields["StdOut"]).read_text()
    assert fields["ExitCode"] == "0:0", text
    assert Path(fields["StdOut"]).name == f"job.sbatch-{own}.out"
    assert text.splitlines()[-1] == log.splitlines()[-1]
    assert re.search(r"^  worker +2-3 +node1,node2 +1 +4 ", text, re.M), text
    assert list((login.folder / "results").glob("segments/*"))
