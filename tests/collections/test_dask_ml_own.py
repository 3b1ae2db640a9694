"""Dask-ML's own tests of ParallelPostFit and Incremental, with daskhpc's in their place.

Dask-ML's wheel has no tests, and they are not copied here. With a checkout's folder in DASK_ML_SOURCE this file has one
test; without it there is nothing to collect.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILES = ("test_parallel_post_fit.py", "test_incremental.py", "test_partial.py")
ONLY = "post_fit or incremental or test_fit_rechunking"  # the rest of test_partial.py is of a private function

SWAP = """\
import daskhpc
import dask_ml.wrappers

dask_ml.wrappers.ParallelPostFit = daskhpc.ParallelPostFit
dask_ml.wrappers.Incremental = daskhpc.Incremental

"""

# The estimator given to the constructor stays as it is, so that what was fitted is read from `estimator_`.
READ = ((r"\bclf\.estimator\.", "clf.estimator_."), (r"\bwrap\.estimator\b", "wrap.estimator_"))

EXCLUDED = {
    "test_parallel_post_fit.py::test_warning_on_dask_array_without_array_function": "the warning has other words",
    "test_parallel_post_fit.py::test_transform_meta_override": "the failure it expects does not come",
    "test_incremental.py::test_replace_scoring": "watches a call between two functions inside Dask-ML",
}

if "DASK_ML_SOURCE" in os.environ:

    @pytest.mark.timeout(900)
    def test_the_tests_of_dask_ml(tmp_path: Path) -> None:
        source = Path(os.environ["DASK_ML_SOURCE"], "tests")
        tests = tmp_path / "tests"
        tests.mkdir()
        (tests / "conftest.py").write_text(SWAP + (source / "conftest.py").read_text())
        for name in FILES:
            text = (source / name).read_text()
            for old, new in READ:
                text = re.sub(old, new, text)
            (tests / name).write_text(text)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider"),
                *("-q", "-rs", "--tb=short", "--timeout=120", "-p", "no:warnings", "-k", ONLY),
                *(f"--deselect=tests/{test}" for test in EXCLUDED),
                tests,
            ],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=880,
        )
        said = done.stdout[-20_000:] + done.stderr[-2_000:]
        print(said)
        assert done.returncode == 0, said
        assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 30, said
