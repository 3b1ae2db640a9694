"""The writing end of a journal: records of any thread, made durable in groups by one thread."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..errors import JournalError
from . import payloads
from .codec import encode, to_text
from .folder import Folder
from .segment import SegmentWriter, frame, sync_folder

_GROUP_SECONDS = 0.05
_RETRY_SECONDS = 0.5
_RETRY_MOST_SECONDS = 30.0
_WAITED_FOR_SECONDS = 1.0
_TOUCH_SECONDS = 600.0

_log = logging.getLogger(__name__)


class _Framed(NamedTuple):
    key: str
    sign: str
    frame: bytes
    payloads: dict[str, bytes]
    on_saved: Callable[[str], None] | None


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """A record that was saved: its key, sign and line, and the offset of the line."""

    key: str
    sign: str
    line: bytes
    offset: int


class _Forked(Protocol):
    def after_fork(self) -> None: ...


_forked: weakref.WeakSet[_Forked] = weakref.WeakSet()


def tell_of_forks(one: _Forked) -> None:
    """Call ``one.after_fork()`` in every child that this process forks, as long as `one` lives."""
    _forked.add(one)


def _after_fork() -> None:
    for one in list(_forked):
        one.after_fork()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(slots=True)
class _Queue:
    """What one process has appended; a forked child begins with another."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    new: list[_Framed] = field(default_factory=list)
    framed: list[_Framed] = field(default_factory=list)
    appended: int = 0
    settled: int = 0
    waiting: int = 0
    hurry: bool = False
    closing: bool = False
    not_before: float = 0.0
    thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        return self.appended - self.settled


