"""The nccl path of daskhpc.ddp.train, on a machine with one NVIDIA GPU or more; ddp_gpu.sh runs it.

One rank for each GPU trains a small network with nccl, and as many ranks with gloo on CPUs: the weights have to agree.
Then a rank is killed and the training restarted, and a checkpoint of the GPU is read on the CPU. Prints what it showed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

import daskhpc
from daskhpc.ddp.rank_task import _gpus

TOLERANCE = 1e-3
EPOCHS = 3


def fit(killed: str = "") -> dict[str, Any]:
    """Weights, losses, the device and the backend of a training on noise-free data."""
    import torch
    import torch.distributed as dist
    from torch import nn

    run = daskhpc.ddp.context()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    x = torch.linspace(-1, 1, 4096).reshape(512, 8)
    data = torch.utils.data.TensorDataset(x, x.square().sum(1, keepdim=True))
    model = run.prepare(nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1)))
    if run.world_size == 1:  # then prepare() needs no DDP; here nccl has to have something to do
        ids = [run.device.index] if run.device.type == "cuda" else None
        model = torch.nn.parallel.DistributedDataParallel(model, device_ids=ids)
    one = torch.ones(1, device=run.device)
    dist.all_reduce(one)
    gathered: list[Any] = [None] * run.world_size
    dist.all_gather_object(gathered, run.rank)
    assert one.item() == run.world_size
    assert gathered == list(range(run.world_size))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    batches, losses = run.loader(data, 32), []
    for _ in run.epochs(EPOCHS, model=model, optimizer=optimizer):
        for features, target in batches:
            loss = nn.functional.mse_loss(model(features.to(run.device)), target.to(run.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)
            if killed and run.steps == 20 and not os.path.exists(killed):
                Path(killed).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        losses.append(run.mean(loss))
    return {
        "weights": torch.cat([p.detach().flatten().cpu() for p in model.parameters()]).numpy(),
        "losses": losses,
        "device": str(run.device),
        "name": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "CPU",
        "backend": dist.get_backend_config(),
        "shown": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def main() -> None:
    ranks = len(_gpus())
    print(f"GPUs that a worker sees: {ranks}")
    if not ranks:
        sys.exit("no GPU here: the nccl path was NOT run")
    folder = Path(tempfile.mkdtemp())
    with (
        LocalCluster(n_workers=ranks, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        times, found = {}, {}
        for name, backend in (("nccl", "auto"), ("gloo", "gloo")):
            began = time.monotonic()
            found[name] = daskhpc.ddp.train(
                fit, client=client, world_size=ranks, backend=backend, checkpoint=folder / name, progress=False
            )
            times[name] = time.monotonic() - began
            first = found[name][0]
            print(
                f"{name}: {ranks} rank(s) on {first['device']} ({first['name']}), {first['backend']}, "
                f"CUDA_VISIBLE_DEVICES={first['shown']}, losses {first['losses']}, {times[name]:.1f} s in all"
            )
        assert found["nccl"][0]["device"] == "cuda:0", "auto did not choose the GPU"
        assert "nccl" in found["nccl"][0]["backend"]
        difference = float(np.abs(found["nccl"][0]["weights"] - found["gloo"][0]["weights"]).max())
        print(
            f"largest difference of a weight, nccl on GPU against gloo on CPU: {difference:.2e} (at most {TOLERANCE})"
        )
        assert difference < TOLERANCE
        again = daskhpc.ddp.train(
            fit, str(folder / "killed"), client=client, checkpoint=folder / "again", max_restarts=1, progress=False
        )
        same = np.array_equal(again[0]["weights"], found["nccl"][0]["weights"])
        print(f"SIGKILL at step 20: {again.restarts} restart, weights equal to the last bit: {same}")
        assert again.restarts == 1
        assert np.allclose(again[0]["weights"], found["nccl"][0]["weights"], atol=1e-5)
        state = daskhpc.ddp.load(folder / "nccl")["model"]
        print(f"its checkpoint read on the CPU: {sorted(state)}, on {state['0.weight'].device}")
        try:
            daskhpc.ddp.train(raises, client=client, progress=False)
        except daskhpc.errors.TrainingError as error:
            print(f"first cause: {error.happened}")
        else:
            raise AssertionError("the failure was not told")
    print("OK: the nccl path works here")


def raises() -> None:
    """A failure on the GPU."""
    import torch

    run = daskhpc.ddp.context()
    run.mean(1.0)
    torch.ones(2, device=run.device) @ torch.ones(3, device=run.device)


if __name__ == "__main__":
    main()
