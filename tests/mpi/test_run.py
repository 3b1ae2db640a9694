"""``daskhpc run`` and ``daskhpc.start`` on this machine, with MPI and without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ranks import Done, Ranks, without_progress

pytestmark = pytest.mark.mpi

NO_MPI = {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}
MODES = [pytest.param({}, id="mpiexec"), pytest.param(NO_MPI, id="local")]


def plainly(ranks: Ranks, *argv: str) -> Done:
    return ranks.run([sys.executable, *argv])


ORDINARY = """
    import os, sys, atexit, __main__
    from sklearn.datasets import load_iris
    from sklearn.model_selection import cross_val_score
    from sklearn.linear_model import LogisticRegression

    class Mine:
        pass

    atexit.register(lambda: print("at exit", Mine.__module__))
    print(sys.argv, __name__, os.path.abspath(__file__), sys.path[0], os.getcwd())
    print(__main__.Mine is Mine, __spec__, __package__, __doc__)
    print(cross_val_score(LogisticRegression(max_iter=1000), *load_iris(return_X_y=True)))
    print("to stderr", file=sys.stderr)
    {ending}
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "sys.exit('a text')", "raise KeyError('x')"])
def test_an_unmodified_program_behaves_as_under_python(ranks: Ranks, mode: dict[str, str], ending: str) -> None:
    program = str(ranks.script(ORDINARY.format(ending=ending), "it's a folder/my program.py"))
    arguments = ["-n", "7", "--workers", "a b", "--", "-m", ""]
    plain = plainly(ranks, program, *arguments)
    done = ranks.daskhpc("run", "-n", "1", program, *arguments, **mode)
    assert (done.code, done.out) == (plain.code, plain.out), done.err
    assert plain.err.splitlines() == done.err.splitlines()[-len(plain.err.splitlines()) :]
    assert len(done.err.splitlines()) - len(plain.err.splitlines()) <= 10


SCIKIT_LEARN = """
    import os, sys
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier
    from sklearn.feature_selection import RFECV
    from sklearn.inspection import permutation_importance
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
    from sklearn.naive_bayes import GaussianNB

    PROCESSES = 2 if sys.argv[1:] else 1

    class Waiting(GaussianNB):
        # Until another process has come, too, however late.
        def fit(self, X, y):
            import glob, os, time
            self.pid_ = os.getpid()
            open(f"fits-{self.pid_}", "w").close()
            deadline = time.monotonic() + 60
            while len(glob.glob("fits-*")) < PROCESSES and time.monotonic() < deadline:
                time.sleep(0.01)
            return super().fit(X, y)

    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3, 1e-1]}, n_jobs=-1).fit(X, y)
    print(search.best_params_, search.cv_results_["mean_test_score"])
    forest = RandomForestClassifier(20, n_jobs=-1, random_state=0).fit(X, y)
    print(forest.score(X, y), forest.feature_importances_)
    print(cross_val_score(LogisticRegression(max_iter=1000), X, y, n_jobs=-1))
    print(RFECV(LogisticRegression(max_iter=1000), n_jobs=-1).fit(X, y).ranking_)
    print(permutation_importance(forest, X, y, n_jobs=-1, random_state=0).importances_mean)
    stack = StackingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=1000))], n_jobs=-1)
    print(stack.fit(X, y).predict_proba(X)[::50])
    estimators = cross_validate(Waiting(), X, y, cv=8, n_jobs=-1, return_estimator=True)["estimator"]
    pids = {estimator.pid_ for estimator in estimators}
    print(len(pids) if sys.argv[1:] else 2, os.getpid() in pids and bool(sys.argv[1:]))
"""


@pytest.mark.parametrize("mode", MODES)
def test_an_unmodified_scikit_learn_program_uses_all_workers(ranks: Ranks, mode: dict[str, str]) -> None:
    program = str(ranks.script(SCIKIT_LEARN))
    plain = plainly(ranks, program)
    done = ranks.daskhpc("run", "-n", "2", program, "on the cluster", **mode)
    assert (done.code, done.out) == (plain.code, plain.out), done.err
    assert len(without_progress(done.err)) <= 10, done.err


def test_a_module(ranks: Ranks) -> None:
    ranks.script("", "package/__init__.py")
    ranks.script("import sys; print(sys.argv, __name__, __package__, sys.path[0])", "package/tool.py")
    plain = plainly(ranks, "-m", "package.tool", "x")
    done = ranks.daskhpc("run", "-n", "1", "-m", "package.tool", "x")
    assert (done.code, done.out) == (plain.code, plain.out), done.err


