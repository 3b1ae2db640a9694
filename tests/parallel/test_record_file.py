"""Records in a file without a name: whole or not there, whoever writes and reads at the same time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from open_files import none_more, open_files
from waiting import until

from daskhpc.parallel.record_file import RecordFile

SECONDS = 60


@pytest.fixture
def child() -> Iterator[RecordFile]:
    """The child's end."""
    file = RecordFile.create()
    yield file
    file.close()


@pytest.fixture
def worker(child: RecordFile) -> Iterator[RecordFile]:
    """The worker's end of the same file."""
    file = RecordFile.of_process(os.getpid(), child.descriptor)
    yield file
    file.close()


def test_records_are_read_as_they_were_written(child: RecordFile, worker: RecordFile) -> None:
    assert worker.read() == []
    written = [bytes([i]) * size for i, size in enumerate((1, 7, 8, 9, 4096, 100_000))]
    for count, record in enumerate(written, 1):
        child.append(record)
        assert worker.read() == written[:count]
    assert worker.read() == written, "reading takes nothing away"


def test_a_record_of_zero_bytes_of_content_is_one(child: RecordFile, worker: RecordFile) -> None:
    """Zeros are also what is not written yet."""
    child.append(bytes(1000))
    child.append(b"next")
    assert worker.read() == [bytes(1000), b"next"]


@pytest.mark.parametrize("kept", [0, 3, 8, 100])
def test_a_torn_record_is_not_read(child: RecordFile, worker: RecordFile, kept: int) -> None:
    """A child that crashes while it writes a record has not made that call."""
    child.append(b"whole")
    end = os.fstat(child.descriptor).st_size
    os.pwrite(child.descriptor, b"torn"[:kept], end + 8)  # the length, which is written last, is missing
    assert worker.read() == [b"whole"]


@pytest.mark.parametrize("missing", [1, 500, 1000])
def test_a_record_shorter_than_its_length_is_not_read(child: RecordFile, worker: RecordFile, missing: int) -> None:
    child.append(b"whole")
    child.append(bytes(range(250)) * 4)
    os.ftruncate(child.descriptor, os.fstat(child.descriptor).st_size - missing)
    assert worker.read() == [b"whole"]


def test_stop(child: RecordFile, worker: RecordFile) -> None:
    assert not child.stop
    child.append(b"before")
    worker.ask_to_stop()
    assert child.stop
    child.append(b"after")
    assert worker.read() == [b"before", b"after"]
    worker.clear()
    assert not child.stop
    assert worker.read() == []


def test_a_second_batch_begins_anew(child: RecordFile, worker: RecordFile) -> None:
    child.append(b"x" * 10_000)
    child.append(b"y")
    worker.clear()
    assert os.fstat(child.descriptor).st_size < 100, "the memory is free"
    child.restart()
    child.append(b"z")
    assert worker.read() == [b"z"]


def test_a_large_record(child: RecordFile, worker: RecordFile) -> None:
    record = random.Random(0).randbytes(40 << 20)
    child.append(record)
    child.append(b"last")
    found = worker.read()
    assert found[0] == record
    assert found[1:] == [b"last"]


def test_no_descriptor_is_left() -> None:
    before = open_files()
    for _ in range(5):
        file = RecordFile.create()
        other = RecordFile.of_process(os.getpid(), file.descriptor)
        file.append(b"x")
        assert other.read() == [b"x"]
        for one in (file, other, file):
            one.close()
    until(lambda: none_more(before))


def test_a_child_that_has_ended_has_no_file() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(SECONDS)
    with pytest.raises(OSError, match=str(process.pid)):
        RecordFile.of_process(process.pid, 3)


WRITER = """
import sys
from daskhpc.parallel.record_file import RecordFile
file = RecordFile.create()
print(file.descriptor, flush=True)
for i in range(int(sys.argv[1])):
    file.append(b"%d:" % i + bytes([i % 256]) * (i * 37 % 5000))
    if file.stop:
        break
print(i, flush=True)
sys.stdin.read()
"""


def is_whole(at: int, record: bytes) -> bool:
    return record == b"%d:" % at + bytes([at % 256]) * (at * 37 % 5000)


@pytest.mark.parametrize("stopped", [False, True], ids=["to the end", "until it is stopped"])
def test_another_process_writes_while_this_one_reads(stopped: bool) -> None:
    count = 1_000_000 if stopped else 20_000
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        file = RecordFile.of_process(process.pid, int(process.stdout.readline()))
        try:
            lengths = [0]

            def read_on() -> bool:
                records = file.read()
                assert all(is_whole(at, record) for at, record in enumerate(records[lengths[-1] :], lengths[-1]))
                assert len(records) >= lengths[-1]
                lengths.append(len(records))
                return len(records) >= (100 if stopped else count)

            until(read_on, SECONDS)
            if stopped:
                file.ask_to_stop()
                last = int(process.stdout.readline())
                assert last < count - 1
                assert len(file.read()) == last + 1
        finally:
            process.kill()
            file.close()
