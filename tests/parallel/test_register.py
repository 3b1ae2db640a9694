"""The name "daskhpc" in joblib, whichever of the two is imported first."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

SECONDS = 120
KNOWN = """
assert "daskhpc" in joblib.parallel.BACKENDS
with joblib.parallel_config(backend="daskhpc"):
    backend, _ = joblib.parallel.get_active_backend()
    assert type(backend).__name__ == "DaskhpcBackend", backend
    assert joblib.Parallel(n_jobs=1)(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
assert type(joblib.parallel.get_active_backend()[0]).__name__ != "DaskhpcBackend"
"""
DEFAULT = """
def active(**options):
    return type(joblib.parallel.get_active_backend(**options)[0]).__name__

for options in ({}, {"prefer": "threads"}, {"prefer": "processes"}):
    assert active(**options) == "DaskhpcBackend", (options, active(**options))
assert active(require="sharedmem") == "ThreadingBackend"
with joblib.parallel_config(backend="loky"):
    assert active() == "LokyBackend"
assert active() == "DaskhpcBackend"
"""


def python(program: str, *options: str) -> str:
    """What a program prints in a new Python, where warnings are errors."""
    command = [sys.executable, "-W", "error", *options, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize(
    "imports",
    [
        "import daskhpc, joblib",
        "import joblib, daskhpc",
        "import daskhpc; from joblib import Parallel; import joblib",
        "import daskhpc; import joblib.parallel; import joblib",
        "import joblib.numpy_pickle; import daskhpc, joblib",
        "import daskhpc; import sklearn.utils.parallel; import joblib",
        "import daskhpc, importlib; importlib.import_module('joblib.parallel'); import joblib",
    ],
)
def test_joblib_knows_daskhpc(imports: str) -> None:
    python(imports + KNOWN)


def test_daskhpc_leaves_joblib_alone() -> None:
    found = python("""
        import sys, daskhpc
        print([name for name in ("joblib", "sklearn", "numpy", "distributed") if name in sys.modules])
    """)
    assert found.strip() == "[]"


def test_nothing_stays_in_the_way_of_imports() -> None:
    python("""
        import sys
        before = list(sys.meta_path)
        import daskhpc
        daskhpc._install(); daskhpc._install()
        assert len(sys.meta_path) == len(before) + 1
        import joblib
        assert sys.meta_path == before
    """)


def test_joblibs_module_is_what_it_was() -> None:
    python("""
        import daskhpc, joblib.parallel, inspect, importlib.util, pickle
        module = joblib.parallel
        assert module.__spec__.origin == module.__file__
        assert inspect.getsource(module.Parallel)
        assert importlib.util.find_spec("joblib.parallel") is module.__spec__
        assert module.__spec__.loader.get_source("joblib.parallel")
        assert module.__loader__.is_package("joblib.parallel") is False
    """)


def test_without_joblib() -> None:
    python("""
        import sys, daskhpc
        sys.modules["joblib"] = None
        try:
            import joblib.parallel
        except ImportError:
            pass
        else:
            raise AssertionError
    """)


@pytest.mark.parametrize(
    "imports",
    [
        "import daskhpc, joblib; daskhpc._install(default=True)",
        "import daskhpc; daskhpc._install(default=True); import joblib",
        "import joblib, daskhpc; daskhpc._install(default=True)",
        "import daskhpc; daskhpc._install(default=True); daskhpc._install(default=True); import joblib",
    ],
)
def test_as_the_default(imports: str) -> None:
    python(imports + DEFAULT)


def test_as_the_default_and_imported_once_more() -> None:
    """A program under `daskhpc run` imports daskhpc itself: the default stays."""
    python(
        """
        import daskhpc; daskhpc._install(default=True)
        import importlib; importlib.reload(daskhpc)
        import joblib
    """
        + textwrap.indent(DEFAULT, " " * 8)
    )


def test_many_threads_import_joblib_at_once() -> None:
    python("""
        import daskhpc, threading
        start, errors = threading.Barrier(8), []
        def work():
            start.wait(30)
            try:
                import joblib
                assert "daskhpc" in joblib.parallel.BACKENDS
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join(30)
        assert not errors, errors
    """)


def test_serial_where_nothing_was_said() -> None:
    python("""
        import daskhpc, os
        daskhpc._install(default=True)
        import joblib
        assert joblib.effective_n_jobs(None) == joblib.effective_n_jobs(1) == 1
        assert joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(3)) == [os.getpid()] * 3
    """)


def test_no_client_is_joblibs_own() -> None:
    python("""
        import daskhpc
        daskhpc._install(default=True)
        import joblib
        assert joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
        assert joblib.effective_n_jobs(2) == 2
        try:
            joblib.Parallel(n_jobs=0)(joblib.delayed(abs)(i) for i in range(3))
        except ValueError as error:
            assert "n_jobs == 0" in str(error)
        else:
            raise AssertionError
    """)


def test_other_threads_have_the_same_default() -> None:
    python("""
        import daskhpc, os, threading
        daskhpc._install(default=True)
        import joblib
        found = []
        def use():
            parallel = joblib.Parallel()
            found.append((parallel.n_jobs, parallel(joblib.delayed(os.getpid)() for _ in range(2))))
            found.append(type(joblib.Parallel(n_jobs=2)._backend).__name__)
        use()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(30)
        assert found == [(1, [os.getpid()] * 2), "DaskhpcBackend"] * 2, found
    """)
