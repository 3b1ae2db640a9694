"""When a rank saves and what: states of the named objects, random numbers of all ranks, the position in the data."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compat.torch import uncompiled
from ..errors import SettingsError, TrainingError
from ..journal.describe import describe
from .checkpoints import FORMAT, check_states, file_name, prune, read, save
from .loaders import RankLoader
from .random_state import random_state, restore_random_state


class Saving:
    """The checkpoints of a rank, a `RankContext`.

    Attributes
    ----------
    objects : mapping of str to object
        What is saved.
    """

    def __init__(self, run: Any, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self.run, self.folder = run, folder
        self.keep: int = settings.get("keep", 0)  # with a folder it is always given
        self.objects: Mapping[str, Any] = {}
        self._resume: str | None = settings.get("resume")
        self._every: int | None = None
        self._active = self._begun = self._checked = False
        self._complete = 0
        self._best: dict[str, Any] | None = None
        # What is restored later than the objects: loaders may not be made yet, and what the program draws until its
        # next batch it has drawn before.
        self._positions: list[dict[str, int]] = []
        self._random: dict[str, Any] | None = None

    def begin(self, objects: Mapping[str, Any], epochs: int | None, every: int | None) -> int:
        """Restore objects; returns the epoch that is first."""
        if self._begun and self.folder is not None:
            raise SettingsError(
                "A training with a checkpoint has one loop of epochs: those of a second one would have the same names.",
                "epochs() or resume() was called again",
                "a training for each loop, with a checkpoint folder of its own",
            )
        for name, value in objects.items():
            if not hasattr(value, "state_dict") or not hasattr(value, "load_state_dict"):
                raise SettingsError(
                    "An object that is saved with a training needs a state_dict and a load_state_dict.",
                    f"{name}={describe(value)}",
                    "model=model, optimizer=optimizer, scheduler=scheduler",
                )
        self.objects, self._every, self._active, self._begun = objects, every, True, True
        first = self._restore(objects)
        if epochs is not None and self.run.rank == 0 and self.run.link is not None:
            self.run.link.say("plan", epochs=epochs, done=first)
        return first

    def _restore(self, objects: Mapping[str, Any]) -> int:
        if self._resume is None:
            return 0
        content = read(Path(self._resume), own=True)
        if content.get("format") != FORMAT:
            todo = "a checkpoint folder of its own for this training"
            raise TrainingError("The last checkpoint is of another program.", self._resume, todo)
        self._resume = None
        missing = [name for name in objects if name not in content["state"]]
        if missing:
            raise TrainingError(
                "The checkpoint lacks objects of this training.",
                f"{', '.join(missing)}; it has {', '.join(content['state'])}",
                "the names that they were saved under, or another checkpoint folder",
            )
        for name, value in objects.items():
            plain(value).load_state_dict(content["state"][name])
        self._complete, self._best = content["epoch"], content["best"]
        self.run.steps, self.run.epoch = content["step"], content["epoch"]
        states = content["random"]
        own = states[self.run.rank] if len(states) == self.run.world_size else None
        if content["loaders"]:
            self._positions, self._random = content["loaders"], own
            for index, loader in enumerate(self.run.loaders):
                self.restore_loader(index, loader)
        elif own is not None:
            restore_random_state(own)
        return self._complete

    def restore_loader(self, index: int, loader: RankLoader) -> None:
        """Put a loader back to its position, if the checkpoint was made in the middle of an epoch."""
        if self._active and index < len(self._positions):
            loader.restore(self._positions[index], self._complete)

    def at_batch(self, loader: RankLoader) -> None:
        """Before a batch: what was left to restore, and a save if one is due."""
        resumed = bool(self._positions)
        self._positions = []
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None
        due = self._every and self.run.steps and self.run.steps % self._every == 0
        if due and self._active and not resumed and loader.samples_done:
            self.within_epoch()

    def within_epoch(self) -> None:
        """Save in the middle of an epoch; outside `epochs` there is nothing to save."""
        if self._active and self.objects:
            self._save(self._complete, [loader.state() for loader in self.run.loaders], None)

    def after_epoch(self, complete: int, metric: float | None) -> None:
        """Save after so many complete epochs."""
        self._complete, self._positions, self._random = complete, [], None
        self._save(complete, [], metric)

    def over(self) -> None:
        """The epochs are over: nothing more is saved."""
        self._active = False

    def _save(self, complete: int, positions: list[dict[str, int]], metric: float | None) -> None:
        if self.run.link is not None:
            self.run.link.report()  # so that what was logged before a checkpoint is never lost
        if self.folder is None:
            return
        states = self._gathered(random_state(self.run.device.type == "cuda"))
        if self.run.rank:
            return
        state = {name: plain(value).state_dict() for name, value in self.objects.items()}
        if not self._checked:
            check_states(state)
            self._checked = True
        name = file_name(complete, self.run.steps if positions else None)
        metric = None if metric is None else float(metric)  # a number of NumPy could not be read back as data
        if metric is not None and metric == metric and (self._best is None or metric > self._best["metric"]):
            self._best = {"file": name, "metric": metric}
        content = {
            "format": FORMAT,
            "state": state,
            "epoch": complete,
            "step": self.run.steps,
            "loaders": positions,
            "random": states,
            "world_size": self.run.world_size,
            "batch_sizes": [loader.batch_size for loader in self.run.loaders],
            "metric": metric,
            "best": self._best,
            "versions": versions(),
        }
        digest = save(self.folder, name, content)
        prune(self.folder, self.keep, self._best["file"] if self._best else None)
        if self.run.link is not None:
            details = {"epoch": complete, "step": self.run.steps, "metric": metric, "within": bool(positions)}
            self.run.link.say("saved", file=name, digest=digest, **details)

    def _gathered(self, state: dict[str, Any]) -> list[Any]:
        """The random states of all ranks, on rank 0."""
        if self.run.world_size == 1:
            return [state]
        import torch.distributed as dist

        states: list[Any] | None = [None] * self.run.world_size if self.run.rank == 0 else None
        dist.gather_object(state, states)
        return states or []


def plain(value: Any) -> Any:
    """A model without what DistributedDataParallel and torch.compile put around it."""
    import torch

    value = uncompiled(value)  # torch.compile may be around DistributedDataParallel or inside it
    if isinstance(value, torch.nn.parallel.DistributedDataParallel):
        value = value.module
    return uncompiled(value)


def versions() -> dict[str, str]:
    """What a checkpoint was made with."""
    import torch

    return {
        "daskhpc": sys.modules["daskhpc"].__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
