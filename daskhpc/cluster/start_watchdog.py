"""The watchdog of a rank: ends the job with a message if a rank never comes, or MPI ends a process.

Its small process stays as long as the rank, and ends what the rank leaves behind.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType

from ..runtime import Runtime

_WATCHDOG_PROCESS = Path(__file__).with_name("watchdog_process.py")
_STAGGER, _STAGGER_MOST, _GRACE = 2.0, 20.0, 15.0

_watchdogs: list[subprocess.Popen[bytes]] = []
"""Held until the end of this process: the end of their standard input tells them of it."""


def _close_in_child(watchdog: subprocess.Popen[bytes]) -> None:
    """A forked child that lives on would hide the end of this process."""
    if watchdog.stdin is not None:
        watchdog.stdin.close()


class StartWatchdog:
    """Keep the start deadline of this rank, from `start` until `done`, which leaving its context calls.

    Parameters
    ----------
    deadline : float
        Seconds until every rank must have arrived.
    runtime : Runtime
        Names this rank, its host, and the Slurm step to end.
    died : str
        The message if the MPI library ends the process; ``{said}`` in it stands for what the library wrote.
    neighbours : bool
        Whether a rank that leaves this node before all have arrived ends this one too.

    Notes
    -----
    MPI_Init can hold the GIL, so no Python thread can keep this deadline. A small process (``watchdog_process.py``)
    prints the one message, ends the Slurm step and then the rank; ``faulthandler``'s timed exit, which needs no GIL
    either, is there for a rank whose watchdog was lost. It also sees a rank of the same node end before it called
    `initialize`, which hydra's mpiexec does not take for a failure.
    The first rank to run out of time is rank 0; every further one waits two seconds more. So one message alone is
    printed if rank 0 can end the others, and one is still printed if it cannot.
    """

    def __init__(self, deadline: float, runtime: Runtime, died: str, neighbours: bool = True) -> None:
        self.rank = runtime.rank.value
        self.deadline = deadline + min(_STAGGER * self.rank, _STAGGER_MOST)
        self.rank_variable = runtime.rank.source
        self.local_size = runtime.ranks_on_node.value if neighbours and runtime.ranks_on_node.exact else 0
        self.late, self.gone = _late(deadline, runtime), _gone(runtime)
        self.step = f"{runtime.job.value}.{runtime.step.value}" if runtime.step.value else ""
        self.died = died
        self.stderr = -1
        self.over = False
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self.stderr = os.memfd_create("daskhpc-mpi-init")
        orders = (
            self.deadline,
            self.rank,
            self.rank_variable,
            self.local_size,
            self.stderr,
            self.late,
            self.gone,
            self.died,
            self.step,
        )
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WATCHDOG_PROCESS), *map(str, orders)],
            stdin=subprocess.PIPE,
            pass_fds=[self.stderr],
            start_new_session=True,  # an interrupt from the terminal is the rank's to answer
        )
        while _watchdogs:  # of a cluster that this rank was in before: it would end this one's as left behind
            earlier = _watchdogs.pop()
            earlier.kill()
            earlier.wait()
        os.register_at_fork(after_in_child=partial(_close_in_child, self.process))
        # Only the timing counts: the stacks that faulthandler writes go nowhere; the small process prints the message.
        self.nowhere = os.open(os.devnull, os.O_WRONLY)
        faulthandler.dump_traceback_later(self.deadline + _GRACE, exit=True, file=self.nowhere)

    def __enter__(self) -> StartWatchdog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()

    @contextlib.contextmanager
    def quiet_stderr(self) -> Iterator[None]:
        """Hold back what C code writes to standard error; passed on afterwards, or by the small process."""
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(self.stderr, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said = os.pread(self.stderr, 1 << 20, 0)
            if said:
                os.write(2, said)

    def done(self) -> None:
        """The start is over, well or not, and no deadline is kept any more; the small process lives as long as this."""
        if self.over or self.process is None:
            return
        self.over = True
        faulthandler.cancel_dump_traceback_later()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"ok")
            self.process.stdin.flush()
        _watchdogs.append(self.process)
        os.close(self.nowhere)
        os.close(self.stderr)


def _late(deadline: float, runtime: Runtime) -> str:
    world = runtime.world_size.value
    where = f"step {runtime.job.value}.{runtime.step.value}" if runtime.step.value else "this job"
    return (
        f"daskhpc: not all ranks arrived within {deadline:g} s, so every rank of {where} ends.\n"
        f"  found: rank {runtime.rank.value} on {runtime.host.value} waited for the other {world - 1} of {world} ranks;"
        " one of them failed before initialize() (its own message stands above) or hangs\n"
        "  try:   mend that rank; to see it at once: srun --kill-on-bad-exit=1, or, if the program imports mpi4py,"
        " python -m mpi4py script.py; DASK_DASKHPC__START_DEADLINE=300 to wait longer"
    )


def _gone(runtime: Runtime) -> str:
    return (
        f"daskhpc: a rank on {runtime.host.value} ended before it called initialize(), so every rank ends.\n"
        "  found: its own message stands above, or it left the program without an error\n"
        "  try:   mend that rank; all ranks of the job must reach initialize() or start()"
    )
