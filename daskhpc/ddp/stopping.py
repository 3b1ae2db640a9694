"""How all ranks stop before the same batch, though the message reaches each at another moment."""

from __future__ import annotations

import threading
from typing import Any

from .worker_link import StopTraining

_PATIENCE_SECONDS = 60.0


class StopAgreement:
    """The part of a rank, a `RankContext`, in the agreement on the step at which a training stops.

    Why it is so: a rank that stopped one batch before another one would leave that one waiting in ``all_reduce``, and
    neither could save. So the client proposes a step to all, each answers at once whether it has passed it, and only
    if none has does it become binding. A rank that comes to a proposed step waits there for the decision. (A look at
    torch's store before each batch would need no agreement, but costs a round trip to rank 0 for each batch.)
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self._changed = threading.Condition()
        self._proposed: int | None = None
        self._agreed = False

    def told(self, message: dict[str, Any]) -> None:
        """A message of the client's, in the thread that receives them."""
        link = self.run.link
        assert link is not None
        with self._changed:
            if message["do"] == "propose":
                free = self.run.steps <= message["step"]
                self._proposed = message["step"] if free else None
                link.say("vote", step=message["step"], free=free, at=self.run.steps)
            elif message["do"] == "agree":
                self._agreed = True
            elif message["do"] == "withdraw":
                self._proposed = None
            self._changed.notify_all()

    def at_batch(self) -> None:
        """Begin the next batch, or stop before it.

        Raises
        ------
        StopTraining
            After a save, if all ranks stop here.
        """
        with self._changed:
            if self._proposed is not None and self.run.steps >= self._proposed:
                self._changed.wait_for(lambda: self._proposed is None or self._agreed, _PATIENCE_SECONDS)
            if self._proposed is None or not self._agreed or self.run.steps < self._proposed:
                self.run.steps += 1
                return
        self.run.save_here()
        raise StopTraining
