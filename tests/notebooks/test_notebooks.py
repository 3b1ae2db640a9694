"""The notebooks run from beginning to end in a fresh kernel, and what is kept of them is of a real run, and small."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS, BYTES = 250, 300_000
# Folders of the machine that made it, addresses in memory.
PRIVATE = re.compile(r"/(home|root|work|Users)/\w|/tmp/\w|\b0x[0-9a-f]{6,}")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> Iterator[Any]:
    for cell in code(notebook):
        yield from cell.outputs


def shown(cell: Any) -> list[object]:
    """The kinds of its result and pictures, and what it prints, numbers apart; progress shows where it takes long."""
    kinds = [
        tuple(sorted(output.data))
        for output in cell.outputs
        if output.output_type == "execute_result" or "image/png" in output.get("data", ())
    ]
    printed = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")
    return [kinds, re.sub(r"-?\d[\d.,e+-]*|\b[0-9a-f]{8,}\b", "#", printed).split()]


def test_there_are_eight() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}-" for number in range(1, 9)]


@pytest.mark.timeout(900)
@each_notebook
def test_it_runs_and_shows_what_is_kept(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    notebook = nbformat.read(tmp_path / path.name, 4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=SECONDS, startup_timeout=SECONDS, resources=resources).execute()
    kept = nbformat.read(path, 4)
    assert [shown(cell) for cell in code(notebook)] == [shown(cell) for cell in code(kept)]
    assert [left.name for left in tmp_path.iterdir()] == [path.name], "it leaves nothing behind"


@each_notebook
def test_what_is_kept_is_of_one_run_without_a_complaint(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    found = list(outputs(notebook))
    assert found
    assert not [output for output in found if output.output_type == "error" or output.get("name") == "stderr"]


@each_notebook
def test_it_is_small_and_tells_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text()
    notebook = nbformat.read(path, 4)
    assert len(text) < BYTES
    assert PRIVATE.findall(text) == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_it_starts_and_ends_a_cluster(path: Path) -> None:
    cells = [cell.source for cell in code(nbformat.read(path, 4))]
    assert cells[0].startswith("import daskhpc")
    assert "client = daskhpc.start()" in cells[0]
    assert any("client.shutdown()" in cell for cell in cells[1:])
