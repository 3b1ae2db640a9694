"""What a training function asks of its rank: its place, the model in DDP, batches, epochs with checkpoints, numbers."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from .loaders import RankLoader
from .saving import Saving
from .stopping import StopAgreement

if TYPE_CHECKING:
    from .places import RankPlace
    from .worker_link import WorkerLink

_STORE_SECONDS = 300.0  # for which torch's store waits by default

_installed: list[RankContext] = []


def context() -> RankContext:
    """The rank that this process is.

    Returns
    -------
    RankContext
        Outside a training, rank 0 of 1; in a program that torchrun started, that program's rank.

    Raises
    ------
    SettingsError
        If torchrun started several ranks, and their process group is not open yet.

    Examples
    --------
    A training function runs on a laptop as it stands:

    >>> import torch, daskhpc
    >>> def fit(epochs):
    ...     run = daskhpc.ddp.context()
    ...     model = run.prepare(torch.nn.Linear(2, 1))
    ...     data = torch.utils.data.TensorDataset(torch.ones(8, 2), torch.zeros(8, 1))
    ...     optimizer = torch.optim.SGD(model.parameters(), 0.1)
    ...     batches = run.loader(data, batch_size=4)
    ...     for epoch in run.epochs(epochs, model=model, optimizer=optimizer):
    ...         for x, y in batches:
    ...             loss = torch.nn.functional.mse_loss(model(x), y)
    ...             optimizer.zero_grad()
    ...             loss.backward()
    ...             optimizer.step()
    ...     return run.rank, run.world_size, loss.item() < 1
    >>> fit(20)
    (0, 1, True)
    """
    return _installed[-1] if _installed else _outside()


def number(value: Any) -> float:
    """A number, also of a tensor or an array with one element."""
    return float(value.item() if hasattr(value, "item") else value)


def install(run: RankContext) -> None:
    """Make a context the ambient one of this process."""
    _installed[:] = [run]


def _outside() -> RankContext:
    """Rank 0 of 1, or torch.distributed's own values if a program has opened it."""
    import sys

    import torch

    from .places import RankPlace, WorkerPlace

    rank, world_size, local = 0, 1, 0
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        rank, world_size = dist.get_rank(), dist.get_world_size()
        local = int(os.environ.get("LOCAL_RANK", 0))
    elif "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SettingsError(  # each rank would train alone on all of the data
            "The ranks that torchrun started have not joined yet.",
            f"rank {os.environ.get('RANK')} of {os.environ['WORLD_SIZE']}, without a process group",
            "torch.distributed.init_process_group() before daskhpc.ddp.context()",
        )
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    on_node = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if world_size > 1 else 1
    node_rank = int(os.environ.get("GROUP_RANK", 0)) if world_size > 1 else 0
    worker = WorkerPlace("", "", os.uname().nodename, "", "", 1, 0)
    run = RankContext(RankPlace(rank, local, node_rank, on_node, world_size, 1, worker), device, None, {})
    install(run)
    return run


