"""Which MPI library talks to which launcher, and how ranks agree on one message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from example_plans import runtime

from daskhpc.cluster import world as world_module
from daskhpc.cluster.world import World, agree, choose_bootstrap, joint_error, mismatch
from daskhpc.errors import DaskhpcError, SettingsError, StartError
from daskhpc.runtime import MPILibrary
from daskhpc.runtime.commands import offered_mpi_types

ALL = ("cray_shasta", "none", "pmi2", "pmix", "pmix_v4")
SLURM_23 = (
    "MPI plugin types are...\n\tcray_shasta\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4\n"
)


@pytest.mark.parametrize(
    ("library", "manager", "offered", "found", "todo"),
    [
        ("Open MPI", "pmi2", ALL, "launched with pmi2 process management", "srun --mpi=pmix"),
        ("MPICH", "pmix", ALL, "launched with pmix process management", "srun --mpi=pmi2"),
        ("MPICH", None, ALL, "launched with no process management", "srun --mpi=pmi2"),
        ("Cray MPICH", None, ALL, "launched with no process management", "srun --mpi=cray_shasta"),
        ("Intel MPI", "pmix", ALL, "launched with pmix process management", "srun --mpi=pmi2"),
        ("Open MPI", None, ("none", "pmi2"), "offers none, pmi2", "pip install mpich"),
        ("MPICH", None, (), "offers nothing", "pip install mpich"),
    ],
)
def test_the_message_under_srun(
    library: str, manager: str | None, offered: tuple[str, ...], found: str, todo: str
) -> None:
    error = mismatch(runtime(), MPILibrary(library, "9.8"), manager, offered)
    assert error.happened == (
        f"{library} does not talk to the launcher: each of the 4 ranks believes that it is 0 of 1."
    )
    assert error.found.startswith(f"{library} 9.8, ")
    assert found in error.found
    assert f"srun --mpi=list offers {', '.join(offered) or 'nothing'}" in error.found
    assert error.todo.startswith(todo)


@pytest.mark.parametrize("library", ["MPICH", "Open MPI"])
def test_the_message_under_mpiexec(library: str) -> None:
    error = mismatch(runtime(step=None, world_size=6), MPILibrary(library, "9.8"), "pmi1", ALL)
    assert "each of the 6 ranks" in error.happened
    assert "srun" not in f"{error.found} {error.todo}"
    assert error.todo == f"the mpiexec that belongs to {library}, or 'daskhpc run'"


@pytest.mark.parametrize(
    ("library", "manager", "changes", "setting", "way"),
    [
        ("MPICH", "pmi2", {}, "auto", "mpi"),
        ("MPICH", "pmix", {}, "auto", "slurm"),
        ("MPICH", None, {}, "auto", "slurm"),
        ("Open MPI", "pmix", {}, "auto", "mpi"),
        ("Open MPI", "pmi2", {}, "auto", "slurm"),
        ("Cray MPICH", None, {}, "auto", "mpi"),
        (None, "pmi2", {}, "auto", "slurm"),
        (None, None, {"step": None}, "auto", "mpi"),
        ("MPICH", "pmix", {"step": None}, "auto", "mpi"),
        ("MPICH", "pmix", {"world_size": 1}, "auto", "mpi"),
        ("MPICH", "pmix", {}, "mpi", "mpi"),
        ("MPICH", "pmi2", {}, "slurm", "slurm"),
    ],
)
def test_how_ranks_meet(
    library: str | None, manager: str | None, changes: dict[str, Any], setting: str, way: str
) -> None:
    known = MPILibrary(library, "9.8") if library else None
    assert choose_bootstrap(runtime(**changes), known, manager, setting) == way


@pytest.mark.parametrize(
    ("library", "rank", "speaks"), [("MPICH", 1, True), ("Open MPI", 1, False), ("Open MPI", 0, True)]
)
def test_rank_0_alone_speaks_of_a_neighbour_that_ended_if_library_and_mpiexec_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, library: str, rank: int, speaks: bool
) -> None:
    watch = Mock(side_effect=InterruptedError)
    monkeypatch.setattr(world_module, "StartWatchdog", watch)
    under_mpiexec = runtime(step=None, rank=rank)
    with pytest.raises(InterruptedError):
        world_module._join_mpi(under_mpiexec, {"PMI_RANK": str(rank)}, 60, None, MPILibrary(library, "9.8"), None)
    assert watch.call_args.kwargs["neighbours"] is speaks


def fake_srun(folder: Path, text: str, code: int = 0, stream: str = "") -> Path:
    """An srun that answers --mpi=list alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "srun"
    path.write_text(
        f"#!/bin/sh\n[ \"$*\" = --mpi=list ] || exit 9\n/bin/cat <<'END' {stream}\n{text}END\nexit {code}\n"
    )
    path.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("text", "code", "stream", "names"),
    [
        (SLURM_23, 0, "", ("cray_shasta", "none", "pmi2", "pmix", "pmix_v4")),
        ("srun: MPI types are...\nsrun: none\nsrun: pmi2\n", 0, ">&2", ("none", "pmi2")),
        (SLURM_23, 1, "", ()),
    ],
)
def test_srun_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, code: int, stream: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(fake_srun(tmp_path / "it's; echo no", text, code, stream)))
    assert offered_mpi_types() == names
    monkeypatch.setenv("PATH", str(tmp_path))
    assert offered_mpi_types() == ()


