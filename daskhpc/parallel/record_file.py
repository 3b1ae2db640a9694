"""The records of a batch, in memory that a child writes and its worker reads at any moment.

Why it is so: a record sent over the connection would wake the worker for each call of a millisecond; records sent
together at the end would be lost with a child that crashes, and kept back by a call that takes long. Here each is
there for the worker as soon as the call has ended, whatever becomes of the next.
"""

from __future__ import annotations

import os
import struct

from .task import Stream

_HEAD = 8
_LENGTH = struct.Struct("<Q")


class RecordFile:
    """A file without a name: a byte by which the worker asks the child to stop, then records, each behind its length.

    Parameters
    ----------
    descriptor : int
        An open file, which this object closes.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._end = _HEAD

    @classmethod
    def create(cls) -> RecordFile:
        """Make one, in the child."""
        file = cls(os.memfd_create("daskhpc-records"))
        os.ftruncate(file.descriptor, _HEAD)
        return file

    @classmethod
    def of_process(cls, pid: int, descriptor: int) -> RecordFile:
        """In the worker: open the file of a child; OSError if the child has ended."""
        return cls(os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR))

    @property
    def stop(self) -> bool:
        """Whether no further call is to begin."""
        return os.pread(self.descriptor, 1, 0) != b"\0"

    def ask_to_stop(self) -> None:
        """In the worker: let no further call begin."""
        os.pwrite(self.descriptor, b"\1", 0)

    def clear(self) -> None:
        """In the worker, while the child waits: free the records, and let calls begin again."""
        os.ftruncate(self.descriptor, 0)
        os.ftruncate(self.descriptor, _HEAD)

    def restart(self) -> None:
        """In the child: the next record is the first."""
        self._end = _HEAD

    def append(self, record: bytes) -> None:
        """Add a record."""
        # The length is written last: a reader sees a whole record, or none.
        start = self._end + _LENGTH.size
        view, done = memoryview(record), 0
        while done < len(record):
            done += os.pwrite(self.descriptor, view[done:], start + done)
        os.pwrite(self.descriptor, _LENGTH.pack(len(record)), self._end)
        self._end = start + len(record)

    def read(self) -> list[Stream]:
        """All records that are whole."""
        records: list[Stream] = []
        at = _HEAD
        while len(head := os.pread(self.descriptor, _LENGTH.size, at)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(head)
            if not length:
                break
            record, done = bytearray(length), 0
            while done < length:
                read = os.preadv(self.descriptor, [memoryview(record)[done:]], at + _LENGTH.size + done)
                if not read:
                    return records
                done += read
            records.append(record)
            at += _LENGTH.size + length
        return records

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
