"""What a run that goes well writes to standard error, beside dask-mpi's."""

from __future__ import annotations

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROGRAM = """
    from {module} import initialize
    from distributed import Client

    initialize()
    with Client() as client:
        client.wait_for_workers(3, timeout=30)
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
    assert lines[1] > lines[2]


RAISES = """
    import contextlib, os, threading, time
    from distributed import get_client

    def begin_and_wait():
        open(f"{os.getpid()}.begun", "w").close()
        time.sleep(60)

    def ask():
        with contextlib.suppress(BaseException):
            client.run(begin_and_wait)

    client = get_client()
    threading.Thread(target=ask, daemon=True).start()
    while sum(name.endswith(".begun") for name in os.listdir()) < 2:
        time.sleep(0.05)
    raise ValueError("the program's own")
"""


@pytest.mark.parametrize("mode", [{}, {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}], ids=["mpiexec", "local"])
def test_the_last_line_is_the_programs_own(ranks: Ranks, mode: dict[str, str]) -> None:
    """A message of the scheduler is under way to every worker when the program ends."""
    done = ranks.daskhpc("run", "-n", "2", str(ranks.script(RAISES)), **mode)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "ValueError: the program's own"
    assert "broadcast" not in done.err
