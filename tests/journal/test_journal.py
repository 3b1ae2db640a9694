"""Whatever ends a process: every result that was reported as saved is read back, by any number of readers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from waiting import until

from daskhpc.errors import JournalError
from daskhpc.journal import index
from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader

from .kept import SECONDS, append, fill, found, key, mounted, remount, run, segments, start

PARTS = {"data": {"token": "aa", "text": "10 rows"}}


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    value = {"score": np.float64(0.1), "estimator": {1, 2}, "nan": float("nan")}
    about = {"candidate": 3, "place": "search.py:7", "score": 0.1}
    saved: list[str] = []
    with Journal.open(tmp_path, "search", PARTS) as journal:
        journal.append(key(1), True, value, 1.25, "node7", about, saved.append)
        journal.append(key(2), False, ValueError("no\nluck"), 0.5, "node8", {})
        assert journal.sync(SECONDS)
        assert (saved, journal.saved, journal.pending, journal.lost, journal.problem) == ([key(1)], 2, 0, 0, None)
    for again in (journal, Journal.open(tmp_path, "search", PARTS), JournalReader(tmp_path)):
        assert len(again) == 2
        assert (key(1) in again, key(2) in again, key(3) in again) == (True, True, False)
        one, two = again.get(key(1)), again.get(key(2))
        assert one is not None
        assert two is not None
        assert repr(one.value) == repr(value)
        assert (one.ok, one.error, one.seconds, one.host, one.about) == (True, None, 1.25, "node7", about)
        assert (two.ok, two.error, repr(two.value)) == (False, "ValueError: no luck", r"ValueError('no\nluck')")
        assert again.get(key(3)) is None
        assert {record.key: record.ok for record in again.records()} == {key(1): True, key(2): False}
        assert again.damages == []
        assert again.seed == journal.seed


def test_a_journal_of_other_work_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path, "search", PARTS).close()
    with pytest.raises(JournalError, match="from 10 rows to 20 rows"):
        Journal.open(tmp_path, "search", {"data": {"token": "bb", "text": "20 rows"}})
    with pytest.raises(JournalError, match="'search', not 'calls'"):
        Journal.open(tmp_path, "calls", PARTS)
    with pytest.raises(ValueError, match="'search', 'sweep', 'calls'"):
        Journal.open(tmp_path, "other")
    with pytest.raises(JournalError, match="no such folder"):
        Journal.open(tmp_path / "none", "search", create=False)
    assert not (tmp_path / "none").exists()


def test_a_success_beats_a_failure_and_else_the_first_counts(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "calls") as journal:
        for name, ok, value in ((1, False, ValueError("a")), (1, True, "b"), (1, True, "c"), (2, True, "d")):
            journal.append(key(name), ok, value, 0, "", {})
            assert journal.sync(SECONDS)
    with Journal.open(tmp_path, "calls") as journal:
        journal.append(key(2), False, ValueError("e"), 0, "", {})
        journal.append(key(1), True, "f", 0, "", {})
        assert journal.sync(SECONDS)
        live = [journal.get(key(1)), journal.get(key(2))]
    read = JournalReader(tmp_path)
    for result in (live, [read.get(key(1)), read.get(key(2))]):
        assert [each.value for each in result if each is not None] == ["b", "d"]
    assert len(read) == 2


def test_notes_are_all_kept_in_order(tmp_path: Path) -> None:
    for run_number in range(2):
        with Journal.open(tmp_path, "search") as journal:
            for number in range(3):
                journal.note("plan", {"run": run_number, "number": number})
            journal.note("finished", ("a", np.int8(1)))
            assert journal.sync(SECONDS)
    read = JournalReader(tmp_path)
    assert [note.data for note in read.notes("plan")] == [{"run": n, "number": m} for n in range(2) for m in range(3)]
    assert [note.decoded() for note in read.notes("finished")] == [("a", np.int8(1))] * 2
    assert read.notes("other") == []
    assert len(read) == 0
    for name in ("header", "end", "a b", "a\n", "é"):
        with pytest.raises(ValueError, match="note's name"):
            journal.note(name, {})


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        for name in ("", "ab", key(1) * 2, "x" * 32):
            with pytest.raises(ValueError, match=r"32 hex|hexadecimal"):
                journal.append(name, True, 1, 0, "", {})


def test_a_reader_takes_in_what_is_appended_and_reads_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal.open(tmp_path, "search") as writer:
        append(writer, range(100))
        assert writer.sync(SECONDS)
        reader = JournalReader(tmp_path)
        assert len(reader) == 100
        size = segments(tmp_path)[0].stat().st_size
        append(writer, range(100, 110))
        assert writer.sync(SECONDS)
        fill(tmp_path, range(110, 120))
        starts: dict[Path, int] = {}
        scan = index.scan
        monkeypatch.setattr(index, "scan", lambda path, first=0: starts.update({path: first}) or scan(path, first))
        reader.refresh()
        assert found(reader, range(121)) == list(range(120))
        assert sorted(starts.values()) == [0, size]
        starts.clear()
        reader.refresh()
        assert starts == {}


def test_a_record_in_the_course_of_writing_is_taken_in_later(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    cuts = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    reader = None
    for cut in sorted({*cuts, *(c - 7 for c in cuts if c > 10), len(whole)}):
        path.write_bytes(whole[:cut])
        reader = reader or JournalReader(tmp_path)
        reader.refresh()
        assert reader.damages == []
        assert found(reader, range(3)) == found(JournalReader(tmp_path), range(3))
    assert reader is not None
    assert len(reader) == 3


def test_pages_that_arrive_late_are_read_again(tmp_path: Path) -> None:
    fill(tmp_path, range(6))
    path = segments(tmp_path)[0]
    whole = path.read_bytes()
    middle, late = len(whole) // 2, len(whole) * 3 // 4
    path.write_bytes(whole[:middle] + bytes(100) + whole[middle + 100 : late])
    reader = JournalReader(tmp_path)
    assert len(reader.damages) == 1
    path.write_bytes(whole)
    reader.refresh()
    assert reader.damages == []
    assert found(reader, range(6)) == list(range(6))


def test_a_segment_that_became_shorter_is_read_anew(tmp_path: Path) -> None:
    fill(tmp_path, range(6))
    reader = JournalReader(tmp_path)
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader.refresh()
    assert list(reader.records())
    assert len(reader) == len(found(reader, range(6))) < 6


def test_reading_writes_nothing_and_needs_no_permission_to(tmp_path: Path) -> None:
    with mounted(tmp_path, "1m"):
        fill(tmp_path, range(3))
        remount(tmp_path, "ro")
        reader = JournalReader(tmp_path)
        reader.refresh()
        assert found(reader, range(3)) == [0, 1, 2]
        with pytest.raises(JournalError, match="cannot be used for a journal"):
            Journal.open(tmp_path, "search")


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """The payload of the only record of a journal."""
    with Journal.open(tmp_path, "search") as journal:
        journal.append(key(0), True, {1, 2}, 0, "", {})
        assert journal.sync(SECONDS)
    [path] = (path for path in (tmp_path / "payloads").rglob("*") if path.is_file())
    return path


def lost(folder: Path) -> str:
    journal = JournalReader(folder)
    [record] = journal.records()
    with pytest.raises(JournalError):
        record.decoded("value")
    assert journal.get(key(0)) is None
    assert key(0) not in journal
    [damage] = journal.damages
    return damage.reason


def test_a_payload_that_is_a_link_is_refused(tmp_path: Path, payload: Path) -> None:
    other = payload.rename(tmp_path / "other")
    payload.symlink_to(other)
    assert "cannot be read" in lost(tmp_path)


def test_a_payload_that_is_missing_is_no_result(tmp_path: Path, payload: Path) -> None:
    payload.unlink()
    assert "No such file" in lost(tmp_path)


def test_a_payload_that_is_a_pipe_is_refused(tmp_path: Path, payload: Path) -> None:
    payload.unlink()
    os.mkfifo(payload)
    assert "no regular file" in lost(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_payload_of_another_user_is_refused(tmp_path: Path, payload: Path) -> None:
    os.chown(payload, 12345, -1)
    assert "belongs to user 12345" in lost(tmp_path)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-1] + b"x"], ids=["size", "contents"])
def test_a_damaged_payload_is_no_result_until_it_is_saved_again(tmp_path: Path, payload: Path, change: object) -> None:
    assert callable(change)
    payload.write_bytes(change(payload.read_bytes()))
    assert "damaged" in lost(tmp_path)
    with Journal.open(tmp_path, "search") as journal:
        assert journal.get(key(0)) is None
        journal.append(key(0), True, [7], 0, "", {})  # another value: the payload stays damaged
        assert journal.sync(SECONDS)
        assert [record.decoded("value") for record in journal.records()] == [[7]]
    again = JournalReader(tmp_path).get(key(0))
    assert again is not None
    assert again.value == [7]
    with Journal.open(tmp_path, "search") as journal:
        journal.append(key(1), True, {1, 2}, 0, "", {})  # the same payload: written anew
        assert journal.sync(SECONDS)
    whole = JournalReader(tmp_path).get(key(1))
    assert whole is not None
    assert whole.value == {1, 2}


WRITING = """
import sys
from pathlib import Path
from journal.kept import key
from daskhpc.journal.journal import Journal
journal = Journal.open(sys.argv[1], "search")
def tell(name):
    print(name, flush=True)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    value = {"number": number} if number % 7 else {"number": number, "set": {number}}
    journal.append(key(number), True, value, 0.5, "host", {}, tell)
    if number % 500 == 0:
        journal.sync()
