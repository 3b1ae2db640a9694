"""Checking, compacting and merging keep every record, wherever they end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskhpc.errors import JournalError
from daskhpc.journal.journal import Journal
from daskhpc.journal.segment import HEADER, NOTE, OK, frame
from daskhpc.journal.upkeep import Compacted, check, compact, merge

from .kept import SECONDS, append, fill, found, key, run, segments

DAY = 86_400.0


def used(folder: Path, openings: int = 3) -> None:
    """A journal of ten records, some twice, of a failure, of payloads, and of notes."""
    for opening in range(openings):
        with Journal.open(folder, "search") as journal:
            append(journal, range(3 * opening, 3 * opening + 5))
            journal.append(key(100), opening == 1, {opening} if opening == 1 else ValueError("no"), 0, "", {})
            journal.append(key(200), False, ValueError("never"), 0, "", {})
            journal.note("plan", opening)
            assert journal.sync(SECONDS)


def contents(folder: Path) -> tuple[Any, ...]:
    journal = Journal.read(folder)
    results = {name: (result.ok, repr(result.value)) for name, result in journal.results()}
    return results, journal.notes("plan"), journal.damages


def age(path: Path) -> None:
    then = path.stat().st_mtime - DAY
    os.utime(path, (then, then))


def payloads(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "payloads").rglob("*") if path.is_file())


def test_a_check_says_what_there_is(tmp_path: Path) -> None:
    used(tmp_path)
    report = check(tmp_path)
    assert (report.segments, report.records, report.duplicates, report.failures) == (3, 13, 8, 1)
    assert (report.damages, report.missing, report.orphans) == ((), (), ())
    assert report.bytes == sum(path.stat().st_size for path in (*segments(tmp_path), *payloads(tmp_path)))


def test_a_check_finds_damage_and_what_is_missing_or_left_over(tmp_path: Path) -> None:
    used(tmp_path)
    segment, [*_, payload] = segments(tmp_path)[0], payloads(tmp_path)
    data = bytearray(segment.read_bytes())
    data[data.index(b'"candidate":0')] ^= 1
    segment.write_bytes(data)
    orphan = payload.rename(payload.with_name("0" * 64))
    report = check(tmp_path)
    assert report.missing == (payload.name,)
    assert report.orphans == (orphan.name,)
    assert {Path(damage.path).name for damage in report.damages} == {segment.name, payload.name}
    assert report.records == 12


def test_a_compaction_makes_one_segment_with_all_records(tmp_path: Path) -> None:
    used(tmp_path)
    before = contents(tmp_path)
    names = segments(tmp_path)
    assert compact(tmp_path) == Compacted(3, 0, 0)
    assert contents(tmp_path) == before
    assert len(segments(tmp_path)) == 1
    assert not set(segments(tmp_path)) & set(names)
    assert check(tmp_path).duplicates == 0
    assert compact(tmp_path) == Compacted(1, 0, 0)
    assert contents(tmp_path) == before


def test_of_two_records_the_one_is_kept_whose_payload_is_there(tmp_path: Path) -> None:
    for value in ({1}, {2}):
        with Journal.open(tmp_path, "search") as journal:
            journal.append(key(0), True, value, 0, "", {})
            assert journal.sync(SECONDS)
            first = payloads(tmp_path)
        if value == {1}:
            first[0].write_bytes(b"damaged")
    compact(tmp_path)
    result = Journal.read(tmp_path).get(key(0))
    assert result is not None
    assert result.value == {2}


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("step", range(1, 24))
def test_a_compaction_killed_at_any_step_keeps_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    used(tmp_path)
    before, left = contents(tmp_path), [step]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in ("pwrite", "fsync", "rename", "unlink", "listdir"):
            patched.setattr(os, name, counted(getattr(os, name)))
        try:
            compact(tmp_path)
        except KilledError:
            assert left[0] == 0
        else:
            assert step > 8
    assert contents(tmp_path) == before
    compact(tmp_path)
    assert contents(tmp_path) == before
    assert len(segments(tmp_path)) == 1


def test_segments_that_are_written_to_are_left_alone(tmp_path: Path) -> None:
    used(tmp_path)
    with Journal.open(tmp_path, "search") as journal:
        append(journal, [50])
        assert journal.sync(SECONDS)
        assert compact(tmp_path, force=True) == Compacted(3, 1, 0)
        append(journal, [51])
        assert journal.sync(SECONDS)
        journal.refresh()
        assert found(journal, [1, 50, 51]) == [1, 50, 51]
        assert len(journal) == 15
    assert found(Journal.read(tmp_path), [1, 50, 51]) == [1, 50, 51]


def test_segments_of_processes_that_were_killed_are_finished(tmp_path: Path) -> None:
    program = """
