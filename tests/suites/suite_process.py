"""The tests of other packages, each suite in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

LIMIT = 2000


class Ended(NamedTuple):
    """What a suite answered."""

    code: int
    out: str
    said: str


def run_suite(folder: Path, arguments: list[str], env: dict[str, str]) -> Ended:
    """Run pytest with these arguments in a folder, with an environment that has these variables more."""
    here = Path(__file__).parent
    paths = [folder, here, here.parent, os.environ.get("PYTHONPATH")]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:warnings"),
            # Tracebacks that pytest writes itself need the syntax tree of each module, too deep for some here.
            *("-q", "--tb=native", *arguments),
        ],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=LIMIT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
    return Ended(process.returncode, out, out[-20_000:] + errors[-2_000:])