@pytest.mark.parametrize("mode", MODES)
def test_workers_find_modules_beside_the_script_and_relative_paths(ranks: Ranks, mode: dict[str, str]) -> None:
    ranks.script("def read(name):\n    return open(name).read()", "code/beside.py")
    # In the middle of Dask, or in the child processes that make calls, they would end every process.
    for hidden in ("glob.py", "queue.py", "random.py", "secrets.py", "daskhpc.py", "dask/__init__.py"):
        ranks.script("raise ImportError('the wrong module')", f"code/{hidden}")
    ranks.script("here", "data.txt")
    program = ranks.script(
        """
        from distributed import get_client
        from joblib import Parallel, delayed
        import beside
        client = get_client()
        print(set(client.run(beside.read, "data.txt").values()), client.submit(beside.read, "data.txt").result())
        print(Parallel(n_jobs=2)(delayed(beside.read)("data.txt") for _ in range(2)))
        """,
        "code/program.py",
    )
    done = ranks.daskhpc("run", "-n", "2", str(program), **mode)
    assert (done.code, done.out) == (0, "{'here'} here\n['here', 'here']\n"), done.err
    (said,) = (message for message in done.messages if "beside the program" in message)
    assert said.endswith(": dask, daskhpc.py, glob.py, queue.py, random.py, secrets.py.")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "start",
    [
        "import daskhpc; daskhpc.initialize(); from distributed import Client; client = Client()",
        "import daskhpc; client = daskhpc.start()",
        "from dask_mpi import initialize; initialize(); from distributed import Client; client = Client()",
        "from distributed import Client; client = Client()",
        "from distributed import get_client; client = get_client()",
    ],
)
def test_a_program_with_a_cluster_of_its_own_uses_the_one_that_runs(
    ranks: Ranks, mode: dict[str, str], start: str
) -> None:
    program = ranks.script(
        f"""
        import os
        print("once")
        {start}
        print(len(client.ncores()), client.submit(os.getpid).result() != os.getpid())
        """
    )
    done = ranks.daskhpc("run", "-n", "2", str(program), **mode)
    assert (done.code, done.out) == (0, "once\n2 True\n"), done.err


DASK_ML = Path(__file__).parent / "dask_ml_tutorial.py"


def test_the_dask_ml_tutorial_runs_unmodified(ranks: Ranks) -> None:
    done = ranks.daskhpc("run", "-n", "2", str(DASK_ML), timeout=280)
    assert done.code == 0, done.err
    assert done.out.startswith("{'C': ")


def test_local_start_needs_no_guard_and_is_a_context_manager(ranks: Ranks) -> None:
    program = ranks.script(
        """
        import os
        import daskhpc
        print("once")
        with daskhpc.start(workers=2, nthreads=1) as client:
            print(sorted(client.nthreads().values()), daskhpc.start() is client)
            print(client.submit(os.getpid).result() != os.getpid())
        from distributed import Client
        print(len(Client().nthreads()), len(daskhpc.start().nthreads()))
        daskhpc.start().shutdown()
        print(len(daskhpc.start(workers=1).nthreads()))
        """
    )
    done = plainly(ranks, str(program))
    assert (done.code, done.out) == (0, "once\n[1, 1] True\nTrue\n2 2\n1\n"), done.err


def test_more_threads_of_blas_than_there_are_cpus_are_done_as_asked(ranks: Ranks) -> None:
    program = ranks.script(
        """
        import os
        os.environ.pop("OMP_NUM_THREADS", None)
        import daskhpc
        client = daskhpc.start(workers=1, nthreads=1, blas_threads=999, dashboard=False)
        print(*client.run(lambda: os.environ["OMP_NUM_THREADS"]).values())
        """
    )
    done = ranks.run([sys.executable, str(program)])
    assert (done.code, done.out) == (0, "999\n"), done.err


def test_one_mpi_rank_is_one_machine(ranks: Ranks) -> None:
    done = ranks.mpiexec(1, "import daskhpc\nprint(len(daskhpc.start(workers=2).nthreads()))")
    assert (done.code, done.out) == (0, "2\n"), done.err


def test_a_launch_inside_every_rank_is_a_rank(ranks: Ranks) -> None:
    program = ranks.script("from distributed import get_client\nprint(len(get_client().nthreads()))")
    argv = [ranks.flavor.mpiexec, "-n", "4", sys.executable, "-m", "daskhpc", "run", str(program)]
    done = ranks.run(argv)
    assert (done.code, done.out) == (0, "2\n"), done.err


def test_a_mistyped_program_is_refused_before_anything_starts(ranks: Ranks) -> None:
    done = ranks.daskhpc("run", "progam.py")
    assert done.code == 2
    assert "no such file" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupt_is_the_programs_to_answer(ranks: Ranks, mode: dict[str, str]) -> None:
    program = ranks.script(
        """
        import time
        try:
            print("up", flush=True)
            time.sleep(1000)
        finally:
            print("tidied", flush=True)
        """
    )
    argv = [sys.executable, "-m", "daskhpc", "run", "-n", "2", str(program)]
    done = ranks.run(argv, env=mode, interrupt_at="up")
    assert done.code == 130, done.err
    assert "tidied" in done.out.splitlines()
    assert done.err.count("Traceback") == 1
    assert not any("ended" in message or "failed" in message for message in done.messages)


@pytest.mark.parametrize("mode", MODES)
def test_standard_input_reaches_the_program(ranks: Ranks, mode: dict[str, str]) -> None:
    program = ranks.script("print(input(), list(iter(input, 'c')))")
    argv = [sys.executable, "-m", "daskhpc", "run", "-n", "1", str(program)]
    done = ranks.run(["bash", "-c", 'printf "a\\nb\\nc\\n" | "$@"', "bash", *argv], env=mode)
    assert (done.code, done.out) == (0, "a ['b']\n"), done.err
    done = ranks.run(argv, env=mode)
    assert done.code == 1
    assert "EOFError" in done.err


@pytest.mark.parametrize("mode", MODES)
def test_a_run_inside_a_run_is_refused(ranks: Ranks, mode: dict[str, str]) -> None:
    inner = ranks.script("print('not reached')", "inner.py")
    program = ranks.script(
        f"""
        import subprocess, sys
        print(subprocess.run([sys.executable, "-m", "daskhpc", "run", {str(inner)!r}]).returncode)
        """
    )
    done = ranks.daskhpc("run", "-n", "1", str(program), **mode)
    assert (done.code, done.out) == (0, "70\n"), done.err
    assert "called by a program that daskhpc runs" in done.err
