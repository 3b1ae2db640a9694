"""``daskhpc run``: a program on all of this allocation, or on this machine."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import LaunchError, SettingsError
from ..launch import STDIN, Allocation, Command, mpiexec_line, replace_process, srun_line
from ..launch.program_file import check_module, check_program
from ..runtime import Runtime, discover
from ..runtime.commands import granted_memory, installed_library, launcher_library, offered_mpi_types
from ..runtime.mpi import MPILibrary, srun_mpi
from ..runtime.schedulers import scheduler_named
from ..runtime.schedulers.base import LOGIN
from ..settings import Settings
from .errors import exit_on_error
from .setting_options import setting_options

_AS_RANK = "--as-rank"
_LAUNCH_OPTIONS = ("workers", "mpi")
_CHECKPOINT_OPTIONS = ("checkpoint", "retry_failed")
_INSIDE = "DASKHPC_INSIDE_RUN"


@click.command(
    short_help="Run a program on all of an allocation, or on this machine.",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
    options_metavar="[OPTIONS]",
)
@setting_options
@click.option("-m", "--module", is_flag=True, help="SCRIPT is a module's name, as with python -m.")
@click.option("--dry-run", is_flag=True, help="Print the command and do not run it.")
@click.option("--snapshot", metavar="DIR", hidden=True, help="Folder with copies that run in the originals' place.")
@click.option("--instead", metavar="MODULE", hidden=True, help="Module that runs in the script's place, and gets it.")
@click.option(_AS_RANK, "as_rank", is_flag=True, hidden=True)
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    script: str,
    args: tuple[str, ...],
    module: bool,
    dry_run: bool,
    snapshot: str | None,
    instead: str | None,
    as_rank: bool,
    **options: Any,
) -> None:
    """Run SCRIPT on all of this Slurm or PBS allocation, or on this machine.

    The script runs once, on the client's rank, unmodified, with a Dask client as the default one; sys.argv, the exit
    code and all else are what plain python gives. Without MPI it runs with a LocalCluster.
    """
    with exit_on_error():
        if not as_rank:  # else the command that started this rank has done so
            _name_login()
        settings = Settings.resolve(options)
        _check(script, args, module, snapshot)
        for_ranks = [_option(k, v) for k, v in options.items() if v is not None and k != "mpi"]
        for_ranks += ["--module"] if module else []
        for_ranks += [f"--snapshot={snapshot}"] if snapshot is not None else []
        for_ranks += [f"--instead={instead}"] if instead is not None else []
        # -P: a file in the working directory does not stand in for a module of daskhpc's or Dask's.
        program = (sys.executable, "-P", "-m", "daskhpc", "run", _AS_RANK, *for_ranks, "--", script, *args)
        runtime = discover()
        is_rank = as_rank or runtime.world_size.value > 1
        command = None
        if not is_rank:
            library = installed_library()
            if runtime.job.value is not None and not dry_run:
                click.echo(environment_line(library), err=True)
            command = launch_command(runtime, settings, program, library)
        if command is not None:
            _launch(command, dry_run)
        elif dry_run:
            how = "a rank of those that were launched" if is_rank else "a LocalCluster in this process"
            target = ["-m", script] if module else [script]
            click.echo(f"({how}) {shlex.join([sys.executable, *target, *args])}")
            return
    _run_program(script, args, module, snapshot, instead, is_rank, options)


def _name_login() -> None:
    """Give the profile's name of the login node to the ranks, as the job script of `daskhpc submit` does."""
    if LOGIN in os.environ:
        return
    from ..launch.profile import load

    with contextlib.suppress(SettingsError):  # several profiles, and none is chosen: no message for that here
        if login := load().site.login:
            os.environ[LOGIN] = login


