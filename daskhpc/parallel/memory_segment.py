"""One parcel's bytes in a node's memory: a file without a name, mapped by every process of the node that needs it."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime import spare_memory

ALIGNMENT = 64
"""NumPy's own: what starts at such an address needs no copy for vector instructions."""

_MARGIN = 256 << 20
_SEAL = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the frames of a parcel lie in its segment.

    Attributes
    ----------
    seal : bytes
        16 bytes at the end of the segment, written last: a process that finds them has opened the right one, and it is
        whole.
    spans : tuple[tuple[int, int], ...]
        Offset and length in bytes of every frame.
    """

    seal: bytes
    spans: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Bytes of the segment."""
        offset, length = self.spans[-1]
        return offset + length + _SEAL


def layout_of(lengths: Sequence[int]) -> Layout:
    """Lay frames of these lengths out one after the other, each aligned."""
    spans, offset = [], 0
    for length in lengths:
        spans.append((offset, length))
        offset += -(-length // ALIGNMENT) * ALIGNMENT
    return Layout(os.urandom(_SEAL), tuple(spans))


class MemorySegment:
    """A file without a name that holds one parcel.

    Parameters
    ----------
    descriptor : int
        An open file; the segment closes it.
    layout : Layout
    place : str
        ``"memory"`` or the folder that the file was made in.

    Notes
    -----
    The file has no name from its first moment, so nothing is left of it when the last process that has it open ends,
    however it ends. Other processes of the same user and node open it through ``/proc/<pid>/fd``.
    """

    def __init__(self, descriptor: int, layout: Layout, place: str) -> None:
        self.descriptor = descriptor
        self.layout = layout
        self.place = place

    @classmethod
    def create(cls, layout: Layout, folder: str | None = None, spare: int | None = None) -> MemorySegment:
        """Make an empty segment: in memory if it fits, else in `folder` on local scratch.

        No process can `attach` it before `finish`.

        Parameters
        ----------
        layout : Layout
        folder : str, optional
            The temporary folder by default.
        spare : int, optional
            Bytes of memory that may be taken; asked of the system by default.

        Raises
        ------
        OSError
            When neither memory nor the folder has the room.
        """
        spare = spare_memory() if spare is None else spare
        if layout.size + _MARGIN <= spare:
            with contextlib.suppress(OSError):
                return cls._allocated(os.memfd_create("daskhpc"), layout, "memory")
        folder = folder or tempfile.gettempdir()
        return cls._allocated(_nameless(folder), layout, folder)

    @classmethod
    def _allocated(cls, descriptor: int, layout: Layout, place: str) -> MemorySegment:
        try:
            os.posix_fallocate(descriptor, 0, layout.size)
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, layout, place)

    @classmethod
    def attach(cls, pid: int, descriptor: int, layout: Layout) -> MemorySegment | None:
        """Open the segment that another process of this node holds; None if that does not hold it whole."""
        try:
            own = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR)
        except OSError:
            return None
        try:
            if os.pread(own, _SEAL, layout.size - _SEAL) == layout.seal:
                return cls(own, layout, f"process {pid}")
        except OSError:
            pass
        os.close(own)
        return None

    def place_for_others(self) -> tuple[int, int, Layout]:
        """What another process of this node needs to `attach`: this process's id, the descriptor and the layout."""
        return os.getpid(), self.descriptor, self.layout

    def write(self, offset: int, data: Any) -> None:
        """Write bytes at an offset."""
        view = memoryview(data).cast("B")
        done = 0
        while done < view.nbytes:
            done += os.pwrite(self.descriptor, view[done : done + (64 << 20)], offset + done)

    def finish(self) -> None:
        """All is written: others may attach the segment now."""
        os.pwrite(self.descriptor, self.layout.seal, self.layout.size - _SEAL)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, the seal excluded."""
        return os.pread(self.descriptor, max(0, min(length, self.layout.size - _SEAL - offset)), offset)

    def frames(self, mode: str | None) -> list[Any]:
        """The frames of the parcel.

        Parameters
        ----------
        mode : str or None
            joblib's ``mmap_mode``: "r" maps them read-only, "c" copy-on-write, "r+" and "w+" writable for all
            processes of the node, None copies them.
        """
        if self.descriptor < 0:
            raise ValueError("the segment is closed")
        if mode is None:
            return [self._copy(offset, length) for offset, length in self.layout.spans]
        access = {"r": mmap.ACCESS_READ, "c": mmap.ACCESS_COPY}.get(mode, mmap.ACCESS_WRITE)
        view = memoryview(mmap.mmap(self.descriptor, self.layout.size, access=access))
        return [view[offset : offset + length] for offset, length in self.layout.spans]

    def _copy(self, offset: int, length: int) -> bytearray:
        data = bytearray(length)
        done = 0
        while done < length:
            read = os.preadv(self.descriptor, [memoryview(data)[done:]], offset + done)
            if not read:
                raise OSError(f"the segment ends {length - done} bytes early")
            done += read
        return data

    def close(self) -> None:
        """Close the file; what is mapped stays until nothing refers to it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _nameless(folder: str) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # not every file system can
        descriptor, path = tempfile.mkstemp(dir=folder, prefix="daskhpc-")
        os.unlink(path)
        return descriptor


def pieces(frames: Sequence[Any], layout: Layout, length: int) -> Iterator[tuple[int, Any]]:
    """Cut frames into pieces of at most `length` bytes, each with its offset in the segment."""
    for frame, (offset, size) in zip(frames, layout.spans, strict=True):
        view = memoryview(frame).cast("B")
        for start in range(0, size, length):
            yield offset + start, view[start : start + length]
