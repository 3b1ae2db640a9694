"""Progress: what it says, when it says it, and that a terminal, a log and a notebook show it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

import nbformat
import pytest
from nbclient import NotebookClient

from daskhpc.errors import SettingsError
from daskhpc.parallel.progress import Bar, Lines, Progress, Standing, progress_for
from daskhpc.parallel.progress_text import (
    Causes,
    alike,
    bar,
    last_line,
    line,
    line_gap,
    recent_rate,
    score_text,
    seconds_left,
)
from daskhpc.text import duration, duration_left
from daskhpc.text import rate as rate_text


def standing(done: int = 340, **changes: Any) -> Standing:
    values = {"failed": 0, "total": 1200, "known": 1200, "seconds": 10.0, "best": None, "workers": 4}
    return Standing(done=done, **{**values, **changes})


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- what it says


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (2.54, "2.5 s"),
        (9.97, "10 s"),
        (35.2, "35 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (120, "2 min"),
        (3599.6, "1 h"),
        (4800, "1 h 20 min"),
        (2 * 86400 + 3 * 3600, "2 d 3 h"),
    ],
)
def test_time(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1, "5 s"),
        (38, "40 s"),
        (90, "90 s"),
        (91, "2 min"),
        (170, "3 min"),
        (5300, "88 min"),
        (5900, "1.5 h"),
        (7300, "2 h"),
        (20 * 3600, "20 h"),
        (48 * 3600, "2 days"),
        (1e9, "11,574 days"),
    ],
)
def test_time_left(seconds: float, text: str) -> None:
    assert duration_left(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1234.5, "1,234/s"), (34.4, "34/s"), (3.44, "3.4/s"), (0.2, "12/min"), (1 / 1800, "2/h"), (1e-4, "0.36/h")],
)
def test_rate(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.97391, "0.9739"), (1.0, "1"), (-1234567.8, "-1,234,568"), (-3.0e-7, "-3e-07"), (5e20, "5e+20")],
)
def test_score(score: float, text: str) -> None:
    assert score_text(score) == text


def test_the_gaps_between_lines_grow_to_ten_minutes() -> None:
    assert [line_gap(n) for n in range(8)] == [10, 20, 40, 80, 160, 320, 600, 600]
    assert line_gap(10**6) == 600


@pytest.mark.parametrize(
    ("history", "now", "rate"),
    [
        ([], standing(0), None),
        ([], standing(100, seconds=0.0), None),
        ([], standing(100, seconds=10.0), 10),
        ([(50, 50), (70, 200), (80, 300)], standing(500, seconds=100), 10),  # from (70, 200), the last quarter
        ([(50, 50), (70, 200), (80, 300)], standing(500, seconds=100, workers=200), 4.5 * 2),  # two of each worker
        ([(1, 3)], standing(3, seconds=100, workers=0), None),  # none finished in the last part
        ([(10, 16)], standing(17, seconds=10.1, workers=16), 17 / 10.1),  # within a wave
    ],
)
def test_the_rate_is_that_of_the_last_part(history: list[tuple[float, int]], now: Standing, rate: float | None) -> None:
    assert recent_rate(history, now) == (pytest.approx(rate) if rate else None)


def test_what_is_left_is_unknown_until_all_calls_are_known() -> None:
    assert seconds_left(standing(200), 100.0) == 10
    assert seconds_left(standing(200, total=None), 100.0) is None
    assert seconds_left(standing(200), None) is None
    assert seconds_left(standing(1200), 100.0) is None


@pytest.mark.parametrize(
    ("now", "rate", "text"),
    [
        (standing(340), None, "S: 340 of 1,200 fits (28%)"),
        (
            standing(340, failed=3, best=0.974),
            34.4,
            "S: 340 of 1,200 fits (28%), 3 failed, 34/s, about 25 s left, best 0.974",
        ),
        (standing(340, total=None), 34.4, "S: 340 of at least 1,200 fits, 34/s"),
        (standing(0, total=0, known=0), None, "S: 0 of 0 fits"),
        (standing(1199, best=float("nan")), 10.0, "S: 1,199 of 1,200 fits (99%), 10/s, about 5 s left"),
        (standing(1, total=1), 0.1, "S: 1 of 1 fit (100%), 6/min"),
    ],
)
def test_a_line(now: Standing, rate: float | None, text: str) -> None:
    assert line("S", now, rate) == text


def test_the_last_line() -> None:
    full = standing(1200, failed=3, best=0.974, seconds=35.2)
    assert last_line("GridSearchCV", full) == "GridSearchCV: 1,200 fits in 35 s, 3 failed, best 0.974"
    assert last_line("Parallel", standing(340), "calls") == "Parallel: 340 of 1,200 calls in 10 s"
    assert last_line("Parallel", standing(1, total=None), "calls") == "Parallel: 1 call in 10 s"


@pytest.mark.parametrize("now", [standing(), standing(failed=12, best=-123456.7), standing(total=None), standing(1200)])
@pytest.mark.parametrize("label", ["S", "HalvingRandomSearchCV", "a" * 90])
def test_a_bar_is_no_wider_than_its_terminal(now: Standing, label: str) -> None:
    widths = range(16, 200)
    texts = {width: "".join(text for text, _ in bar(label, now, 34.4, width, True)) for width in widths}
    assert [width for width, text in texts.items() if len(text) > width] == []
    assert all(f"{now.done:,}/1,200" in text for text in texts.values())
    assert all(("#" in text) is (now.total is not None) for width, text in texts.items() if width >= 50)
    assert "34/s" in texts[199]
    assert label[:9] in texts[79]


def test_a_bar_is_filled_as_far_as_the_run_is() -> None:
    text = "".join(text for text, _ in bar("S", standing(600), 34.4, 79, False))
    assert text == "S " + "━" * 15 + "─" * 15 + " 600/1,200 50%  15 s left  34/s"


def test_causes_that_differ_in_numbers_and_addresses_are_alike() -> None:
    assert alike("ValueError: C=-1.5e-3 of <f at 0x7fEe>") == alike("ValueError: C=12 of <f at 0x12a>")
    assert alike("ValueError: a") != alike("TypeError: a")
    causes = Causes()
    assert causes.summary(12) == ""
    for n in range(10):
        causes.add(f"ValueError: C={n}\nand so on")
    causes.add("MemoryError")
    causes.add("MemoryError")
    assert causes.summary(12) == "12 fits failed: 10 x ValueError: C=0; 2 x MemoryError"
    for text in ("A: \x1b[31mred", "A: \x1b[31mred", "", "B", "C"):
        causes.add(text)
    most = "10 x ValueError: C=0; 2 x MemoryError; 2 x A:  [31mred"
    assert causes.summary(1) == f"17 fits failed: {most}; 3 others"
    assert causes.summary(1020, "calls") == f"1,020 calls failed: {most}; 1,006 others"


def test_a_long_cause_is_shortened() -> None:
    causes = Causes()
    causes.add("ValueError: " + "x" * 5000)
    causes.add("ValueError: " + "x" * 5001)
    assert re.fullmatch(r"2 fits failed: 2 x ValueError: x+\.\.\.", causes.summary(2))
    assert len(causes.summary(2)) < 130


# --- lines


def run(progress: Progress, clock: Clock, seconds: float, step: float = 0.01, calls_per_second: int = 10) -> None:
    """Update until so many seconds have passed, from 0 on."""
    start = clock.now
    for n in range(1, round(seconds / step) + 1):
        clock.now = start + n * step
        done = int(n * step * calls_per_second)
        progress.update(standing(done, seconds=n * step))


def test_a_log_has_lines_at_growing_gaps(clock: Clock) -> None:
    stream = io.StringIO()
    progress = progress_for("lines", "GridSearchCV", stream, clock=clock)
    run(progress, clock, 100, 0.5)
    progress.close(standing(1200, seconds=100.0, best=0.974))
    assert stream.getvalue().splitlines() == [
        "GridSearchCV: 100 of 1,200 fits (8%), 10/s, about 2 min left",
        "GridSearchCV: 300 of 1,200 fits (25%), 10/s, about 90 s left",
        "GridSearchCV: 700 of 1,200 fits (58%), 10/s, about 50 s left",
        "GridSearchCV: 1,200 fits in 1 min 40 s, best 0.974",
    ]


def test_a_week_is_some_thousand_lines_and_a_bounded_history(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Lines("S", stream, "fits", clock)
    run(progress, clock, 7 * 86400, 30)
    assert len(stream.getvalue().splitlines()) == pytest.approx(7 * 86400 / 600, abs=10)
    assert len(progress._history) < 3000


def test_a_short_run_is_silent(clock: Clock) -> None:
    stream = io.StringIO()
    progress = progress_for("lines", "S", stream, clock=clock)
    run(progress, clock, 9)
    progress.close(standing(1200))
    assert stream.getvalue() == ""


def test_a_short_run_with_failures_is_not(clock: Clock) -> None:
    stream = io.StringIO()
    progress = progress_for("lines", "S", stream, clock=clock)
    progress.failure("ValueError: no")
    for _ in range(2):
        progress.close(standing(1200, failed=1))
        progress.update(standing(1))
        clock.now += 100
    progress.failure("ValueError: no")
    assert stream.getvalue() == "S: 1,200 fits in 10 s, 1 failed\n1 fit failed: 1 x ValueError: no\n"


def test_a_stream_that_is_gone_does_not_matter(clock: Clock) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    closed = io.StringIO()
    closed.close()
    pipe = open(writing, "w", buffering=1)  # noqa: SIM115
    for stream in (closed, pipe):
        progress = progress_for("lines", "S", stream, clock=clock)
        run(progress, clock, 40, 1)
        progress.close(standing(1200, failed=1))
    with pytest.raises(BrokenPipeError):
        pipe.close()


@pytest.mark.parametrize("mode", [None, "fancy", 1, 0, ["bar"]])
def test_a_mode_that_does_not_exist(mode: Any) -> None:
    with pytest.raises(SettingsError) as error:
        progress_for(mode, "S")
    assert repr(mode) in error.value.found
    assert '"lines"' in error.value.todo


def test_no_progress_says_nothing(clock: Clock) -> None:
    stream = io.StringIO()
    progress = progress_for(False, "S", stream, clock=clock)
    assert type(progress) is Progress
    run(progress, clock, 40, 1)
    progress.failure("ValueError: no")
    progress.close(standing(1200, failed=1))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("mode", [True, "auto", "bar", "lines", "html"])
def test_without_a_terminal_and_a_notebook_there_are_lines(mode: str | bool) -> None:
    assert type(progress_for(mode, "S", io.StringIO())) is Lines


def test_without_a_stderr_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert type(progress_for("auto", "S")) is Progress


# --- the bar


def screen(raw: str, width: int) -> list[str]:
    """The lines that a terminal shows after these bytes."""
    rows, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[\d;]*[A-Za-z]|.", raw, re.DOTALL):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif piece == "\x1b[J":
            rows = [*rows[:row], rows[row][:column]]
        elif not piece.startswith("\x1b"):
            if column == width:
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            rows[row] = rows[row][:column].ljust(column) + piece + rows[row][column + 1 :]
            column += 1
    return rows


MARK = b"\x00mark\x00"


class Terminal:
    """A pseudo-terminal, which `start` makes the program's standard output and error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.master, self.slave = pty.openpty()
        self.resize(80)
        self.out, self.err = self.open(), self.open()
        self.runs: list[Progress] = []
        self.raw, self.bytes, self.arrived = "", b"", threading.Condition()
        self.receiver = threading.Thread(target=self._receive, daemon=True)
        self.receiver.start()

    def open(self) -> TextIO:
        return open(os.dup(self.slave), "w", buffering=1, encoding="utf-8")

    def start(self, label: str, clock: Clock, out: TextIO | None = None) -> Progress:
        """Begin a run; in the test, since pytest sets its own streams between a fixture and its test."""
        self.monkeypatch.setattr(sys, "stdout", out or self.out)
        self.monkeypatch.setattr(sys, "stderr", self.err)
        self.runs.append(progress_for("auto", label, clock=clock))
        return self.runs[-1]

    def resize(self, columns: int) -> None:
        self.width = columns
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def _receive(self) -> None:
        """Take what arrives, as a terminal does: a writer would wait for it."""
        with suppress(OSError):  # the last writer is gone
            while new := os.read(self.master, 65536):
                with self.arrived:
                    self.bytes += new
                    self.arrived.notify_all()

    def read(self) -> str:
        """All that was written since the last call."""
        os.write(self.slave, MARK)
        with self.arrived:
            assert self.arrived.wait_for(lambda: MARK in self.bytes, 60)
            new, _, self.bytes = self.bytes.partition(MARK)
        self.raw += new.decode()
        return new.decode()

    def close(self) -> None:
        for run in self.runs:
            run.close(standing())
        for stream in (self.out, self.err):
            stream.close()
        os.close(self.slave)
        self.receiver.join(60)
        os.close(self.master)

    def shown(self) -> list[str]:
        self.read()
        return [row.rstrip() for row in screen(self.raw, self.width)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    it = Terminal(monkeypatch)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    yield it
    monkeypatch.undo()
    it.close()


def untouched(*streams: TextIO) -> bool:
    return not any("write" in vars(stream) for stream in streams)


def test_a_bar_comes_after_a_second_and_leaves_one_line(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("GridSearchCV", clock)
    assert type(progress) is Bar
    run(progress, clock, 0.99)
    assert terminal.shown() == [""]
    run(progress, clock, 10)
    (row,) = terminal.shown()
    assert re.fullmatch(r"GridSearchCV ━+─+ (99|100)/1,200 8%  \d+ s left  1\d/s|.*2 min left.*", row)
    progress.close(standing(1200, seconds=35.2, failed=3, best=0.974))
    assert terminal.shown() == ["GridSearchCV: 1,200 fits in 35 s, 3 failed, best 0.974", ""]
    assert untouched(terminal.out, terminal.err)


def test_a_bar_is_drawn_at_most_ten_times_a_second(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    run(progress, clock, 5, 0.001)
    assert 30 <= terminal.read().count("\x1b[J") <= 41
    progress.close(standing(1200))


def test_a_short_run_draws_no_bar(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    run(progress, clock, 0.9)
    progress.close(standing(1200))
    assert terminal.read() == ""


def test_what_the_program_prints_stays_whole(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    run(progress, clock, 2)
    print("first")
    print("second", file=sys.stderr)
    assert terminal.shown() == ["first", "second", ""]
    run(progress, clock, 1)
    print("third, from a handler of logs", file=terminal.err)
    run(progress, clock, 1)
    shown = terminal.shown()
    assert shown[:3] == ["first", "second", "third, from a handler of logs"]
    assert shown[3].startswith("S ──")
    print("a part", end="")
    sys.stdout.flush()
    run(progress, clock, 1)
    assert terminal.shown()[3:] == ["a part"]
    print(" of a line")
    run(progress, clock, 1)
    assert terminal.shown()[3] == "a part of a line"
    print("unfinished", end="")
    progress.close(standing(1200, seconds=5.5))
    print("after")
    assert terminal.shown()[4:] == ["unfinished", "S: 1,200 fits in 5.5 s", "after", ""]
    assert untouched(terminal.out, terminal.err)


def test_output_that_goes_elsewhere_is_left_alone(terminal: Terminal, clock: Clock, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        progress = terminal.start("S", clock, out)
        run(progress, clock, 2)
        assert untouched(out)
        print("kept")
        assert terminal.shown()[0].startswith("S ──")
        progress.close(standing(1200))
    assert (tmp_path / "out").read_text() == "kept\n"


def test_output_may_be_redirected_meanwhile(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    with redirect_stdout(io.StringIO()) as text:
        run(progress, clock, 2)
        print("inside")
        with redirect_stdout(terminal.out):
            progress.close(standing(1200))
    print("outside")
    assert text.getvalue() == "inside\n"
    assert sys.stdout is terminal.out
    assert terminal.shown() == ["S: 1,200 fits in 10 s", "outside", ""]


@pytest.mark.parametrize("columns", [20, 40, 300])
def test_a_terminal_of_another_width(terminal: Terminal, clock: Clock, columns: int) -> None:
    progress = terminal.start("HalvingRandomSearchCV", clock)
    run(progress, clock, 2)
    terminal.read()
    terminal.resize(columns)
    terminal.raw = ""
    run(progress, clock, 2)
    (row,) = terminal.shown()
    assert len(row) < columns
    assert "/1,200" in row
    progress.close(standing(1200))


@pytest.mark.parametrize("mode", [True, "auto", "bar"])
def test_a_terminal_that_cannot_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, mode: str | bool
) -> None:
    assert type(progress_for(mode, "S", terminal.err)) is Bar
    for name in ("dumb", "unknown", ""):
        monkeypatch.setenv("TERM", name)
        assert type(progress_for(mode, "S", terminal.err)) is Lines


def test_colours(terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for colour in (True, False):
        if not colour:
            monkeypatch.setenv("NO_COLOR", "1")
        progress = terminal.start("S", clock)
        run(progress, clock, 2)
        assert bool(re.search(r"\x1b\[[\d;]*3\dm", terminal.read())) is colour
        progress.close(standing(1200))


def test_a_terminal_that_has_only_ascii(terminal: Terminal, clock: Clock) -> None:
    terminal.err.reconfigure(encoding="ascii")  # type: ignore[attr-defined]
    progress = terminal.start("Suché", clock)
    run(progress, clock, 2)
    assert terminal.shown()[0].startswith("Such? -----")
    progress.failure("ValueError: Köln")
    progress.close(standing(1200, failed=1))
    assert terminal.shown()[1] == "1 fit failed: 1 x ValueError: K?ln"


def test_one_run_at_a_time_has_the_bar(terminal: Terminal, clock: Clock) -> None:
    outer, inner = (terminal.start(name, clock) for name in ("outer", "inner"))
    for _ in range(3):
        run(outer, clock, 2)
        run(inner, clock, 2)
    assert terminal.shown()[0].startswith("outer ──")
    outer.close(standing(1200))
    run(inner, clock, 2)
    assert terminal.shown()[1].startswith("inner ──")
    inner.close(standing(1200))
    assert terminal.shown() == ["outer: 1,200 fits in 10 s", "inner: 1,200 fits in 10 s", ""]


def test_failures_are_summarised_under_the_bar(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    progress.failure("ValueError: no")
    progress.close(standing(1200, failed=1))
    assert terminal.shown() == ["S: 1,200 fits in 10 s, 1 failed", "1 fit failed: 1 x ValueError: no", ""]


def test_a_terminal_that_hangs_up_does_not_matter(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    stream = open(slave, "w", buffering=1)  # noqa: SIM115
    progress = progress_for("bar", "S", stream, clock=clock)
    run(progress, clock, 2)
    assert not untouched(stream)
    os.close(master)
    run(progress, clock, 2)
    progress.close(standing(1200, failed=1))
    assert untouched(stream)
    with suppress(OSError):
        stream.close()


def test_calls_from_many_threads(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(run, progress, clock, 3) for _ in range(2)]
        for n in range(100):
            print(f"line {n}")
        for each in running:
            each.result(timeout=60)
    progress.close(standing(1200))
    assert [row for row in terminal.shown() if row.startswith("line")] == [f"line {n}" for n in range(100)]


def test_a_forked_process_prints_and_draws_nothing(terminal: Terminal, clock: Clock) -> None:
    progress = terminal.start("S", clock)
    run(progress, clock, 2)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with progress._lock, progress._row._lock:  # type: ignore[attr-defined]
            held.set()
            done.wait(120)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    terminal.read()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends the child where a lock holds it
        print("from the child", flush=True)
        run(progress, clock, 2)
        progress.failure("ValueError: no")
        progress.close(standing(1200, failed=1))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    holder.join(60)
    assert terminal.read() == "from the child\r\n"
    progress.close(standing(1200))


# --- the notebook


def test_a_notebook_shows_the_last_state_under_the_cell_that_ran(tmp_path: Path) -> None:
    prepare = """
from concurrent.futures import ThreadPoolExecutor
from daskhpc.parallel.progress import Html, Standing, progress_for
thread, now = ThreadPoolExecutor(1), [0.0]
def run(label, seconds, close):
    progress = progress_for("auto", label, clock=lambda: now[0])
    assert type(progress) is Html
    for n in range(100):
        now[0] += seconds / 100
        step = Standing(n, 0, 200, 200, 1 + n / 10, 0.5, 2)
        thread.submit(progress.update, step).result(timeout=60)
    if close:
        progress.failure("ValueError: <no>")
        thread.submit(progress.close, Standing(200, 1, 200, 200, 35.2, 0.5, 2)).result(timeout=60)
run("first", 0.5, False)
"""
    cells = [prepare, "run('<b>', 5, False)", "run('closed', 5, True)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    options = {"timeout": 120, "startup_timeout": 120, "iopub_timeout": 60}
    NotebookClient(notebook, **options, resources={"metadata": {"path": str(tmp_path)}}).execute()
    silent, live, closed = (cell.outputs for cell in notebook.cells)
    assert silent == []
    assert len(live) == len(closed) == 1
    assert re.fullmatch(
        r'<div><progress value="9\d" max="200"></progress> &lt;b&gt;: 9\d of 200 fits .*</div>',
        live[0].data["text/html"],
    )
    lines = ["closed: 200 fits in 35 s, 1 failed, best 0.5", "1 fit failed: 1 x ValueError: <no>"]
    assert closed[0].data["text/plain"] == "\n".join(lines)
    assert closed[0].data["text/html"] == (
        "<div>closed: 200 fits in 35 s, 1 failed, best 0.5</div><div>1 fit failed: 1 x ValueError: &lt;no&gt;</div>"
    )


def test_what_the_checkpoint_had_is_said_and_is_no_pace() -> None:
    now = Standing(60, 0, 100, 100, 10.0, None, 2, replayed=40)
    assert "60 of 100 fits (60%), 40 from the checkpoint" in line("Search", now, None)
    assert last_line("Search", now).endswith("40 from the checkpoint")
    assert recent_rate([], now) == 2.0