def _option(name: str, value: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    return option if value is True else f"{option}={value}"


def _check(script: str, args: Sequence[str], module: bool, snapshot: str | None) -> None:
    process, _, job = os.environ.pop(_INSIDE, "").partition(" ")
    if process and job == str(discover().job.value):  # not if the program has submitted this job, by sbatch or qsub
        raise LaunchError(
            "daskhpc run was called by a program that daskhpc runs.",
            f"process {process} is the client of a cluster, whose ranks are all taken",
            f"{sys.executable} {shlex.quote(script)}",
        )
    if not module:
        check_program(script, args, snapshot and os.path.join(snapshot, os.path.basename(script)))
    elif snapshot is None:
        check_module(script, args)


def environment_line(library: MPILibrary | None) -> str:
    """Which daskhpc, Python and MPI library a job has: a wrong module is seen at the top of its log.

    Examples
    --------
    >>> environment_line(None)
    'daskhpc: 0.1.0, Python 3...; no MPI library'
    """
    found = f"{library.name} {library.version}".strip() if library is not None else "no MPI library"
    return f"daskhpc: {__version__}, Python {platform.python_version()}, {sys.executable}; {found}"


def launch_command(
    runtime: Runtime, settings: Settings, program: Sequence[str], library: MPILibrary | None
) -> Command | None:
    """The command that starts the ranks; None if there is no MPI to start them with."""
    if scheduler_named(runtime.scheduler.value).launcher == "srun" and shutil.which("srun"):
        mpi = settings.mpi or _srun_mpi(library, settings.bootstrap)
        survive = settings.bootstrap == "slurm"
        allocation = replace(allocation_of(runtime), memory=granted_memory(runtime))
        return srun_line(allocation, program, settings.workers, mpi, survive, os.environ)
    if library is None:
        _warn_local("mpi4py finds no MPI library; pip install mpich brings one")
        return None
    mpiexec = settings.mpiexec or find_mpiexec(library.name)
    if mpiexec is None:
        _warn_local(f"no mpiexec of {library.name} is on the path")
        return None
    nodes = runtime.nodes.value if runtime.job.value is not None else ()
    workers = settings.workers or (len(nodes) if nodes else _local_workers(runtime))
    spread = nodes if len(nodes) > 1 else ()
    return mpiexec_line(mpiexec, library.name, program, workers, spread, root=os.geteuid() == 0)


def allocation_of(runtime: Runtime) -> Allocation:
    """The allocation of this process, for srun; a task per node if the job asked for no number of them."""
    nodes = runtime.nodes.value
    tasks = runtime.tasks.value or len(nodes)
    per_node = math.ceil(tasks / len(nodes))
    of_node = runtime.grant.node_cpus.value
    # More CPUs per task than the job has on a node are those of another job, whose variable was inherited.
    cpus = min(runtime.grant.cpus_per_rank.value or max(1, of_node // per_node), of_node)
    return Allocation(nodes, tasks, cpus, inside_step=runtime.step.value is not None)


def _srun_mpi(library: MPILibrary | None, bootstrap: str) -> str:
    """The ``--mpi`` type for srun: "none" if the ranks meet without MPI."""
    if bootstrap == "slurm":
        return "none"
    offered = offered_mpi_types()
    kind = srun_mpi(library, offered) if library is not None else None
    if kind is not None or bootstrap == "auto":
        return kind or "none"
    if library is None:
        raise LaunchError("mpi4py finds no MPI library.", sys.executable, "pip install mpich, or bootstrap: auto")
    raise LaunchError(
        f"srun offers nothing that {library.name} talks to.",
        f"{library.name} {library.version}; srun --mpi=list: {', '.join(offered) or 'nothing'}",
        "pip install mpich (MPICH, for --mpi=pmi2), daskhpc run --mpi=TYPE, or bootstrap: auto",
    )


def find_mpiexec(library: str) -> str | None:
    """The mpiexec that belongs to an MPI library: beside this Python first, then on the path."""
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    for name in ("mpiexec", "mpirun", "mpiexec.hydra"):
        for folder in dict.fromkeys(folders):
            path = shutil.which(name, path=folder)
            if path and _belongs(launcher_library(path), library):
                return path
    return None


def _belongs(launcher: str | None, library: str) -> bool:
    """Whether a launcher starts ranks of a library; the launcher of MVAPICH and of Cray MPICH is MPICH's."""
    return launcher == library or (launcher == "MPICH" and library in ("MVAPICH", "Cray MPICH"))


def _local_workers(runtime: Runtime) -> int:
    from distributed.deploy.utils import nprocesses_nthreads

    return int(nprocesses_nthreads(runtime.cpus.value)[0])


def _take_stdin() -> None:
    """On the client's rank: take the standard input that `replace_process` kept; an empty one if it is gone."""
    name = os.environ.pop(STDIN, None)
    if name is None:
        return
    try:
        source = os.open(name, os.O_RDONLY)
    except OSError:
        source = os.open(os.devnull, os.O_RDONLY)
    os.dup2(source, 0)
    os.close(source)


def _warn_local(why: str) -> None:
    click.echo(f"daskhpc: {why}; a LocalCluster on this machine runs the program.", err=True)


def _launch(command: Command, dry_run: bool) -> None:
    if dry_run:
        click.echo(str(command))
        raise SystemExit(0)
    replace_process(command, os.environ)


def _run_program(
    script: str,
    args: Sequence[str],
    module: bool,
    snapshot: str | None,
    instead: str | None,
    ranks: bool,
    options: dict[str, Any],
) -> NoReturn:
    """This process is a rank, or there is no MPI: start the cluster, then run the program on the client."""
    import dask

    from ..cluster import initialize
    from ..cluster.session import session
    from ..cluster.user_program import put_first, run_as_main, share_folder
    from ..parallel.register import install
    from ..starting import start

    path = list(sys.path)
    share_folder(script, module, snapshot)
    settings = {k: v for k, v in options.items() if k not in (*_LAUNCH_OPTIONS, *_CHECKPOINT_OPTIONS)}
    if ranks:
        # How many there are is the launcher's word; that they were asked for decides what the user is warned of.
        with dask.config.set({"daskhpc.workers": options["workers"]} if options["workers"] else {}):
            initialize(**settings)
        start()
    else:
        with exit_on_error():
            start(**settings, workers=options["workers"])
    _take_stdin()
    install(default=True)
    _keep_results(options)
    assert session.member is not None
    os.environ[_INSIDE] = f"{os.getpid()} {session.member.runtime.job.value}"
    sys.path[:] = path  # without the folders that Dask added for workers
    put_first(script, module, snapshot)
    if instead is not None:
        run_as_main(instead, (script, *args), module=True)
    run_as_main(script, args, module, snapshot)


def _keep_results(options: dict[str, Any]) -> None:
    """Let the program keep its results if a checkpoint was asked for, and draw the same random numbers each time."""
    with exit_on_error():
        settings = Settings.resolve({name: options[name] for name in _CHECKPOINT_OPTIONS})
        if settings.checkpoint is None:
            return
        from ..compat.dask import isolate_dask_rng
        from ..parallel.checkpoints import checkpoint_program

        journal = checkpoint_program(settings.checkpoint, settings.retry_failed).journal
    import random

    import numpy as np

    isolate_dask_rng()
    random.seed(journal.seed)
    np.random.seed(journal.seed)
    click.echo(
        f"daskhpc: results are kept in {settings.checkpoint}, which has {len(journal)};"
        f" random and numpy.random begin with the seed {journal.seed}.",
        err=True,
    )
