"""Progress of a Parallel call or a search: a bar on a terminal, lines in a batch log, an element in a notebook."""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, TextIO

from ..errors import SettingsError
from .progress_text import Causes, Standing, bar, element, last_line, line, line_gap, plain, recent_rate

__all__ = ["Progress", "Standing", "progress_for"]

_MODES = ("auto", "bar", "lines", "html")


class Progress:
    """Shows nothing; the base of what shows the progress of a run.

    Notes
    -----
    The thread that starts the run makes one, `progress_for`; any thread may then call it. No method raises, whatever
    the screen does. `update` may be called as often as calls finish, and should be called each second if none does.
    """

    def update(self, standing: Standing) -> None:
        """Show a new standing, if it is time to."""

    def failure(self, cause: str) -> None:
        """Count a failed fit by its cause, the last line of its traceback."""

    def close(self, standing: Standing) -> None:
        """Show what stays; all further calls do nothing."""


class _Shown(Progress):
    """What all ways of showing progress share: when to draw, from which figures, and that nothing of it is raised."""

    def __init__(self, label: str, stream: TextIO, unit: str, clock: Callable[[], float]) -> None:
        self.label, self.stream, self.unit = plain(label), stream, unit
        self._clock, self._started = clock, clock()
        self._causes = Causes()
        self._history: list[tuple[float, int]] = []
        self._drawn, self._last = 0, 0.0
        self._over = False
        self._lock, self._process = threading.RLock(), os.getpid()

    def gap(self, drawn: int) -> float:
        """The seconds until the first drawing, and then to the next; a run that ends before the first shows nothing."""
        raise NotImplementedError

    def draw(self, standing: Standing, rate: float | None) -> None:
        """Show how far the run is."""
        raise NotImplementedError

    def end(self, texts: Sequence[str]) -> None:
        """Take away what is gone at the end, and show these lines for good."""
        raise NotImplementedError

    def update(self, standing: Standing) -> None:
        if not self._mine():
            return
        with self._lock:
            if self._over:
                return
            elapsed = self._clock() - self._started
            if elapsed - self._last >= self.gap(self._drawn):
                self._drawn, self._last = self._drawn + 1, elapsed
                try:
                    self.draw(standing, recent_rate(self._history, standing))
                except Exception:
                    self._finish([])
            # a sample each 0.5% of the time: few, however long the run is and however often this is called
            if not self._history or standing.seconds > 1.005 * self._history[-1][0]:
                self._history.append((standing.seconds, standing.done))

    def failure(self, cause: str) -> None:
        if self._mine():
            with self._lock:
                self._causes.add(cause)

    def close(self, standing: Standing) -> None:
        if not self._mine():
            return
        with self._lock:
            causes = self._causes.summary(standing.failed, self.unit)
            short = self._clock() - self._started < self.gap(0) and not (standing.failed or causes)
            texts = [last_line(self.label, standing, self.unit), *([causes] if causes else [])]
            self._finish([] if short else texts)

    def _finish(self, texts: Sequence[str]) -> None:
        over, self._over = self._over, True
        if not over:
            with contextlib.suppress(Exception):
                self.end(texts)

    def _mine(self) -> bool:
        """Whether this is the process that made it: the lock of a forked one may be held for ever."""
        return os.getpid() == self._process

    def write(self, texts: Sequence[str]) -> None:
        """Write lines at once."""
        if texts:
            self.stream.write(writable("".join(f"{text}\n" for text in texts), self.stream))
            self.stream.flush()


class Lines(_Shown):
    """A line of a log now and then."""

    def gap(self, drawn: int) -> float:
        return line_gap(drawn)

    def draw(self, standing: Standing, rate: float | None) -> None:
        self.write([line(self.label, standing, rate, self.unit)])

    def end(self, texts: Sequence[str]) -> None:
        self.write(texts)


class Html(_Shown):
    """An element under the cell of a notebook, updated in place."""

    def __init__(self, label: str, stream: TextIO, unit: str, clock: Callable[[], float]) -> None:
        super().__init__(label, stream, unit, clock)
        self._cell = contextvars.copy_context()  # which cell an output belongs to, whatever thread draws
        self._handle: Any = None

    def gap(self, drawn: int) -> float:
        return 0.5 if drawn else 1.0

    def draw(self, standing: Standing, rate: float | None) -> None:
        html = element(self.label, standing, rate, self.unit)
        self._show(html, line(self.label, standing, rate, self.unit))

    def end(self, texts: Sequence[str]) -> None:
        if texts:
            self._show("".join(f"<div>{escape(text)}</div>" for text in texts), "\n".join(texts))

    def _show(self, html: str, text: str) -> None:
        from IPython.display import DisplayHandle

        first = self._handle is None
        self._handle = self._handle or DisplayHandle()
        show = self._handle.display if first else self._handle.update
        self._cell.run(show, {"text/html": html, "text/plain": text}, raw=True)


