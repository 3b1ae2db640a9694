"""What is shown of a training: the global batch, a line for each epoch, lines within a long one, rank 0's output."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

from ..parallel.progress import writable
from ..text import counted

_EVERY_SECONDS = 10.0
_TERMINAL_SECONDS = 0.5
_HIDDEN = {"rank", "epoch", "step", "time"}


class TrainingView:
    """Writes to standard error; what rank 0 prints goes to the same stream here.

    Parameters
    ----------
    shown : bool
        Whether progress is shown; what rank 0 prints always is.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self._epochs = 0
        self._terminal = sys.stderr.isatty()
        self._last: dict[str, float] = {}
        self._epoch, self._step, self._written = 0, 0, time.monotonic()
        self._open_line = False

    def told(self, message: dict[str, Any]) -> None:
        """Show the message of a rank."""
        match message["kind"]:
            case "output" | "errors" as name:
                self._end_line()
                stream = sys.stdout if name == "output" else sys.stderr
                for line in message["lines"]:
                    print(writable(line, stream), file=stream, flush=True)
            case "batch":
                each, ranks = message["batch_size"], message["world_size"]
                self.say(
                    f"global batch {each * ranks:,} = {each:,} on each of {counted(ranks, 'rank')}, "
                    f"of {counted(message['samples'], 'sample')}"
                )
            case "note":
                self.say(message["text"])
            case "plan":
                self._epochs = message["epochs"]
            case "progress" if message["rank"] == 0:
                self._progress(message)
            case "saved":
                within = f", at step {message['step']:,}" if message["within"] else ""
                metric = f"   metric {message['metric']:.4g}" if message["metric"] is not None else ""
                self.say(f"epoch {message['epoch']:,}{self._of()} done{within}{self._numbers()}{metric}   saved")

    def _progress(self, message: dict[str, Any]) -> None:
        before = self._epoch
        self._epoch, self._step = message["epoch"], message["step"]
        for row in message["rows"]:
            self._last.update({name: value for name, value in row.items() if name not in _HIDDEN})
        due = _TERMINAL_SECONDS if self._terminal else _EVERY_SECONDS
        if time.monotonic() - self._written > due or (self._epoch != before and not self._terminal):
            line = f"epoch {self._epoch + 1:,}{self._of()}   step {self._step:,}{self._numbers()}"
            if self._terminal:
                self._write(f"\r\x1b[K{line}", end="")
                self._open_line = self.shown
            else:
                self._write(line)

    def say(self, line: str) -> None:
        """Show a line of its own."""
        self._end_line()
        self._write(line)

    def close(self) -> None:
        """End the line that is written to."""
        self._end_line()

    def _of(self) -> str:
        return f" of {self._epochs:,}" if self._epochs else ""

    def _numbers(self) -> str:
        return "".join(f"   {name} {value:.4g}" for name, value in self._last.items())

    def _end_line(self) -> None:
        if self._open_line:
            self._write("")
            self._open_line = False

    def _write(self, text: str, end: str = "\n") -> None:
        if self.shown:
            self._written = time.monotonic()
            with contextlib.suppress(OSError, ValueError):
                print(writable(text, sys.stderr), end=end, file=sys.stderr, flush=True)
