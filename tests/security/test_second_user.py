"""A second user on the node of a run gets nothing: from no port and no socket, of no process, out of no file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flavors
import numpy as np
import pytest
from machine import unavailable
from ranks import Done, Ranks, without_progress
from strangers import PYTHON, Found, look
from waiting import until

DATA = np.arange(1000.0, 1100.0).tobytes()
"""A part of the data that the program computes with."""
SEARCH = """
    import json, os, sys, time
    import numpy as np
    from pathlib import Path

    def fit(data, number):
        return float(data[number]) + number

    {start}
    folder = Path(sys.argv[1])
    results, data = [], np.arange(300_000.0)
    while True:  # tasks of Dask and calls of joblib, before, while and after the stranger tries
        results.append(sum(client.gather(client.map(lambda i: i * i, range(200), pure=False))))
        {calls}
        if (folder / "tried").exists():
            break
        if not (folder / "ready").exists():
            (folder / "draft").write_text(json.dumps(client.dashboard_link))
            os.rename(folder / "draft", folder / "ready")
    print(set(results), sorted(client.run(os.getpid)) == sorted(client.ncores()))
"""
OURS = {
    "start": "import daskhpc, joblib; client = daskhpc.start(local_directory='scratch', protocol='tls')",
    "calls": "joblib.Parallel(backend='daskhpc')(joblib.delayed(fit)(data, i) for i in range(20))",
}
PLAIN = {"start": "import dask_mpi, distributed; dask_mpi.initialize(); client = distributed.Client()", "calls": "pass"}


@pytest.fixture
def open_ranks() -> Iterator[Ranks]:
    """Ranks in a folder that every user may look into, as many a home and many a scratch disk."""
    if os.geteuid() != 0:
        unavailable("only root can be a second user: run this test as root")
    if not shutil.which("setpriv") or not os.access(PYTHON, os.X_OK):
        unavailable(f"no setpriv or no {PYTHON}; on Debian: apt-get install util-linux python3")
    folder = Path(tempfile.mkdtemp(prefix="second-user-"))
    try:
        folder.chmod(0o755)
        with Ranks(flavors.mpich(), folder) as ranks:
            yield ranks
    finally:
        shutil.rmtree(folder)


def tried_while_it_runs(ranks: Ranks, program: dict[str, str]) -> tuple[Done, Found, str]:
    """Run a program and let a second user try everything meanwhile; also what the client had for a link."""
    script = ranks.script(SEARCH.format(**program))
    ready = ranks.folder / "ready"
    state = {"XDG_STATE_HOME": str(ranks.folder / "state"), "DASK_TEMPORARY_DIRECTORY": str(ranks.folder / "scratch")}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ranks.mpiexec, 4, script, str(ranks.folder), timeout=400, **state)
        until(lambda: ready.exists() or running.done(), 200)
        if running.done():
            raise AssertionError(running.result().err)
        try:
            found = look(ranks.processes(), [ranks.folder, Path("/dev/shm")])
        finally:
            (ranks.folder / "tried").touch()
        return running.result(), found, json.loads(ready.read_text())


def test_a_second_user_gets_nothing(open_ranks: Ranks) -> None:
    done, found, link = tried_while_it_runs(open_ranks, OURS)
    assert (done.code, done.out) == (0, "{2646700} True\n"), done.err  # nothing in the run changes
    told = [line for line in done.err.splitlines() if "could not show a key" in line or "TLS handshake failed" in line]
    assert told, "the user should know"
    assert len(without_progress(done.err)) - len(told) <= 10, done.err
    assert found.holes() == {}
    assert len(found.answers) > 10 * 15, "scheduler, client, Nannies, workers, HTTP servers, the control channel"
    assert {Path(path).name for path in found.processes} == {"cmdline", "comm"}  # as the kernel shows them to all
    assert [path for path in found.files if "to write to" in path and str(open_ranks.folder) in path] == []
    readable = {Path(path) for path in found.files if str(open_ranks.folder) in path}
    tests_own = {path for path in readable if path.suffix in (".py", ".stdout", ".stderr") or path.name == "ready"}
    assert readable == tests_own, "the log is one that all may read"
    everything, secret = found.everything(), link.split("/")[3].encode()
    assert len(secret) == 32
    assert (
        everything.count(secret) == found.files[str(open_ranks.folder / "ready")].count(secret) == 1
    )  # the test's own
    assert DATA not in everything
    assert b"PRIVATE KEY" not in everything


def test_the_same_second_user_finds_the_holes_of_dask_mpi(open_ranks: Ranks) -> None:
    done, found, _ = tried_while_it_runs(open_ranks, PLAIN)
    assert done.code == 0, done.err
    holes = found.holes()
    assert any(
        b"Scheduler" in answer and b"workers" in answer for name, answer in holes.items() if name.endswith(" rpc")
    )
    assert any(answer.startswith(b"HTTP/1.1 101 ") for name, answer in holes.items() if name.endswith(" events"))
    pages = {name.partition("GET ")[2] for name, answer in holes.items() if answer.startswith(b"HTTP/1.1 200 ")}
    assert len(pages & {"/status", "/info/main/workers.html", "/metrics", "/sitemap.json"}) > 1
