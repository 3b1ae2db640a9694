"""Ranks that cannot become a cluster: all of them end at once, one says why."""

from __future__ import annotations

import time

import pytest
from ranks import Done, Ranks

pytestmark = pytest.mark.mpi

SECONDS = 15
START_DEADLINE = 60  # a rank that waited in vain would wait so long
START = "import daskhpc\ndaskhpc.start()\nprint('not reached')"


def refused(done: Done, *words: str) -> None:
    """One message with all the words, no traceback, no success, in time."""
    assert done.code != 0
    assert done.seconds < START_DEADLINE, done.err
    assert "not reached" not in done.out
    assert "Traceback" not in done.err, done.err
    (message,) = done.messages
    text = done.err[done.err.index(message) :]
    for word in words:
        assert word in text, done.err


def test_a_wrong_interface_lists_those_that_exist(flavored_ranks: Ranks) -> None:
    done = flavored_ranks.mpiexec(4, "import daskhpc\ndaskhpc.initialize(interface='ib0')\nprint('not reached')")
    refused(done, "'ib0' does not exist", "lo")
    assert done.code == 70 or flavored_ranks.flavor.name == "Open"


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_ranks(flavored_ranks: Ranks, count: int) -> None:
    program = "import daskhpc\ndaskhpc.initialize()\nprint('not reached')"
    refused(flavored_ranks.mpiexec(count, program), "at least 3 MPI ranks", "daskhpc run")


def test_an_unknown_setting(ranks: Ranks) -> None:
    refused(ranks.mpiexec(4, START, DASK_DASKHPC__NTHREAD="2"), "no setting 'nthread'", "nthreads")


def test_an_argument_that_is_no_setting(ranks: Ranks) -> None:
    program = "import daskhpc\ndaskhpc.start(threads=1)\nprint('not reached')"
    refused(ranks.mpiexec(4, program), "no setting 'threads'", "nthreads")


def test_a_bad_value(ranks: Ranks) -> None:
    refused(ranks.mpiexec(4, START, DASK_DASKHPC__PROCESSES="many"), "processes does not take 'many'")


def test_several_processes_of_a_foreign_worker_class(ranks: Ranks) -> None:
    done = ranks.mpiexec(4, "import daskhpc\ndaskhpc.initialize(processes=2, worker_class='distributed.Nanny')")
    refused(done, "need daskhpc's own workers", "processes=2 (argument)")


def test_a_directory_that_cannot_be_written(ranks: Ranks) -> None:
    (ranks.folder / "file").touch()
    directory = str(ranks.folder / "file" / "scratch")
    refused(ranks.mpiexec(4, START, DASK_DASKHPC__LOCAL_DIRECTORY=directory), "cannot be written", directory)


def test_a_module_that_one_rank_lacks(ranks: Ranks) -> None:
    """Rank 2 finds a dask_mpi that cannot be imported; the others could start.

    It is a package: of a file beside the program a rank says that it hides the package.
    """
    ranks.script("raise ImportError('broken on this node')", "broken/dask_mpi/__init__.py")
    done = ranks.mpiexec(
        4,
        f"""
        import os, sys
        if os.environ["PMI_RANK"] == "2":
            sys.path.insert(0, {str(ranks.folder / "broken")!r})
        import daskhpc
        daskhpc.initialize()
        """,
    )
    refused(done, "module that the cluster needs is missing", "rank 2", "broken on this node")


def test_the_mpi_library_is_not_the_launchers(ranks: Ranks, openmpi: dict[str, str]) -> None:
    """mpiexec of MPICH starts ranks whose mpi4py loads Open MPI: each is 0 of 1."""
    done = ranks.mpiexec(4, START, MPI4PY_LIBMPI=openmpi["MPI4PY_LIBMPI"])
    refused(done, "Open MPI does not talk to the launcher", "4 ranks")


def test_no_mpi_library_at_all(ranks: Ranks) -> None:
    done = ranks.mpiexec(3, START, MPI4PY_LIBMPI="/nowhere/libmpi.so")
    refused(done, "MPI library could not be loaded", "pip install")


def test_a_rank_that_raises_before_initialize(flavored_ranks: Ranks) -> None:
    variable = {"MPICH": "PMI_RANK", "Open": "OMPI_COMM_WORLD_RANK"}[flavored_ranks.flavor.name]
    done = flavored_ranks.mpiexec(
        4,
        f"""
        import os
        if os.environ["{variable}"] == "2":
            raise RuntimeError("a bad node")
        import daskhpc
        daskhpc.start()
        print("not reached")
        """,
    )
    assert done.code != 0
    assert done.seconds < START_DEADLINE
    assert "not reached" not in done.out
    assert done.err.count("Traceback") == 1
    assert "a bad node" in done.err
    if flavored_ranks.flavor.name == "MPICH":  # Open MPI's mpiexec ends the others by itself
        (message,) = done.messages
        assert "ended before it called initialize()" in message


def test_a_rank_that_is_late_when_another_one_has_ended_speaks_all_the_same(ranks: Ranks) -> None:
    """Rank 0 would speak for all. The others see first that one is missing, and leave it some seconds."""
    done = ranks.mpiexec(
        4,
        """
        import os, time
        if os.environ["PMI_RANK"] == "2":
            os._exit(0)
        import daskhpc
        from daskhpc.cluster.start_watchdog import StartWatchdog
        start = StartWatchdog.start
        mark = "begun" + os.environ["PMI_RANK"]
        StartWatchdog.start = lambda self: (start(self), open(mark, "w").close())
        if os.environ["PMI_RANK"] == "0":
            while not (os.path.exists("begun1") and os.path.exists("begun3")):
                time.sleep(0.01)
            time.sleep(2)  # far from the eight seconds that they leave it
        daskhpc.start()
        print("not reached")
        """,
    )
    refused(done, "ended before it called initialize()")


def test_a_rank_that_never_arrives(ranks: Ranks) -> None:
    """MPI_Init of the others holds the GIL meanwhile; the deadline is kept all the same."""
    done = ranks.mpiexec(
        4,
        """
        import os, time
        rank = os.environ["PMI_RANK"]
        if rank == "2":
            time.sleep(1000)
        if rank == "0":  # it speaks for all, and each of the others waits two seconds longer, each from its own start
            from daskhpc.cluster.start_watchdog import StartWatchdog
            start = StartWatchdog.start
            StartWatchdog.start = lambda self: (start(self), open("begun", "w").close())
        while rank != "0" and not os.path.exists("begun"):
            time.sleep(0.01)
        if rank != "0":
            time.sleep(3)  # should the machine stand still at the deadline
        import daskhpc
        daskhpc.start()
        """,
        DASK_DASKHPC__START_DEADLINE="4",
    )
    refused(done, "not all ranks arrived within 4 s", "rank 0")
    assert done.seconds > 4


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_rank_that_is_killed_ends_the_job(ranks: Ranks, victim: int) -> None:
    began = time.time()
    done = ranks.mpiexec(
        4,
        f"""
        import os, signal, time
        import daskhpc
        with open("pid%s" % os.environ["PMI_RANK"], "w") as file:
            file.write(str(os.getpid()))
        client = daskhpc.start()
        with open("killed-at", "w") as file:
            file.write(str(time.time()))
        os.kill(int(open("pid{victim}").read()), signal.SIGKILL)
        time.sleep(1000)
        """,
    )
    assert done.code != 0
    assert began + done.seconds - float((ranks.folder / "killed-at").read_text()) < SECONDS
