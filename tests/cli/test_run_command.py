"""``daskhpc run``: what it would start, where; with fakes for srun, mpiexec and the MPI library."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from place import MPI_LIST, Place

import daskhpc
from daskhpc.cli.run import run
from daskhpc.errors import EXIT_FAILED, LaunchError, ProgramError
from daskhpc.launch.program_file import check_module, check_program
from daskhpc.settings import Settings

HOSTILE = [
    "-n",
    "7",
    "--workers",
    "--dry-run",
    "--help",
    "--",
    "-m",
    "a b",
    "",
    "it's",
    "; echo no",
    "two\nlines",
    "$X",
]


class Plan(NamedTuple):
    """What --dry-run says: the launcher's words, and what each rank makes of the words after them."""

    launcher: list[str]
    script: str
    args: list[str]
    options: dict[str, Any]


def planned(place: Place, *arguments: str, **env: str) -> Plan:
    """The one line that --dry-run prints."""
    done = place.daskhpc("run", "--dry-run", *arguments, **env)
    assert done.code == 0, done.err
    assert done.err == ""
    return received(place, shlex.split(done.out))


def received(place: Place, words: list[str]) -> Plan:
    """Split a line at the Python of the ranks, and read the rest as ``daskhpc run`` there does."""
    python = words.index(str(place.python))
    command = words.index("run", python)
    assert words[command - 2 : command] == ["-m", "daskhpc"]
    options = run.make_context("run", words[command + 1 :]).params
    assert options.pop("as_rank") is True
    assert options.pop("dry_run") is False
    script, args = options.pop("script"), options.pop("args")
    workers = options.pop("workers")  # the launcher's words say them too
    assert workers is None or {str(workers), str(workers + 2), f"--ntasks={workers + 2}"} & set(words)
    return Plan(words[:python], script, list(args), {name: v for name, v in options.items() if v})


def launcher(place: Place, *arguments: str, **env: str) -> list[str]:
    """What would start the ranks."""
    return planned(place, *arguments, **env).launcher


