"""A parcel's bytes in a node's memory, shared with real other processes, and nothing left of them."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import unavailable
from open_files import none_more, open_files
from waiting import until

from daskhpc.parallel.memory_segment import ALIGNMENT, Layout, MemorySegment, layout_of, pieces

SECONDS = 120
MODES = ["r", "r+", "w+", "c", None]


def made(*frames: bytes, **options: Any) -> MemorySegment:
    segment = MemorySegment.create(layout_of([len(frame) for frame in frames]), **options)
    for (offset, _), frame in zip(segment.layout.spans, frames, strict=True):
        segment.write(offset, frame)
    segment.finish()
    return segment


def contents(segment: MemorySegment, mode: str | None = "r") -> list[bytes]:
    return [bytes(frame) for frame in segment.frames(mode)]


@contextmanager
def python(program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that runs a program, and is ended."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_layout() -> None:
    layout = layout_of([10, 0, 64, 65, 0])
    assert [length for _, length in layout.spans] == [10, 0, 64, 65, 0]
    ends = 0
    for offset, length in layout.spans:
        assert offset % ALIGNMENT == 0
        assert offset >= ends
        ends = offset + length
    assert layout.size >= ends + len(layout.seal)
    assert layout_of([10]).seal != layout_of([10]).seal
    assert pickle.loads(pickle.dumps(layout)) == layout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "frames", [(b"a",), (b"",), (b"", b""), (b"stream", b"", b"x" * 100_000), (b"a" * 64, b"", b"b" * 65, b"")]
)
@pytest.mark.parametrize("spare", [None, 0], ids=["memory", "folder"])
def test_frames_come_back(mode: str | None, frames: tuple[bytes, ...], spare: int | None, tmp_path: Path) -> None:
    segment = made(*frames, spare=spare, folder=str(tmp_path))
    assert contents(segment, mode) == list(frames)
    segment.close()


@pytest.mark.parametrize(("mode", "written", "seen"), [("r+", True, True), ("w+", True, True), ("c", True, False)])
def test_who_sees_what_is_written(mode: str, written: bool, seen: bool) -> None:
    segment = made(b"abc")
    (frame,) = segment.frames(mode)
    frame[0:1] = b"X"
    assert (bytes(frame) == b"Xbc") == written
    assert (contents(segment, mode) == [b"Xbc"]) == seen
    segment.close()


def test_read_only() -> None:
    segment = made(b"abc")
    (frame,) = segment.frames("r")
    assert frame.readonly
    with pytest.raises(TypeError):
        frame[0:1] = b"X"
    (copied,) = segment.frames(None)
    copied[0:1] = b"X"
    assert contents(segment) == [b"abc"]
    segment.close()


@pytest.mark.parametrize("mode", MODES)
def test_arrays(mode: str | None) -> None:
    array = np.arange(1000.0)
    buffers: list[Any] = []
    stream = pickle.dumps(array, protocol=5, buffer_callback=buffers.append)
    segment = made(stream, bytes(buffers[0].raw()))
    first, second = segment.frames(mode)
    again = pickle.loads(first, buffers=[second])
    np.testing.assert_array_equal(again, array)
    assert again.flags.writeable == (mode != "r")
    if mode is not None:
        assert again.ctypes.data % ALIGNMENT == 0
    segment.close()


def test_what_is_mapped_outlives_the_segment() -> None:
    segment = made(b"abc")
    frames = segment.frames("r")
    segment.close()
    segment.close()
    assert bytes(frames[0]) == b"abc"


@pytest.mark.parametrize("mode", MODES)
def test_a_closed_segment_has_no_frames(mode: str | None) -> None:
    segment = made(b"abc")
    segment.close()
    with pytest.raises((OSError, ValueError)):
        contents(segment, mode)


def test_closed_segments_are_neither_read_nor_written() -> None:
    segment = made(b"abc")
    segment.close()
    with pytest.raises((OSError, ValueError)):
        segment.read(0, 3)
    with pytest.raises((OSError, ValueError)):
        segment.write(0, b"abc")


def test_the_seal_is_not_read() -> None:
    segment = made(b"abc")
    assert segment.read(0, 1000) == b"abc"
    assert segment.read(1, 1) == b"b"
    assert segment.read(3, 10) == b""
    assert segment.read(1000, 10) == b""
    segment.close()


def test_reads_that_the_system_cuts_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does for more than 2 GiB at once."""
    data = os.urandom(10_000)
    segment = made(b"stream", data)
    whole, wholev = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda fd, length, at: whole(fd, min(length, 999), at))
    monkeypatch.setattr(os, "preadv", lambda fd, views, at, *f: wholev(fd, [memoryview(views[0])[:999]], at, *f))
    assert contents(segment, None) == [b"stream", data]
    segment.close()


@pytest.mark.parametrize("length", [1, 7, 64, 1000, 10_000])
def test_pieces(length: int) -> None:
    frames = [os.urandom(n) for n in (1000, 0, 64, 65, 0)]
    layout = layout_of([len(frame) for frame in frames])
    segment = MemorySegment.create(layout)
    for offset, piece in pieces(frames, layout, length):
        assert len(piece) <= length
        segment.write(offset, piece)
    assert contents(segment) == frames
    segment.close()


def test_pieces_of_arrays() -> None:
    arrays: list[Any] = [np.arange(10.0), np.zeros(0), np.arange(5, dtype=np.int8)]
    frames = [pickle.PickleBuffer(array).raw() for array in arrays]
    layout = layout_of([frame.nbytes for frame in frames])
    segment = MemorySegment.create(layout)
    for offset, piece in pieces(frames, layout, 16):
        segment.write(offset, piece)
    assert contents(segment) == [array.tobytes() for array in arrays]
    segment.close()


# Other processes.