journal.close()
"""


def test_what_a_killed_process_reported_as_saved_is_there(tmp_path: Path) -> None:
    random.seed(5)
    first, reported = 0, set[str]()
    for _ in range(4):
        with start(WRITING, tmp_path, first, first + 1_000_000) as process:
            assert process.stdout is not None
            for _ in range(random.randrange(20, 800)):
                reported.add(process.stdout.readline().strip())
            process.send_signal(signal.SIGKILL)
            reported.update(line.strip() for line in process.stdout if line.endswith("\n"))
        first += 1_000_000
    reader = JournalReader(tmp_path)
    assert len(reported) > 80
    results = {name: reader.get(name) for name in reported}
    assert [name for name, result in results.items() if result is None] == []
    assert [damage for damage in reader.damages if damage.path.endswith(".jsonl")] == []


def test_two_processes_write_into_one_folder_at_once(tmp_path: Path) -> None:
    with start(WRITING, tmp_path, 0, 1500) as one, start(WRITING, tmp_path, 1000, 2500) as two:
        told = [process.communicate(timeout=SECONDS)[0].split() for process in (one, two)]
    assert [len(names) for names in told] == [1500, 1500]
    reader = JournalReader(tmp_path)
    assert len(reader) == 2500
    assert len(segments(tmp_path)) == 2
    values = [record.decoded("value")["number"] for record in reader.records()]
    assert sorted(values) == list(range(2500))
    assert reader.damages == []


def test_records_that_met_a_full_disk_are_saved_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path, "600k"):
        folder, problems = tmp_path / "j", list[str]()
        journal = Journal.open(folder, "search", on_problem=problems.append)
        append(journal, [0])
        assert journal.sync(SECONDS)
        ballast = tmp_path / "ballast"
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        append(journal, range(1, 300))
        journal.append(key(300), True, np.arange(300.0), 0, "", {})
        assert not journal.sync(0.3)
        until(lambda: journal.problem, SECONDS)
        assert "No space" in str(journal.problem)
        assert JournalReader(folder).damages == []
        ballast.unlink()
        assert journal.sync(SECONDS)
        assert journal.problem is None
        assert len(problems) == 1
        assert journal.close() == 0
        reader = JournalReader(folder)
        assert found(reader, range(300)) == list(range(300))
        assert key(300) in reader
        assert reader.damages == []


def test_a_limit_of_file_size_makes_another_segment(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from journal.kept import append
from daskhpc.journal.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
journal = Journal.open(sys.argv[1], "search")
for first in range(0, 300, 30):
    append(journal, range(first, first + 30))
    assert journal.sync(60), journal.problem
print(journal.close(), journal.problem)
"""
    assert run(program, tmp_path).split() == ["0", "None"]
    reader = JournalReader(tmp_path)
    assert found(reader, range(300)) == list(range(300))
    assert len(segments(tmp_path)) > 2
    assert reader.damages == []


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path: Path) -> None:
    program = """
import sys, time
real, calls = time.time, iter(range(10**9))
time.time = lambda: real() - 1000 * next(calls)
from journal.kept import append
from daskhpc.journal.journal import Journal
with Journal.open(sys.argv[1], "search") as journal:
    for number in range(20):
        append(journal, [number])
    assert journal.sync(60)
"""
    run(program, tmp_path)
    assert found(JournalReader(tmp_path), range(20)) == list(range(20))


