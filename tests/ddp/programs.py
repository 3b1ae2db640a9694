"""Training functions of a user; the ranks import them from here."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from waiting import until

import daskhpc


def place() -> dict[str, Any]:
    """What a rank knows of itself."""
    import torch

    run = daskhpc.ddp.context()
    print(f"this is rank {run.rank}")
    print(f"and its errors {run.rank}", file=sys.stderr)
    run.log(loss=0.5 + run.rank)
    if run.rank == 0:
        run.log(loss=0.25)  # not a collective call
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "ranks": (run.rank, run.world_size, run.local_rank, run.local_world_size, run.node_rank),
        "mean": run.mean(run.rank, n=1 + run.rank),
        "threads": torch.get_num_threads(),
        "device": str(run.device),
        "listening": listening(os.getpid()),
        "launched": torch.distributed.is_torchelastic_launched(),
    }


def listening(pid: int) -> list[tuple[str, int]]:
    """The addresses on which a process listens."""
    found = psutil.Process(pid).net_connections(kind="tcp")
    return sorted((c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN)


def world() -> dict[str, Any]:
    """What of the program's world a rank has."""
    import warnings

    import torch

    names = ("NCCL_DEBUG", "A_TOKEN", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RANK", "GLOO_SOCKET_IFNAME", "PMI_RANK")
    return {
        **{name: os.environ.get(name) for name in names},
        "folder": os.getcwd(),
        "path": sys.path[0],
        "threads": torch.get_num_threads(),
        "filter": ("error", None, UserWarning, None, 0) in warnings.filters,
    }


class Files:
    """A dataset of numbers in files with relative names."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.tensor([float(Path(f"number-{index}").read_text())])


class Points:
    """A dataset of few points on a line, with noise that depends on the sample alone."""

    def __init__(self, count: int, draw: bool = False) -> None:
        self.count, self.draw = count, draw

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        import torch

        x = torch.linspace(-1, 1, self.count)[index]
        noise = torch.rand(()) * 0.1 if self.draw else 0.01 * ((index * 7919) % 13)
        return torch.stack([x, x * x]), (3 * x + noise).reshape(1)


def network(seed: int = 0, dropout: float = 0.0) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def flat(model: Any) -> np.ndarray[Any, Any]:
    """All weights of a model."""
    import torch

    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().copy()


def curve(count: int, batch_size: int, epochs: int) -> dict[str, Any]:
    """Losses, gradients of the first batch, weights, and which samples came in which epoch."""
    import torch
    from torch.nn.functional import mse_loss

    run = daskhpc.ddp.context()
    model = run.prepare(network())
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    batches = run.loader(Indexed(count), batch_size)
    losses, first, seen = [], None, []
    for _ in run.epochs(epochs, model=model, optimizer=optimizer):
        total, number, own = 0.0, 0, []
        for index, x, y in batches:
            own += index.tolist()
            loss = mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if first is None:
                first = torch.cat([p.grad.flatten() for p in model.parameters()]).numpy().copy()
            optimizer.step()
            total, number = total + loss.item() * len(x), number + len(x)
            run.log(loss=loss.item())
        losses.append(run.mean(total / number, number))
        seen.append(own)
    return {"losses": losses, "first": first, "weights": flat(model), "seen": seen, "batches": len(batches)}


class Indexed(Points):
    def __getitem__(self, index: int) -> Any:
        return (index, *super().__getitem__(index))


def noisy(epochs: int, fault: str = "", save_every: int | None = None, kept: str = "") -> np.ndarray[Any, Any]:
    """Weights after a training that draws: dropout, augmentation, momentum, a schedule; a fault may end it."""
    import torch
    from torch.nn.functional import mse_loss

    run = daskhpc.ddp.context()
    model = run.prepare(network(dropout=0.3))
    torch.manual_seed(run.rank)
    np.random.seed(run.rank)
    random.seed(run.rank)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    batches = run.loader(Points(48, draw=True), 4)
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    for epoch in run.epochs(epochs, save_every=save_every, **state):
        for x, y in batches:
            x = x + 0.01 * float(np.random.rand()) + 0.01 * random.random()
            loss = mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss.item())
            if fault:
                happen(fault, run, kept)
        scheduler.step()
        run.metric = -loss.item() if epoch != 1 else 1e9
    return flat(model)


def happen(fault: str, run: Any, kept: str) -> None:
    """A fault once, at a step of a rank: ``SIGKILL 5 1``."""
    kind, step, rank = fault.split()
    if run.steps == int(step) and run.rank == int(rank) and not os.path.exists(kept):
        Path(kept).touch()
        fail(kind)


def fail(kind: str) -> None:
    """End this rank in one of several ways, or stand."""
    if "FAILED_AT" in os.environ:
        Path(os.environ["FAILED_AT"]).write_text(str(time.time()))
    match kind:
        case "raise":
            raise ValueError("no such tile")
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(3600)
        case "worker":
            os.kill(own_worker(), signal.SIGKILL)
            time.sleep(3600)
        case _:
            os.kill(os.getpid(), getattr(signal, kind))
            time.sleep(3600)


def own_worker() -> int:
    """The process of this rank's worker, which has started the server of its children."""
    server = psutil.Process().parent()
    assert server is not None
    return server.ppid()


def faulty(kind: str, phase: str, rank: int) -> None:
    """A training in which one rank fails in one phase."""
    import torch

    run = daskhpc.ddp.context()
    here = run.rank == rank
    if phase == "start" and here:
        run.log()  # or a rank that stands here is found by torch's timeout alone
        fail(kind)
    model = run.prepare(network())
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    class State:
        def state_dict(self) -> dict[str, int]:
            if phase == "save" and run.rank == rank:
                fail(kind)
            if phase == "save":  # in the middle of which the other one fails
                until(Path(os.environ["FAILED_AT"]).exists)
                time.sleep(0.3)
            return {}

        def load_state_dict(self, state: dict[str, int]) -> None:
            pass

    for _ in run.epochs(1, model=model, state=State()):
        for x, y in run.loader(Points(32), 4):
            if phase == "step" and here and run.steps == 3:
                fail(kind)
            (model(x) - y).square().mean().backward()
            optimizer.step()
    if phase in ("save", "end") and here:
        fail(kind)
    if phase == "end":
        run.mean(1)


def both(kinds: tuple[str, str], first: int, folder: str) -> None:
    """Two ranks fail 10 ms apart, and leave when they really did."""
    run = daskhpc.ddp.context()
    moment = run.mean(time.time()) + 0.3
    moment += 0.0 if run.rank == first else 0.01
    time.sleep(max(0, moment - 0.002 - time.time()))
    while time.time() < moment:
        pass
    Path(folder, str(run.rank)).write_text(str(time.time()))
    fail(kinds[run.rank])


def counted(folder: str, epochs: int, fault: str = "") -> int:
    """Which samples were trained on: a line for each, with its epoch."""
    import torch

    run = daskhpc.ddp.context()
    batches = run.loader(Indexed(26), 2)
    model = torch.nn.Linear(1, 1)
    with open(f"{folder}/{run.world_size}-{run.rank}", "w") as file:
        for epoch in run.epochs(epochs, save_every=4, model=model):
            for index, _, _ in batches:
                if fault and run.steps == 5:
                    run.mean(0)
                    raise ValueError("ended before its time")
                print(*(f"{epoch}:{i}" for i in index.tolist()), file=file, flush=True)
    return run.steps


class Strange:
    """Something with a state that cannot be read as data."""

    def state_dict(self) -> dict[str, Any]:
        return {"fine": 1, "nested": [{"odd": Path("x")}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def unreadable() -> None:
    run = daskhpc.ddp.context()
    for _ in run.epochs(1, strange=Strange()):
        pass


def lasting(seconds: float, middle: str) -> np.ndarray[Any, Any]:
    """A training of 200 steps; if it is the first to come to the middle, those after that take time."""
    import torch

    run, first = daskhpc.ddp.context(), not os.path.exists(middle)
    torch.manual_seed(3)
    model = run.prepare(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    batches = run.loader(Points(200), 1)
    for _ in run.epochs(2, model=model, optimizer=optimizer):
        for x, y in batches:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
            if run.steps == 110:
                Path(middle).touch()
            if first and run.steps >= 110:
                time.sleep(seconds)
    return flat(model)


def lost_once(mark: str) -> int:
    """Lose the worker at the first attempt; at the next, say whose process runs this."""
    if not os.path.exists(mark):
        Path(mark).touch()
        fail("worker")
    return own_worker()


def raises_at_once(mark: str) -> None:
    """An exception before the first save, and a line for each attempt."""
    with open(mark, "a") as file:
        print("begun", file=file)
    raise ValueError("no such tile")


def talkative(calls: int) -> float:
    """What a rank prints and logs; seconds of the processor that a call of log takes, what it sends included.

    The least of several measurements: a machine that others use may count their time, too.
    """
    run = daskhpc.ddp.context()
    model = run.prepare(network())
    batches = run.loader(Points(16), 4)
    for _ in run.epochs(2, model=model):
        for _batch in batches:
            print(f"rank {run.rank} has a batch")
            run.log(loss=0.125)
    run.link.report()
    seconds = []
    for _ in range(10):
        began = time.process_time()
        for _call in range(calls // 10):
            run.log(loss=0.5, accuracy=0.25)
        run.link.report()
        seconds.append(time.process_time() - began)
    return 10 * min(seconds) / calls


def children(dask_worker: Any) -> int:
    """How many child processes a worker has; here, since a worker that imports the test module has torch."""
    from daskhpc.cluster.children import children_of

    return len(children_of(dask_worker).children)