class Bar(_Shown):
    """A bar on the last line of a terminal, and one line in its place at the end."""

    def __init__(self, label: str, stream: TextIO, unit: str, clock: Callable[[], float]) -> None:
        super().__init__(label, stream, unit, clock)
        self._row: _Row | None = None

    def gap(self, drawn: int) -> float:
        return 0.1 if drawn else 1.0

    def draw(self, standing: Standing, rate: float | None) -> None:
        from rich.console import Console
        from rich.text import Text

        place = os.getpid(), _device(self.stream)
        if _ROWS.setdefault(place, self) is not self:  # another run has the row; it may be free later
            return
        self._row = self._row or _Row(self.stream)
        width = (os.get_terminal_size(self.stream.fileno()).columns or 80) - 1
        ascii_only = writable("━─", self.stream) != "━─"
        text = Text.assemble(*bar(writable(self.label, self.stream), standing, rate, width, ascii_only))
        text.truncate(width)
        drawn = io.StringIO()
        console = Console(file=drawn, force_terminal=True, force_jupyter=False)
        console.print(text, soft_wrap=True, end="")
        self._row.draw(drawn.getvalue())

    def end(self, texts: Sequence[str]) -> None:
        try:
            if self._row:
                self._row.give_back()
        finally:
            for place in [place for place, owner in _ROWS.copy().items() if owner is self]:
                del _ROWS[place]
        self.write(texts)


_ROWS: dict[tuple[int, int], Bar] = {}
"""The bar that has a terminal, by process and device: a forked process has none."""


class _Row:
    """The last row of a terminal, kept out of the way of what the program prints there.

    Notes
    -----
    ``sys.stdout`` and ``sys.stderr`` stay the objects that they are: others may replace them meanwhile, from other
    threads. Their `write` wipes the row first, and the row stays empty while the program is within a line.
    The cursor rests at the start of the row: a terminal that is made narrower and wraps the row leaves it there, so
    that wiping to the end of the screen leaves nothing of it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()
        self._filled = self._within_line = False
        self._write, self._flush = stream.write, stream.flush
        self._kept = []
        for each in {id(s): s for s in (stream, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}.values():
            with contextlib.suppress(Exception):
                if each is not None and each.isatty() and _device(each) == _device(stream):
                    self._kept.append((each, vars(each).get("write")))
                    vars(each)["write"] = self._wiping(each.write)

    def _wiping(self, write: Callable[[str], int]) -> Callable[[str], int]:
        def wipe_and_write(text: str) -> int:
            if not text or os.getpid() != self._process:
                return write(text)
            with self._lock:
                self._wipe()
                self._within_line = not text.endswith("\n")
                return write(text)

        return wipe_and_write

    def _wipe(self) -> None:
        if self._filled:
            self._filled = False
            with contextlib.suppress(Exception):
                self._write("\r\x1b[J")
                self._flush()

    def draw(self, text: str) -> None:
        """Put this into the row, unless the program is within a line."""
        with self._lock:
            if not self._within_line:
                self._filled = True
                self._write(f"\r\x1b[J{text}\r")
                self._flush()

    def give_back(self) -> None:
        """Wipe the row and leave it to the program, at the start of a line."""
        with self._lock:
            for stream, write in self._kept:
                if write is None:
                    vars(stream).pop("write", None)
                else:
                    vars(stream)["write"] = write
            self._wipe()
            if self._within_line:
                for stream, _ in self._kept:
                    stream.flush()
                self._write("\n")
                self._within_line = False


def writable(text: str, stream: TextIO) -> str:
    """The text with a question mark for what the stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _device(stream: TextIO) -> int:
    return os.fstat(stream.fileno()).st_rdev


def _in_notebook() -> bool:
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _takes_bar(stream: TextIO) -> bool:
    with contextlib.suppress(Exception):
        return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and stream.fileno() >= 0
    return False


def progress_for(
    mode: str | bool,
    label: str,
    stream: TextIO | None = None,
    *,
    unit: str = "fits",
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Give what shows the progress of a run here.

    Parameters
    ----------
    mode : {"auto", "bar", "lines", "html"} or bool
        "auto" and True are an element in a notebook, a bar on a terminal and else lines; False is nothing. A bar
        without a terminal that can show it, or an element outside a notebook, become lines.
    label : str
        What runs, such as "GridSearchCV".
    stream : text file, optional
        Gets bars and lines; ``sys.stderr`` by default.
    unit : str
        What is counted, in the plural.
    clock : callable
        Gives seconds; a run starts now.

    Returns
    -------
    Progress
        Made by the thread that starts the run, called by any.

    Raises
    ------
    SettingsError
        If there is no such mode.
    """
    if not isinstance(mode, bool) and not (isinstance(mode, str) and mode in _MODES):
        todo = "progress=" + ", ".join([*(f'"{name}"' for name in _MODES), "True or False"])
        raise SettingsError(f"progress= does not take {mode!r}.", f"progress={mode!r}", todo)
    stream = sys.stderr if stream is None else stream
    if mode is False or stream is None:
        return Progress()
    notebook = mode in (True, "auto", "html") and _in_notebook()
    terminal = mode in (True, "auto", "bar") and _takes_bar(stream)
    kind = Html if notebook else Bar if terminal else Lines
    return kind(label, stream, unit, clock)