LAST_WORDS = """
import os, sys, tempfile
from daskhpc.cluster import watchdog_process, world
from daskhpc.runtime import MPILibrary, discover
with tempfile.TemporaryFile() as file:
    file.write(sys.argv[1].encode())
    file.flush()
    text = world.explain_abort(discover(), MPILibrary("MPICH", "5.0.2"), os.environ, doubt=True)
    watchdog_process.died({"stderr": str(file.fileno()), "rank": sys.argv[2], "died": text})
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_last_words_of_a_library_are_explained(tmp_path: Path, rank: str) -> None:
    said = "----\nAbort(1) on node 0\n  unsupported PMI version PMIx  \n - - -\n"
    step = {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS, said, rank],
        env={**os.environ, **step, "PMIX_RANK": rank, "PATH": str(fake_srun(tmp_path, SLURM_23))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    expected = [
        "daskhpc: MPICH did not start and ended the processes.",
        "  found: MPICH 5.0.2, launched with pmix process management; srun --mpi=list offers "
        "cray_shasta, none, pmi2, pmix, pmix_v4; it said: unsupported PMI version PMIx",
        "  try:   srun --mpi=pmi2",
    ]
    assert done.stderr.splitlines() == (expected if rank == "0" else [])
    assert (done.returncode, done.stdout) == (0, "")


def test_a_process_without_a_library_ends_quietly() -> None:
    """It may have met the other ranks without MPI, and has nothing to finalize."""
    code = "from daskhpc.cluster import world\ntry:\n    world._load()\nexcept world.StartError:\n    print('none')"
    env = {**os.environ, "MPI4PY_LIBMPI": "/nowhere/libmpi.so"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "none\n", "")


A = ("The interface is missing.", "lo, eth0", "another one")
B = ("A module is missing.", "dask_mpi", "pip install")


def failed(*ranks: tuple[int, tuple[str, str, str]]) -> list[tuple[int, str, tuple[str, str, str]]]:
    return [(rank, f"n{rank % 2}", args) for rank, args in ranks]


@pytest.mark.parametrize(
    ("troubles", "size", "error"),
    [
        pytest.param(failed((2, A)), 4, (A[0], "rank 2 on n0: lo, eth0", A[2]), id="one"),
        pytest.param(failed(*((r, A) for r in range(4))), 4, A, id="all-alike"),
        pytest.param(
            failed((1, A), (3, (A[0], "lo", A[2]))),
            4,
            (A[0], "rank 1 on n1: lo, eth0; rank 3 on n1: lo", A[2]),
            id="alike-with-other-findings",
        ),
        pytest.param(
            failed((0, A), (1, (A[0], "lo", A[2]))),
            2,
            (A[0], "rank 0 on n0: lo, eth0; rank 1 on n1: lo", A[2]),
            id="all-with-other-findings",
        ),
        pytest.param(
            failed(*((r, A) for r in range(2, 8))),
            8,
            (A[0], f"rank 2 on n0: {A[1]}; rank 3 on n1: {A[1]}; rank 4 on n0: {A[1]}; 3 more ranks alike", A[2]),
            id="many",
        ),
        pytest.param(
            failed((1, A), (2, B), (3, B)),
            4,
            (A[0], f"rank 1 on n1: {A[1]}; 2 ranks with another trouble", A[2]),
            id="two-troubles",
        ),
    ],
)
def test_one_error_for_all(
    troubles: list[tuple[int, str, tuple[str, str, str]]], size: int, error: tuple[str, str, str]
) -> None:
    joint = joint_error(troubles, size)
    assert type(joint) is StartError
    assert joint.args == error


class Told:
    """A communicator whose other ranks have already spoken."""

    def __init__(self, told: Sequence[Any], rank: int) -> None:
        self.told, self.rank = list(told), rank

    def allgather(self, mine: Any) -> list[Any]:
        return [*self.told[: self.rank], mine, *self.told[self.rank + 1 :]]


def world(problems: Sequence[DaskhpcError | None], rank: int) -> World:
    told = [({"host": f"n{i}"}, problem.args if problem else None) for i, problem in enumerate(problems)]
    return World(Told(told, rank), rank, len(problems))


def test_ranks_without_trouble_learn_every_report() -> None:
    reports = agree(world([None] * 3, 1), {"host": "n1", "plan": 7}, None)
    assert reports == [{"host": "n0"}, {"host": "n1", "plan": 7}, {"host": "n2"}]


def test_every_rank_raises_the_same_where_any_has_trouble() -> None:
    problems = [None, SettingsError(*A), StartError(*B), StartError(*B)]
    raised = []
    for rank, problem in enumerate(problems):
        with pytest.raises(StartError) as caught:
            agree(world(problems, rank), {"host": f"n{rank}"}, problem)
        raised.append(caught.value.args)
    assert raised == [(A[0], f"rank 1 on n1: {A[1]}; 2 ranks with another trouble", A[2])] * 4