def step(nodes: int, ntasks: int, cpus: int, mpi: str, *more: str) -> list[str]:
    """The words of a step up to the program."""
    return [
        *("env", "-u", "SLURM_NTASKS_PER_NODE", f"SRUN_CPUS_PER_TASK={cpus}"),
        *("srun", "--overcommit", "--distribution=cyclic", f"--nodes={nodes}", f"--ntasks={ntasks}"),
        *(f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1", f"--mpi={mpi}", *more),
    ]


@pytest.mark.parametrize(
    ("job", "options", "expected"),
    [
        pytest.param({}, [], step(2, 4, 8, "pmi2"), id="a-task-per-node"),
        pytest.param({"SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "2"}, [], step(2, 6, 2, "pmi2"), id="tasks-and-CPUs"),
        pytest.param({"SLURM_NTASKS": "4"}, [], step(2, 6, 4, "pmi2"), id="CPUs-of-a-node-over-its-tasks"),
        pytest.param({"SLURM_NTASKS": "3"}, [], step(2, 5, 4, "pmi2"), id="uneven-tasks"),
        pytest.param({}, ["-n", "4"], step(2, 6, 4, "pmi2"), id="more-workers-than-tasks"),
        pytest.param({}, ["--workers=1"], step(2, 3, 8, "pmi2"), id="fewer"),
        pytest.param({}, ["--mpi", "pmix_v4"], step(2, 4, 8, "pmix_v4"), id="mpi-as-asked"),
        pytest.param({"SLURM_NTASKS": "junk"}, [], step(2, 4, 8, "pmi2"), id="junk"),
        pytest.param(
            {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "2"},
            [],
            step(2, 4, 8, "pmi2", "--overlap"),
            id="inside-a-step",
        ),
    ],
)
def test_inside_an_allocation_of_slurm(
    place: Place, job: dict[str, str], options: list[str], expected: list[str]
) -> None:
    place.srun()
    place.slurm(2, **job)
    assert planned(place, *options, place.script(), "x") == Plan(expected, "a program.py", ["x"], {})


@pytest.mark.parametrize(
    ("library", "mpi"), [("MPICH", "pmi2"), ("Open MPI", "pmix"), ("Intel MPI", "pmi2"), ("Cray MPICH", "cray_shasta")]
)
def test_the_type_of_srun_fits_the_library(place: Place, library: str, mpi: str) -> None:
    place.srun()
    place.slurm(2)
    place.mpi4py(library)
    assert f"--mpi={mpi}" in launcher(place, place.script())


def test_the_ranks_may_meet_without_mpi(place: Place) -> None:
    place.srun()
    place.slurm(2)
    place.mpi4py("MPICH")
    place.env["DASK_DASKHPC__BOOTSTRAP"] = "slurm"
    assert "--mpi=none" in launcher(place, place.script())


def test_srun_offers_nothing_that_fits(place: Place) -> None:
    place.srun(MPI_LIST.replace("\tpmix\n", "").splitlines()[0] + "\n\tnone\n\tpmi2")
    place.slurm(2)
    place.mpi4py("Open MPI")
    assert "--mpi=none" in launcher(place, place.script()), "the ranks meet without MPI"
    place.env["DASK_DASKHPC__BOOTSTRAP"] = "mpi"
    done = place.daskhpc("run", "--dry-run", place.script())
    assert (done.code, done.out) == (70, "")
    assert done.err.splitlines()[0] == "daskhpc: srun offers nothing that Open MPI talks to."
    assert "srun --mpi=list: none, pmi2" in done.err
    assert "pip install mpich" in done.err


def test_no_library_inside_an_allocation(place: Place) -> None:
    place.srun()
    place.slurm(2)
    place.mpi4py(None)
    assert "--mpi=none" in launcher(place, place.script()), "the ranks meet without MPI"
    place.env["DASK_DASKHPC__BOOTSTRAP"] = "mpi"
    done = place.daskhpc("run", place.script())
    assert done.code == 70
    first, second, *_ = done.err.splitlines()
    assert (
        first == f"daskhpc: {daskhpc.__version__}, Python {platform.python_version()}, {place.python}; no MPI library"
    )
    assert second == "daskhpc: mpi4py finds no MPI library."
    assert "pip install mpich" in done.err
    assert "Traceback" not in done.err


def test_a_job_begins_with_its_python_and_its_mpi(place: Place) -> None:
    """So that a wrong module is seen at once. (Outside a job nothing is printed: see `test_what_mpiexec_is_given`.)"""
    place.srun()
    place.slurm(2)
    place.mpi4py("Open MPI")
    done = place.daskhpc("run", place.script())
    line = f"daskhpc: {daskhpc.__version__}, Python {platform.python_version()}, {place.python}; Open MPI 5.0.11\n"
    assert (done.code, done.err) == (7, line), "the launcher's own code"


ROOT = ["env", "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"] if os.geteuid() == 0 else []


@pytest.mark.parametrize(
    ("library", "starter", "before", "options"),
    [
        ("MPICH", "MPICH", [], []),
        ("Open MPI", "Open MPI", ROOT, ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]),
        ("Intel MPI", "Intel MPI", ["env", "I_MPI_PIN=0"], []),
        ("Cray MPICH", "MPICH", [], []),
        pytest.param("MVAPICH", "MPICH", [], []),
    ],
)
def test_on_one_machine(place: Place, library: str, starter: str, before: list[str], options: list[str]) -> None:
    place.mpi4py(library)
    mpiexec = place.mpiexec(starter)
    expected = [*before, str(mpiexec), "-n", "5", *options]
    assert planned(place, "-n", "3", place.script(), "x") == Plan(expected, "a program.py", ["x"], {})


def test_on_one_machine_as_many_workers_as_dask_would_start(place: Place) -> None:
    from distributed.deploy.utils import nprocesses_nthreads

    mpiexec = place.mpiexec("MPICH")
    workers = nprocesses_nthreads(daskhpc.discover(env={}).cpus.value)[0]
    assert launcher(place, place.script()) == [str(mpiexec), "-n", str(workers + 2)]


def test_the_right_mpiexec_of_several(place: Place) -> None:
    """The library's own, first beside the Python, then on the path, by the names that there are."""
    place.mpiexec("Open MPI", beside=True)
    place.mpiexec("other", "mpirun", beside=True)
    hydra = place.mpiexec("MPICH", "mpiexec.hydra")
    script = place.script()
    assert launcher(place, "-n", "1", script)[0] == str(hydra)
    mpirun = place.mpiexec("MPICH", "mpirun")
    assert launcher(place, "-n", "1", script)[0] == str(mpirun)
    mpiexec = place.mpiexec("MPICH")
    assert launcher(place, "-n", "1", script)[0] == str(mpiexec)
    nearest = place.mpiexec("MPICH", beside=True)
    assert launcher(place, "-n", "1", script)[0] == str(nearest)
    assert launcher(place, "-n", "1", script, DASK_DASKHPC__MPIEXEC="/a b/mpiexec")[0] == "/a b/mpiexec"


def test_without_a_library_or_a_launcher_it_is_a_local_cluster(place: Place) -> None:
    place.mpiexec("Open MPI")
    done = place.daskhpc("run", "--dry-run", place.script(), "x")
    assert done.code == 0
    assert done.out.startswith("(a LocalCluster in this process)")
    assert "no mpiexec of MPICH is on the path; a LocalCluster" in done.err
    place.mpi4py(None)
    done = place.daskhpc("run", "--dry-run", place.script(), "x")
    assert done.code == 0
    assert "mpi4py finds no MPI library; pip install mpich brings one; a LocalCluster" in done.err


def test_the_line_of_a_local_cluster_is_for_a_shell_too(place: Place) -> None:
    place.mpi4py(None)
    line = place.daskhpc("run", "--dry-run", place.script("it's.py"), "a b").out
    assert shlex.split(line.partition(") ")[2]) == [str(place.python), "it's.py", "a b"]


def test_several_nodes_without_srun(place: Place) -> None:
    place.slurm(2)
    mpiexec = place.mpiexec("MPICH")
    hosts = ["-hosts", "127.0.0.1,127.0.0.2", "-ppn", "1"]
    assert launcher(place, place.script()) == [str(mpiexec), "-n", "4", *hosts]
    assert launcher(place, "-n", "6", place.script()) == [str(mpiexec), "-n", "8", *hosts]


def test_inside_a_job_of_pbs(place: Place) -> None:
    place.pbs("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2")
    place.mpi4py("Open MPI")
    mpiexec = place.mpiexec("Open MPI")
    assert launcher(place, place.script()) == [
        *ROOT,
        *(str(mpiexec), "-n", "4", "--map-by", "node:OVERSUBSCRIBE", "--bind-to", "none"),
        *("--host", "127.0.0.1:4,127.0.0.2:4"),
    ]


def test_inside_a_job_of_one_node(place: Place) -> None:
    place.pbs("127.0.0.1")
    mpiexec = place.mpiexec("MPICH")
    assert launcher(place, place.script()) == [str(mpiexec), "-n", "3"]


def test_a_job_that_a_program_of_another_job_submitted(place: Place) -> None:
    """By sbatch or qsub, which hand on the environment of the program."""
    place.pbs("127.0.0.1")
    place.mpiexec("MPICH")
    job = place.env["PBS_JOBID"]
    assert launcher(place, place.script(), DASKHPC_INSIDE_RUN=f"77 another than {job}")[1:] == ["-n", "3"]
    refused = place.daskhpc("run", "--dry-run", place.script(), DASKHPC_INSIDE_RUN=f"77 {job}")
    assert refused.code == EXIT_FAILED
    assert "process 77 is the client of a cluster" in refused.err


@pytest.mark.parametrize(
    ("variable", "words"),
    [("WORKERS", "--ntasks=6"), ("MPI", "--mpi=4")],
)
def test_settings_count_where_no_option_is_given(place: Place, variable: str, words: str) -> None:
    place.srun()
    place.slurm(2)
    assert words in launcher(place, place.script(), **{f"DASK_DASKHPC__{variable}": "4"})
    options = ["-n", "5", "--mpi=none"]
    assert words not in launcher(place, *options, place.script(), **{f"DASK_DASKHPC__{variable}": "4"})


HANDED_ON = {
    "nthreads": 2,
    "processes": 3,
    "memory_limit": "4 GB",
    "interface": "it's; echo",
    "local_directory": '/it\'s a "disk"',
}


def test_options_are_handed_on_to_the_ranks(place: Place) -> None:
    place.srun()
    place.slurm(2)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in HANDED_ON.items()]
    plan = planned(place, "-n", "2", "--mpi=pmix", *options, place.script(), "x")
    assert plan == Plan(step(2, 4, 8, "pmix"), "a program.py", ["x"], HANDED_ON)


def test_every_option_is_a_setting() -> None:
    flags = {"module", "dry_run", "as_rank", "snapshot", "instead"}
    options = {str(p.name) for p in run.params if isinstance(p, click.Option)} - flags
    assert options <= set(Settings.names())


@pytest.mark.parametrize("option", ["-m", "--module"])
def test_a_module(place: Place, option: str) -> None:
    mpiexec = place.mpiexec("MPICH")
    place.script("package/__init__.py")
    place.script("package/tool.py")
    plan = planned(place, "-n", "1", option, "package.tool", *HOSTILE)
    assert plan == Plan([str(mpiexec), "-n", "3"], "package.tool", HOSTILE, {"module": True})


NAMES = ['it\'s "a" $(false); echo no/é a=b.py', "two\nlines", "*"]


@pytest.mark.parametrize("name", [*NAMES, pytest.param("-weird.py"), pytest.param("--help")])
def test_program_and_arguments_reach_every_rank_untouched(place: Place, name: str) -> None:
    """Through the command, the printed line, a shell, the launcher, and the command on the rank."""
    place.srun()
    place.slurm(2)
    script = place.script(name)
    dashes = ["--"] if name.startswith("-") else []
    printed = place.daskhpc("run", "--dry-run", *dashes, script, *HOSTILE).out

    done = place.daskhpc("run", *dashes, script, *HOSTILE)
    assert (done.code, done.out) == (7, ""), "the launcher's own exit code"
    assert re.fullmatch(r"daskhpc: [\w.]+, Python [\d.]+, .*/python; MPICH [\d.]+\n", done.err), "and nothing else"
    launched = place.argv
    assert (place.given["SRUN_CPUS_PER_TASK"], place.given.get("SLURM_NTASKS_PER_NODE")) == ("8", None)

    done = place.run("/bin/bash", "-c", printed, env={"PATH": f"{place.bin}:/usr/bin:/bin"})
    assert (done.code, done.out, done.err) == (7, "", "")
    assert place.argv == launched, "--dry-run shows what would be started"

    assert received(place, launched)[1:] == (name, HOSTILE, {})


def test_dashes_before_the_program_are_not_its_own(place: Place) -> None:
    place.mpiexec("MPICH")
    assert planned(place, "-n", "1", "--", place.script(), "--", "x")[1:] == ("a program.py", ["--", "x"], {})


def test_what_mpiexec_is_given(place: Place) -> None:
    place.mpi4py("Intel MPI")
    place.mpiexec("Intel MPI")
    left_over = {"PMI_SIZE": "1", "PMI_FD": "9", "PMI_RANK": "0", "I_MPI_FABRICS": "ofi"}
    done = place.daskhpc("run", "-n", "2", place.script(), *HOSTILE, **left_over)
    assert (done.code, done.err) == (7, "")
    assert received(place, place.argv) == Plan(["-n", "4"], "a program.py", HOSTILE, {})
    assert {name: place.given.get(name) for name in (*left_over, "I_MPI_PIN")} == {
        "PMI_SIZE": None,
        "PMI_FD": None,
        "PMI_RANK": None,
        "I_MPI_FABRICS": "ofi",
        "I_MPI_PIN": "0",
    }


def test_a_launcher_that_is_not_there(place: Place) -> None:
    done = place.daskhpc("run", place.script(), DASK_DASKHPC__MPIEXEC="/nowhere/mpiexec")
    assert done.code == 70
    assert done.err.startswith("daskhpc: Cannot start /nowhere/mpiexec.\n")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("progam.py", ["Cannot run 'progam.py'.", "no such file in ", "daskhpc run 'a program.py'"]),
        ("a program", ["Cannot run 'a program'.", "try:   daskhpc run 'a program.py'"]),
        ("nothing like it", ["no such file in ", "daskhpc run [OPTIONS] script.py [ARGS]"]),
        ("", ["Cannot run ''.", "no such file"]),
        (".", ["Cannot run '.'.", "a folder"]),
        ('it\'s; echo "no"', ["Cannot run ", "no such file"]),
        ("a program.py/x", ["no such file"]),
        ("-", ["standard input, a pipe or a device, and no file"]),
        ("/dev/null", ["standard input, a pipe or a device, and no file"]),
        ("json.tool", ["no such file in ", "try:   daskhpc run -m json.tool"]),
    ],
)
def test_what_cannot_be_run(place: Place, script: str, words: list[str]) -> None:
    place.script()
    done = place.daskhpc("run", script)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("daskhpc: Cannot run ")
    assert len(done.err.splitlines()) == 3
    for word in words:
        assert word in done.err


NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
OTHER_FILES = [
    (
        "my book.ipynb",
        NOTEBOOK,
        "a notebook",
        "jupyter nbconvert --to python 'my book.ipynb' && daskhpc run 'my book.py' x",
    ),
    ("book", NOTEBOOK, "a notebook", "jupyter nbconvert --to python book && daskhpc run book.py x"),
    ("model.R", "x <- 5", "its name ends in .R", "Rscript model.R x"),
    ("run.jl", "println(1)", "its name ends in .jl", "julia run.jl x"),
    ("go.sh", "echo 1", "its name ends in .sh", "bash go.sh x"),
    ("go", "#!/bin/sh\necho 1", "its first line names sh", "sh go x"),
    ("go.txt", "#!/usr/bin/env -S Rscript --vanilla\n1", "its first line names Rscript", "Rscript go.txt x"),
    ("a.sbatch", "#!/bin/bash\n#SBATCH -n 4\n", "a job script, with lines that begin with #SBATCH", "sbatch a.sbatch"),
    ("job.sh", "#!/bin/bash\n#PBS -l nodes=1\n", "a job script, with lines that begin with #PBS", "qsub job.sh"),
    ("case.yaml", "steps: 3", "its name ends in .yaml", "daskhpc run [OPTIONS] script.py [ARGS]"),
    ("case.json", '{"steps": 3}', "its name ends in .json", "daskhpc run [OPTIONS] script.py [ARGS]"),
    ("data", "\x7fELF\0\0", "a binary file", "daskhpc run [OPTIONS] script.py [ARGS]"),
]


