"""Shows how far a run is, from a thread beside it.

``distributed.progress`` draws a bar or a widget. It has no lines for a batch log, and shows nothing of Dask's
schedulers of one machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..parallel.progress import Progress, Standing
from .counting import Counts

_GAP_SECONDS = 0.5
_LEAVE_SECONDS = 2.0


def standing(counts: Counts, seconds: float) -> Standing:
    """Counts as what progress shows; how many tasks there are is known once the scheduler has the graph."""
    return Standing(
        done=counts.done,
        failed=counts.failed,
        total=counts.total or None,
        known=counts.total,
        seconds=seconds,
        best=None,
        workers=counts.workers,
    )


class ProgressThread:
    """Shows twice a second how far a run is, until its block is left.

    Parameters
    ----------
    counts_now : callable
        Asks how far the run is; what it raises ends the showing, not the run.
    shown : Progress

    Attributes
    ----------
    counts : Counts
        As last seen.
    """

    def __init__(self, counts_now: Callable[[], Counts], shown: Progress) -> None:
        self.counts = Counts(0, 0, 0, 0)
        self._counts_now, self._shown = counts_now, shown
        self._began = time.perf_counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="daskhpc-progress", daemon=True)

    @property
    def seconds(self) -> float:
        """Since it was made, or since its block was entered."""
        return time.perf_counter() - self._began

    def __enter__(self) -> ProgressThread:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_LEAVE_SECONDS)

    def _show(self) -> None:
        while not self._over.wait(_GAP_SECONDS):
            try:
                self.counts = self._counts_now()
            except Exception:
                return
            self._shown.update(standing(self.counts, self.seconds))