class Writer:
    """Appends to a segment of its own.

    Parameters
    ----------
    folder : Folder
    on_commit : callable
        Called with the segment's name and the records of each group, once durable, before their own callbacks.
    on_problem : callable, optional
        Called with the cause, once each time records begin to stay unsaved, and for the first that cannot be pickled.

    Attributes
    ----------
    saved : int
        Records that are durable.
    lost : int
        Records that cannot be pickled.
    problem : str or None
        Why records stay unsaved now.

    Notes
    -----
    Callbacks run in the writer's thread. A record is encoded and pickled when it is appended: whoever has the value may
    change it from then on.
    The thread starts with the first record. A record alone is saved at once; while others follow, there is a commit
    every 50 ms. After an error, records wait in memory, and are tried again after 0.5 s, doubling up to 30 s, and at
    once by `sync` and `close`.
    """

    def __init__(
        self,
        folder: Folder,
        on_commit: Callable[[str, list[SavedRecord]], None],
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        self.saved = 0
        self.lost = 0
        self.problem: str | None = None
        self._folder = folder
        self._on_commit = on_commit
        self._on_problem = on_problem
        self._segment: SegmentWriter | None = None
        self._retry = _RETRY_SECONDS
        self._queue = _Queue()
        tell_of_forks(self)

    @property
    def pending(self) -> int:
        """Records that are neither saved nor lost."""
        return self._queue.pending

    def append(
        self, key: str, sign: str, fields: Mapping[str, Any], on_saved: Callable[[str], None] | None = None
    ) -> None:
        """Hand over a record; any thread may.

        Parameters
        ----------
        key : str
        sign : str
        fields : mapping
            Each is encoded on its own.
        on_saved : callable, optional
            Called with the key when the record is durable.

        Raises
        ------
        JournalError
            When the writer was closed.
        """
        queue = self._queue
        framed = self._frame(key, sign, fields, on_saved)
        if framed is None:
            return
        with queue.changed:
            if queue.closing:
                raise JournalError("A record was appended to a journal that is closed", key, "close it later")
            queue.new.append(framed)
            queue.appended += 1
            if queue.pending == 1:
                queue.changed.notify_all()
            if queue.thread is None:
                queue.thread = threading.Thread(target=self._run, args=(queue,), name="daskhpc-journal", daemon=True)
                queue.thread.start()

    def sync(self, timeout: float | None = None) -> bool:
        """Wait until all is saved that was appended before.

        Returns
        -------
        bool
            False when that did not come about within `timeout` seconds, or the writer was closed.
        """
        queue = self._queue
        with queue.changed:
            last = queue.appended
            if queue.settled >= last:
                return True
            queue.hurry = True
            queue.waiting += 1
            queue.changed.notify_all()
            try:
                queue.changed.wait_for(lambda: queue.settled >= last or queue.closing, timeout)
                return queue.settled >= last
            finally:
                queue.waiting -= 1

    def close(self, timeout: float | None = 30.0) -> int:
        """Save what is left and end the thread.

        Returns
        -------
        int
            Records that could not be saved within `timeout` seconds.
        """
        self.sync(timeout)
        queue = self._queue
        with queue.changed:
            queue.closing = True
            queue.changed.notify_all()
        if queue.thread is not None and queue.thread is not threading.current_thread():
            queue.thread.join(_WAITED_FOR_SECONDS if queue.pending else timeout)
        return queue.pending

    def after_fork(self) -> None:
        """Leave what is the parent's to the parent."""
        closing = self._queue.closing
        self._queue = _Queue(closing=closing)
        self.saved = self.lost = 0
        self.problem = None
        self._retry = _RETRY_SECONDS
        if self._segment is not None:
            self._segment.forget()
            self._segment = None

    def _run(self, queue: _Queue) -> None:
        while self._wait(queue):
            with queue.changed:
                queue.framed += queue.new
                queue.new = []
            settled = self._commit(queue)
            with queue.changed:
                queue.settled += settled
                queue.changed.notify_all()
        if self._segment is not None:
            self._segment.close()

    def _wait(self, queue: _Queue) -> bool:
        """Until there is something to do; False at the end."""
        with queue.changed:
            while not queue.closing:
                now = time.monotonic()
                if not queue.pending:
                    if not queue.changed.wait(_TOUCH_SECONDS) and self._segment is not None:
                        self._segment.touch()
                elif queue.hurry or now >= queue.not_before:
                    queue.hurry = False
                    queue.not_before = now + _GROUP_SECONDS
                    return True
                else:
                    queue.changed.wait(queue.not_before - now)
        return False

    def _frame(
        self, key: str, sign: str, fields: Mapping[str, Any], on_saved: Callable[[str], None] | None
    ) -> _Framed | None:
        """Encode a record; None if it cannot be."""
        pickles: dict[str, bytes] = {}
        try:
            text = to_text({name: encode(value, pickles.__setitem__) for name, value in fields.items()})
            return _Framed(key, sign, frame(key, sign, text), pickles, on_saved)
        except Exception as error:
            with self._queue.changed:
                self.lost += 1
                first = self.lost == 1
            if first:
                self._tell(f"a result cannot be saved in the journal: {type(error).__name__}: {error}")
            return None

    def _commit(self, queue: _Queue) -> int:
        """Make all that is framed durable; how many records that were."""
        group = queue.framed
        try:
            pickles = {digest: data for each in group for digest, data in each.payloads.items()}
            changed = {payloads.write(self._folder.payloads, digest, data) for digest, data in pickles.items()}
            for folder in changed:
                sync_folder(folder)
            if self._segment is None or not self._segment.usable:
                self._segment = SegmentWriter(self._folder.segments)
            offsets = self._segment.commit([each.frame for each in group])
        except Exception as error:  # such as a lack of memory: the records are still here
            self._failed(queue, error)
            return 0
        self.problem = None
        self._retry = _RETRY_SECONDS
        self.saved += len(group)
        queue.framed = []
        saved = [SavedRecord(e.key, e.sign, e.frame[1:-1], at) for e, at in zip(group, offsets, strict=True)]
        self._call(self._on_commit, self._segment.name, saved)
        for each in group:
            if each.on_saved is not None:
                self._call(each.on_saved, each.key)
        return len(group)

    def _failed(self, queue: _Queue, error: Exception) -> None:
        first, self.problem = self.problem is None, f"the journal {self._folder.path} cannot be written to: {error}"
        if first:
            self._tell(self.problem)
        with queue.changed:
            interval = min(self._retry, _WAITED_FOR_SECONDS) if queue.waiting else self._retry
            queue.not_before = time.monotonic() + interval
        self._retry = min(2 * self._retry, _RETRY_MOST_SECONDS)

    def _tell(self, text: str) -> None:
        if self._on_problem is not None:
            self._call(self._on_problem, text)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            _log.exception("a callback of the journal failed")