class RankContext:
    """One rank of a training.

    Attributes
    ----------
    rank, local_rank, node_rank, world_size, local_world_size : int
    device : torch.device
        The rank's own GPU with nccl, else the CPU.
    restarts : int
        How often the training was begun again after a failure.
    metric : float or None
        Set it within an epoch: the larger, the better. The checkpoint of the best epoch is kept.
    steps : int
        How many batches this rank has begun, those before a resume included.
    """

    def __init__(self, place: RankPlace, device: Any, link: WorkerLink | None, settings: dict[str, Any]) -> None:
        self.place, self.device = place, device
        self.rank, self.local_rank, self.node_rank = place.rank, place.local_rank, place.node_rank
        self.world_size, self.local_world_size = place.world_size, place.local_world_size
        self.restarts: int = settings.get("restarts", 0)
        self.metric: float | None = None
        self.steps, self.epoch = 0, 0
        self.link = link
        self._rows: list[dict[str, float]] = []
        self._moves = self._reported = 0
        self._shared: list[Any] = []
        self._loaders: list[Callable[[], RankLoader | None]] = []
        folder = settings.get("checkpoint")
        self._timeout: float = settings.get("timeout", _STORE_SECONDS)
        self._saving = Saving(self, Path(folder) if folder else None, settings)
        self._stopping = StopAgreement(self)
        if link is not None:
            link.progress = self.take_progress
            link.on_message = self._stopping.told

    def prepare(self, model: Any, **ddp_options: Any) -> Any:
        """A model on the rank's device, in DistributedDataParallel if there is more than one rank.

        Parameters
        ----------
        model : torch.nn.Module
        **ddp_options
            Of DistributedDataParallel.

        Returns
        -------
        torch.nn.Module
        """
        import torch

        if self.world_size > 1 and not torch.distributed.is_initialized():
            raise SettingsError(
                "A script opens its process group itself.",
                "context().prepare before that",
                "torch.distributed.init_process_group() first",
            )
        model = model.to(self.device)
        if self.world_size == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        if self.device.type == "cuda":
            ddp_options.setdefault("device_ids", [self.device.index])
        return torch.nn.parallel.DistributedDataParallel(model, **ddp_options)

    def loader(self, dataset: Any, batch_size: int, **options: Any) -> RankLoader:
        """Batches of this rank's share of a dataset.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            One with a length and an index.
        batch_size : int
            Of one rank: the global batch is ``batch_size * world_size``.
        **options
            ``shuffle=True``, ``seed=0``, ``drop_last=False``, and those of ``torch.utils.data.DataLoader``.

        Returns
        -------
        RankLoader
        """
        loader = RankLoader(self, dataset, batch_size, **options)
        loader.begin_epoch(self.epoch)
        if not self._loaders and self.rank == 0 and self.link is not None:
            self.link.say("batch", batch_size=batch_size, world_size=self.world_size, samples=len(dataset))
        # Outside a training this context outlives the function, whose data it must not keep.
        self._loaders.append((lambda: loader) if self.link is not None else weakref.ref(loader))
        self._saving.restore_loader(len(self._loaders) - 1, loader)
        return loader

    @property
    def loaders(self) -> list[RankLoader]:
        """All loaders, in the order in which they were made."""
        return [loader for kept in self._loaders if (loader := kept()) is not None]

    def epochs(self, n: int, save_every: int | None = None, **state: Any) -> Iterator[int]:
        """The numbers of the epochs that are left; saves a checkpoint after each.

        Parameters
        ----------
        n : int
            How many epochs the training has in all.
        save_every : int, optional
            Save also after so many batches within an epoch.
        **state
            Model, optimizer, scheduler: whatever has ``state_dict`` and ``load_state_dict``. They are restored from
            the training's last checkpoint, random numbers and the position in the data too.

        Yields
        ------
        int
            From 0 on; after a resume, that of the epoch in which the checkpoint was made.

        Raises
        ------
        SettingsError
            If there was a loop before, in a training with a checkpoint.
        TrainingError
            At the first save, if a state could not be read back as data.
        """
        first = self._saving.begin(state, n, save_every)
        for epoch in range(first, n):
            self._begin_epoch(epoch)
            yield epoch
            self._saving.after_epoch(epoch + 1, self.metric)
        self._saving.over()

    def resume(self, **state: Any) -> int:
        """Restore objects from the training's last checkpoint, as `epochs` does.

        Returns
        -------
        int
            The first epoch that is left; 0 if there is no checkpoint.
        """
        first = self._saving.begin(state, None, None)
        self._begin_epoch(first)
        return first

    def save(self, epoch: int, metric: float | None = None, **state: Any) -> None:
        """Save a checkpoint after epoch number `epoch`, as `epochs` does; all ranks call it.

        Parameters
        ----------
        epoch : int
            From 0 on, as `resume` counts them.
        metric : float, optional
            The larger, the better.
        **state
            As of `epochs`.
        """
        self._saving.objects = state
        self._saving.after_epoch(epoch + 1, metric)
        self._begin_epoch(epoch + 1)

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch, self.metric = epoch, None
        for index, loader in enumerate(self.loaders):
            loader.begin_epoch(epoch)
            self._saving.restore_loader(index, loader)

    def before_batch(self, loader: RankLoader) -> None:
        """Called by a loader before each batch: save, stop with all others, or go on."""
        self._saving.at_batch(loader)
        self._stopping.at_batch()
        self._moves += 1

    def save_here(self) -> None:
        """Save a checkpoint in the middle of an epoch; all ranks do so before the same batch."""
        self._saving.within_epoch()

    def log(self, **numbers: float) -> None:
        """Note numbers of this rank, with its epoch and step; ranks may call it unequally.

        Parameters
        ----------
        **numbers
            Numbers or tensors of one element. One called rank, epoch, step or time gets ``log_`` before its name.
        """
        row = {"rank": self.rank, "epoch": self.epoch, "step": self.steps, "time": time.time()}
        row |= {f"log_{name}" if name in row else name: number(value) for name, value in numbers.items()}
        if self.link is not None:
            self._rows.append(row)
        self._moves += 1

    def take_progress(self) -> dict[str, Any] | None:
        """What is new since the last call, for the worker; None if nothing is."""
        if self._moves == self._reported:
            return None
        self._reported, rows = self._moves, self._rows[:]
        del self._rows[: len(rows)]  # in place: `log` may append meanwhile
        return {"step": self.steps, "epoch": self.epoch, "rows": rows}

    def mean(self, value: Any, n: float = 1) -> float:
        """The mean of a number over all ranks; all ranks call it.

        Parameters
        ----------
        value : float or tensor of one element
        n : float
            Its weight, such as the number of samples that it is the mean of.

        Returns
        -------
        float
            nan if all weights are 0.
        """
        total = [number(value) * n if n else 0.0, float(n)]
        if self.world_size > 1:
            import torch
            import torch.distributed as dist

            sums = torch.tensor(total, dtype=torch.float64, device=self.device)
            dist.all_reduce(sums)
            total = sums.tolist()
        return total[0] / total[1] if total[1] else float("nan")

    def shared(self, array: Any | Callable[[], Any]) -> Any:
        """An array that lies once in each node's memory; all ranks call it.

        Parameters
        ----------
        array : numpy.ndarray, or a function that returns one
            The first rank of each node gives it; a function is called by that rank alone.

        Returns
        -------
        numpy.ndarray
            What a rank writes to it, the others do not see.
        """
        from .sharing import shared_on_node

        found, kept = shared_on_node(self.place, array, len(self._shared), self._timeout)
        self._shared.append(kept)
        return found
