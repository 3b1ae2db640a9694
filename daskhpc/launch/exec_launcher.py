"""Makes this process the launcher: the one call of exec."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

from ..errors import LaunchError
from .command_lines import Command
from .inherited import without_rank

STDIN = "DASKHPC_STDIN"


def replace_process(command: Command, env: Mapping[str, str]) -> NoReturn:
    """Become `command`, so that its exit code and its signals are this process's own.

    An MPI launcher's variables are not passed on: the new ranks are not its ranks. Settings that begin with
    ``OMPI_MCA_`` and the like are.

    Raises
    ------
    LaunchError
        If the command cannot be started.
    """
    kept = {name: value for name, value in without_rank(env).items() if name not in command.unset}
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores them, and a new program would inherit that: an mpiexec whose reader has left is to end silently.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command.argv[0], command.argv, {**kept, **command.env, **_stdin(command)})
    except OSError as error:
        raise LaunchError(f"Cannot start {command.argv[0]}.", str(error), "daskhpc run --dry-run ...") from None


def _stdin(command: Command) -> dict[str, str]:
    """Take standard input from the launcher; the client's rank opens it under the name in this variable.

    MPICH's mpiexec reads standard input and gives it to rank 0, which is the scheduler; the program runs on rank 1. So
    mpiexec gets an empty one. The real one stays open in this process, which becomes mpiexec, under another number.
    ``/proc/<pid>/fd/<number>`` names it for all processes of this user on this node, also for rank 1.
    """
    if not command.stdin:
        return {}
    kept = os.dup(0)
    os.set_inheritable(kept, command.stdin == "keep")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    return {STDIN: f"/proc/{os.getpid()}/fd/{kept}" if command.stdin == "keep" else os.devnull}
