"""The logs of real MPI ranks: complete where they were asked for, in memory elsewhere, and never on standard error."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROGRAM = """
    import sys
    from daskhpc import initialize
    from daskhpc.cluster.logs import save_logs
    from distributed import Client

    def save():
        return str(save_logs())

    initialize(interface="lo", nthreads=1, logs=sys.argv[1] if len(sys.argv) > 1 else None)
    client = Client()
    client.wait_for_workers(2, timeout=100)
    assert client.submit(sum, [1, 2]).result() == 3
    print(len({save(), client.run_on_scheduler(save), *client.run(save, nanny=True).values()}))
"""


def files(folder: Path) -> dict[str, str]:
    """The text of every log of the one run, by name."""
    (run,) = folder.iterdir()
    return {path.name: path.read_text() for path in run.iterdir()}


def test_with_logs_every_process_writes_a_file_and_nothing_more_is_printed(ranks: Ranks) -> None:
    done = ranks.mpiexec(4, ranks.script(PROGRAM), "logs")
    assert (done.code, done.out, done.err) == (0, "1\n", "")
    found = files(ranks.folder / "logs")
    workers = {f"rank-{rank}-worker-{rank}.log" for rank in (2, 3)}
    own = {"rank-0-scheduler.log", "rank-1-client.log", "rank-2-worker.log", "rank-3-worker.log"}
    assert set(found) == own | workers
    assert found["rank-0-scheduler.log"].count("INFO distributed.scheduler: Register worker") == 2
    assert "INFO daskhpc.cluster.logs: the log of process" in found["rank-1-client.log"]
    assert "INFO distributed.nanny: " in found["rank-2-worker.log"]
    assert all("INFO distributed.worker:       Start worker at:" in found[name] for name in workers)
    assert not (ranks.folder / ".daskhpc").exists()


def test_without_logs_every_rank_can_still_save_its_last_records(ranks: Ranks) -> None:
    done = ranks.mpiexec(4, ranks.script(PROGRAM))
    assert (done.code, done.out, done.err) == (0, "1\n", "")
    found = files(ranks.folder / ".daskhpc" / "logs")
    assert set(found) == {"rank-0-scheduler.log", "rank-1-client.log", "rank-2-worker.log", "rank-3-worker.log"}
    assert "INFO distributed.scheduler: Receive client connection" in found["rank-0-scheduler.log"]
    assert "INFO distributed.nanny: " in found["rank-3-worker.log"]


def test_ranks_that_cannot_write_their_logs_end_with_one_message(ranks: Ranks) -> None:
    ranks.script("in the way", "logs")
    done = ranks.mpiexec(3, ranks.script(PROGRAM), "logs")
    assert done.code == 70
    assert [line[:40] for line in done.messages] == ["daskhpc: The log cannot be written."]