@pytest.mark.parametrize(("name", "text", "found", "line"), OTHER_FILES)
def test_what_is_no_python_program(place: Place, name: str, text: str, found: str, line: str) -> None:
    place.script(name, text)
    with contextlib.chdir(place.work), pytest.raises(LaunchError) as refused:
        check_program(name, ["x"])
    assert refused.value.args == (f"{name!r} is not a Python program.", found, line)


FOLDER = {
    "tool/__init__.py": "raise SystemExit('the package was imported')",
    "tool/__main__.py": "",
    "tool/part.py": "",
    "tool/broken.py": "print(1",
    "lazy/__init__.py": "__path__.append('elsewhere')",
    "empty/__init__.py": "",
    "zoo/deep/task.py": "",
    "open.py": "print(1",
    "utf16.py": "\ufeffprint(1)".encode("utf-16"),
    "old.py": "print 'a'",
    "nul.py": b"x = 1\0",
    "marked.py": b"\xef\xbb\xbfprint(1)\r\n",
}


@pytest.mark.parametrize(
    ("name", "found", "line"),
    [
        ("nosuch", "or among the installed packages", "daskhpc run [OPTIONS] -m package.module [ARGS], in the folder"),
        ("opem", "nothing called 'opem' in ", "daskhpc run -m open x"),
        ("tool.nosuch", "nothing called 'tool.nosuch' in ", "daskhpc run [OPTIONS] -m package.module"),
        ("tool.part.more", "'tool.part' is a module and no package", "daskhpc run [OPTIONS] -m package.module"),
        ("empty", "'empty' is a package without a __main__.py", "daskhpc run [OPTIONS] -m package.module"),
        ("zoo", "'zoo' is a package without a __main__.py", "daskhpc run [OPTIONS] -m package.module"),
        ("open", "line 1: '(' was never closed: print(1", "-m py_compile "),
        ("tool.broken", "line 1: '(' was never closed: print(1", "-m py_compile "),
        ("tool/part.py", "it is the name of a file", "daskhpc run tool/part.py x"),
        ("open.py", "it is the name of a file", "daskhpc run -m open x"),
        ("", "a name, or names with a dot between them", "daskhpc run [OPTIONS] -m package.module"),
        (".tool", "a name, or names with a dot between them", "daskhpc run [OPTIONS] -m package.module"),
    ],
)
def test_what_is_no_module(place: Place, name: str, found: str, line: str) -> None:
    write(place, FOLDER)
    with contextlib.chdir(place.work), pytest.raises(ProgramError) as refused:
        check_module(name, ["x"])
    assert found in refused.value.found
    assert line in refused.value.todo


