"""This process becomes a launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from recorder import HOSTILE, Recorder

BECOME = """
import atexit, json, os, sys
from daskhpc.errors import LaunchError
from daskhpc.launch import Command, replace_process
argv, env, unset = json.loads(sys.argv[1])
atexit.register(print, "an exit handler ran")
print("before", os.getpid())
print("before", file=sys.stderr)
try:
    replace_process(Command(tuple(argv), env, tuple(unset)), os.environ)
except LaunchError as error:
    print(error)
    sys.exit(70)
"""


def become(
    argv: Sequence[str | Path], env: Mapping[str, str] | None = None, unset: Sequence[str] = (), **outer: str
) -> subprocess.CompletedProcess[str]:
    orders = json.dumps([[str(word) for word in argv], dict(env or {}), list(unset)])
    return subprocess.run(
        [sys.executable, "-c", BECOME, orders],
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **outer},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_is_the_same_process_with_its_output_in_order(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, last="echo after $$; echo after >&2")
    done = become([recorder.path, *HOSTILE])
    assert recorder.argv == list(HOSTILE)
    before, after = (line.split() for line in done.stdout.splitlines())
    assert before == ["before", after[1]]
    assert after[0] == "after"
    assert (done.returncode, done.stderr) == (0, "before\nafter\n")


@pytest.mark.parametrize(("last", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", -15), ("kill -9 $$", -9)])
def test_its_end_is_this_processs_own(tmp_path: Path, last: str, code: int) -> None:
    assert become([Recorder(tmp_path, last=last).path]).returncode == code


def test_it_ignores_no_signal_that_a_shell_would_not(tmp_path: Path) -> None:
    """Python ignores SIGPIPE: mpiexec complained, with exit code 255, when ``daskhpc run ... | head`` had enough."""
    assert become([Recorder(tmp_path, last="kill -PIPE $$").path]).returncode == -signal.SIGPIPE


def test_the_path_is_searched(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "some-launcher", last="exit 5")
    done = become(["some-launcher", "x"], PATH=f"{recorder.folder}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, recorder.argv) == (5, ["x"])


DROPPED = [
    "PMI_RANK",
    "PMI_SIZE",
    "PMI_FD",
    "PMIX_RANK",
    "PMIX_NAMESPACE",
    "PMIX_SERVER_URI4",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_UNIVERSE_SIZE",
    "PRTE_LAUNCHED",
    "HYDI_CONTROL_FD",
    "HYDRA_CONTROL_FD",
    "MPI_LOCALRANKID",
    "MPI_LOCALNRANKS",
]
KEPT = [
    "OMPI_MCA_btl",
    "PRTE_MCA_rmaps_default_mapping_policy",
    "PMIX_MCA_gds",
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    "MPI4PY_LIBMPI",
    "MPIR_CVAR_CH4_NETMOD",
    "I_MPI_FABRICS",
    "FI_PROVIDER",
    "UCX_NET_DEVICES",
    "SLURM_JOB_ID",
    "SLURM_NTASKS",
    "PBS_NODEFILE",
    "DASK_DASKHPC__NTHREADS",
    "OMP_NUM_THREADS",
    "MY_PMI_RANK",
]


@pytest.mark.parametrize(
    ("name", "stays"),
    [(name, False) for name in DROPPED]
    + [(name, True) for name in KEPT]
    + [
        # a rank of MVAPICH2's launcher; read_ranks believes it before hydra's variables
        pytest.param("MV2_COMM_WORLD_RANK", False),
        # users' settings of hydra
        pytest.param("HYDRA_LAUNCHER", True),
        pytest.param("HYDRA_IFACE", True),
    ],
)
def test_what_the_launcher_of_this_process_told_it_is_not_passed_on(tmp_path: Path, name: str, stays: bool) -> None:
    recorder = Recorder(tmp_path)
    assert become([recorder.path], **{name: "a b"}).returncode == 0
    assert recorder.env.get(name) == ("a b" if stays else None)


def test_what_the_command_adds_and_loses(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    added = {"SRUN_CPUS_PER_TASK": "4", "SEEN": "new", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    done = become([recorder.path], added, ["SLURM_NTASKS_PER_NODE", "NEVER"], SEEN="old", SLURM_NTASKS_PER_NODE="1")
    assert done.returncode == 0
    assert {name: recorder.env[name] for name in added} == added
    assert "SLURM_NTASKS_PER_NODE" not in recorder.env


def test_a_missing_command(tmp_path: Path) -> None:
    missing = str(tmp_path / 'it\'s; echo "no"' / "mpiexec")
    done = become([missing])
    assert done.returncode == 70
    happened, found, todo = done.stdout.splitlines()[1:4]
    assert happened == f"Cannot start {missing}."
    assert found.startswith("  found: [Errno 2] No such file or directory")
    assert todo.startswith("  try:   daskhpc run --dry-run")
    assert "Traceback" not in done.stderr


def test_a_command_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    assert "Permission denied" in become([tmp_path / "text"]).stdout
    assert "Cannot start" in become([tmp_path]).stdout


def test_a_line_that_is_too_long(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    code = (
        "import os\nfrom daskhpc.launch import Command, replace_process\n"
        f"replace_process(Command(({str(recorder.path)!r}, 'x' * (1 << 22))), os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "LaunchError: Cannot start" in done.stderr
    assert "Argument list too long" in done.stderr
