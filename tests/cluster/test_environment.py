"""What a rank sets in its own process."""

from __future__ import annotations

import os
import subprocess
import sys

import dask
import pytest

from daskhpc.cluster.bootstrap import tell_ignored
from daskhpc.cluster.http_door import other_preloads
from daskhpc.cluster.session import session

PROGRAM = """
import resource, sys
from daskhpc.cluster.environment import allow_open_files
said = allow_open_files(int(sys.argv[1]))
print(*resource.getrlimit(resource.RLIMIT_NOFILE), said)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "workers", "raised", "said"),
    [
        (256, 2000, 4, 2000, ""),
        (256, 600, 4, 600, ""),
        (600, 600, 4, 600, ""),
        (256, 600, 100, 600, "a process may have 600 files open, and 100 workers need about 800 in the scheduler; "),
    ],
    ids=["raised", "just enough", "as it was", "too few"],
)
def test_open_files(soft: int, hard: int, workers: int, raised: int, said: str) -> None:
    limited = f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"'
    command = ["bash", "-c", limited, "bash", sys.executable, "-c", PROGRAM, str(workers)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    assert printed.startswith(f"{raised} {hard} {said}")
    assert bool(said) == ("--nthreads" in printed)


SUBMITS = """
import os
from daskhpc.cluster.environment import cap_blas_threads
from daskhpc.launch.scheduler_commands import ask
cap_blas_threads(2)
os.environ["MKL_NUM_THREADS"] = "5"
cap_blas_threads(3)
print(os.environ["OMP_NUM_THREADS"], *sorted(n for n in ask(["env"]).out.split() if "_NUM_THREADS" in n or "OWN" in n))
"""


def test_a_job_that_the_program_submits_does_not_get_the_caps_of_this_machine() -> None:
    """sbatch hands on what it has; on the job's node they would look like the user's own."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", SUBMITS]
    printed = subprocess.run(command, env={**env, "BLIS_NUM_THREADS": "4"}, check=True, capture_output=True, text=True)
    assert printed.stdout.split() == ["2", "BLIS_NUM_THREADS=4", "MKL_NUM_THREADS=5"]


JOBLIBS_OWN = """
import os, sys
import daskhpc
from daskhpc.cluster.environment import cap_blas_threads
from joblib import Parallel, cpu_count, delayed
cap_blas_threads(cpu_count() + 5)
with Parallel(n_jobs=2, backend="loky") as parallel:
    print(cpu_count() // 2 or 1, *parallel([delayed(os.getenv)("OMP_NUM_THREADS")]))
"""


@pytest.mark.parametrize("by_user", ["", "3"])
def test_joblibs_own_processes_have_their_share_of_threads_or_what_the_user_says(by_user: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    env |= {"OMP_NUM_THREADS": by_user} if by_user else {}
    command = [sys.executable, "-c", JOBLIBS_OWN]
    share, threads = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
    assert threads == (by_user or share)


def test_a_preload_may_be_a_text_as_with_dask() -> None:
    for named in ("module", ["module"]):
        with dask.config.set({"distributed.worker.preload": named}):
            assert other_preloads("distributed.worker.preload") == ["module"]


@pytest.mark.parametrize(
    ("program_folder", "todo"),
    [("", "set DASK_DASKHPC__MEMORY_LIMIT=... before its start"), ("/home/ada", "give daskhpc run --memory-limit=...")],
)
def test_a_second_start_says_what_would_have_had_an_effect(
    program_folder: str, todo: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "program_folder", program_folder)
    tell_ignored("start", {"memory_limit": "2GB", "nthreads": None})
    said = f"daskhpc: start(memory_limit='2GB'): the cluster already runs and is used as it is; {todo}.\n"
    assert capsys.readouterr().err == said
    tell_ignored("start", {"nthreads": None})
    assert capsys.readouterr().err == ""


def test_a_job_that_the_program_submits_has_the_users_variables_and_not_daskhpcs() -> None:
    code = (
        "import os; from daskhpc.cluster.environment import _set_variables; _set_variables({'OMP_NUM_THREADS': '3'});"
        "from daskhpc.launch.inherited import for_scheduler; kept = for_scheduler(os.environ);"
        "print([kept.get(name) for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')])"
    )
    env = {**os.environ, "MKL_NUM_THREADS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout == "[None, '4']\n"
