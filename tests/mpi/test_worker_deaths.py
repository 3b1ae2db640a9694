"""Worker processes that die, that have died too often, that only seem dead, and that are not needed any more."""

from __future__ import annotations

import os
import sys
import time

import pytest
from ranks import Done, Ranks

pytestmark = pytest.mark.mpi

THRICE = """
    import os
    import daskhpc

    def fatal():
        with open("deaths", "a") as file:
            print("died", file=file)
        os._exit(1)

    client = daskhpc.start()
    kept = client.submit(sum, [1, 2, 3])
    fatal = client.submit(fatal, key="a fatal task")
    try:
        fatal.result(timeout=150)
    except Exception as error:
        print(type(error).__name__, "a fatal task" in str(error))
    print(len(open("deaths").readlines()), kept.result(timeout=150))
"""


@pytest.mark.parametrize("launcher", ["mpiexec", "none"])
def test_a_task_that_ended_its_worker_thrice_fails(ranks: Ranks, launcher: str) -> None:
    """And what other tasks had found is there again."""
    done = run(ranks, THRICE, launcher)
    assert (done.code, done.out) == (0, "KilledWorker True\n3 6\n"), done


OF_OS = """
    import os
    import daskhpc

    try:
        daskhpc.start().submit(os._exit, 1).result(timeout=150)
    except Exception as error:
        print(type(error).__name__, flush=True)
    os._exit(5)
"""


@pytest.mark.parametrize("launcher", ["mpiexec", "none"])
def test_a_task_may_be_the_exit_that_a_client_ends_in_order_by(ranks: Ranks, launcher: str) -> None:
    done = run(ranks, OF_OS, launcher)
    assert (done.code, done.out) == (5, "KilledWorker\n"), done


def run(ranks: Ranks, program: str, launcher: str, timeout: float = 250) -> Done:
    if launcher == "mpiexec":
        return ranks.mpiexec(4, program, timeout=timeout)
    return ranks.run([sys.executable, str(ranks.script(program))], timeout)


ALL = os.environ.get("ENDINGS") == "all"
SECONDS = 120 if ALL else 10
HOLDS = f"""
    import ctypes, os, time
    import daskhpc

    def hold():
        open(f"begun-{{os.getpid()}}", "w").close()
        ctypes.PyDLL(None).sleep({SECONDS})  # keeps the GIL, as a long call into C may
        return os.getpid()

    client = daskhpc.start()
    before = set(client.run(os.getpid).values())
    held = client.submit(hold)
    deadline = time.monotonic() + 100
    while not any(os.path.exists(f"begun-{{pid}}") for pid in before):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    busy = client.map(lambda number: number**2, range(100))
    hold()
    print(held.result(timeout=150) in before, sum(client.gather(busy)))
    print(set(client.run(os.getpid).values()) == before)
"""


@pytest.mark.timeout(SECONDS + 900)
@pytest.mark.parametrize("launcher", ["mpiexec", "none"] if ALL else ["mpiexec"])
def test_who_holds_the_gil_for_long_is_not_dead(ranks: Ranks, launcher: str) -> None:
    """A worker and the client at once."""
    done = run(ranks, HOLDS, launcher, timeout=SECONDS + 250)
    assert (done.code, done.out) == (0, "True 328350\nTrue\n"), done


SLOW = """
    import sys
    import time

    if any("multiprocessing.spawn" in word for word in sys.orig_argv):
        time.sleep(100)
"""
EARLY = """
    import os
    import sys
    import time

    import daskhpc

    daskhpc.initialize()
    with open("ends-at", "w") as file:
        file.write(str(time.time()))
    {ending}
"""


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [("os._exit(7)", 7, ""), ("sys.exit('no such file')", 1, "no such file\n")],
)
def test_a_program_ends_while_its_workers_start(ranks: Ranks, ending: str, code: int, said: str) -> None:
    """Their processes take a minute to import Dask, as from a slow file system, and nobody waits for that."""
    folder = ranks.script(SLOW, "slow/sitecustomize.py").parent
    began = time.time()
    done = ranks.mpiexec(4, EARLY.format(ending=ending), PYTHONPATH=str(folder))
    assert (done.code, done.out, done.err) == (code, "", said), done
    assert began + done.seconds - float((ranks.folder / "ends-at").read_text()) < 15, done
    assert not ranks.processes()