ATTACH = """
import pickle, sys
from daskhpc.parallel.memory_segment import MemorySegment
pid, descriptor, layout = pickle.loads(bytes.fromhex(sys.argv[1]))
segment = MemorySegment.attach(pid, descriptor, layout)
if segment is None:
    print("none")
else:
    print(b"".join(map(bytes, segment.frames("r"))).decode())
    segment.frames("r+")[0][0:1] = b"X"
"""


def attached(segment: MemorySegment, descriptor: int | None = None, layout: Layout | None = None) -> str:
    """What another process finds in a segment of this one; it then writes an X at its beginning."""
    what = (os.getpid(), segment.descriptor if descriptor is None else descriptor, layout or segment.layout)
    with python(ATTACH, pickle.dumps(what).hex()) as process:
        return process.communicate(timeout=SECONDS)[0].decode().strip()


@pytest.mark.parametrize("spare", [None, 0], ids=["memory", "folder"])
def test_another_process_opens_it(spare: int | None, tmp_path: Path) -> None:
    segment = made(b"abc", b"def", spare=spare, folder=str(tmp_path))
    assert attached(segment) == "abcdef"
    assert contents(segment) == [b"Xbc", b"def"]
    segment.close()


def test_another_process_opens_no_other() -> None:
    segment, other = made(b"abc"), made(b"xyz")
    assert attached(segment, descriptor=other.descriptor) == "none"
    assert attached(segment, layout=layout_of([3])) == "none"
    # As if it had been closed, and its number used again.
    os.dup2(other.descriptor, segment.descriptor, inheritable=False)
    assert attached(segment) == "none"
    descriptor = segment.descriptor
    for each in (segment, other):
        each.close()
    assert attached(segment, descriptor=descriptor) == "none"


def test_descriptors_that_are_no_segments(tmp_path: Path) -> None:
    before = open_files()
    layout = layout_of([3])
    ends = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    short = os.open(tmp_path / "short", os.O_RDWR | os.O_CREAT)
    with open("/dev/null", "rb") as null:
        for descriptor in (*ends, folder, short, null.fileno(), 999_999, -1):
            assert MemorySegment.attach(os.getpid(), descriptor, layout) is None
    assert MemorySegment.attach(2**22 + 1, 3, layout) is None
    for descriptor in (*ends, folder, short):
        os.close(descriptor)
    until(lambda: none_more(before))


MAKE = """
import sys
from daskhpc.parallel.memory_segment import MemorySegment, layout_of
segment = MemorySegment.create(layout_of([1 << 20]), folder=sys.argv[1], spare=int(sys.argv[2]))
segment.write(0, b"a" * (1 << 20))
print(segment.place, segment.descriptor, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("spare", [0, 1 << 40], ids=["folder", "memory"])
def test_nothing_is_left_of_a_process_that_was_killed(spare: int, tmp_path: Path) -> None:
    with python(MAKE, tmp_path, spare) as process:
        assert process.stdout is not None
        place = process.stdout.readline().decode().split()[0]
        assert place == ("memory" if spare else str(tmp_path))
        assert list(tmp_path.iterdir()) == []
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_spared() -> None:
    layout = layout_of([1 << 20])
    enough = layout.size + (256 << 20)
    for spare, place in ((enough, "memory"), (enough - 1, os.fspath("/tmp"))):
        segment = MemorySegment.create(layout, folder="/tmp", spare=spare)
        assert segment.place == place
        segment.close()


@pytest.mark.parametrize("name", ["two words", "quote'\"s", "; echo", "new\nline"])
def test_hostile_folders(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    segment = made(b"abc", spare=0, folder=str(tmp_path / name))
    assert segment.place == str(tmp_path / name)
    assert attached(segment) == "abc"
    segment.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(OSError, match="No such file"):
        MemorySegment.create(layout_of([3]), folder=str(tmp_path / "none"), spare=0)
    until(lambda: none_more(before))


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], capture_output=True).returncode:
        unavailable("this user cannot mount a file system")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk(full: Path) -> None:
    before = open_files()
    with pytest.raises(OSError, match="No space left"):
        MemorySegment.create(layout_of([2 << 20]), folder=str(full), spare=0)
    until(lambda: none_more(before))
    assert list(full.iterdir()) == []
    segment = made(b"abc", spare=0, folder=str(full))
    assert contents(segment) == [b"abc"]
    segment.close()


def test_more_than_the_disk_has() -> None:
    before = open_files()
    with pytest.raises(OSError, match=r"No space left|too large"):
        MemorySegment.create(layout_of([1 << 60]), folder="/tmp", spare=0)
    until(lambda: none_more(before))


@pytest.mark.parametrize("mode", MODES)
def test_no_descriptors_are_left(mode: str | None) -> None:
    before = open_files()
    for _ in range(20):
        segment = made(b"abc", b"d" * 5000)
        other = MemorySegment.attach(os.getpid(), segment.descriptor, segment.layout)
        assert other is not None
        frames = other.frames(mode)
        assert bytes(frames[0]) == b"abc"
        other.close()
        segment.close()
        del frames
    until(lambda: none_more(before))


def test_children_inherit_nothing() -> None:
    segment = made(b"abc")
    other = MemorySegment.attach(os.getpid(), segment.descriptor, segment.layout)
    assert other is not None
    assert not os.get_inheritable(segment.descriptor)
    assert not os.get_inheritable(other.descriptor)
    for each in (segment, other):
        each.close()


def test_pages_are_shared_not_copied() -> None:
    """Two maps of one segment show the same bytes at once."""
    segment = made(bytes(mmap.PAGESIZE))
    (one,), (two,) = segment.frames("r+"), segment.frames("r")
    one[5:6] = b"X"
    assert bytes(two[5:6]) == b"X"
    segment.close()
