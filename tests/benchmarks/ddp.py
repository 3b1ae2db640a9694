"""The same script, started by torchrun and by daskhpc.ddp.train alternately: steps per second, and the start.

Two ranks of one thread each on this machine, gloo. Nothing else may run meanwhile. Prints a table, within four minutes:

    .venv/bin/python tests/benchmarks/ddp.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from distributed import Client, LocalCluster

import daskhpc

ROUNDS, STEPS = int(os.environ.get("ROUNDS", "10")), 400
SECONDS = 200  # no round begins later than this
SCRIPT = f"""
import json, os, sys, time
began = time.time()
import torch, torch.distributed as dist
imported = time.time()
torch.set_num_threads(1)
dist.init_process_group("gloo")
joined = time.time()
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
model = torch.nn.parallel.DistributedDataParallel(net)
optimizer = torch.optim.SGD(model.parameters(), 0.01)
x, y = torch.randn(256, 256), torch.randint(0, 10, (256,))
def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
for _ in range(50):
    step()
start = time.perf_counter()
for _ in range({STEPS}):
    step()
seconds = time.perf_counter() - start
if dist.get_rank() == 0:
    with open(sys.argv[1], "w") as file:
        json.dump([seconds, joined], file)
dist.barrier()
dist.destroy_process_group()
"""


def main() -> None:
    figures: dict[str, list[list[float]]] = {"torchrun": [], "daskhpc.ddp.train": []}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        script, found = Path(folder) / "script.py", Path(folder) / "found"
        script.write_text(SCRIPT)
        run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script), str(found)]
        daskhpc.ddp.train(script, found, client=client, progress=False)  # the first starts the workers' child servers
        first = time.time()
        for number in range(ROUNDS):
            if time.time() - first > SECONDS:
                break
            # Who is first alternates: the second may find files in memory, or a warmer processor.
            for name, rows in list(figures.items())[:: 1 if number % 2 else -1]:
                began = time.time()
                if name == "torchrun":
                    subprocess.run(run, env=env, check=True, capture_output=True)
                else:
                    daskhpc.ddp.train(script, found, client=client, progress=False)
                seconds, joined = json.loads(found.read_text())
                rows.append([seconds, joined - began, time.time() - began])
    imports = min(_import() for _ in range(3))
    print("| | steps/s, median | start until the group stands, s | in all, s |\n|---|---|---|---|")
    for name, rows in figures.items():
        seconds, start, whole = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {STEPS / seconds:.0f} | {start:.2f} | {whole:.2f} |")
    pairs = zip(figures["torchrun"], figures["daskhpc.ddp.train"], strict=True)
    ratios = sorted(theirs[0] / ours[0] for theirs, ours in pairs)
    start = statistics.median(row[1] for row in figures["daskhpc.ddp.train"])
    print(f"\nsteps/s of train over torchrun's: {statistics.median(ratios):.3f} (at least 0.97)")
    print(f"by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print(f"start of train beyond the import of torch ({imports:.2f} s): {start - imports:.2f} s (at most 2)")


def _import() -> float:
    began = time.time()
    subprocess.run([sys.executable, "-c", "import torch, torch.distributed"], check=True)
    return time.time() - began


if __name__ == "__main__":
    main()
