"""A check reads all of a journal; segments copied from another folder are part of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from daskhpc.errors import JournalError
from daskhpc.journal.check import check
from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader, Record

from .kept import SECONDS, append, fill, found, key, segments


def used(folder: Path, openings: int = 3) -> None:
    """A journal of ten records, some twice, of a failure, of payloads, and of notes."""
    for opening in range(openings):
        with Journal.open(folder, "search") as journal:
            append(journal, range(3 * opening, 3 * opening + 5))
            journal.append(key(100), opening == 1, {opening} if opening == 1 else ValueError("no"), 0, "", {})
            journal.append(key(200), False, ValueError("never"), 0, "", {})
            journal.note("plan", opening)
            assert journal.sync(SECONDS)


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


def test_of_two_records_the_one_counts_whose_payload_is_there(tmp_path: Path) -> None:
    for value in ({1}, {2}):
        with Journal.open(tmp_path, "search") as journal:
            journal.append(key(0), True, value, 0, "", {})
            assert journal.sync(SECONDS)
        if value == {1}:
            payloads(tmp_path)[0].write_bytes(b"damaged")
    reader = JournalReader(tmp_path)
    assert [result.value for result in reader.each(Record.result)] == [{2}]
    assert reader.unreadable == 1
    result = JournalReader(tmp_path).get(key(0))
    assert result is not None
    assert result.value == {2}


def test_segments_and_payloads_that_are_copied_are_part_of_a_journal(tmp_path: Path) -> None:
    target, one, two = (tmp_path / name for name in ("target", "one", "two"))
    fill(target, range(5))
    fill(one, range(3, 8))
    used(two)
    for source in (one, two, two):
        subprocess.run(f"cp -rn {source}/segments {source}/payloads {target}/", shell=True, check=True)
    reader = JournalReader(target)
    assert found(reader, range(12)) == list(range(11))
    assert [note.data for note in reader.notes("plan")] == [0, 1, 2]
    shutil.rmtree(two)
    good = reader.get(key(100))
    assert good is not None
    assert good.value == {1}
    assert check(target).damages == ()


def test_a_reader_goes_on_with_segments_that_were_copied_under_it(tmp_path: Path) -> None:
    fill(tmp_path / "one", range(3))
    fill(tmp_path / "two", range(3, 5))
    reader = JournalReader(tmp_path / "one")
    shutil.copy(segments(tmp_path / "two")[0], tmp_path / "one" / "segments")
    reader.refresh()
    assert found(reader, range(9)) == list(range(5))


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal\.json"):
        check(tmp_path)
    assert list(tmp_path.iterdir()) == []
