"""Joining the MPI world: load the library, start it, see that it is the launcher's, and agree with all ranks."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..compat.python import at_exit
from ..errors import DaskhpcError, StartError
from ..runtime import MPILibrary, Runtime, parse_library_version, process_manager
from ..runtime.commands import offered_mpi_types
from ..runtime.mpi import srun_mpi
from ..shadowing import explained
from .control_channel import ControlConnection, ControlServer
from .network import address_of, check_addresses
from .output import flush_output
from .program_signals import remember_handlers
from .rendezvous import meet, meeting_of
from .start_watchdog import StartWatchdog

_RANK_0_FIRST_SECONDS = 5.0
_BEFORE_DEADLINE = 2.0
_HIDDEN_MANAGER = frozenset({"Cray MPICH"})
"""Libraries that may talk to srun in a way that the environment does not show."""


@dataclass(frozen=True, slots=True)
class World:
    """A communicator that all ranks of the cluster have joined: mpi4py's, or one that needs no MPI.

    `survives` is whether the others go on when a worker's rank is lost, which no MPI library allows. `channel` is the
    control channel over which the ranks met without MPI.
    """

    comm: Any
    rank: int
    size: int
    mpi: bool = True
    survives: bool = False
    channel: ControlServer | ControlConnection | None = None

    def finalize(self) -> None:
        """End MPI; all ranks meet here."""
        if self.mpi:
            from mpi4py import MPI

            _finalize(MPI)


def join(
    runtime: Runtime,
    env: Mapping[str, str],
    deadline: float,
    comm: Any = None,
    bootstrap: str = "auto",
    encrypted: bool = False,
) -> tuple[World, StartWatchdog]:
    """Start MPI, or meet the other ranks without it, under the start deadline.

    Parameters
    ----------
    runtime : Runtime
    env : Mapping[str, str]
        The environment of this process.
    deadline : float
        Seconds until every rank must have arrived.
    comm : mpi4py.MPI.Intracomm, optional
        COMM_WORLD by default, whose size must then be the one that the launcher gives.
    bootstrap : {"auto", "mpi", "slurm"}
        As the setting; a given `comm` is MPI's.
    encrypted : bool
        Whether ranks that meet without MPI talk in TLS.

    Returns
    -------
    World, StartWatchdog
        The watch still runs: end it with ``done()`` when all ranks have agreed.

    Raises
    ------
    StartError
        When there is no MPI library, or it is not the launcher's.
    """
    setting = "mpi" if comm is not None else bootstrap
    library: MPILibrary | None = None
    started = False
    if setting != "slurm":
        try:
            mpi = _load()
        except StartError:
            if setting == "mpi" or not _started_by_srun(runtime):
                raise
        else:
            library, started = parse_library_version(mpi.Get_library_version()), mpi.Is_initialized()
    if library is None or (
        not started and choose_bootstrap(runtime, library, process_manager(env), setting) == "slurm"
    ):
        return _join_without_mpi(runtime, env, deadline, encrypted, survives=setting == "slurm")
    try:
        return _join_mpi(runtime, env, deadline, mpi, library, comm)
    except _Mismatch:
        if setting == "mpi" or not _started_by_srun(runtime):
            raise
        return _join_without_mpi(runtime, env, deadline, encrypted)


def choose_bootstrap(runtime: Runtime, library: MPILibrary | None, manager: str | None, setting: str) -> str:
    """How the ranks meet: ``"mpi"``, or ``"slurm"``, which does without MPI.

    Parameters
    ----------
    runtime : Runtime
    library : MPILibrary or None
        None if none can be loaded.
    manager : str or None
        The process manager that the launcher offers to this process.
    setting : {"auto", "mpi", "slurm"}
        "auto" is MPI, but under srun "slurm" if MPI is missing or does not usually talk to that process manager.
    """
    if setting != "auto":
        return setting
    if not _started_by_srun(runtime):
        return "mpi"
    usable = library is not None and (library.name in _HIDDEN_MANAGER or fits(library, manager))
    return "mpi" if usable else "slurm"


def _started_by_srun(runtime: Runtime) -> bool:
    return runtime.step.value is not None and runtime.world_size.value > 1


def _join_mpi(
    runtime: Runtime, env: Mapping[str, str], deadline: float, mpi: Any, library: MPILibrary, comm: Any
) -> tuple[World, StartWatchdog]:
    """Start MPI, and see that its world is the launcher's.

    Why it is so: MPI_Init may hold Python's GIL for as long as it waits for other ranks, may abort the process from
    C, and may succeed in a world of one rank if library and launcher do not talk. The watchdog is outside this
    process for the first two; the sizes are compared for the third.
    """
    fitting = fits(library, process_manager(env))
    doubt = runtime.step.value is not None and not fitting
    wait = doubt and runtime.rank.value > 0
    # If the two do not talk, rank 0 says so and ends, perhaps while others are still in MPI_Init.
    neighbours = fitting or runtime.rank.value == 0
    watch = StartWatchdog(deadline, runtime, explain_abort(runtime, library, env, doubt), neighbours=neighbours)
    watch.start()
    try:
        if not mpi.Is_initialized():
            if wait:
                # The library may end every rank in MPI_Init, and srun the step with the first: rank 0 speaks before.
                time.sleep(_RANK_0_FIRST_SECONDS)
            with watch.quiet_stderr():
                mpi.Init_thread()
        if comm is None:
            comm = mpi.COMM_WORLD
            if comm.Get_size() == 1 and runtime.world_size.value > 1:
                raise _Mismatch(mismatch(runtime, library, process_manager(env), offered_mpi_types()))
    except BaseException:
        watch.done()
        raise
    return World(comm, comm.Get_rank(), comm.Get_size()), watch


def _join_without_mpi(
    runtime: Runtime, env: Mapping[str, str], deadline: float, encrypted: bool, survives: bool = False
) -> tuple[World, StartWatchdog]:
    if not _started_by_srun(runtime):
        raise StartError(
            "bootstrap='slurm' is for ranks that srun started.",
            f"{runtime.world_size.value} rank ({runtime.world_size.source}), no Slurm step",
            "srun --ntasks=4 python script.py; or bootstrap='auto'",
        )
    problem = check_addresses(runtime)
    if problem is not None:
        raise problem
    watch = StartWatchdog(deadline, runtime, "")
    watch.start()
    try:
        meeting = meeting_of(runtime.rank.value, runtime.world_size.value, env)
        addresses = [address_of(runtime.interface.value), socket.gethostname()]
        ranks = meet(meeting, deadline - min(_BEFORE_DEADLINE, deadline / 2), addresses, encrypted)
    except BaseException:
        watch.done()
        raise
    return World(ranks, ranks.rank, ranks.size, mpi=False, survives=survives, channel=ranks.channel), watch


def fits(library: MPILibrary, manager: str | None) -> bool:
    """Whether a library usually talks to a process manager: Open MPI to PMIx, all others to PMI-1 and PMI-2."""
    return manager is not None and (manager == "pmix") == (library.name == "Open MPI")


def explain_abort(runtime: Runtime, library: MPILibrary, env: Mapping[str, str], doubt: bool) -> str:
    """The message if the library ends rank 0 inside MPI_Init; ``{said}`` stands for what the library wrote."""
    happened = f"{library.name} did not start and ended the processes."
    if not doubt or runtime.rank.value > 0:
        found = f"{library.name} {library.version} on {runtime.host.value}"
        error = StartError(happened, found, "its own words, and your cluster's page on this MPI library")
    else:
        error = mismatch(runtime, library, process_manager(env), offered_mpi_types())
    return f"daskhpc: {StartError(happened, f'{error.found}; it said: {{said}}', error.todo)}"


class _Mismatch(StartError):
    """Every rank believes that it is alone, so that no rank can wait for another."""

    def __init__(self, error: StartError) -> None:
        super().__init__(*error.args)


def _load() -> Any:
    try:
        import mpi4py

        first = "mpi4py.MPI" not in sys.modules
        # mpi4py ends MPI at the end of forked processes too, where MPI waits for other ranks for ever. After
        # ``python -m mpi4py`` its end has to be its own: it aborts all ranks if the program failed.
        own = first and "mpi4py.run" not in (*sys.modules, *sys.orig_argv)
        if first:
            remember_handlers()
            mpi4py.rc(initialize=False, finalize=not own)
        from mpi4py import MPI

        if own:
            at_exit(_finalize, MPI)
    except (ImportError, RuntimeError, AttributeError) as error:
        if (hidden := explained(error)) is not None:
            raise StartError(*hidden.args) from None
        found = str(error).strip().splitlines()
        raise StartError(
            "The MPI library could not be loaded.",
            f"{socket.gethostname()}: {found[0] if found else error!r}",
            "pip install mpich, or load your cluster's MPI module",
        ) from None
    return MPI


def _finalize(mpi: Any) -> None:
    if mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.Finalize()


def mismatch(runtime: Runtime, library: MPILibrary, manager: str | None, offered: Sequence[str]) -> StartError:
    """The error for an MPI library that does not talk to the launcher.

    Parameters
    ----------
    runtime : Runtime
        ``world_size`` is the number of ranks that the launcher gives.
    library : MPILibrary
        As MPI_Get_library_version describes it.
    manager : str or None
        The process manager that the launcher offers to this process.
    offered : Sequence[str]
        What ``srun --mpi=list`` offers.
    """
    world = runtime.world_size.value
    happened = f"{library.name} does not talk to the launcher: each of the {world} ranks believes that it is 0 of 1."
    found = f"{library.name} {library.version}, launched with {manager or 'no'} process management"
    if runtime.step.value is None:
        return StartError(happened, found, f"the mpiexec that belongs to {library.name}, or 'daskhpc run'")
    found += f"; srun --mpi=list offers {', '.join(offered) or 'nothing'}"
    kind = srun_mpi(library, offered)
    if kind is None:
        return StartError(happened, found, "pip install mpich (MPICH, for --mpi=pmi2)")
    return StartError(happened, found, f"srun --mpi={kind}")


def agree(world: World, report: Mapping[str, Any], problem: DaskhpcError | None) -> list[Mapping[str, Any]]:
    """Meet all ranks: everyone learns every report, or everyone fails alike.

    Parameters
    ----------
    world : World
    report : Mapping[str, Any]
        What this rank sends the others; ``host`` names its node.
    problem : DaskhpcError or None
        Why this rank cannot take part.

    Returns
    -------
    list[Mapping[str, Any]]
        The reports by rank.

    Raises
    ------
    StartError
        The same on every rank, when any of them cannot take part.
    """
    told = world.comm.allgather((report, problem.args if problem else None))
    failed = [(rank, mine["host"], args) for rank, (mine, args) in enumerate(told) if args]
    if failed:
        raise joint_error(failed, world.size)
    return [mine for mine, _ in told]


def joint_error(failed: Sequence[tuple[int, str, tuple[str, str, str]]], size: int) -> StartError:
    """One error for all ranks that cannot take part; ranks with the same trouble are named together."""
    _, _, (happened, _, todo) = failed[0]
    alike = [(rank, host, args[1]) for rank, host, args in failed if args[0] == happened]
    others = len(failed) - len(alike)
    if len(alike) == size and len({found for *_, found in alike}) == 1:
        return StartError(happened, alike[0][2], todo)
    ranks = "; ".join(f"rank {rank} on {host}: {found}" for rank, host, found in alike[:3])
    more = f"; {len(alike) - 3} more rank{'s' * (len(alike) > 4)} alike" if len(alike) > 3 else ""
    more += f"; {others} rank{'s' * (others > 1)} with another trouble" if others else ""
    return StartError(happened, ranks + more, todo)


def end_together(error: StartError, world: World | None, runtime: Runtime) -> None:
    """Print `error` once, and do not let this rank end before it is printed."""
    if world is not None:
        if world.rank == 0:
            say(error)
        with contextlib.suppress(StartError):  # without MPI, rank 0 may be gone by now
            world.comm.Barrier()
    elif runtime.rank.value == 0:
        say(error)
    else:
        # The ranks cannot meet. A launcher that ends all ranks with the first would end rank 0 before its message.
        # A message about one node alone is printed there, once.
        time.sleep(_RANK_0_FIRST_SECONDS)
        if runtime.local_rank.value == 0 and not isinstance(error, _Mismatch):
            say(error)


def say(error: BaseException | str) -> None:
    """Print one message on standard error, if that can be written: what follows may be the end of the job."""
    flush_output()
    with contextlib.suppress(Exception):
        print(f"daskhpc: {error}", file=sys.stderr, flush=True)