import os, sys
from journal.kept import append
from daskhpc.journal.journal import Journal
journal = Journal.open(sys.argv[1], "search")
append(journal, [int(sys.argv[2])])
assert journal.sync(60)
os._exit(0)
"""
    for number in range(2):
        run(program, tmp_path, number)
    assert compact(tmp_path) == Compacted(2, 0, 0)
    assert found(Journal.read(tmp_path), range(3)) == [0, 1]


def elsewhere(folder: Path, number: int) -> Path:
    """A segment that another system writes to."""
    header = '{"format":1,"host":"far","pid":1,"system":"another","born":"1"}'
    path = folder / "segments" / f"2000-far-{number}.jsonl"
    text = f'{{"ok":true,"value":{{"number":{number}}},"seconds":1,"host":"","time":1,"about":{{}}}}'
    path.write_bytes(frame(HEADER, NOTE, header) + frame(key(number), OK, text))
    return path


def test_segments_of_another_system_are_finished_after_an_hour_or_by_force(tmp_path: Path) -> None:
    used(tmp_path)
    one, two = elsewhere(tmp_path, 300), elsewhere(tmp_path, 301)
    age(one)
    assert compact(tmp_path) == Compacted(4, 1, 0)
    assert two.exists()
    assert not one.exists()
    assert compact(tmp_path, force=True) == Compacted(2, 0, 0)
    assert found(Journal.read(tmp_path), [1, 300, 301]) == [1, 300, 301]


def test_orphans_are_removed_when_they_are_an_hour_old(tmp_path: Path) -> None:
    used(tmp_path)
    compact(tmp_path)
    beaten = check(tmp_path).orphans  # of a failure that a success replaced
    referred = [path for path in payloads(tmp_path) if path.name not in beaten]
    for path in referred:
        age(path)
    part = referred[0].parent
    (part / ("0" * 64)).write_bytes(b"old")
    (part / f".{'1' * 64}.7.tmp").write_bytes(b"old")
    (tmp_path / "segments" / ".left.tmp").write_bytes(b"old")
    for path in (part / ("0" * 64), *part.glob(".*"), tmp_path / "segments" / ".left.tmp"):
        age(path)
    (part / ("2" * 64)).write_bytes(b"new")
    assert compact(tmp_path).payloads == 3
    assert {path.name for path in {*payloads(tmp_path)} - {*referred}} == {"2" * 64, *beaten}
    assert {*referred} <= {*payloads(tmp_path)}
    assert contents(tmp_path)[2] == []


def test_a_reader_finds_what_was_compacted_under_it(tmp_path: Path) -> None:
    used(tmp_path)
    early, late = Journal.read(tmp_path), Journal.read(tmp_path)
    assert found(early, [0]) == [0]  # has a file open
    compact(tmp_path)
    assert found(early, range(11)) == list(range(11))
    assert found(late, range(11)) == list(range(11))
    late.refresh()
    assert len(late) == 13


def test_a_merge_takes_in_what_is_not_there(tmp_path: Path) -> None:
    target, one, two = (tmp_path / name for name in ("target", "one", "two"))
    fill(target, range(5))
    fill(one, range(3, 8))
    used(two)
    assert merge(target, one, two) == 3 + 5
    assert found(Journal.read(target), range(12)) == list(range(11))
    assert Journal.read(target).notes("plan") == [0, 1, 2]
    assert merge(target, one, two) == 0
    assert Journal.read(target).notes("plan") == [0, 1, 2]
    shutil.rmtree(two)
    good = Journal.read(target).get(key(100))
    assert good is not None
    assert good.value == {1}
    assert check(target).missing == ()


def test_a_merge_into_no_folder_makes_one(tmp_path: Path) -> None:
    used(tmp_path / "one")
    assert merge(tmp_path / "new", tmp_path / "one") == 13
    assert contents(tmp_path / "new")[:2] == contents(tmp_path / "one")[:2]


def test_a_merge_prefers_success_and_repairs(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "one", "search") as journal:
        journal.append(key(0), False, ValueError("no"), 0, "", {})
        journal.append(key(1), True, {1}, 0, "", {})
        assert journal.sync(SECONDS)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for path in payloads(tmp_path / "one"):
        path.unlink()
    with Journal.open(tmp_path / "two", "search") as journal:
        journal.append(key(0), True, "yes", 0, "", {})
        assert journal.sync(SECONDS)
    assert merge(tmp_path / "one", tmp_path / "two") == 2
    values = [result.value for _, result in Journal.read(tmp_path / "one").results()]
    assert sorted(map(str, values)) == ["yes", "{1}"]


def test_a_merge_of_other_work_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    parts = [{"data": {"token": token, "text": f"{token} rows"}} for token in ("10", "20")]
    for name, part in zip(("one", "two"), parts, strict=True):
        with Journal.open(tmp_path / name, "search", part) as journal:
            append(journal, [len(name)])
            assert journal.sync(SECONDS)
    with pytest.raises(JournalError, match="data: from 20 rows to 10 rows"):
        merge(tmp_path / "one", tmp_path / "two")
    assert len(segments(tmp_path / "one")) == 1
    with pytest.raises(JournalError, match="into itself"):
        merge(tmp_path / "one", tmp_path / "one")
    Journal.open(tmp_path / "calls", "calls").close()
    with pytest.raises(JournalError, match="'calls', not 'search'"):
        merge(tmp_path / "one", tmp_path / "calls")


@pytest.mark.parametrize("function", [check, compact])
def test_what_is_no_journal_is_refused(tmp_path: Path, function: Callable[[Path], object]) -> None:
    with pytest.raises(JournalError, match=r"no journal\.json"):
        function(tmp_path)
    assert os.listdir(tmp_path) == []
