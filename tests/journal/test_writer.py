"""Records are reported as saved when they are durable, in groups, whatever goes wrong in between."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from waiting import until

from daskhpc.errors import JournalError
from daskhpc.journal import writer as module
from daskhpc.journal.folder import Folder, prepare
from daskhpc.journal.segment import OK, scan
from daskhpc.journal.writer import SavedRecord, Writer

from .kept import SECONDS, key, segments


class Commits:
    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.problems: list[str] = []

    def __call__(self, segment: str, records: list[SavedRecord]) -> None:
        self.groups.append([record.key for record in records])


@pytest.fixture
def commits() -> Commits:
    return Commits()


@pytest.fixture
def writer(tmp_path: Path, commits: Commits) -> Iterator[Writer]:
    prepare(Folder(tmp_path))
    made = Writer(Folder(tmp_path), commits, commits.problems.append)
    yield made
    made.close(SECONDS)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """While an error number is in this list, nothing can be synced."""
    errors: list[int] = []
    fsync = os.fsync

    def checked(descriptor: int) -> None:
        if errors:
            raise OSError(errors[0], os.strerror(errors[0]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", checked)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    return errors


def lines(folder: Path) -> int:
    return sum(good and b" + " in line for path in segments(folder) for _, line, good in scan(path))


def test_no_thread_and_no_file_before_the_first_record(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    before = {*threading.enumerate()}
    writer: Writer = request.getfixturevalue("writer")
    # A cluster of another test may start threads of its own.
    assert not [thread for thread in {*threading.enumerate()} - before if thread.name == "daskhpc-journal"]
    assert segments(tmp_path) == []
    assert writer.sync(0)


def test_what_is_appended_during_a_commit_is_one_group(
    writer: Writer, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        entered.set()
        assert go.wait(SECONDS)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    writer.append(key(0), OK, {})
    assert entered.wait(SECONDS)
    for number in range(1, 400):
        writer.append(key(number), OK, {})
    go.set()
    assert writer.sync(SECONDS)
    assert [len(group) for group in commits.groups] == [1, 399]


def test_what_the_program_changes_later_is_saved_as_it_was(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GROUP_SECONDS", 1000.0)
    writer.append(key(0), OK, {})
    total = [1]
    writer.append(key(1), OK, {"value": total, "about": {"params": total}})
    total += [2]
    assert writer.sync(SECONDS)
    saved = [line for path in segments(tmp_path) for _, line, _ in scan(path) if key(1).encode() in line]
    assert [line.endswith(b'{"value":[1],"about":{"params":[1]}}') for line in saved] == [True]


def test_a_record_alone_is_saved_at_once_and_those_that_follow_as_a_group(
    writer: Writer, commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GROUP_SECONDS", 1000.0)
    saved = threading.Event()
    writer.append(key(0), OK, {}, lambda _: saved.set())
    assert saved.wait(SECONDS)
    for number in range(1, 6):
        writer.append(key(number), OK, {})
    assert writer.sync(SECONDS)
    assert [len(group) for group in commits.groups] == [1, 5]


def test_records_follow_each_other_in_the_order_of_their_appending(writer: Writer, commits: Commits) -> None:
    for number in range(1000):
        writer.append(key(number), OK, {})
    assert writer.sync(SECONDS)
    assert list(chain.from_iterable(commits.groups)) == [key(number) for number in range(1000)]
    assert writer.saved == 1000


def test_a_record_is_reported_only_once_it_is_durable(tmp_path: Path, writer: Writer, failing: list[int]) -> None:
    saved: list[str] = []
    failing.append(errno.EIO)
    writer.append(key(1), OK, {}, saved.append)
    assert not writer.sync(0.2)
    assert saved == []
    assert writer.pending == 1
    failing.clear()
    assert writer.sync(SECONDS)
    assert saved == [key(1)]
    assert writer.saved == lines(tmp_path) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_an_error_is_told_once_and_gone_when_records_are_saved(
    tmp_path: Path, writer: Writer, commits: Commits, failing: list[int], number: int
) -> None:
    writer.append(key(0), OK, {})
    assert writer.sync(SECONDS)
    for episode in (1, 2):
        failing.append(number)
        writer.append(key(episode), OK, {})
        writer.append(key(episode + 10), OK, {})
        assert not writer.sync(0.1)
        until(lambda: writer.problem, SECONDS)
        assert os.strerror(number) in str(writer.problem)
        failing.clear()
        assert writer.sync(SECONDS)
        assert writer.problem is None
        assert len(commits.problems) == episode
    assert writer.saved == lines(tmp_path) == 5


def test_closing_says_how_many_records_are_unsaved(writer: Writer, failing: list[int]) -> None:
    failing.append(errno.ENOSPC)
    for number in range(3):
        writer.append(key(number), OK, {})
    assert writer.close(0.1) == 3
    assert writer.close() == 3


def test_a_closed_writer_refuses_records(writer: Writer) -> None:
    writer.append(key(0), OK, {})
    assert writer.close(SECONDS) == 0
    with pytest.raises(JournalError, match="closed"):
        writer.append(key(1), OK, {})


def test_what_cannot_be_pickled_is_told_once_and_others_are_saved(
    tmp_path: Path, writer: Writer, commits: Commits
) -> None:
    saved: list[str] = []
    for number in range(4):
        writer.append(key(number), OK, {"value": threading.Lock() if number % 2 else number}, saved.append)
    assert writer.sync(SECONDS)
    assert saved == [key(0), key(2)]
    assert (writer.saved, writer.lost, writer.pending) == (2, 2, 0)
    assert len(commits.problems) == 1
    assert "pickle" in commits.problems[0]
    assert writer.problem is None


def test_a_callback_that_raises_stops_nothing(writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: str) -> None:
        raise ValueError("broken")

    writer.append(key(0), OK, {}, broken)
    writer.append(key(1), OK, {})
    assert writer.sync(SECONDS)
    assert "a callback of the journal failed" in caplog.text


def test_many_threads_may_append(writer: Writer) -> None:
    def some(first: int) -> None:
        for number in range(first, first + 200):
            writer.append(key(number), OK, {})

    threads = [threading.Thread(target=some, args=(200 * number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert writer.sync(SECONDS)
    assert writer.saved == 1000


def test_files_are_of_the_user_alone(tmp_path: Path, writer: Writer) -> None:
    writer.append(key(0), OK, {"value": {1, 2}})
    assert writer.sync(SECONDS)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))


def test_a_forked_child_writes_to_a_segment_of_its_own(tmp_path: Path, writer: Writer, failing: list[int]) -> None:
    writer.append(key(0), OK, {})
    assert writer.sync(SECONDS)
    failing.append(errno.ENOSPC)
    writer.append(key(1), OK, {})  # stays the parent's
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends the child if a lock holds it
        status = 1
        try:
            failing.clear()
            writer.append(key(2), OK, {})
            status = 0 if writer.sync(SECONDS) and writer.saved == 1 and writer.close(SECONDS) == 0 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    failing.clear()
    assert writer.sync(SECONDS)
    assert writer.saved == 2
    assert [lines_of(path) for path in segments(tmp_path)] == [[key(0), key(1)], [key(2)]]


def lines_of(path: Path) -> list[str]:
    return [line[9:41].decode() for _, line, good in scan(path) if good and b" + " in line]