@pytest.mark.parametrize(
    "name", ["tool", "tool.part", "lazy.any", "zoo.deep.task", "timeit", "os.path", "json.tool", "this", "marked"]
)
def test_modules_that_python_may_find(place: Place, name: str) -> None:
    write(place, FOLDER)
    before = list(sys.path), set(sys.modules)
    with contextlib.chdir(place.work):
        check_module(name, [])
    assert sys.path == before[0]
    assert not {"tool", "lazy", "zoo"} & (set(sys.modules) - before[1]), "no code of the user runs"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("open.py", "line 1: '(' was never closed: print(1"),
        ("old.py", "line 1: Missing parentheses in call to 'print'"),
        ("nul.py", "null bytes"),
        ("utf16.py", "text in UTF-16, which Python does not read"),
    ],
)
def test_what_python_does_not_compile(place: Place, name: str, found: str) -> None:
    write(place, FOLDER)
    with contextlib.chdir(place.work), pytest.raises(ProgramError) as refused:
        check_program(name, [])
    assert refused.value.happened == f"{name!r} is not valid Python."
    assert found in refused.value.found


def test_a_program_that_may_not_be_read(place: Place) -> None:
    program = place.work / place.script()
    program.chmod(0)
    user = os.geteuid()
    folders = [folder for folder in (place.work, *place.work.parents) if folder.stat().st_uid == user]
    modes = [folder.stat().st_mode for folder in folders]
    if user == 0:  # to which no file is closed
        for folder in folders:
            folder.chmod(folder.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        with pytest.raises(ProgramError, match=r"Cannot read .*\n  found: Permission denied"):
            check_program(str(program), [])
    finally:
        os.seteuid(user)
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)


