"""Runs the commands of a scheduler: the one place of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import LaunchError
from .inherited import for_scheduler

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """The output of a scheduler's command.

    Attributes
    ----------
    code : int or None
        Its exit code; None if it did not end in time and was killed.
    out, err : str
    """

    code: int | None
    out: str
    err: str


def ask(
    argv: Sequence[str], *, cwd: str | None = None, timeout: float = SECONDS, env: Mapping[str, str] | None = None
) -> CommandAnswer:
    """Run a command of the scheduler in an environment in which only its line counts.

    Parameters
    ----------
    argv : Sequence[str]
    cwd : str, optional
    timeout : float
        Seconds after which it is killed.
    env : Mapping[str, str], optional
        This process's environment by default.

    Raises
    ------
    LaunchError
        If there is no such command, or it cannot be started.
    """
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=for_scheduler(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise LaunchError(
            f"Cannot run {argv[0]}.", str(error), "this on a login node of the cluster; daskhpc run works anywhere"
        ) from None
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as late:
            _kill(process)
            return CommandAnswer(None, _text(late.stdout), _text(late.stderr))
        except BaseException:  # the user's Ctrl-C
            _kill(process)
            raise
    return CommandAnswer(process.returncode, _text(out), _text(err))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command with what it started: a site's sbatch may be a script, whose child would submit later."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def meanwhile(argv: Sequence[str], *, cwd: str | None = None, timeout: float = SECONDS) -> Callable[[], CommandAnswer]:
    """Start a command of the scheduler; what is returned waits for its answer, and raises what `ask` does."""
    kept: list[CommandAnswer | LaunchError] = []

    def run() -> None:
        try:
            kept.append(ask(argv, cwd=cwd, timeout=timeout))
        except LaunchError as error:
            kept.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> CommandAnswer:
        thread.join()
        (answer,) = kept
        if isinstance(answer, LaunchError):
            raise answer
        return answer

    return wait


def _text(written: bytes | None) -> str:
    return (written or b"").decode(errors="replace")
