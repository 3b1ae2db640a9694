"""Programs that set up a world of their own print the same under plain python, daskhpc run, mpiexec and srun.

The working directory, the environment and the path that calls of joblib see on the workers are tests of the backend.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import worlds
from bed import SlurmBed
from ranks import Ranks
from worlds import WORLDS

pytestmark = pytest.mark.mpi

PROGRAM = Path(worlds.__file__)
# Each of these takes a start of its own.
REALLY = ("arguments", "relative-import", "exception-chain", "standard-input", "logging-default")


class Printed(NamedTuple):
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


def comparable(text: str, folder: Path) -> str:
    """Without the folder, addresses, and the two frames of ``python -m`` itself."""
    text = re.sub(r'(  \|)?   ?File "<frozen runpy>".*\n', "", text.replace(str(folder), "FOLDER"))
    return re.sub(r"(?<=repeated )\d+(?= more)", "N", re.sub(r"0x[0-9a-f]+", "0x", text))


def printed(code: int, out: str, err: str, folder: Path) -> Printed:
    return Printed(code, comparable(out, folder), comparable(err, folder))


def words(name: str) -> list[str]:
    world = WORLDS[name]
    return [*(["-m", world.module] if world.module else [world.name]), *world.args]


@pytest.fixture(scope="module")
def plainly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Printed]:
    """What every program prints under plain python."""
    folder = tmp_path_factory.mktemp("plain")
    worlds.lay_out(folder)

    def run(name: str) -> Printed:
        done = subprocess.run(
            [sys.executable, *words(name)],
            cwd=folder / name,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
        )
        return printed(done.returncode, done.stdout, done.stderr, folder)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(WORLDS, pool.map(run, WORLDS), strict=True))


def in_children(folder: Path) -> dict[str, Printed]:
    """What every program printed in a child of a client."""
    codes = json.loads((folder / "codes.json").read_text())
    return {
        name: printed(code, (folder / f"{name}.out").read_text(), (folder / f"{name}.err").read_text(), folder)
        for name, code in codes.items()
    }


def differences(found: dict[str, Printed], expected: dict[str, Printed]) -> dict[str, tuple[Printed, Printed]]:
    return {name: (found[name], expected[name]) for name in expected if found.get(name) != expected[name]}


def test_there_are_enough() -> None:
    assert len(WORLDS) >= 40


@pytest.mark.parametrize("mode", [{}, {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}], ids=["mpiexec", "local"])
def test_under_daskhpc_run(ranks: Ranks, plainly: dict[str, Printed], mode: dict[str, str]) -> None:
    folder = ranks.folder / "worlds"
    worlds.lay_out(folder)
    done = ranks.daskhpc("run", "-n", "1", str(PROGRAM), str(folder), timeout=400, **mode)
    assert (done.code, done.out) == (0, "all\n"), done.err
    assert differences(in_children(folder), plainly) == {}


def test_under_mpiexec(ranks: Ranks, plainly: dict[str, Printed]) -> None:
    folder = ranks.folder / "worlds"
    worlds.lay_out(folder)
    done = ranks.mpiexec(3, PROGRAM, str(folder), timeout=400)
    assert (done.code, done.out) == (0, "all\n"), done.err
    assert differences(in_children(folder), plainly) == {}


@pytest.mark.slurm
def test_under_srun(slurm: SlurmBed, tmp_path: Path, plainly: dict[str, Printed]) -> None:
    folder = tmp_path / "worlds"
    worlds.lay_out(folder)
    srun = "srun --overcommit --distribution=cyclic --cpus-per-task=4 --ntasks=3 --mpi=pmi2"
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\n{srun} {shlex.join([sys.executable, str(PROGRAM), str(folder)])}\n")
    options = ("--nodes=2", "--mem=2G", "--cpus-per-task=4", "--output=job.out", "--error=job.err")
    job = slurm.sbatch(script, *options, cwd=tmp_path)
    fields = slurm.wait(job, 400)
    assert fields["ExitCode"] == "0:0", (tmp_path / "job.err").read_text()
    assert differences(in_children(folder), plainly) == {}


@pytest.mark.parametrize("name", list(WORLDS) if os.environ.get("WORLDS") == "all" else REALLY)
def test_as_the_program_itself(ranks: Ranks, plainly: dict[str, Printed], name: str) -> None:
    """Not in a child; all of them with WORLDS=all."""
    folder = ranks.folder / "worlds"
    worlds.lay_out(folder)
    flags = ["-m"] if WORLDS[name].module else []
    target = [WORLDS[name].module or WORLDS[name].name, *WORLDS[name].args]
    argv = [sys.executable, "-P", "-m", "daskhpc", "run", "-n", "1", *flags, *target]
    done = ranks.run(["sh", "-c", 'cd "$0" && exec "$@"', str(folder / name), *argv])
    code, out, err = plainly[name]
    assert (done.code, comparable(done.out, folder)) == (code, out), done.err
    lines = [line for line in comparable(done.err, folder).splitlines() if not line.startswith(("daskhpc: 1 w", "  "))]
    assert lines == [line for line in err.splitlines() if not line.startswith("  ")]