def test_a_copy_runs_whatever_became_of_the_program(place: Place) -> None:
    write(place, {"copies/gone.py": "print(1)"})
    with contextlib.chdir(place.work):
        check_program("gone.py", [], "copies/gone.py")


def test_no_rank_starts_for_a_module_that_is_not_there(place: Place) -> None:
    place.mpiexec("MPICH")
    done = place.daskhpc("run", "-m", "nosuch")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("daskhpc: There is no module 'nosuch' to run.\n  found: nothing called 'nosuch' in ")
    assert not (place.folder / "record").exists(), "nothing was started"


def write(place: Place, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = place.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_notebook_is_refused_before_anything_starts(place: Place) -> None:
    place.mpiexec("MPICH")
    place.script("book.ipynb", NOTEBOOK)
    done = place.daskhpc("run", "book.ipynb")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("daskhpc: 'book.ipynb' is not a Python program.\n")
    assert not (place.folder / "record").exists(), "nothing was started"


def test_a_folder_that_python_would_run_and_a_link_to_nothing(place: Place) -> None:
    place.script("tool/__main__.py")
    assert "try:   daskhpc run tool/__main__.py x" in place.daskhpc("run", "tool", "x").err
    (place.work / "gone.py").symlink_to("nowhere.py")
    assert "try:   daskhpc run [OPTIONS] script.py [ARGS]" in place.daskhpc("run", "gone.py").err


def test_a_name_with_blanks_and_no_quotes(place: Place) -> None:
    place.script("a program.py")
    assert "try:   daskhpc run 'a program.py'" in place.daskhpc("run", "a", "program.py", "x").err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("program", "print(1)"),
        ("tool.txt", "#!/usr/bin/env python3\n"),
        ("notebook.py", "{'cells': []}"),
        ("empty", ""),
        ("job.py", "#!/bin/bash\n#SBATCH -n 4\n"),
    ],
)
def test_what_python_would_run_is_run(place: Place, name: str, text: str) -> None:
    place.script(name, text)
    with contextlib.chdir(place.work):
        check_program(name, [])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "Missing argument 'SCRIPT'"),
        (["--nothread=2", "a program.py"], 2, "Did you mean"),
        (["-n", "many", "a program.py"], 2, "'many' is not a valid integer"),
        (["-n", "0", "a program.py"], 70, "The setting workers does not take 0."),
        (["--processes", "-1", "a program.py"], 70, "The setting processes does not take -1."),
        (["--memory-limit", "much", "a program.py"], 70, "The setting memory_limit does not take 'much'."),
        (["--interface=", "a program.py"], 70, "The setting interface does not take ''."),
        (["--nthreads"], 2, "requires an argument"),
        (["-m"], 2, "Missing argument 'SCRIPT'"),
    ],
)
def test_bad_options(place: Place, options: list[str], code: int, words: str) -> None:
    place.mpiexec("MPICH")
    place.script()
    done = place.daskhpc("run", *options)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (place.folder / "record").exists(), "nothing was started"


