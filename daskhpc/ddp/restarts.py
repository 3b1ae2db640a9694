"""The client's side of a training: attempts until one succeeds, the log, the journal of checkpoints, what is shown."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cluster.timelimit import asked_to_stop
from ..errors import SettingsError, TrainingError, one_line
from ..journal.journal import Journal
from .attempt import Attempt, TrainingOptions
from .checkpoints import files, made_after, remove_drafts
from .progress_lines import TrainingView
from .rank_failures import error_of, may_restart, next_step

if TYPE_CHECKING:
    import pandas as pd

_SYNC_SECONDS = 10.0


class TrainingWithRestarts:
    """A training, over all its attempts.

    Attributes
    ----------
    restarts : int
    """

    def __init__(self, client: Any, name: str, options: TrainingOptions, payload: bytes, shown: bool) -> None:
        self.client, self.name, self.options, self.payload = client, name, options, payload
        self.restarts = 0
        self.journal: Journal | None = None
        self._attempt: Attempt | None = None
        self._rows: list[dict[str, float]] = []
        self._view = TrainingView(shown)
        self._began = time.time()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within: the journal is open, and the time limit stops the training."""
        folder = self.options.checkpoint
        with contextlib.ExitStack() as stack:
            if folder is not None:
                self.journal = stack.enter_context(Journal.open(folder, "training"))
                remove_drafts(folder)
                self._note()
            stack.enter_context(asked_to_stop(self.stop))
            stack.callback(self._view.close)
            yield
            if self.journal is not None:
                self._note(ended=True)
                self.journal.sync(_SYNC_SECONDS)

    def stop(self, seconds: float) -> None:
        """Have all ranks save and stop at the same step; called in another thread, shortly before the time limit."""
        if self._attempt is None or self.journal is None:
            return
        loop = self.client.loop.asyncio_loop
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._attempt.stop(seconds), loop).result(seconds + 1)
        self.journal.sync(_SYNC_SECONDS)

    async def run(self) -> list[bytes] | None:
        """Values of all ranks, pickled; None if they were stopped.

        Raises
        ------
        TrainingError
            The first cause of the last attempt.
        """
        await self._see_the_folder()
        while True:
            resume = self.last_checkpoint()
            name = self.name if not self.restarts else f"{self.name}-{self.restarts}"
            attempt = Attempt(self.client, name, self.options, self.payload, self._told, self.restarts, resume)
            before, self._attempt = self._attempt, attempt
            try:
                values = await attempt.run()
            except SettingsError as refused:
                if before is None:
                    raise
                error = self._error(before)
                error.found = f"not begun again: {refused.found} for {len(before.ranks)} ranks; {error.found}"
                raise error from error.__cause__
            except OSError as error:
                if self.client.status == "running":
                    raise
                todo = "look at the scheduler's log, and run it again"
                raise TrainingError("The training has lost Dask's scheduler.", one_line(error), todo) from None
            if attempt.failure is None:
                return values
            if not may_restart(attempt.failure, attempt.saved, self.restarts, self.options.max_restarts):
                raise self._error(attempt)
            self.restarts += 1
            # It goes on with as many ranks, so that the global batch stays what it was.
            self.options = replace(self.options, world_size=len(attempt.ranks))
            last = self.last_checkpoint()
            self._view.say(
                f"{self._error(attempt).happened} Restart {self.restarts} of {self.options.max_restarts}, from "
                f"{last.name if last else 'the beginning'}."
            )
            self._rows = rows_before(self._rows, last)

    def last_checkpoint(self) -> Path | None:
        """The newest one in the folder."""
        found = files(self.options.checkpoint) if self.options.checkpoint is not None else []
        return found[-1] if found else None

    def log(self) -> pd.DataFrame:
        """What all ranks logged, in the order of time."""
        import pandas as pd

        table = pd.DataFrame(self._rows, columns=None if self._rows else ["rank", "epoch", "step", "time"])
        whole = dict.fromkeys(("rank", "epoch", "step"), "int64")
        return table.astype(whole).sort_values("time", kind="stable", ignore_index=True)

    def _error(self, attempt: Attempt) -> TrainingError:
        cause = attempt.failure
        assert cause is not None
        texts: dict[int, str] = {}
        for failure in attempt.failures:
            if failure.rank != cause.rank:
                texts.setdefault(failure.rank, "it lost the connection" if failure.consequence else failure.text)
        todo = next_step(cause, self.last_checkpoint())
        error = error_of(cause, texts, len(attempt.ranks), todo, self.options.timeout)
        error.__cause__ = cause.raised.error() if cause.raised is not None else None
        return error

    async def _see_the_folder(self) -> None:
        """See that the workers see the checkpoint folder.

        Raises
        ------
        TrainingError
            That names a worker which does not.
        """
        folder = self.options.checkpoint
        if folder is None:
            return
        probe = folder / f".{self.name}.probe"
        probe.touch()
        try:
            seen = await self.client.run(os.path.exists, str(probe), on_error="ignore")
        finally:
            probe.unlink()
        blind = [address for address, sees in seen.items() if not sees]
        if blind:
            raise TrainingError(
                "The folder of checkpoints has to be one that all nodes see.",
                f"{folder} is not seen by {', '.join(blind[:4])}",
                "a folder of a shared file system",
            )

    def _told(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            self._rows += message["rows"]
        elif kind == "saved":
            self._record(message)
        elif kind == "plan" and self.journal is not None:
            replayed = {"replayed": message["done"]} if not self.restarts else {}
            self._note(known=message["epochs"], **replayed)
        self._view.told(message)

    def _note(self, **about: Any) -> None:
        assert self.journal is not None
        call = {"id": f"{self.name}-0", "began": self._began, "place": "epochs", **about}
        self.journal.note("call", call)

    def _record(self, message: dict[str, Any]) -> None:
        """A checkpoint as a result in the journal."""
        if self.journal is None:
            return
        about = {"call": f"{self.name}-0", "epoch": message["epoch"], "step": message["step"]}
        about |= {"within": True} if message["within"] else {}
        if message["metric"] is not None:
            about |= {"score": message["metric"], "params": {"epoch": message["epoch"]}, "candidate": message["epoch"]}
        value = {"file": message["file"], "digest": message["digest"]}
        key = hashlib.blake2b(f"{message['file']}".encode(), digest_size=16).hexdigest()
        self.journal.append(key, True, value, time.time() - self._began, os.uname().nodename, about)


def rows_before(rows: list[dict[str, float]], checkpoint: Path | None) -> list[dict[str, float]]:
    """The rows that were logged before a checkpoint: what came after it is logged again by a restart.

    Examples
    --------
    >>> rows = [{"epoch": 0, "step": 4}, {"epoch": 1, "step": 4}, {"epoch": 1, "step": 5}]
    >>> rows_before(rows, Path("epoch-0001.pt"))
    [{'epoch': 0, 'step': 4}]
    >>> len(rows_before(rows, Path("epoch-0001-step-00000005.pt"))), rows_before(rows, None)
    (3, [])
    """
    if checkpoint is None:
        return []
    epoch, step = made_after(checkpoint.name)
    return [row for row in rows if row["epoch"] < epoch or row["step"] <= step]
