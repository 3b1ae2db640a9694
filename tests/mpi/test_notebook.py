"""daskhpc.start in a real notebook kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient


def test_the_table_is_html_and_the_client_works(tmp_path: Path) -> None:
    cells = [
        "import daskhpc\nclient = daskhpc.start(workers=2, nthreads=1)",
        "def double(x):\n    return 2 * x\n\nclient.submit(double, 21).result()",
        "client.shutdown()",
        "try:\n    daskhpc.start(interface='ib0')\nexcept daskhpc.errors.StartError as error:\n    print(error.found)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(
        notebook, timeout=200, startup_timeout=200, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    table, answer, _, refused = (cell.outputs for cell in notebook.cells)
    assert "<table>" in table[0].data["text/html"]
    assert "2 workers, 2 threads" in table[0].data["text/html"]
    assert answer[0].data["text/plain"] == "42"
    assert "lo" in refused[0].text
