"""Every cell of docs/reference/all-endings.md: a job ends when it should, as it should, and nothing of it is left.

All of them run where ENDINGS=all (``make test-endings``), else a few in which every pair of values occurs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from cells import LAUNCHERS, LONG, PMI, SECONDS, START_DEADLINE, Cell, can_limit_memory, cells, run, spread

EVERY = cells()
CRASH_IN_INIT = 14
SILENT = 60.0  # a node that is lost may fall silent, and srun waits for its tasks
IN_TLS = [
    f"{cause}, running, {LAUNCHERS[0]}"
    for cause in ("returns, client", "SIGKILL, scheduler", "SIGKILL, worker process")
]
CHOSEN = EVERY if os.environ.get("ENDINGS") == "all" else spread(EVERY)


@pytest.mark.parametrize("cell", CHOSEN, ids=str)
def test_a_job_ends_as_the_table_says(cell: Cell, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if cell.cause == "out of memory" and not can_limit_memory():
        pytest.skip("not run: no memory cgroup can be made here")
    if cell.launcher == LAUNCHERS[1]:
        request.getfixturevalue("openmpi")
    bed = request.getfixturevalue("slurm") if cell.launcher in PMI else None
    ended = run(cell, tmp_path, bed)
    if cell.launcher == "srun pmix" and ended.code == CRASH_IN_INIT and not ended.out:
        # Now and then Open MPI crashes in MPI_Init under the PMIx of Slurm 22.05, before the job of the cell has begun.
        again = tmp_path / "again"
        again.mkdir()
        ended = run(cell, again, bed)
    assert ended.code in cell.codes, ended
    # Never 0 while the work is not done.
    assert ended.code != 0 or cell.phase == "ending" or "found True" in ended.out, ended
    assert ended.seconds < limit(cell), ended
    assert not ended.left
    text = ended.out + ended.err
    if bed is not None and re.search(r"daskhpc: \d+ workers", text):  # on its three nodes, without a setting
        assert "connections encrypted (tls)" in text, ended
    quoted = re.findall(r"`([^`]*)`", cell.said)
    assert not quoted or any(words in text for words in quoted), ended


@pytest.mark.parametrize("cell", [each for each in EVERY if str(each) in IN_TLS], ids=str)
def test_encrypted_jobs_end_the_same_way(
    cell: Cell, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On several nodes all are encrypted; on one by choice. ``make test-tls`` runs every cell above so."""
    monkeypatch.setenv("DASK_DASKHPC__PROTOCOL", "tls")
    test_a_job_ends_as_the_table_says(cell, tmp_path, request)


def limit(cell: Cell) -> float:
    """Seconds from the cause to the end: under srun a rank that never comes may be alone on its node."""
    if cell.cause == "node lost":
        return SILENT
    return SECONDS + (START_DEADLINE if cell.phase == "starting" and cell.launcher in PMI else 0)


def test_the_table_is_whole() -> None:
    """Every value occurs, and enough of them together."""
    assert len(EVERY) == len(set(EVERY))
    assert len(EVERY) >= 150
    assert len(spread(EVERY)) >= 30
    assert {cell.launcher for cell in EVERY} == set(LAUNCHERS)
    assert {cell.phase for cell in EVERY} == {"starting", "running", "ending"}
    quick = [cell for cell in EVERY if cell.cause not in LONG]
    assert set().union(*(cell.pairs for cell in quick)) == set().union(*(cell.pairs for cell in spread(EVERY)))
