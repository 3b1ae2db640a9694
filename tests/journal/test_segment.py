"""Segments under damage: whatever happens to a record, its neighbours are read."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daskhpc.errors import JournalError
from daskhpc.journal.folder import Folder
from daskhpc.journal.index import Index
from daskhpc.journal.reader import JournalReader
from daskhpc.journal.segment import (
    HEADER,
    NOTE,
    OK,
    SegmentWriter,
    frame,
    gone,
    header_frame,
    intact,
    process,
    scan,
    take_apart,
)

from .kept import fill, found, key, run, segments


def folder_with(tmp_path: Path, data: bytes) -> Folder:
    folder = Folder(tmp_path)
    folder.segments.mkdir(exist_ok=True)
    folder.segment("a").write_bytes(data)
    return folder


def read(folder: Folder) -> Index:
    index = Index(folder)
    index.update()
    return index


def record(number: int) -> bytes:
    return frame(key(number), OK, f'{{"number":{number}}}')


def keys(*numbers: int) -> set[bytes]:
    return {bytes.fromhex(key(number)) for number in numbers}


def test_a_frame_comes_apart_again() -> None:
    line = frame(key(1), OK, '{"a":1}').strip(b"\n")
    assert intact(line)
    parts = take_apart(line)
    assert parts is not None
    assert parts == (bytes.fromhex(key(1)), "+", b'{"a":1}')
    note = take_apart(frame("note:plan", NOTE, "[]").strip(b"\n"))
    assert note == ("note:plan", ".", b"[]")


def test_a_segment_cut_off_anywhere_loses_only_what_is_cut(tmp_path: Path) -> None:
    parts = [header_frame(), *map(record, range(3))]
    whole = b"".join(parts)
    ends = [len(b"".join(parts[: count + 1])) - 1 for count in range(4)]  # the last newline is not needed
    for size in range(len(whole) + 1):
        index = read(folder_with(tmp_path, whole[:size]))
        assert set(index) == keys(*(number for number in range(3) if ends[number + 1] <= size)), size
        assert index.damages == []


@pytest.mark.parametrize("change", [lambda b: b ^ 1, lambda b: b ^ 0x80, lambda b: 10], ids=["1", "0x80", "newline"])
def test_a_changed_byte_takes_no_neighbour(tmp_path: Path, change: Callable[[int], int]) -> None:
    before, middle, after = header_frame() + record(0), record(1), record(2)
    for offset in range(len(middle)):
        data = bytearray(before + middle + after)
        data[len(before) + offset] = change(data[len(before) + offset])
        index = read(folder_with(tmp_path, bytes(data)))
        assert keys(0, 2) <= set(index) <= keys(0, 1, 2), offset
        lost = keys(1) - set(index)
        assert bool(index.damages) or not lost, offset


def test_a_torn_record_before_another_is_reported_and_the_other_read(tmp_path: Path) -> None:
    torn = record(0)[:-9]
    index = read(folder_with(tmp_path, header_frame() + torn + record(1)))
    assert set(index) == keys(1)
    assert [damage.offset for damage in index.damages] == [len(header_frame()) + 1]


def test_a_damaged_header_is_reported_and_the_records_read(tmp_path: Path) -> None:
    data = bytearray(header_frame() + record(0))
    data[20] ^= 1
    index = read(folder_with(tmp_path, bytes(data)))
    assert set(index) == keys(0)
    assert len(index.damages) == 1
    headless = read(folder_with(tmp_path, record(0)))
    assert [damage.reason for damage in headless.damages] == ["the header is missing"]


def test_another_format_is_refused_by_both_numbers(tmp_path: Path) -> None:
    fill(tmp_path / "j", range(2))
    segments(tmp_path / "j")[0].write_bytes(frame(HEADER, NOTE, '{"format":2,"program":"daskhpc 9.1"}') + record(0))
    with pytest.raises(JournalError, match=r"format 2.* format 1[\s\S]*daskhpc 9\.1"):
        JournalReader(tmp_path / "j")


def test_a_record_of_unknown_form_is_reported(tmp_path: Path) -> None:
    odd = frame("somethingelse", "+", "{}")
    index = read(folder_with(tmp_path, header_frame() + odd + record(0)))
    assert set(index) == keys(0)
    assert [damage.reason for damage in index.damages] == ["a record of unknown form"]


def test_lines_longer_than_a_chunk_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskhpc.journal.segment._CHUNK", 7)
    folder = folder_with(tmp_path, header_frame() + record(0) + record(1))
    assert set(read(folder)) == keys(0, 1)
    offsets = [offset for offset, _, _ in scan(folder.segment("a"))]
    assert [offset for offset, _, _ in scan(folder.segment("a"), offsets[1])] == offsets[1:]


def test_a_segment_that_was_removed_is_not_written_to(tmp_path: Path) -> None:
    segment = SegmentWriter(tmp_path)
    segment.commit([record(0)])
    (tmp_path / f"{segment.name}.jsonl").unlink()
    with pytest.raises(OSError, match="removed") as caught:
        segment.commit([record(1)])
    assert caught.value.errno == errno.ESTALE
    assert not segment.usable


def test_a_segment_of_a_full_disk_is_written_to_again_at_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = SegmentWriter(tmp_path)
    segment.commit([record(0)])
    path = tmp_path / f"{segment.name}.jsonl"
    size, write = path.stat().st_size, os.pwrite

    def half(descriptor: int, data: bytes, offset: int) -> int:
        if offset > size:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[:10], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError, match="full"):
        segment.commit([record(1)])
    assert path.stat().st_size == size
    monkeypatch.undo()
    assert segment.usable
    assert segment.commit([record(1)]) == [size + 1]
    segment.close()
    assert [good for _, _, good in scan(path)] == [True] * 4


def test_who_wrote_a_segment_is_known_to_be_gone() -> None:
    mine = {"pid": os.getpid(), **process(os.getpid())}
    assert gone(mine) is False
    assert gone({**mine, "system": "another"}) is None
    assert gone({**mine, "born": "1"}) is True
    text = run("import os, json; from daskhpc.journal.segment import process; p = os.getpid(); "
               "print(json.dumps({'pid': p, **process(p)}))")  # fmt: skip
    assert gone(json.loads(text)) is True


def test_what_one_reads_the_other_wrote(tmp_path: Path) -> None:
    fill(tmp_path / "j", range(5))
    assert found(JournalReader(tmp_path / "j"), range(6)) == [0, 1, 2, 3, 4]
