"""Notebooks in jobs on a real Slurm of three nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from bed import SlurmBed
from test_jobs import PYTHON, REPOSITORY, TWO, Submit

pytestmark = pytest.mark.slurm


@pytest.fixture
def submit(slurm: SlurmBed, tmp_path: Path) -> Submit:
    return Submit(slurm, tmp_path)


def notebook(submit: Submit, name: str) -> None:
    shutil.copy(REPOSITORY / "notebooks" / f"{name}.ipynb", submit.folder)


def test_a_notebook_runs_on_the_node_of_its_kernel(submit: Submit) -> None:
    """As Jupyter in a job does; its table says that the job has another node, and how to use it."""
    notebook(submit, "06-grid-search")
    line = f"{PYTHON} -m nbconvert --to notebook --execute --output done 06-grid-search.ipynb"
    job = submit.batch(line, *TWO, timeout=150)
    assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
    done, kept = code(submit.folder / "done.ipynb"), code(REPOSITORY / "notebooks/06-grid-search.ipynb")
    (table,) = [output.data["text/html"] for output in done[0].outputs if "data" in output]
    for there in ("4 threads, 1 node; job ", "SLURM_CPUS_PER_TASK", "1 of 2 nodes used"):
        assert there in table
    assert printed(done[3]).startswith("best: ")
    assert printed(done[3]) == printed(kept[3])


def code(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


def test_a_notebook_as_a_script_runs_on_all_nodes(submit: Submit) -> None:
    notebook(submit, "07-k-means")
    lines = f"{PYTHON} -m nbconvert --to python 07-k-means.ipynb\n{PYTHON} -m daskhpc run 07-k-means.py\n"
    job = submit.batch(lines, *TWO, timeout=150)
    assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
    assert job.rows["worker"][1:3] == ["2-3", "node1,node2"]
    assert job.out.splitlines()[0] == "k,inertia,silhouette"
    assert job.messages == []
