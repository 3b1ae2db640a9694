"""Where a run stands: counts what came back, shows it, and hands results to joblib in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ..compat.sklearn import fit_error, fit_score, is_fit
from .call_queue import Call
from .checkpoints import Checkpoint, ParallelUse
from .outcome import Batch
from .progress import Progress, Standing

_AHEAD_BYTES = 512 << 20
_AT_LEAST = 100
_BREATH = 4
_MOMENT_SECONDS = 0.05


class ResultDelivery:
    """The account of one run.

    Parameters
    ----------
    progress : Progress
    exhausted : callable
        Whether joblib has submitted all calls.
    keeper : Checkpoint, optional
        Has results that need not be computed, and saves new ones.

    Notes
    -----
    joblib's callbacks may run the caller's code, to make further calls; so neither the event loop nor the caller's
    thread runs them.
    """

    def __init__(
        self, progress: Progress, exhausted: Callable[[], bool] = lambda: False, keeper: Checkpoint | None = None
    ) -> None:
        self.progress = progress
        self._exhausted = exhausted
        self._keeper = keeper
        self.known = self.done = self.failed = self.replayed = 0
        self.best: float | None = None
        self.closed = False
        self.delivered = 0
        self._began = time.monotonic()
        self._room = threading.Condition()
        self._ahead = 0
        self._results: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to hand back: when the first calls are on their way, since a thread takes some ms to start."""
        with self._room:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._hand_back, name="daskhpc results", daemon=True)
        self._thread.start()

    def replay(self, calls: list[Call], part: ParallelUse) -> list[Call]:
        """Deliver the results that are in the journal; returns the other calls, which have to be made."""
        assert self._keeper is not None
        left = []
        for call in calls:
            found = self._keeper.recall(call, part)
            if found is None:
                left.append(call)
                continue
            with self._room:
                self.known += 1
                self.replayed += 1
            self._ended(call, True, found[0])
        return left

    def expect(self, call: Call) -> None:
        """A call was made; waits while what such calls alone hold is too much and enough of them wait already."""
        with self._room:
            self.known += 1
        if self.known % _BREATH == 0:
            time.sleep(0)  # lets the event loop have the interpreter, which Python would give it 5 ms later
        if not call.nbytes:
            return
        with self._room:
            self._ahead += call.nbytes
            while self._ahead > _AHEAD_BYTES and self.known - self.done > _AT_LEAST and not self.closed:
                self._room.wait(0.5)

    def ended(self, call: Call, ok: bool, value: Any, seconds: float = 0.0, host: str = "") -> None:
        """A call has ended, after so many seconds on a host."""
        if ok and self._keeper is not None and call.part is not None:
            try:
                self._keeper.keep(call, value, seconds, host)
            except Exception as error:
                ok, value = False, error
        self._ended(call, ok, value)

    def _ended(self, call: Call, ok: bool, value: Any) -> None:
        fit = ok and is_fit(call.function)
        error, score = (fit_error(value), fit_score(value)) if fit else (None, None)
        with self._room:
            self.done += 1
            self.failed += bool(error)
            if score is not None:
                self.best = score if self.best is None else max(self.best, score)
            if call.nbytes:
                self._ahead -= call.nbytes
                self._room.notify_all()
        if error:
            self.progress.failure(error)
        batch: Batch
        batch, index = call.place
        if batch.put(index, ok, value):
            self.begin()
            self._results.put(batch.deliver)

    def refuse(self, batch: Batch, error: Exception) -> None:
        """Deliver the error of a batch that cannot be made: the thread that hands back results must not raise it."""
        if batch.put(0, False, error):
            self.begin()
            self._results.put(batch.deliver)

    def show(self, workers: int) -> None:
        """Show how far the run is."""
        self.progress.update(self._standing(workers))

    def close(self, workers: int) -> None:
        """Nothing comes back any more."""
        self.closed = True
        self._results.put(None)
        self.progress.close(self._standing(workers))

    @property
    def keeps(self) -> bool:
        """Whether results are saved."""
        return self._keeper is not None

    @property
    def exhausted(self) -> bool:
        """Whether all calls are made."""
        return self.closed or self._exhausted()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def wait_shortly(self) -> None:
        """Wait for all results that are expected, a moment at most: joblib looks for them 100 times a second only."""
        with self._room:
            self._room.wait_for(lambda: self.delivered >= self.known or self.closed, _MOMENT_SECONDS)

    def _standing(self, workers: int) -> Standing:
        total = self.known if self.exhausted else None
        return Standing(self.done, self.failed, total, self.known, self.elapsed, self.best, workers, self.replayed)

    def _hand_back(self) -> None:
        while (give := self._results.get()) is not None:
            if not self.closed:
                give()
            with self._room:
                if self._results.empty():
                    self.delivered = self.done
                self._room.notify_all()
