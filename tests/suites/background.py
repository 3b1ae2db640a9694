"""The tests of other packages, each suite in a process of its own, a few at a time: much of their time they wait."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

LIMIT = 500
AT_ONCE = 3


class Started(NamedTuple):
    """A suite: arguments of pytest, and what its environment has more, with the folder in which it runs."""

    arguments: list[str]
    env: dict[str, str]
    folder: Path


class Ended(NamedTuple):
    """What a suite answered."""

    code: int
    out: str
    said: str
    folder: Path


class Suites:
    """Runs suites, a few at a time, in the order in which they come; what still runs at the end is killed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._running: set[subprocess.Popen[str]] = set()

    def start(self, suite: Started) -> Future[Ended]:
        return self._pool.submit(self._run, suite)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            _kill(process)
        self._pool.shutdown()

    def _run(self, suite: Started) -> Ended:
        here = Path(__file__).parent
        paths = [suite.folder, here, here.parent, os.environ.get("PYTHONPATH")]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:warnings"),
                # Tracebacks that pytest writes itself need the syntax tree of each module, too deep for some here.
                *("-q", "--tb=native", *suite.arguments),
            ],
            cwd=suite.folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
                **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
                **suite.env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._running.add(process)
        try:
            out, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            _kill(process)
            out, errors = process.communicate()
        finally:
            self._running.discard(process)
        return Ended(process.returncode, out, out[-20_000:] + errors[-2_000:], suite.folder)


def _kill(process: subprocess.Popen[str]) -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
