"""joblib's own installed tests of Parallel, with daskhpc's backend where they name or expect joblib's processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import joblib
import pytest
from sklearn.utils.fixes import parse_version
from suite_process import run_suite

LEAST = 200
KNOWN = parse_version(joblib.__version__) >= parse_version("1.6")
"""Whether the tables are of this joblib: an older one lacks some of the tests."""

# The tests compare what a name stands for in joblib with the type of the backend: here both are the class.
HEAD = """\
import daskhpc
from daskhpc.parallel.backend import DaskhpcBackend
from joblib.parallel import register_parallel_backend
DaskhpcBackend.default_n_jobs = 1  # as under `daskhpc run`, where it is joblib's default
register_parallel_backend("daskhpc", DaskhpcBackend, make_default=True)
"""

# Pattern -> what takes its place.
SWAPS = {
    r"\A": HEAD,
    r"""(?m)^    PROCESS_BACKENDS = \[.+\]$""": '    PROCESS_BACKENDS = ["daskhpc"]',
    r"""['"]loky['"]""": '"daskhpc"',
    r"(?m)\bis LokyBackend$": "is DaskhpcBackend",
    # Programs that tests run on their own; there is no cluster for them.
    r"(?m)^from joblib import Parallel\b": "import daskhpc\nfrom joblib import Parallel",
    # Which object keeps the processes is each backend's own business.
    r"(?m)^( +)assert get_workers\(.*$": r"\1pass",
    # Calls inside calls run in the threads of a worker that are free, counted by a subclass.
    r"(_active_backend_type\(\)) == (ThreadingBackend)(?=\n    # Assert that the nested)": r"issubclass(\1, \2)",
    # Arrays lie in shared memory and are read-only, but are no np.memmap, as there is no file.
    r"not isinstance\(a, np\.memmap\)": "a.flags.writeable or a.flags.owndata",
    # loky's executor serves one call at a time; here several may run.
    r'\("daskhpc", True\)': '("daskhpc", False)',
    # A call that heeds no interrupt ends with its worker process, and then the next one starts.
    r"(?m)^    assert time\.time\(\) - t_start < 5$": "    assert time.time() - t_start < 20",
    # Limits of programs of their own, whose start counts too.
    r"\btimeout=1[05]\b": "timeout=100",
    r"dump_traceback_later\(30,": "dump_traceback_later(100,",
}

# Tests that do not apply, by their names or how these begin: each must exist and must not pass with all its parameters.
EXCLUDED = {
    "test_nested_parallel_warnings[daskhpc-multiprocessing-True]": "joblib words its warning otherwise in Dask workers",
    "test_nested_parallel_warnings[threading-daskhpc-True]": "in threads the cluster is there too: nothing to warn of",
    "test_backend_context_manager": "expects n_jobs=3 where the cluster has two threads",
    "test_memmapping_leaks": "looks for files in temp_folder, where there are none",
    "test_backend_batch_statistics_reset": "reads the counters of joblib's own batching",
    "test_nested_parallelism_limit": "expects threads within calls, where each worker has one",
    "test_threadpool_limitation_in_child_override": "changes this process's environment after the workers began",
    "test_initializer_": "initializer= is of joblib's own processes, which start with a Parallel; workers run before",
}


def swapped() -> str:
    """joblib's tests as they run here."""
    text = Path(joblib.__file__).parent.joinpath("test", "test_parallel.py").read_text()
    for pattern, replacement in SWAPS.items():
        text, count = re.subn(pattern, replacement, text)
        assert count or not KNOWN, f"joblib's tests have nothing like {pattern}"
    return text


def excluded(test: str) -> bool:
    return any(test.startswith(name) for name in EXCLUDED)


@pytest.mark.timeout(2100)
def test_the_tests_of_joblib(tmp_path: Path) -> None:
    (tmp_path / "test_swapped.py").write_text(swapped())
    outcomes = tmp_path / "outcomes.json"
    arguments = ["-p", "joblib_plugin", "--timeout=300", "test_swapped.py"]
    ended = run_suite(tmp_path, arguments, {"JOBLIB_OUTCOMES": str(outcomes)})
    assert outcomes.exists(), ended.said
    tests: dict[str, str] = json.loads(outcomes.read_text())
    failed = [test for test, outcome in tests.items() if outcome == "failed" and not excluded(test)]
    assert not failed, f"{failed}\n{ended.said}"
    passed = [test for test, outcome in tests.items() if outcome == "passed"]
    assert len(passed) >= LEAST or not KNOWN, ended.said
    for name in EXCLUDED if KNOWN else ():
        still = [test for test in tests if test.startswith(name) and tests[test] == "failed"]
        assert still, f"{name} is excluded, but joblib has no such test or it passes"
