"""daskhpc.initialize over real MPI ranks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROFILE = "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL"
TUTORIAL = """
    import os
    from daskhpc import initialize
    from distributed import Client

    def where(x):
        return os.getpid()

    initialize(interface="lo", nthreads=1)
    client = Client()
    client.wait_for_workers(2, timeout=100)
    print(sum(client.gather(client.map(lambda x: x ** 2, range(10)))))
    print(sorted(client.nthreads().values()), os.getpid() in client.run(where, 0).values())
"""


def test_the_tutorial_form_works_without_a_guard(flavored_ranks: Ranks) -> None:
    done = flavored_ranks.mpiexec(4, TUTORIAL)
    assert (done.code, done.out.splitlines()) == (0, ["285", "[1, 1] False"]), done.err
    assert done.err == ""


DASK_MPI_SHIM = """
    import dask_mpi, daskhpc
    dask_mpi.initialize = daskhpc.initialize
"""


def test_dask_mpis_own_suite_passes_with_daskhpc_in_its_place(ranks: Ranks) -> None:
    """``sitecustomize`` swaps the function in every rank that the suite starts."""
    shim = ranks.script(DASK_MPI_SHIM, "shim/sitecustomize.py")
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ranks.folder)]
    done = ranks.run([*suite, "--pyargs", "dask_mpi.tests.test_initialize"], 280, {"PYTHONPATH": str(shim.parent)})
    assert done.code == 0, done.out + done.err
    assert "3 passed" in done.out


def test_without_exit_every_rank_goes_on_after_the_close_signal(flavored_ranks: Ranks) -> None:
    done = flavored_ranks.mpiexec(
        4,
        """
        import os
        from distributed import Client
        from mpi4py.MPI import COMM_WORLD as world
        from daskhpc import initialize, send_close_signal

        if initialize(exit=False):
            print(Client().submit(lambda x: x + 1, 10).result(), flush=True)
            send_close_signal()
        os.write(1, f"ranks {world.allreduce(1)}{os.linesep}".encode())
        """,
    )
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == ["11", "ranks 4", "ranks 4", "ranks 4", "ranks 4"]


def test_after_the_close_signal_all_ranks_can_start_another_cluster(flavored_ranks: Ranks) -> None:
    """With a secret of its own; what the first one leaves ends nothing and says nothing."""
    done = flavored_ranks.mpiexec(
        4,
        """
        import dask
        from distributed import Client
        from daskhpc import initialize, send_close_signal
        from daskhpc.cluster.session import session

        for number in range(3):
            if initialize(exit=number == 2):
                client = Client()
                link = dask.config.get("distributed.dashboard.link")
                own = link.count("/") == 4 and session.member.secret in link
                print(client.submit(sum, [1, 2]).result(), own, flush=True)
                if number < 2:
                    client.close()
                    send_close_signal()
        """,
    )
    assert (done.code, done.out, done.messages) == (0, "3 True\n" * 3, []), done.err


def test_a_part_of_the_world_can_be_the_cluster(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        4,
        """
        from distributed import Client
        from mpi4py.MPI import COMM_WORLD as world
        from daskhpc import initialize, send_close_signal

        comm = world.Split(int(world.rank == 0))
        if world.rank > 0:
            if initialize(comm=comm, exit=False):
                print(world.rank, Client().submit(lambda x: x + 1, 10).result(), flush=True)
                send_close_signal()
        world.Barrier()
        """,
    )
    assert (done.code, done.out) == (0, "2 11\n"), done.err


def test_several_processes_per_rank_share_its_cpus_and_caps(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        4,
        """
        import os
        import numpy as np
        import daskhpc
        from daskhpc.cluster.session import session
        from daskhpc.compat.distributed import worker_infos
        from distributed import Client

        def blas():
            import numpy, threadpoolctl
            numpy.ones((2, 2)) @ numpy.ones((2, 2))
            return {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}, os.environ["OMP_NUM_THREADS"]

        daskhpc.initialize(processes=2, blas_threads=2, memory_limit="1 GB", worker_options={"nthreads": 3})
        client = Client()
        client.wait_for_workers(4, timeout=100)
        print(sorted(client.nthreads().values()))
        print(*client.run(blas).values())
        workers = worker_infos(client).values()
        print(sorted(w["name"] for w in workers), [w["memory_limit"] for w in workers])
        print({plan.nthreads.value for plan in session.member.plans if plan.role == "worker"})
        """,
        OMP_NUM_THREADS="",
    )
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "[3, 3, 3, 3]",
        " ".join(["({2}, '2')"] * 4),
        "['2-0', '2-1', '3-0', '3-1'] " + str([10**9] * 4),
        "{3}",
    ]


@pytest.mark.parametrize("launcher", ["mpiexec", "none"])
@pytest.mark.parametrize(("own", "found"), [({}, "500ms 100ms"), ({PROFILE: "20ms"}, "500ms 20ms")])
def test_dask_looks_less_often_at_busy_processes(ranks: Ranks, launcher: str, own: dict[str, str], found: str) -> None:
    """Unless its own settings were changed."""
    program = """
        import dask
        import daskhpc

        def intervals():
            names = "distributed.admin.tick.interval", "distributed.worker.profile.interval"
            return " ".join(dask.config.get(name) for name in names)

        client = daskhpc.start()
        print(*{intervals(), client.run_on_scheduler(intervals), *client.run(intervals).values()})
        """
    if launcher == "mpiexec":
        done = ranks.mpiexec(3, program, **own)
    else:
        done = ranks.run([sys.executable, str(ranks.script(program))], env=own)
    assert (done.code, done.out) == (0, f"{found}\n"), done.err


def test_the_clients_numpy_is_capped_though_it_was_imported_before(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        3,
        """
        import numpy as np, threadpoolctl
        threadpoolctl.threadpool_limits(7)
        import daskhpc
        daskhpc.initialize()
        granted = daskhpc.discover().grant.node_cpus.value
        print({pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {granted})
        """,
    )
    assert (done.code, done.out) == (0, "True\n"), done.err


def test_a_killed_worker_process_comes_back(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        3,
        """
        import os, signal, time
        import daskhpc
        client = daskhpc.start()
        before = client.submit(os.getpid, pure=False).result()
        os.kill(before, signal.SIGKILL)
        after = client.submit(os.getpid, pure=False).result(timeout=100)
        print(before != after)
        """,
    )
    assert (done.code, done.out) == (0, "True\n"), done.err


def test_a_plain_worker_runs_in_its_rank(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        3,
        """
        import multiprocessing, os
        import daskhpc
        from distributed import Client
        daskhpc.initialize(nanny=False, blas_threads=2)
        client = Client()
        print(client.submit(lambda: multiprocessing.parent_process() is None).result())
        print(client.submit(lambda: os.environ["OMP_NUM_THREADS"]).result())
        """,
    )
    assert (done.code, done.out) == (0, "True\n2\n"), done.err


def test_calls_after_the_first_find_the_cluster(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        3,
        """
        import daskhpc
        print(daskhpc.initialize(), daskhpc.initialize(nthreads=5))
        client = daskhpc.start(processes=3, worker_deadline=50)
        print(daskhpc.start(nodes=2) is client, "processes=1 " in repr(client))
        """,
    )
    assert (done.code, done.out) == (0, "True True\nTrue True\n"), done.err
    first, second, third = done.messages
    assert "nthreads=5" in first
    assert "DASK_DASKHPC__NTHREADS" in first
    assert "start(processes=3): the cluster already runs" in second
    assert third.endswith(
        "start(nodes=2): the cluster already runs and is used as it is; leave out nodes: they are for a login node."
    )


def test_the_time_limit_is_watched_without_start_too(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        3,
        """
        import daskhpc
        from distributed import Client
        from daskhpc.cluster import timelimit
        daskhpc.initialize(time_margin=300)
        print(timelimit._watch.limit.margin)
        client = Client()
        client.wait_for_workers(1)
        timelimit._drain_workers(5.0)
        print(*client.run(lambda dask_worker: dask_worker.status.name).values())
        daskhpc.start(time_margin=200)
        print(timelimit._watch.limit.margin)
        """,
        SLURM_JOB_ID="77",
        SLURM_JOB_END_TIME=str(int(time.time()) + 3600),
    )
    assert (done.code, done.out) == (0, "300.0\npaused\n200.0\n"), done.err


@pytest.mark.parametrize(("ending", "code"), [("sys.exit(3)", 3), ("raise ValueError('mine')", 1), ("", 0)])
def test_the_exit_code_is_the_programs_own(flavored_ranks: Ranks, ending: str, code: int) -> None:
    done = flavored_ranks.mpiexec(
        4,
        f"""
        import sys
        import daskhpc
        client = daskhpc.start()
        print(client.submit(lambda: 1).result(), flush=True)
        {ending}
        """,
    )
    assert (done.code, done.out) == (code, "1\n"), done.err
    assert done.err.count("Traceback") == (1 if "raise" in ending else 0)
    assert code == 1 or len(done.messages) == 0


def test_exit_handlers_of_the_program_still_have_the_cluster(ranks: Ranks) -> None:
    done = ranks.mpiexec(
        3,
        """
        import atexit
        import daskhpc
        client = daskhpc.start()
        atexit.register(lambda: print("at exit", client.submit(lambda: 5).result(), flush=True))
        """,
    )
    assert (done.code, done.out) == (0, "at exit 5\n"), done.err


FORKS = """
    import atexit, os, sys
    import daskhpc
    if __name__ == "__main__":
        client = daskhpc.start(nthreads=1)
        assert client.submit(abs, -3).result() == 3
        parent = os.getpid()
        atexit.register(lambda: print("at exit of", "parent" if os.getpid() == parent else "child", flush=True))
        child = os.fork()
        if child == 0:
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        print(sum(client.submit(abs, -number, pure=False).result() for number in range(20)), flush=True)
        sys.exit(3)
"""


def test_a_forked_process_ends_by_itself_and_nothing_else(flavored_ranks: Ranks) -> None:
    done = flavored_ranks.mpiexec(3, FORKS)
    assert (done.code, done.out.splitlines()[:3]) == (3, ["at exit of child", "5", "190"]), done.err
    assert set(done.out.splitlines()[3:]) == {"at exit of parent"}
    assert not done.messages


def test_without_ranks_a_forked_process_ends_by_itself_and_nothing_else(ranks: Ranks) -> None:
    done = ranks.run([sys.executable, str(ranks.script(FORKS))])
    assert (done.code, done.out.splitlines()) == (3, ["at exit of child", "5", "190", "at exit of parent"]), done.err
    assert not done.messages


def test_dask_mpis_arguments_are_daskhpcs(tmp_path: Path) -> None:
    """A drop-in: every parameter of dask_mpi.initialize, in its order."""
    program = (
        "import inspect, importlib, daskhpc; theirs = importlib.import_module('dask_mpi.initialize').initialize; "
        "a, b = (list(inspect.signature(f).parameters) for f in (theirs, daskhpc.initialize)); "
        "assert b[: len(a)] == a, (a, b)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)
