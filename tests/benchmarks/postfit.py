"""ParallelPostFit over 20 GB that nobody holds, on two worker processes of 2 GiB, beside the bare model.

The array is random, each block made by the task that needs it, in the chunks that `auto_chunks` gives for these
workers, or of --rows each. The bare model makes and predicts NumPy blocks of the same shape in a loop in one process,
before and after; its mean rate, times the workers, is what the cluster is measured against. Nothing else may run on the
machine meanwhile:

    python tests/benchmarks/postfit.py
"""

from __future__ import annotations

import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))  # before NumPy is imported, here and in all that is started

import argparse  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import dask.array as da  # noqa: E402
import numpy as np  # noqa: E402
from distributed import Client  # noqa: E402
from distributed.client import wait  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))

from clusters import start_cluster  # noqa: E402

from daskhpc import ParallelPostFit, arrays  # noqa: E402

WORKERS = 2
FEATURES = 80
ROW_BYTES = FEATURES * 8
MODELS = {
    "logistic regression": lambda: LogisticRegression(),
    "forest of 10 trees": lambda: RandomForestClassifier(10, max_depth=10, random_state=0),
}


def fitted(name: str) -> Any:
    """A model of two classes, fitted on little data."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5_000, FEATURES))
    return MODELS[name]().fit(X, (X[:, :3].sum(axis=1) > 0).astype("int8"))


def bare_rate(name: str, rows: int, blocks: int) -> float:
    """Bytes per second of the model in this process: a block is made, then predicted."""
    model = fitted(name)
    model.predict(np.random.default_rng(0).standard_normal((1000, FEATURES)))
    began = time.perf_counter()
    for seed in range(blocks):
        model.predict(np.random.default_rng(seed).standard_normal((rows, FEATURES)))
    return blocks * rows * ROW_BYTES / (time.perf_counter() - began)


def bare_elsewhere(name: str, rows: int, blocks: int, at_once: int) -> float:
    """The same in processes of their own, all at once: their rates together."""
    command = [sys.executable, __file__, "--bare", name, "--rows", str(rows), "--blocks", str(blocks)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a bare model failed")
    return sum(map(float, said))


def advised_rows(count: int, folder: str) -> int:
    """Rows of a block, as `auto_chunks` has them for the workers."""
    with start_cluster(WORKERS, local_directory=folder) as cluster, Client(cluster) as client:
        client.wait_for_workers(WORKERS, timeout=60)
        return int(arrays.auto_chunks((count, FEATURES), client=client)[0][0])


def state(dask_worker: Any) -> tuple[int, int, int]:
    """Of a worker process: its largest resident memory, bytes it ever spilled, files in its spill folder."""
    metrics = dict(dask_worker.data.cumulative_metrics)
    written = sum(value for key, value in metrics.items() if key == ("disk-write", "bytes"))
    folder = Path(dask_worker.local_directory, "storage")
    files = sum(1 for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, int(written), files


def measured(name: str, rows: int, blocks: int, folder: str) -> tuple[float, list[tuple[int, int, int]]]:
    """Seconds to predict all blocks on the cluster, and the workers' states after it."""
    with start_cluster(WORKERS, local_directory=folder) as cluster, Client(cluster) as client:
        client.wait_for_workers(WORKERS, timeout=60)
        model = ParallelPostFit(fitted(name))
        warm = da.random.default_rng(1).standard_normal((16 * 1000, FEATURES), chunks=(1000, FEATURES))
        wait(client.persist(model.predict(warm)))
        X = da.random.default_rng(0).standard_normal((blocks * rows, FEATURES), chunks=(rows, FEATURES))
        began = time.perf_counter()
        labels = model.predict(X).compute()
        seconds = time.perf_counter() - began
        assert labels.dtype == np.int8
        assert len(labels) == blocks * rows
        return seconds, list(client.run(state).values())


def row(name: str, gigabytes: float, rows: int | None) -> str:
    """Measure one model: the bare one, the cluster, the bare one again."""
    with tempfile.TemporaryDirectory() as folder:
        rows = rows or advised_rows(int(gigabytes * 1e9) // ROW_BYTES, folder)
        blocks = -(-int(gigabytes * 1e9) // (rows * ROW_BYTES))
        few = max(3, blocks // 20)
        alone = [bare_elsewhere(name, rows, few, 1)]
        together = [bare_elsewhere(name, rows, few, WORKERS)]
        seconds, states = measured(name, rows, blocks, folder)
        alone.append(bare_elsewhere(name, rows, few, 1))
        together.append(bare_elsewhere(name, rows, few, WORKERS))
    data = blocks * rows * ROW_BYTES
    rate = data / seconds
    ideal, both = statistics.mean(alone) * WORKERS, statistics.mean(together)
    peak, written, files = (max(values) for values in zip(*states, strict=True))
    return (
        f"| {name} | {data / 1e9:.1f} | {rows * ROW_BYTES / 1e6:.0f} | {seconds:.1f} | {rate / 1e6:.0f} | "
        f"{ideal / 1e6:.0f} | {rate / ideal:.2f} | {rate / both:.2f} | {peak / 1e6:.0f} | {written} | {files} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--rows", type=int, help="of a block")
    parser.add_argument("--quick", action="store_true", help="little data, to see that it runs")
    parser.add_argument("--bare", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        print(bare_rate(given.bare, given.rows, given.blocks))
        return
    names = ["model", "GB", "MB a block", "seconds", "MB/s", f"bare x {WORKERS}", "of it", f"of {WORKERS} bare at once"]
    names += ["peak MB of a worker", "bytes spilled", "files"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    for name in MODELS:
        print(row(name, 0.2 if given.quick else given.gigabytes, given.rows), flush=True)


if __name__ == "__main__":
    main()
