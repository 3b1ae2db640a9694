"""The log of a process: complete in its file or in memory, while what the process prints stays what it was."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path

import example_plans
import pytest
from clusters import start_cluster
from distributed import Client

from daskhpc.cluster.logs import FOLDER, KEPT_RECORDS, run_name, save_logs, start_log, stop_log
from daskhpc.errors import StartError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where Dask's loggers are as quiet as `start` makes them."""
    monkeypatch.chdir(tmp_path)
    dask = logging.getLogger("distributed")
    before = dask.level
    dask.setLevel(logging.WARNING)
    yield
    stop_log()
    assert dask.level == logging.WARNING
    dask.setLevel(before)


def log(text: str, *arguments: object, exc_info: bool = False) -> None:
    logging.getLogger("distributed.scheduler").info(text, *arguments, exc_info=exc_info)


def saved(run: str = "run") -> str:
    """What `save_logs` has written by now."""
    assert save_logs() == FOLDER.absolute() / run
    return (FOLDER / run / "client.log").read_text()


# Speaks at every level, without a log and with one, before and after the program changes logging by itself.
PRINTED = """
import logging, sys, warnings
import distributed
from daskhpc.cluster.environment import set_dask_log_level
from daskhpc.cluster.logs import stop_log, start_log

NAMES = ("distributed", "distributed.scheduler", "distributed.client", "daskhpc", "daskhpc.journal.writer", "tornado",
         "tornado.application", "mine")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

def nothing():
    pass

def more():
    logging.getLogger("distributed").setLevel("INFO")
    logging.getLogger("daskhpc.journal").setLevel("DEBUG")

def less():
    logging.getLogger("distributed.scheduler").setLevel("ERROR")

def configured():
    logging.basicConfig(level="INFO", format="root %(name)s %(levelname)s")

def speak():
    for name in NAMES:
        for level in LEVELS:
            logging.getLogger(name).log(getattr(logging, level), name)
    warnings.warn("a warning")

def reset(levels):
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.root.handlers[:] = handlers

def case(level, change, kept):
    before = {name: logging.getLogger(name).level for name in ("", "daskhpc.journal", *NAMES)}
    set_dask_log_level(level)
    if kept:
        start_log(sys.argv[1], f"{level}-{change.__name__}", "x")
    change()
    print(f"== {level} {change.__name__}", file=sys.stderr)
    speak()
    stop_log()
    reset(before)

handlers = list(logging.root.handlers)
warnings.simplefilter("always")
for level in [level.lower() for level in LEVELS]:
    for change in (nothing, more, less, configured):
        case(level, change, kept=False)
        case(level, change, kept=True)
"""


@pytest.mark.parametrize(
    ("first", "env", "spoken"),
    [
        ("", {}, {"debug": 5, "warning": 4}),
        ("", {"DASK_LOGGING__DISTRIBUTED": "error", "DASK_LOGGING__DASKHPC": "info"}, {"debug": 4, "warning": 4}),
        ("import logging; logging.basicConfig(format='root %(name)s %(levelname)s')", {}, {"debug": 5, "warning": 4}),
    ],
    ids=["as it is", "configured by Dask's configuration", "configured before Dask"],
)
def test_what_is_printed_does_not_change(
    first: str, env: dict[str, str], spoken: dict[str, int], tmp_path: Path
) -> None:
    """Neither at any level, nor where logging was configured before or is changed later."""
    variables = {**os.environ, "DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(name)s %(levelname)s", **env}
    program = [sys.executable, "-c", first + PRINTED, str(tmp_path)]
    done = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    _, *cases = done.stderr.split("== ")
    without, kept = cases[::2], cases[1::2]
    assert kept == without
    assert len(kept) == len(set(kept)) == 20
    assert all("distributed.scheduler ERROR" in case for case in kept[:12])
    for level, count in spoken.items():
        lines = (tmp_path / f"{level}-nothing" / "x.log").read_text().splitlines()
        for name in ("distributed.scheduler", "distributed.client", "daskhpc.journal.writer"):
            assert sum(line.endswith(f" {name}: {name}") for line in lines) == count
        assert sum("py.warnings: " in line and "UserWarning: a warning" in line for line in lines) == 1


def test_a_line_has_time_host_level_and_logger(tmp_path: Path) -> None:
    assert start_log("logs", "run", "client", rank=1) is None
    log("%d workers", 3)
    lines = (tmp_path / "logs" / "run" / "rank-1-client.log").read_text().splitlines()
    host = re.escape(os.uname().nodename)
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d [\d:]{{8}}\.\d{{3}} {host} INFO distributed\.scheduler: 3 workers", lines[1]
    )