def test_a_bad_setting_in_the_environment(place: Place) -> None:
    place.mpiexec("MPICH")
    done = place.daskhpc("run", place.script(), DASK_DASKHPC__NTHREAD="2")
    assert done.code == 70
    assert done.err.startswith("daskhpc: There is no setting 'nthread'.\n  found: DASK_DASKHPC__NTHREAD; ")
    assert done.err.endswith("  try:   nthreads\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["daskhpc", "--help"], ["Usage: daskhpc [OPTIONS] COMMAND", "run "]),
        (["daskhpc", "run", "--help"], ["Usage: daskhpc run [OPTIONS] SCRIPT [ARGS]...", "--workers", "--dry-run"]),
        (["daskhpc", "--version"], [f"daskhpc, version {daskhpc.__version__}"]),
        (["dask", "hpc", "--help"], ["Usage: dask hpc [OPTIONS] COMMAND", "run "]),
        (["dask", "hpc", "run", "--help"], ["Usage: dask hpc run [OPTIONS] SCRIPT [ARGS]..."]),
        (["python", "-m", "daskhpc", "--version"], [f"daskhpc, version {daskhpc.__version__}"]),
    ],
)
def test_the_command_has_three_names(place: Place, argv: list[str], words: list[str]) -> None:
    done = place.run(str(Path(sys.executable).parent / argv[0]), *argv[1:])
    assert (done.code, done.err) == (0, "")
    for word in words:
        assert word in done.out
    assert "--as-rank" not in done.out, "that is between daskhpc and its ranks"


def test_files_in_the_working_directory_do_not_stand_in_for_modules(place: Place) -> None:
    """Plain python looks beside the script, and so do the ranks."""
    place.script("queue.py", "raise SystemExit('the wrong queue')")
    place.mpiexec("MPICH")
    # -P: as the installed command, which does not look there either
    done = place.run(str(place.python), "-P", "-m", "daskhpc", "run", "--dry-run", place.script("code/program.py"))
    printed = shlex.split(done.out)
    python = printed[printed.index(str(place.python)) : printed.index("run") - 2]
    assert place.run(*python, "code/program.py").code == 0
    assert place.run(*python, "-m", "daskhpc.cluster.bootstrap") == (0, "", "")
