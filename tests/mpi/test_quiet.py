"""What a run that goes well writes to standard error, beside dask-mpi's."""

from __future__ import annotations

import os
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROGRAM = """
    from {module} import initialize
    from distributed import Client

    initialize()
    with Client() as client:
        client.wait_for_workers(3, timeout=100)
        print(sum(client.gather(client.map(lambda number: number**2, range(100)))))
"""


def test_a_run_that_goes_well_writes_ten_lines_at_most(ranks: Ranks) -> None:
    ours, theirs, table = (
        ranks.mpiexec(5, program)
        for program in (
            PROGRAM.format(module="daskhpc"),
            PROGRAM.format(module="dask_mpi"),
            PROGRAM.format(module="daskhpc").replace("    with", "    import daskhpc\n    daskhpc.start()\n    with"),
        )
    )
    assert [done.out for done in (ours, theirs, table)] == ["328350\n"] * 3
    lines = [len(done.err.splitlines()) for done in (ours, theirs, table)]
    print("lines on standard error: initialize {}, dask-mpi {}, start {}".format(*lines))
    assert lines[0] == 0
    assert lines[2] <= 10


def test_an_encrypted_run_that_goes_well_is_as_quiet(ranks: Ranks) -> None:
    done = ranks.mpiexec(5, PROGRAM.format(module="daskhpc"), DASK_DASKHPC__PROTOCOL="tls")
    assert (done.code, done.out, done.err) == (0, "328350\n", "")


# Each ends while a message of the scheduler is under way to every worker.
BUSY = """
    import os, sys, threading, time
    from distributed import get_client

    def begin_and_wait():
        open(f"{os.getpid()}.begun", "w").close()
        time.sleep(60)

    def ask():
        client.run(begin_and_wait)  # raises as the cluster closes

    client = get_client()
    threading.Thread(target=ask, daemon=True).start()
    while sum(name.endswith(".begun") for name in os.listdir()) < 2:
        time.sleep(0.05)
    print("busy", flush=True)
"""
ENDS = {
    "raises": ('raise ValueError("the error of the program")', 1, "ValueError: the error of the program"),
    "returns": ('print("the last", file=sys.stderr)', 0, "the last"),
    "exits": ('sys.exit("the error of the program")', 1, "the error of the program"),
    "leaves": ('print("the last", file=sys.stderr, flush=True); os._exit(3)', 3, "the last"),
    "interrupted": ("time.sleep(60)", 130, "KeyboardInterrupt"),
}
TIMES = int(os.environ.get("ENDS", "1"))
MODES: dict[str, dict[str, str]] = {"mpiexec": {}, "local": {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}}
CASES = [(way, mode) for way in ENDS for mode in MODES if mode == "local" or way == "raises" or TIMES > 1]


@pytest.mark.timeout(120 * TIMES + 780)
@pytest.mark.parametrize(("way", "mode"), CASES)
def test_the_last_line_is_the_programs_own(ranks: Ranks, way: str, mode: str) -> None:
    """``ENDS=50`` ends it so often: standard error is the same each time."""
    line, code, last = ENDS[way]
    argv = [sys.executable, "-m", "daskhpc", "run", "-n", "2", str(ranks.script(textwrap.dedent(BUSY) + line))]
    printed = Counter[str]()
    for _ in range(TIMES):
        for begun in ranks.folder.glob("*.begun"):
            begun.unlink()
        done = ranks.run(argv, env=MODES[mode], interrupt_at="busy" if way == "interrupted" else "")
        assert done.code == code, done.err
        assert done.err.splitlines()[-1] == last
        printed[own_lines(done.err)] += 1
    assert len(printed) == 1, printed


SLOW_WORKER = """
import threading

def dask_setup(worker):
    print("a worker starts", flush=True)
    threading.Event().wait(60)
"""


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_while_workers_start(ranks: Ranks, mode: str, tmp_path: Path) -> None:
    """Nothing is said of the workers, and nothing of them stays."""
    argv = [sys.executable, "-m", "daskhpc", "run", "-n", "2", str(ranks.script("import daskhpc\ndaskhpc.start()"))]
    env = {"DASK_DISTRIBUTED__WORKER__PRELOAD": repr([SLOW_WORKER]), "TMPDIR": str(tmp_path)}
    done = ranks.run(argv, env={**env, **MODES[mode]}, interrupt_at="a worker starts")
    assert done.code == 130, done.err
    assert "distributed" not in done.err
    assert done.err.splitlines()[-1] == "KeyboardInterrupt"
    assert list(tmp_path.rglob("worker-*")) == []


IMPATIENT = """
    import os, signal
    import daskhpc
    from daskhpc.cluster import ending

    close_clients = ending.close_clients

    def impatiently():
        os.kill(os.getpid(), signal.SIGINT)
        close_clients()
        os.kill(os.getpid(), signal.SIGINT)
        print("pressed twice", flush=True)

    daskhpc.start()
    ending.close_clients = impatiently
"""


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_while_the_cluster_closes_changes_nothing(ranks: Ranks, mode: str) -> None:
    """An end that is interrupted would leave the other ranks to wait for this one."""
    argv = [sys.executable, "-m", "daskhpc", "run", "-n", "2", str(ranks.script(IMPATIENT))]
    done = ranks.run(argv, env=MODES[mode])
    assert (done.code, done.out[:14]) == (0, "pressed twice\n"), done.err
    assert "cluster/ending.py" not in done.err


def own_lines(err: str) -> str:
    """Without the table and the addresses, which differ from run to run."""
    return "\n".join(line for line in err.splitlines() if not line.startswith(("daskhpc: ", "  ")))
