"""Runs the commands of a scheduler: the one place of it."""

from __future__ import annotations

import os
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
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=for_scheduler(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return CommandAnswer(None, _text(late.stdout), _text(late.stderr))
    except OSError as error:
        raise LaunchError(
            f"Cannot run {argv[0]}.", str(error), "this on a login node of the cluster; daskhpc run works anywhere"
        ) from None
    return CommandAnswer(done.returncode, _text(done.stdout), _text(done.stderr))


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