def test_a_forked_child_appends_for_itself(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        append(journal, range(5))
        assert journal.sync(SECONDS)
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends the child if a lock holds it
            status = 1
            try:
                append(journal, range(5, 10))
                status = 0 if journal.sync(SECONDS) and found(journal, range(20)) == list(range(10)) else 2
                journal.close()
            finally:
                os._exit(status)
        append(journal, range(10, 15))
        assert os.waitpid(child, 0)[1] == 0
        assert journal.sync(SECONDS)
        journal.refresh()
        assert found(journal, range(20)) == list(range(15))
    assert len(segments(tmp_path)) == 2


def test_the_files_can_be_read_without_this_program(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search", PARTS) as journal:
        append(journal, [1])
        assert journal.sync(SECONDS)
    header, record, end = (line for line in segments(tmp_path)[0].read_text().splitlines() if line)
    assert json.loads(header.split(" ", 3)[3])["format"] == 1
    assert record.split(" ", 3)[1:3] == [key(1), "+"]
    data = json.loads(record.split(" ", 3)[3])
    assert (data["ok"], data["value"], data["about"]) == (True, {"number": 1}, {"candidate": 1})
    assert end.split(" ")[1] == "note:end"
    assert json.loads((tmp_path / "journal.json").read_text())["parts"] == PARTS


def test_status_needs_no_numpy(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    program = """
import sys
from daskhpc.journal.reader import JournalReader
print(len([record.about for record in JournalReader(sys.argv[1]).records()]), "numpy" in sys.modules)
"""
    assert run(program, tmp_path).split() == ["3", "False"]
