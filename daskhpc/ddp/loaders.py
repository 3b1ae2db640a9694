"""Batches of a training: each rank's share of the samples of an epoch, from any batch on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import SettingsError
from ..journal.describe import describe


def shares(order: list[int], done: int, rank: int, world_size: int, drop_last: bool = False) -> list[int]:
    """The samples of a rank for what is left of an epoch.

    The ranks take the order in turn, as torch's DistributedSampler does. So after k batches of B samples on each of W
    ranks exactly the first k B W samples are done, and what is left can be shared out among any number of ranks.

    Parameters
    ----------
    order : list of int
        The epoch's order of all samples.
    done : int
        How many of them are done.
    rank, world_size : int
    drop_last : bool
        Whether the tail that does not suffice for all ranks is left out; otherwise the first samples come again.

    Examples
    --------
    >>> shares([4, 2, 0, 1, 3], 0, 1, 2), shares([4, 2, 0, 1, 3], 2, 1, 2)
    ([2, 1, 4], [1, 4])
    """
    left = order[done:]
    if drop_last:
        left = left[: len(left) - len(left) % world_size]
    elif len(left) % world_size:
        missing = world_size - len(left) % world_size
        left += (order * math.ceil(missing / len(order)))[:missing]
    return left[rank::world_size]


class RankLoader:
    """An iterable of a rank's batches; made by ``context().loader``.

    Attributes
    ----------
    dataset : Dataset
    batch_size : int
        Of one rank; the global batch is ``batch_size * world_size``.
    passes, samples_done : int
        Where this epoch stands: passes over the data that are over, and samples of all ranks in the present one.

    Notes
    -----
    The order of an epoch depends on `seed` and on the epoch's number alone. With loader processes (``num_workers``)
    their seeds depend on seed, epoch, rank and samples done.
    """

    def __init__(
        self,
        run: Any,
        dataset: Any,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        **options: Any,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise SettingsError(
                "loader() needs a dataset with a length and an index (map-style), to share it out.",
                describe(dataset),
                "torch.utils.data.DataLoader for an IterableDataset, which shares out itself",
            )
        refused = {"sampler", "batch_sampler", "generator"} & set(options)
        if refused:
            raise SettingsError(
                "loader() makes the order of samples itself.", f"{', '.join(sorted(refused))}=", "DataLoader with them"
            )
        self.run, self.dataset, self.batch_size = run, dataset, batch_size
        self.shuffle, self.seed, self.drop_last, self.options = shuffle, seed, drop_last, options
        self.epoch = 0
        self.passes = self.samples_done = 0
        self._skip, self._restored = 0, False
        self.before_batch: Callable[[RankLoader], None] = run.before_batch
        if run.device.type == "cuda":
            self.options.setdefault("pin_memory", True)

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        whole, ranks = len(self.dataset), int(self.run.world_size)
        each = whole // ranks if self.drop_last else math.ceil(whole / ranks)
        return each // self.batch_size if self.drop_last else math.ceil(each / self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._skip:
            self._skip -= 1  # a pass that was done before the checkpoint
            return
        import torch

        if self.samples_done and not self._restored:  # the program has left the pass before: this is a new one
            self.passes, self.samples_done = self.passes + 1, 0
        self._restored = False
        indices = shares(self._order(), self.samples_done, self.run.rank, self.run.world_size, self.drop_last)
        generator = torch.Generator().manual_seed(self._worker_seed())
        loader = torch.utils.data.DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            sampler=indices,
            drop_last=self.drop_last,
            generator=generator,
            **self.options,
        )
        batches, count = iter(loader), len(loader)
        for _ in range(count):
            # Before the batch is made, since making it may draw random numbers.
            self.before_batch(self)
            batch = next(batches)
            self.samples_done += self.batch_size * self.run.world_size
            yield batch
        self.passes, self.samples_done = self.passes + 1, 0

    def begin_epoch(self, epoch: int) -> None:
        """Stand at the beginning of an epoch."""
        self.epoch, self.passes, self.samples_done, self._skip, self._restored = epoch, 0, 0, 0, False

    def state(self) -> dict[str, int]:
        """Where it stands."""
        return {"passes": self.passes, "samples_done": self.samples_done, "seed": self.seed}

    def restore(self, state: dict[str, int], epoch: int) -> None:
        """Go back to a saved position: passes that were done are skipped."""
        self.epoch = epoch
        self.passes = self._skip = state["passes"]
        self.samples_done, self._restored = state["samples_done"], True

    def _order(self) -> list[int]:
        import torch

        count = len(self.dataset)
        if not self.shuffle:
            return list(range(count))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(count, generator=generator).tolist()
        return order

    def _worker_seed(self) -> int:
        text = f"{self.seed} {self.epoch} {self.run.rank} {self.passes} {self.samples_done}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
