"""Programs run as real MPI ranks: with a deadline, and with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from flavors import Flavor

MARK = "DASKHPC_TEST_RUN"


def messages(err: str) -> list[str]:
    """The first line of what daskhpc itself said, the start table and the line of Python and MPI apart."""
    said = [line for line in err.splitlines() if line.startswith("daskhpc: ") and " worker" not in line[:24]]
    return [line for line in said if not re.match(r"daskhpc: \S+, Python ", line)]


def without_progress(err: str) -> list[str]:
    """The lines of standard error without those about how far a run is, which come if it takes ten seconds or more."""
    return [line for line in err.splitlines() if not re.match(r"\w+: [\d,]+ (of|fits?|calls?)\b", line)]


class Done(NamedTuple):
    """A program that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def messages(self) -> list[str]:
        """What daskhpc itself said."""
        return messages(self.err)


class Ranks:
    """Runs programs in a folder of their own; on leaving, no process that they started lives.

    Parameters
    ----------
    flavor : Flavor
        The MPI library.
    folder : Path
        Working directory of the programs.
    """

    def __init__(self, flavor: Flavor, folder: Path) -> None:
        self.flavor = flavor
        self.folder = folder
        self.mark = uuid.uuid4().hex

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left or error, f"processes left: {left}"

    def processes(self) -> list[int]:
        """The processes that carry this test's mark in their environment, zombies apart."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
            except OSError:
                continue
        return found

    def script(self, text: str, name: str = "program.py") -> Path:
        """Write a program into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def run(
        self, argv: Sequence[str], timeout: float = 150, env: Mapping[str, str] | None = None, interrupt_at: str = ""
    ) -> Done:
        """Run a command and wait for it, and for its processes to be gone.

        With `interrupt_at`, its process group gets SIGINT, as by Ctrl-C, when that text stands in what it wrote.

        Raises
        ------
        AssertionError
            When it runs longer than `timeout` seconds, with what it wrote.
        """
        began = time.monotonic()
        out, err = self.folder / f"{uuid.uuid4().hex}.stdout", self.folder / f"{uuid.uuid4().hex}.stderr"
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env={**os.environ, **self.flavor.env, MARK: self.mark, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                while interrupt_at and interrupt_at not in out.read_text():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        raise AssertionError(f"ended with {process.wait(0.05)}: {err.read_text()}")
                if interrupt_at:
                    os.killpg(process.pid, signal.SIGINT)
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                for pid in self.processes():
                    os.kill(pid, signal.SIGKILL)
                process.wait(60)
                raise AssertionError(
                    f"{argv} ran longer than {timeout} s\n{out.read_text()}\n{err.read_text()}"
                ) from None
        seconds = time.monotonic() - began
        end = time.monotonic() + 15
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        return Done(code, out.read_text(), err.read_text(), seconds)

    def mpiexec(self, count: int, program: str | Path, *args: str, timeout: float = 150, **env: str) -> Done:
        """Run a Python program, or its text, as `count` ranks."""
        path = program if isinstance(program, Path) else self.script(program)
        return self.run([self.flavor.mpiexec, "-n", str(count), sys.executable, str(path), *args], timeout, env)

    def daskhpc(self, *args: str, timeout: float = 150, **env: str) -> Done:
        """Run the ``daskhpc`` command."""
        return self.run([sys.executable, "-m", "daskhpc", *args], timeout, env)