def test_a_log_of_the_same_run_is_appended_to() -> None:
    for _ in range(2):
        start_log("logs", "run", "client")
    assert Path("logs/run/client.log").read_text().count("begins") == 2
    assert save_logs() == Path("logs/run").absolute()


def test_the_last_records_are_kept_and_written_once() -> None:
    assert start_log(None, "run", "client") is None
    for number in range(KEPT_RECORDS + 10):
        log("record %d.", number)
    assert not FOLDER.exists()
    text = saved()
    assert len(text.splitlines()) == KEPT_RECORDS
    assert "record 9." not in text
    assert f"record {KEPT_RECORDS + 9}." in text
    log("later")
    assert saved().splitlines()[KEPT_RECORDS:] == [saved().splitlines()[-1]]
    assert saved().endswith("distributed.scheduler: later\n")


def test_only_the_owner_reads_what_was_saved() -> None:
    start_log(None, "run", "client")
    save_logs()
    found = [path.stat().st_mode & 0o777 for path in (FOLDER.parent, FOLDER, FOLDER / "run")]
    assert [*found, (FOLDER / "run" / "client.log").stat().st_mode & 0o777] == [0o700, 0o700, 0o700, 0o600]


def test_warnings_are_kept_and_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    before = warnings.showwarning
    start_log(None, "run", "client")
    warnings.warn("look here", RuntimeWarning, stacklevel=1)
    assert shown == ["look here"]
    assert f"WARNING py.warnings: {__file__}:" in saved()
    assert "RuntimeWarning: look here" in saved()
    stop_log()
    assert warnings.showwarning is before


class Thing:
    """Something that a program logs."""

    def __str__(self) -> str:
        return "a thing"


def test_what_is_logged_is_not_kept_alive() -> None:
    start_log(None, "run", "client")
    one, other = Thing(), Thing()
    alive = weakref.ref(one), weakref.ref(other)
    log("here is %s", one)
    try:
        raise ValueError(other)
    except ValueError:
        log("failed", exc_info=True)
    del one, other
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    assert "here is a thing" in saved()
    assert "ValueError: a thing" in saved()


def test_a_message_that_does_not_fit_its_arguments_is_kept_as_it_is() -> None:
    start_log(None, "run", "client")
    log("%d workers", "no")
    assert "'%d workers' ('no',)" in saved()


def test_logs_are_saved_while_other_threads_log() -> None:
    """Each record once, though two threads save."""

    def write() -> None:
        for _ in range(500):
            log("record")

    def save() -> None:
        for _ in range(20):
            save_logs()

    start_log(None, "run", "client")
    writers = [threading.Thread(target=write) for _ in range(3)]
    savers = [threading.Thread(target=save) for _ in range(2)]
    for thread in (*writers, *savers):
        thread.start()
    for thread in (*writers, *savers):
        thread.join(100)
    assert saved().count("scheduler: record\n") == 1500


def test_without_a_place_to_write_nothing_is_raised() -> None:
    assert save_logs() is None
    start_log(None, "run", "client")
    Path(FOLDER.parent).write_text("in the way")
    assert save_logs() is None


def test_a_folder_for_logs_that_cannot_be_written_is_an_error() -> None:
    Path("logs").write_text("in the way")
    error = start_log("logs", "run", "client")
    assert isinstance(error, StartError)
    assert "logs" in error.found
    assert save_logs() is None


def test_a_worker_process_that_starts_again_appends_to_its_log() -> None:
    start_log("logs", "run", "client")
    with start_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        (pid,) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        assert client.submit(lambda: "DASKHPC_WORKER_LOG" in os.environ, pure=False).result(timeout=120) is False
    text = Path("logs/run/worker-0.log").read_text()
    assert text.count("INFO distributed.worker:       Start worker at:") == 2
    assert f"the log of process {pid} begins" in text
    assert "INFO distributed.nanny: " in Path("logs/run/client.log").read_text()


@pytest.mark.parametrize(
    ("job", "step", "name"),
    [("12", "3", "12.3"), ("12", None, f"12-n1-{os.getpid()}"), (None, None, f"n1-{os.getpid()}")],
    ids=["a step", "a job", "no job"],
)
def test_what_a_run_is_called(job: str | None, step: str | None, name: str) -> None:
    assert run_name(example_plans.runtime(job=job, step=step)) == name
